/** What the server keeps in memory: bounded, reused, and never used after it was given up. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import t from "tap";
import { BufferPool } from "../../../src/server/http/buffers.ts";
import { SharedFiles } from "../../../src/server/http/handles.ts";
import { BlobMemory } from "../../../src/server/http/memory.ts";

const MIB = 1024 * 1024;

t.test("BlobMemory keeps within its limit and prefers what is used", async (t) => {
  const memory = new BlobMemory(10_000);
  const first = memory.put("a", Buffer.alloc(4000));
  memory.put("b", Buffer.alloc(4000));
  t.equal(memory.put("a", Buffer.alloc(1)), first, "a known blob stays");
  memory.put("c", Buffer.alloc(4000));
  const left = ["a", "b", "c"].filter((name) => memory.get(name) !== undefined);
  t.equal(left.length, 2, "12,000 bytes do not fit");
  t.ok(left.includes("c"), "the newest is there");
  t.equal(first.live, left.includes("a"));
  t.equal(first.bytes.length, first.live ? 4000 : 0, "what left has no bytes any more");
  for (let i = 0; i < 100; i++) {
    memory.get("c");
    memory.put(`x${i}`, Buffer.alloc(900));
  }
  t.ok(memory.get("c"), "what is in use outlives what is not");
});

t.test("BufferPool gives smaller ones the more are lent, and reuses them", async (t) => {
  const pool = new BufferPool();
  const one = pool.take(10 * MIB);
  t.equal(one.first.length, MIB);
  t.not(one.first, one.second);
  pool.giveBack(one);
  const again = pool.take(10 * MIB);
  t.ok([one.first, one.second].includes(again.first), "the same memory again");
  pool.drop(again);
  const small = pool.take(1000);
  t.equal(small.first.length, 64 * 1024, "no more than is needed");
  pool.giveBack(small);

  const many = Array.from({ length: 1000 }, () => pool.take(10 * MIB));
  const bytes = many.reduce((sum, it) => sum + it.first.length + (it.second === it.first ? 0 : it.second.length), 0);
  t.ok(bytes < 96 * MIB, `a thousand clients have ${Math.round(bytes / MIB)} MiB`);
  t.equal(many.at(-1)!.first.length, 64 * 1024);
  for (const buffers of many) pool.drop(buffers);
  t.equal(pool.take(10 * MIB).first.length, MIB, "and it is as before");
});

t.test("SharedFiles shares one descriptor, and closing idle ones harms no reader", async (t) => {
  const files = new SharedFiles();
  const path = join(t.testdir(), "blob");
  await writeFile(path, "0123456789");
  const [a, b] = await Promise.all([files.open(path), files.open(path)]);
  t.equal(a, b);
  a.release();
  files.closeIdle();
  const target = Buffer.alloc(8);
  t.equal(await b.fill(target, 8, 2), 8, "the other one still reads");
  t.equal(target.toString(), "23456789");
  t.equal(await b.fill(target, 8, 6), 4, "fewer at the end");
  b.release();
  files.closeIdle();
  const c = await files.open(path);
  t.equal(await c.fill(target, 2, 0), 2, "opened anew");
  c.release();
  files.closeIdle();
  await t.rejects(files.open(`${path}.none`), { code: "ENOENT" });
  await t.rejects(files.open(`${path}.none`), { code: "ENOENT" }, "a failure is not remembered");
});
