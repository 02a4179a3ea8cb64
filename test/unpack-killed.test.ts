/** unpack in processes that are killed: nothing wrong is left behind, and a rerun finishes. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import t, { type Test } from "tap";
import { unpack } from "../src/unpack.ts";
import { makeBundle, makeKey, noise, sampleFiles, sha256 } from "./fixtures/bundle-maker.ts";
import { seeded } from "./fixtures/seeded.ts";
import { blobsOf, holds } from "./fixtures/unpacked.ts";

const root = t.testdir();
const key = makeKey();
const keyFile = join(root, "key.pub");
const trust = [keyFile];
writeFileSync(keyFile, key.pem);
const files: Record<string, Buffer> = {
  ...sampleFiles(),
  "files/copy-of-513": noise(513, 4),
  "isos/copy.iso": noise(3_300_000, 8),
};
let count = 0;
const fresh = (name: string) => join(root, `${name}-${count++}`);

// Each run waits more than it computes: two rows of kills side by side.
const KILLS = 50;
const ROWS = 2;

t.test(`unpack() killed at ${KILLS} random instants leaves nothing wrong behind, and a rerun finishes`, async (t) => {
  const bundle = fresh("bundle");
  const big = { ...files, "isos/larger.iso": noise(16_000_000, 30) };
  for (let index = 0; index < 300; index++)
    Object.assign(big, { [`rpms/r/p${index}.rpm`]: noise(2000 + index, 100 + index) });
  makeBundle(bundle, { files: big, keys: [key], volumeSize: 7_000_000 });
  const rows = Array.from({ length: ROWS }, (_, row) => killRuns(t, bundle, big, seeded(2026 + row), KILLS / ROWS));
  const finished = await Promise.all(rows);
  t.ok(finished.some((it) => it > 0));
  t.comment(`${KILLS} kills, ${finished.join(" and ")} imports finished in between`);
});

/** Returns how many imports finished between the kills. */
async function killRuns(
  t: Test,
  bundle: string,
  big: Record<string, Buffer>,
  random: (below: number) => number,
  kills: number,
): Promise<number> {
  let store = fresh("store");
  let finished = 0;
  let killed = 0;
  // The first run is left alone, and tells how long one takes.
  let spanMs = 0;
  while (killed < kills) {
    const child = spawn(
      process.execPath,
      [join(import.meta.dirname, "fixtures/unpack-main.ts"), bundle, store, keyFile],
      {
        stdio: ["ignore", "pipe", "inherit"],
      },
    );
    await once(child.stdout, "data");
    const started = Date.now();
    const exit = once(child, "exit");
    const done = await Promise.race(spanMs === 0 ? [exit] : [exit, sleep(random(spanMs) + 1)]);
    if (done === undefined) {
      child.kill("SIGKILL");
      await exit;
      killed++;
    } else {
      t.equal(child.exitCode, 0);
      spanMs = Math.max(spanMs, Date.now() - started);
    }
    for (const file of blobsOf(store)) {
      if (sha256(readFileSync(file)) !== file.slice(-64)) t.fail(`wrong blob after kill ${killed}`);
    }
    if (existsSync(join(store, "releases/test/current"))) {
      t.equal(await holds(store, big), true, "what is current is whole");
      finished++;
      rmSync(store, { recursive: true });
      store = fresh("store");
    }
  }
  t.match(await unpack([bundle], { trust, store }), { complete: true });
  t.equal(await holds(store, big), true);
  return finished;
}
