import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { HashPool } from "../../src/io/hash-pool.ts";
import { withHead } from "../../src/io/open-bytes.ts";
import { noise } from "../fixtures/bundle-maker.ts";

const dir = t.testdir();
const CHUNK = 2 * 1024 * 1024;
const content = noise(2 * CHUNK + 1, 1);
const file = join(dir, "file");
writeFileSync(file, content);
const digest = (bytes: Uint8Array, name = "sha256") => `${name}:${createHash(name).update(bytes).digest("hex")}`;

t.test("RangeHasher hashes ranges in the order of the calls, in several algorithms", async (t) => {
  const pool = new HashPool(2);
  t.teardown(() => pool.close());
  for (const size of [0, 1, 511, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 2 * CHUNK + 1]) {
    const found = await pool.hashFile(file, { length: size });
    t.equal(found.digest, digest(content.subarray(0, size)), `${size} bytes`);
  }
  const hasher = pool.open(["sha512", "md5", "sha1", "sha384"]);
  const order = [5000, 10, 0, CHUNK];
  for (const offset of order) void hasher.advance({ file, offset, length: 1000 });
  const expected = Buffer.concat(order.map((it) => content.subarray(it, it + 1000)));
  const digests = await hasher.digests();
  for (const [name, hex] of Object.entries(digests)) t.equal(hex, digest(expected, name), name);
  t.equal(Object.keys(digests).length, 5);
});

t.test("RangeHasher copies what it hashes", async (t) => {
  const pool = new HashPool();
  t.teardown(() => pool.close());
  const to = join(dir, "copy");
  writeFileSync(to, "");
  const hasher = pool.open();
  let told = 0;
  await hasher.advance({ file, offset: 7, length: content.length - 7, copyTo: { file: to, offset: 3 } }, (bytes) => {
    told += bytes;
  });
  t.equal((await hasher.digests()).sha256, digest(content.subarray(7)));
  t.same(readFileSync(to).subarray(3), content.subarray(7));
  t.equal(told, content.length - 7);
});

t.test(
  "copies past the page cache are right at any offset, beside bytes of others, on file systems with and without direct writes",
  async (t) => {
    const pool = new HashPool(1);
    t.teardown(() => pool.close());
    const tmpfs = existsSync("/dev/shm") ? mkdtempSync("/dev/shm/airferry-test-") : undefined;
    if (tmpfs !== undefined) t.teardown(() => rmSync(tmpfs, { recursive: true }));
    for (const to of [join(dir, "direct"), ...(tmpfs === undefined ? [] : [join(tmpfs, "copy")])]) {
      for (const offset of [0, 1, 512, 4095, 4096, 4097, CHUNK - 1, CHUNK]) {
        for (const length of [1, 511, 4096, 4097, CHUNK, 2 * CHUNK - 4095]) {
          const before = noise(offset + length + 5000, 2);
          writeFileSync(to, before);
          const hasher = pool.open();
          await hasher.advance({ file, offset: 3, length, copyTo: { file: to, offset } });
          hasher.discard();
          const expected = Buffer.from(before);
          content.copy(expected, offset, 3, 3 + length);
          t.ok(readFileSync(to).equals(expected), `${length} bytes at ${offset}`);
        }
      }
    }
  },
);

t.test("a file is hashed and its first bytes are returned, in a thread and in the main one", async (t) => {
  for (const pool of [new HashPool(1), new HashPool(0)]) {
    t.teardown(() => pool.close());
    for (const size of [0, 1, CHUNK, content.length]) {
      const found = await pool.hashWithHead(file, size, 1000);
      t.equal(found.digest, digest(content.subarray(0, size)), `${size} bytes`);
      t.same(Buffer.from(found.head), content.subarray(0, Math.min(size, 1000)), `head of ${size} bytes`);
      const bytes = withHead(found.head, size, file);
      for (const [position, length] of [
        [0, 1000],
        [990, 10],
        [990, 11],
        [CHUNK, 5],
      ] as const) {
        const expected = content.subarray(Math.min(position, size), Math.min(position + length, size));
        t.same(Buffer.from(await bytes.read(position, length)), expected, `${length} bytes at ${position} of ${size}`);
      }
    }
    await t.rejects(pool.hashWithHead(join(dir, "absent"), 1, 1), { code: "ERR_IO" });
    await t.rejects(pool.hashWithHead(file, content.length + 1, 1), { code: "ERR_SIZE_MISMATCH" });
  }
});

t.test("a pool tells what went wrong, and goes on", async (t) => {
  const pool = new HashPool(1);
  t.teardown(() => pool.close());
  symlinkSync(file, join(dir, "link"));
  mkdirSync(join(dir, "folder"));
  execFileSync("mkfifo", [join(dir, "pipe")]);
  const range = { offset: 0, length: 10 };
  for (const [name, code] of [
    ["link", "ERR_PATH_UNSAFE"],
    ["folder", "ERR_PATH_UNSAFE"],
    ["pipe", "ERR_PATH_UNSAFE"],
    ["nothing", "ERR_IO"],
  ] as const) {
    await t.rejects(pool.hashFile(join(dir, name), range), { code }, name);
  }
  await t.rejects(pool.hashFile(file, { length: content.length + 1 }), { code: "ERR_SIZE_MISMATCH" });
  t.equal((await pool.hashFile(file)).digest, digest(content));
});

t.test("an idle pool does not keep the process alive, a busy one does", async (t) => {
  const code = `
    import { HashPool } from ${JSON.stringify(join(import.meta.dirname, "../../src/io/hash-pool.ts"))};
    const pool = new HashPool();
    pool.hashFile(${JSON.stringify(file)}).then((it) => console.log(it.digest));
  `;
  const out = execFileSync(process.execPath, ["--input-type=module-typescript", "-e", code], { encoding: "utf8" });
  t.equal(out.trim(), digest(content));
});

t.test("a pool for very few bytes starts no thread, and does all that threads do", async (t) => {
  let started = 0;
  const count = () => {
    started++;
  };
  subscribe("worker_threads", count);
  t.teardown(() => unsubscribe("worker_threads", count));
  const pool = HashPool.sizedFor(1000);
  const hasher = pool.open(["sha512"]);
  const to = join(dir, "few");
  writeFileSync(to, "");
  for (const offset of [5000, 0]) {
    void hasher.advance({ file, offset, length: 1000, copyTo: { file: to, offset } });
  }
  const expected = Buffer.concat([content.subarray(5000, 6000), content.subarray(0, 1000)]);
  t.equal((await hasher.peek()).sha256, digest(expected));
  const shared = new Uint8Array(new SharedArrayBuffer(3)).fill(7);
  await hasher.feed(shared);
  const digests = await hasher.digests();
  t.equal(digests.sha512, digest(Buffer.concat([expected, shared]), "sha512"));
  t.same(readFileSync(to).subarray(0, 1000), content.subarray(0, 1000));
  t.same(readFileSync(to).subarray(5000), content.subarray(5000, 6000));
  await t.rejects(pool.hashFile(join(dir, "absent"), { length: 1 }), { code: "ERR_IO" });
  await t.rejects(pool.hashFile(file, { length: content.length + 1 }), { code: "ERR_SIZE_MISMATCH" });
  const last = pool.open();
  void last.advance({ file, offset: 0, length: content.length });
  const running = last.digests();
  await pool.close();
  t.equal((await running).sha256, digest(content), "what ran when it was closed is over");
  await t.rejects(pool.hashFile(file), { code: "ERR_INTERNAL" });
  t.equal(started, 0, "no thread");

  const threads = new HashPool(1);
  t.teardown(() => threads.close());
  await threads.open([], 1000).digests();
  t.equal(started, 0, "nor for few bytes among many");
  await threads.open().digests();
  t.equal(started, 1, "but for many");
});
