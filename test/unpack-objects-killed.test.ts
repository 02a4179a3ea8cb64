/** unpack into object storage in processes that are killed: nothing wrong is left in the bucket, and a rerun finishes. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import t from "tap";
import { checkStore } from "../src/store/check-store.ts";
import { unpack } from "../src/unpack.ts";
import { startBucketBench } from "./fixtures/bucket-bench.ts";
import { makeBundle, noise, sampleFiles, sha256 } from "./fixtures/bundle-maker.ts";
import { COMPILE_CACHE } from "./fixtures/program.ts";
import { seeded } from "./fixtures/seeded.ts";
import { blobsOf, holds } from "./fixtures/unpacked.ts";

const { skip, root, gateway, key, keyFile } = await startBucketBench(t);
const KILLS = 30;
const ROWS = 2;

t.test(`unpack() killed at ${KILLS} random instants, and a rerun finishes`, { skip }, async (t) => {
  if (gateway === undefined) return;
  const files: Record<string, Buffer> = { ...sampleFiles(), "isos/large.iso": noise(18_000_000, 30) };
  for (let index = 0; index < 60; index++)
    Object.assign(files, { [`rpms/r/p${index}.rpm`]: noise(2000 + index, 100 + index) });
  const bundle = join(root, "bundle");
  makeBundle(bundle, { files, keys: [key], volumeSize: 7_000_000 });
  let count = 0;
  let spanMs = 0;
  /** Returns how many imports finished between the kills, of one row. */
  const row = async (random: (below: number) => number): Promise<number> => {
    let prefix = `st-${count++}`;
    let finished = 0;
    const folder = () => join(gateway.data, "airferry", prefix);
    for (let killed = 0; killed < KILLS / ROWS; ) {
      const program = join(import.meta.dirname, "fixtures/unpack-main.ts");
      const child = spawn(process.execPath, [program, bundle, gateway.name(prefix), keyFile], {
        env: { ...process.env, NODE_COMPILE_CACHE: COMPILE_CACHE },
        stdio: ["ignore", "pipe", "inherit"],
      });
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
      for (const file of blobsOf(folder()))
        if (sha256(readFileSync(file)) !== file.slice(-64)) t.fail(`wrong blob after kill ${killed}`);
      if (!existsSync(join(folder(), "releases/test/current"))) continue;
      t.equal(await holds(folder(), files), true, "what is current is whole");
      finished++;
      rmSync(folder(), { recursive: true });
      prefix = `st-${count++}`;
    }
    t.match(await unpack([bundle], { trust: [keyFile], store: gateway.name(prefix) }), { complete: true });
    t.equal(await holds(folder(), files), true);
    t.match(await checkStore(folder()), { ok: true, releases: 1 });
    return finished;
  };
  const finished = await Promise.all(Array.from({ length: ROWS }, (_, it) => row(seeded(2026 + it))));
  t.ok(finished.some((it) => it > 0));
  t.comment(`${KILLS} kills, ${finished.join(" and ")} imports finished in between, the longest took ${spanMs} ms`);
  t.same(
    readdirSync(tmpdir()).filter((it) => {
      const pid = /^airferry-s3-(\d+)-/.exec(it)?.[1];
      return pid === String(process.pid);
    }),
    [],
  );
});
