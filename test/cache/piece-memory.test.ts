/** Pieces in shared memory: what is read is a piece, or nothing. */
import { hash } from "node:crypto";
import { setImmediate } from "node:timers/promises";
import t from "tap";
import { PieceMemory, readFromMemory } from "../../src/cache/piece-memory.ts";

function put(memory: PieceMemory, slot: number, text: string): Uint8Array {
  const bytes = Buffer.from(text);
  memory.bytesOf(slot).set(bytes);
  const digest = hash("sha256", bytes, "buffer");
  memory.publish(slot, digest, bytes.length);
  return digest;
}

t.test("a piece is there from when it is right until its memory is used again", async (t) => {
  const memory = new PieceMemory();
  const [slot = 0] = await memory.take(1);
  const target = Buffer.alloc(3);
  const digest = hash("sha256", "a piece", "buffer");
  memory.bytesOf(slot).set(Buffer.from("a piece"));
  t.notOk(readFromMemory(memory.shared, digest, target, 2), "not before");
  put(memory, slot, "a piece");
  t.ok(readFromMemory(memory.shared, digest, target, 2));
  t.equal(target.toString(), "pie");
  t.ok(memory.has(digest));
  t.notOk(readFromMemory(memory.shared, digest, Buffer.alloc(9), 0), "nothing behind its end");
  memory.free(slot);
  t.ok(readFromMemory(memory.shared, digest, target, 0), "it may still be read");
  const all: number[] = [];
  for (let it = 0; it < 6; it++) all.push(...(await memory.take(8)));
  t.equal(new Set(all).size, 48);
  t.notOk(readFromMemory(memory.shared, digest, target, 0));
  t.notOk(memory.has(digest));
});

t.test("who asks first is served first, and what was not filled is nothing", async (t) => {
  const memory = new PieceMemory();
  const all = (await Promise.all(Array.from({ length: 6 }, () => memory.take(8)))).flat();
  const served: string[] = [];
  const many = memory.take(4).then(() => served.push("many"));
  const one = memory.take(1).then(() => served.push("one"));
  for (const slot of all.slice(0, 3)) memory.free(slot);
  await setImmediate();
  t.same(served, []);
  for (const slot of all.slice(3, 5)) memory.free(slot);
  await Promise.all([many, one]);
  t.same(served, ["many", "one"]);
  t.notOk(memory.has(Buffer.alloc(32)));
});
