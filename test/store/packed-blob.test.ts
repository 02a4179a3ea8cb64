/** src/store/packed-blob.ts: nothing leaves the store unhashed. */
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { buffer } from "node:stream/consumers";
import t from "tap";
import { readPackedBlob } from "../../src/store/packed-blob.ts";
import { digestOf } from "../fixtures/images.ts";
import { scratch, seededBytes } from "../fixtures/program.ts";

const CHUNK = 1024 * 1024;

t.test("readPackedBlob() gives the bytes of every size, in sha256 and sha512", async (t) => {
  const file = join(scratch(t), "blob");
  for (const size of [0, 1, CHUNK - 1, CHUNK, CHUNK + 1]) {
    const bytes = seededBytes(size + 1, size);
    writeFileSync(file, bytes);
    for (const algorithm of ["sha256", "sha512"]) {
      let sent = 0;
      const digest = digestOf(bytes, algorithm) as `sha256:${string}`;
      const read = await buffer(readPackedBlob({ digest, file, size }, (count) => (sent += count)));
      t.ok(read.equals(bytes), `${size} bytes`);
      t.equal(sent, size);
    }
  }
});

t.test("readPackedBlob() fails at the end unless all bytes were the blob's", async (t) => {
  const file = join(scratch(t), "blob");
  const bytes = seededBytes(3, 2 * CHUNK + 7);
  const blob = { digest: digestOf(bytes) as `sha256:${string}`, file, size: bytes.length };
  const flipped = Buffer.from(bytes);
  flipped.writeUInt8(flipped.readUInt8(CHUNK) ^ 1, CHUNK);
  const damage: readonly (readonly [string, Buffer])[] = [
    ["a bit is another", flipped],
    ["cut", bytes.subarray(0, -1)],
    ["longer", Buffer.concat([bytes, Buffer.from("x")])],
    ["empty", Buffer.alloc(0)],
  ];
  for (const [name, content] of damage) {
    writeFileSync(file, content);
    const error = { code: "ERR_STORE_INVALID", path: file, expected: blob.digest, hint: /unpack the bundle again/ };
    let sent = 0;
    await t.rejects(buffer(readPackedBlob(blob, (count) => (sent += count))), error, name);
    t.ok(sent < blob.size, `${name}: a receiver that counts knows that it is not whole`);
  }
  rmSync(file);
  await t.rejects(buffer(readPackedBlob(blob)), { code: "ERR_STORE_INVALID", actual: "no such file" });
});
