/** Volumes on a disk that fails: what did not reach the disk is never taken for written, and no descriptor stays open. */
import { mkdirSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { VolumeSet } from "../../src/bundle/volumes.ts";
import { needs } from "../fixtures/clients.ts";
import { runWithFaults } from "../fixtures/failing-calls.ts";
import { scratch } from "../fixtures/program.ts";

const MIB = 1024 * 1024;
const dir = scratch(t);
let count = 0;
const fresh = () => join(dir, String(count++));

/** Opens two volumes in a folder, each of 80 MiB. */
const open = (folder: string) => `
  const { VolumeSet } = await src("bundle/volumes.ts");
  const volumes = await VolumeSet.create(${JSON.stringify(folder)}, { streamSize: ${160 * MIB}, volumeSize: ${80 * MIB} });`;

t.test("sync() fails when the disk refuses a volume", async (t) => {
  if (!needs(t, "strace")) return;
  for (const [error, code, said] of [
    ["EIO", "ERR_IO", /i\/o error/],
    ["ENOSPC", "ERR_SPACE", /no space left/],
  ] as const) {
    const folder = fresh();
    const body = `${open(folder)} await volumes.write(0, Buffer.from("a")); await volumes.sync();`;
    const second = join(folder, "data.tar.0001");
    t.match(runWithFaults(body, { inject: `fsync:error=${error}`, path: second }), { code, message: said });
  }
});

t.test("sync() fails for bytes that were lost in the background, which the system reports only once", async (t) => {
  if (!needs(t, "strace")) return;
  const body = `${open(fresh())} await volumes.write(0, Buffer.alloc(${65 * MIB})); await volumes.sync();`;
  t.match(runWithFaults(body, { inject: "fdatasync:error=EIO:when=1" }), { code: "ERR_IO", message: /i\/o error/ });
  const good = `${open(fresh())} await volumes.write(0, Buffer.alloc(${65 * MIB})); await volumes.sync();`;
  t.equal(runWithFaults(good, { inject: "fdatasync:error=EIO:when=2" }), "done", "there is one write-back");
});

t.test("close() reports what a network file system refuses only then, and closes every volume", async (t) => {
  if (!needs(t, "strace")) return;
  const folder = fresh();
  const body = `${open(folder)}
    await volumes.write(${79 * MIB}, Buffer.alloc(${2 * MIB}));
    const failed = await volumes.close().catch((it) => it);
    const { readdirSync, readlinkSync } = await import("node:fs");
    const open = readdirSync("/proc/self/fd").filter((it) => {
      try { return readlinkSync("/proc/self/fd/" + it).endsWith("data.tar.0001"); } catch { return false; }
    });
    return { code: failed?.code, message: failed?.message, open: open.length };`;
  // The first close is that of the file being created, before anything is in it.
  const ended = runWithFaults(body, { inject: "close:error=EIO:when=2+", path: join(folder, "data.tar.0000") });
  t.match(ended, { code: "ERR_IO", message: /^cannot close ".*data\.tar\.0000": /, open: 0 });
});

t.test("direct writes that the file system refuses go through the page cache; other errors are errors", async (t) => {
  if (!needs(t, "strace")) return;
  for (const [error, expected] of [
    ["EINVAL", "same"],
    ["EIO", { code: "ERR_IO" }],
  ] as const) {
    const folder = fresh();
    const body = `${open(folder)}
      const { SharedPieces } = await src("io/shared-pieces.ts");
      const bytes = (await new SharedPieces(1).take()).bytes.fill(7);
      await volumes.writeDirect(0, bytes);
      const same = (await volumes.read(0, ${MIB})).equals(Buffer.from(bytes));
      await volumes.close();
      return same ? "same" : "other";`;
    const inject = `pwrite64:error=${error}:when=1`;
    t.match(runWithFaults(body, { inject, path: join(folder, "data.tar.0000") }), expected, error);
  }
});

t.test("read() refuses a volume that is cut, and one that is unavailable", async (t) => {
  const folder = fresh();
  mkdirSync(folder);
  const [one, two] = [join(folder, "data.tar.0000"), join(folder, "data.tar.0001")];
  writeFileSync(one, Buffer.alloc(8192));
  writeFileSync(two, Buffer.alloc(8192));
  truncateSync(two, 100);
  const sizes = { streamSize: 24_576, volumeSize: 8192 };
  const volumes = VolumeSet.over([one, two, undefined], sizes);
  t.teardown(() => volumes.close());
  await t.rejects(volumes.read(8000, 400), { code: "ERR_SIZE_MISMATCH", message: /0001.*it ends early, at 100 bytes/ });
  await t.rejects(volumes.read(20_000, 1), { code: "ERR_BUNDLE_INCOMPLETE", path: "data.tar.0002" });
  t.throws(() => volumes.pieces(20_000, 1), { code: "ERR_BUNDLE_INCOMPLETE" });
  await t.rejects(VolumeSet.create(folder, sizes), { code: "ERR_SIZE_MISMATCH", message: /another size.*got 100/ });
});
