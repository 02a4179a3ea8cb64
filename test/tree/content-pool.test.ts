/** The pool of a tree: only right bytes get a name, a killed run's stay, and changed ones are replaced. */
import {
  chmodSync,
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { digestOf, hexOf } from "../../src/io/digest.ts";
import { ContentPool, timeOf } from "../../src/tree/content-pool.ts";
import type { StoredFile } from "../../src/tree/types.ts";
import { noise } from "../fixtures/bundle-maker.ts";

const plain = { link: false, recheck: false };

function stored(t: Test, bytes: Buffer, name = "blob"): StoredFile {
  const file = join(t.testdirName, name);
  mkdirSync(t.testdirName, { recursive: true });
  writeFileSync(file, bytes, { mode: 0o444 });
  return { digest: digestOf(bytes), file, size: bytes.length };
}

t.test("copies are hashed, read-only, and have a time that says which bytes they are", async (t) => {
  t.testdir({});
  for (const size of [0, 10, 1024 * 1024, 3_000_000]) {
    const pool = await ContentPool.open(join(t.testdirName, "pool"), plain);
    const it = stored(t, noise(size, size), `blob-${size}`);
    await pool.addFile(it);
    const found = statSync(pool.path(it.digest));
    t.equal(found.mode & 0o777, 0o444);
    t.equal(found.mtimeMs, timeOf(it.digest) * 1000);
    t.not(found.ino, statSync(it.file).ino, "an inode of its own");
    t.ok(readFileSync(pool.path(it.digest)).equals(readFileSync(it.file)));
  }
  t.equal(new Set(["a", "b", "c", "d"].map((it) => timeOf(digestOf(it)))).size, 4);
  t.ok(timeOf(`sha256:${"f".repeat(64)}`) * 1000 < Date.now(), "in the past");
});

t.test("a damaged blob gets no name", async (t) => {
  t.testdir({});
  for (const link of [false, true]) {
    for (const size of [1000, 2_000_000]) {
      const dir = join(t.testdirName, `pool-${size}-${link}`);
      const pool = await ContentPool.open(dir, { link, recheck: false });
      const it = stored(t, noise(size, 1), `blob-${size}-${link}`);
      chmodSync(it.file, 0o644);
      for (const bad of [noise(size, 2), noise(size - 1, 1), noise(size + 1, 1), Buffer.alloc(0)]) {
        writeFileSync(it.file, bad);
        const fresh = await ContentPool.open(dir, { link, recheck: false });
        await t.rejects(fresh.addFile(it), { code: "ERR_STORE_INVALID", expected: it.digest });
        t.notOk(existsSync(pool.path(it.digest)));
        t.strictSame(readdirSync(join(dir, "new")), []);
      }
      await t.rejects(pool.addFile({ ...it, file: `${it.file}-gone` }), {
        code: "ERR_STORE_INVALID",
        actual: "no such file",
      });
    }
  }
});

t.test("large files become links where that is wanted, small ones never", async (t) => {
  t.testdir({});
  const dir = join(t.testdirName, "pool");
  const [small, large] = [stored(t, noise(1000, 1), "small"), stored(t, noise(2_000_000, 2), "large")];
  const pool = await ContentPool.open(dir, { link: true, recheck: false });
  t.equal(await pool.bytesFor([small, large]), 1000);
  for (const it of [small, large]) await pool.addFile(it);
  t.equal(statSync(pool.path(large.digest)).ino, statSync(large.file).ino);
  t.not(statSync(pool.path(small.digest)).ino, statSync(small.file).ino);
  t.strictSame(pool.written, { files: 2, bytes: 1000, sharedBytes: 2_000_000 });
  const again = await ContentPool.open(dir, { link: true, recheck: true });
  for (const it of [small, large]) await again.addFile(it);
  t.equal(again.written.files, 0, "they stay");
  const copying = await ContentPool.open(dir, plain);
  for (const it of [small, large]) await copying.addFile(it);
  t.not(statSync(copying.path(large.digest)).ino, statSync(large.file).ino, "without the flag no link is left");
});

t.test("what somebody wrote to is replaced; a flipped bit is found on request", async (t) => {
  t.testdir({});
  const dir = join(t.testdirName, "pool");
  const it = stored(t, noise(5000, 1));
  const spoil = (time: number, bytes: Buffer) => {
    const file = join(dir, hexOf(it.digest).slice(0, 2), hexOf(it.digest));
    // In the same inode, as whoever edits a served file does it.
    chmodSync(file, 0o644);
    writeFileSync(file, bytes);
    utimesSync(file, time, time);
  };
  const run = async (recheck: boolean) => {
    const pool = await ContentPool.open(dir, { link: false, recheck });
    await pool.addFile(it);
    return readFileSync(pool.path(it.digest)).equals(readFileSync(it.file));
  };
  t.ok(await run(false));
  spoil(Date.now() / 1000, noise(5000, 2));
  t.ok(await run(false), "by its time");
  spoil(timeOf(it.digest), noise(5001, 2));
  t.ok(await run(false), "by its size");
  spoil(timeOf(it.digest), noise(5000, 2));
  t.notOk(await run(false), "only its bytes differ");
  t.ok(await run(true), "with recheck");
});

t.test("bytes and readers; pruning removes what is not kept", async (t) => {
  t.testdir({});
  const pool = await ContentPool.open(join(t.testdirName, "pool"), plain);
  const bytes = noise(2_500_000, 7);
  const source = { size: bytes.length, read: async (at: number, length: number) => bytes.subarray(at, at + length) };
  t.equal(await pool.addAll(source), digestOf(bytes));
  t.equal(await pool.addBytes(Buffer.from("small")), digestOf("small"));
  t.ok(readFileSync(pool.path(digestOf(bytes))).equals(bytes));
  const short = { size: 2_500_001, read: source.read };
  await t.rejects(pool.addAll(short), { code: "ERR_IO" });
  linkSync(pool.path(digestOf("small")), join(t.testdirName, "served"));
  const removed = await pool.prune(new Set([hexOf(digestOf(bytes))]));
  t.strictSame(removed, { files: 1, bytes: 5 });
  t.equal(readFileSync(join(t.testdirName, "served"), "utf8"), "small", "other names keep it");
  t.notOk(existsSync(pool.path(digestOf("small"))));
});
