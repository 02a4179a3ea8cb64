/** Threads that start before the code that reads a bundle is loaded. */
import { execFileSync } from "node:child_process";
import { mkdirSync, truncateSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import t from "tap";
import { earlyPool } from "../../src/bundle/early-pool.ts";

const dir = t.testdir();
const THREADS = Math.min(availableParallelism(), 4);

function folder(name: string, volumes: Record<string, number>): string {
  const path = join(dir, name);
  mkdirSync(path);
  for (const [file, bytes] of Object.entries(volumes)) {
    writeFileSync(join(path, file), "");
    truncateSync(join(path, file), bytes);
  }
  return path;
}

t.test("as many threads start as the volumes of all folders are worth", async (t) => {
  const small = folder("small", { "data.tar.0000": 1000, "other.bin": 2 ** 30 });
  const middle = folder("middle", { "data.tar.0000": 3 * 2 ** 20 });
  const large = folder("large", { "data.tar.0001": 2 ** 30 });
  for (const [dirs, size] of [
    [[small], 1],
    [[middle], 1],
    [[small, large], THREADS],
  ] as const) {
    const pool = await earlyPool(dirs);
    t.equal(pool?.size, size);
    await pool?.close();
  }
});

t.test("what is no bundle starts nothing, and is left to its reader", async (t) => {
  writeFileSync(join(dir, "file"), "");
  execFileSync("mkfifo", [join(dir, "pipe")]);
  const none = folder("none", { "data.tar.x": 2 ** 30 });
  for (const it of [join(dir, "absent"), join(dir, "file"), join(dir, "pipe"), none])
    t.equal(await earlyPool([it]), undefined, it.split("/").at(-1) ?? "");
});
