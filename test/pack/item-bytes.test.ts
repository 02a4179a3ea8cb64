/** Bytes that are copied on this host are kept as those from upstream are: an interrupted pack goes on behind them. */
import { copyFileSync, readdirSync, readFileSync, renameSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { runUnder } from "../../src/io/limit.ts";
import { openWorkspace } from "../../src/pack/workspace.ts";
import { pack } from "../../src/pack.ts";
import { airferry } from "../fixtures/host.ts";
import { MIB } from "../fixtures/pack-sample.ts";
import { scratch, seededBytes, writeManifest } from "../fixtures/program.ts";
import { startUpstream } from "../fixtures/upstream.ts";

const SIZE = 40 * MIB;
const content = Buffer.from(seededBytes(15, SIZE));

/** Packs in this process until so many bytes are in place, or to its end. */
async function packUpTo(dir: string, manifest: string, bytes: number) {
  await using workspace = await openWorkspace(manifest, { cacheDir: join(dir, "cache") });
  const controller = new AbortController();
  return runUnder(controller.signal, () =>
    pack(workspace, {
      out: join(dir, "out"),
      signers: [],
      volumeSize: 1 << 30,
      programs: [],
      frozen: false,
      concurrency: 4,
      progress: ({ doneBytes }) => {
        if (doneBytes > bytes) controller.abort();
      },
    }),
  ).catch((error: Error) => error);
}

/** Interrupts a pack in the middle of its file, lets `between` happen, and packs again. */
async function interrupted(dir: string, manifest: string, between: () => void = () => {}) {
  rmSync(join(dir, "out"), { recursive: true, force: true });
  const first = await packUpTo(dir, manifest, 24 * MIB);
  t.match(first, { name: "AbortError" });
  between();
  return packUpTo(dir, manifest, Number.POSITIVE_INFINITY);
}

/** Whether a bundle, which has one volume, has the content. */
function isPacked({ bundle }: { bundle: string }): boolean {
  const volume = readdirSync(bundle).find((it) => it.startsWith("data.tar")) as string;
  return readFileSync(join(bundle, volume)).includes(content);
}

t.test("a local file", async (t) => {
  const dir = scratch(t);
  const file = join(dir, "big.bin");
  writeFileSync(file, content);
  const manifest = writeManifest(dir, { files: [{ path: "big.bin" }] });

  const again = await interrupted(dir, manifest);
  if (again instanceof Error) throw again;
  t.ok(again.foundBytes >= 16 * MIB, `${again.foundBytes} bytes were in place`);
  t.equal(again.foundBytes + again.reusedBytes, SIZE);
  t.ok(isPacked(again));

  const other = await interrupted(dir, manifest, () => {
    copyFileSync(file, `${file}.new`);
    renameSync(`${file}.new`, file);
  });
  if (other instanceof Error) throw other;
  t.match(other, { foundBytes: 0, reusedBytes: SIZE }, "another file of that name starts again");

  const changed = await interrupted(dir, manifest, () => {
    const bytes = Buffer.from(content);
    bytes[SIZE - 1] = (bytes[SIZE - 1] as number) ^ 1;
    writeFileSync(file, bytes);
  });
  t.match(changed, { message: /big\.bin" changed since it was locked/ });
});

t.test("what a first lock downloaded, and other bytes in the work folder", async (t) => {
  const dir = scratch(t);
  const upstream = await startUpstream({ files: new Map([["/big.bin", content]]) });
  t.teardown(() => upstream.close());
  const manifest = writeManifest(dir, { files: [{ url: `${upstream.url}/big.bin` }] });
  const locked = await airferry(dir, ["lock", manifest, "--cache", join(dir, "cache")]);
  t.equal(locked.status, 0, locked.stderr);
  const gets = upstream.of("/big.bin", "GET").length;
  const again = await interrupted(dir, manifest);
  if (again instanceof Error) throw again;
  t.ok(again.foundBytes >= 16 * MIB, `${again.foundBytes} bytes were in place`);
  t.ok(isPacked(again));
  t.equal(upstream.of("/big.bin", "GET").length, gets, "nothing was fetched again");
});

t.test("hashing of a local file is shown", async (t) => {
  const dir = scratch(t);
  writeFileSync(join(dir, "big.bin"), "");
  truncateSync(join(dir, "big.bin"), 80 * MIB);
  writeManifest(dir, { files: [{ path: "big.bin" }, { path: "m.yaml" }] });
  for (const update of [[], ["--update"]]) {
    const ran = await airferry(dir, ["lock", "m.yaml", "--progress", "json", ...update]);
    t.equal(ran.status, 0, ran.stderr);
    const events = ran.stderr
      .trimEnd()
      .split("\n")
      .map((it) => JSON.parse(it));
    const hashing = events.filter((it) => it.what === "hashing");
    const total = 80 * MIB + readFileSync(join(dir, "m.yaml")).length;
    t.match(hashing.at(-1), { event: "progress", done: total, total, left: 0 });
    t.equal(hashing[0].total, total, "all is known before the first byte");
  }
  const fresh = await airferry(dir, ["lock", "m.yaml", "--progress", "json"]);
  t.notMatch(fresh.stderr, /hashing/, "what is locked is not hashed again");
});
