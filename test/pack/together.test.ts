/** What runs side by side ends together: when one item fails or the user interrupts, no request, file or thread is left behind. */
import { createHash } from "node:crypto";
import { closeSync, ftruncateSync, openSync, readdirSync, readlinkSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import t, { type Test } from "tap";
import { HashPool } from "../../src/io/hash-pool.ts";
import { runUnder } from "../../src/io/limit.ts";
import { openWorkspace } from "../../src/pack/workspace.ts";
import { pack } from "../../src/pack.ts";
import { scratch, seededBytes, start, writeManifest } from "../fixtures/program.ts";
import { startUpstream } from "../fixtures/upstream.ts";

const SLOW = 6;
const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");

/** What this process has open, as /proc tells: files below a folder by their paths, and the number of sockets. */
function opened(dir: string): { files: string[]; sockets: number } {
  const links = readdirSync("/proc/self/fd").flatMap((fd) => {
    try {
      return [readlinkSync(`/proc/self/fd/${fd}`)];
    } catch {
      return [];
    }
  });
  return {
    files: links.filter((it) => it.startsWith(dir)),
    sockets: links.filter((it) => it.startsWith("socket:")).length,
  };
}

/** An upstream with many files that take minutes, and one that is gone once all of those are on their way. */
async function slowUpstream(t: Test, last: "gone" | "slow") {
  const bytes = Array.from({ length: SLOW + 1 }, (_, index) => seededBytes(index, 2_000_000));
  const upstream = await startUpstream({ files: new Map(bytes.map((it, index) => [`/${index}.bin`, it])) });
  t.teardown(() => upstream.close());
  const drip = { drip: { bytes: 10_000, everyMs: 100 } };
  for (let index = 0; index < SLOW; index++) upstream.behaviour[`/${index}.bin`] = drip;
  upstream.behaviour[`/${SLOW}.bin`] = (request) =>
    last === "slow" ? drip : request.method === "HEAD" ? undefined : { status: 404, delayMs: 2000 };
  const dir = scratch(t);
  const files = bytes.map((it, index) => ({ url: `${upstream.url}/${index}.bin`, sha256: sha256(it) }));
  return { upstream, dir, manifest: writeManifest(dir, { files }) };
}

/** Packs in this process; says what was open on the way, and when the promise settled. */
async function packHere(
  dir: string,
  manifest: string,
  signal: AbortSignal,
  onBytes: (doneBytes: number) => void = () => {},
) {
  let reports = 0;
  let during = 0;
  await using workspace = await openWorkspace(manifest, { cacheDir: join(dir, ".cache"), concurrency: SLOW + 1 });
  const error = await runUnder(signal, () =>
    pack(workspace, {
      out: join(dir, "out"),
      signers: [],
      volumeSize: 1 << 30,
      programs: [],
      frozen: false,
      concurrency: SLOW + 1,
      progress: ({ doneBytes }) => {
        during = Math.max(during, opened(dir).sockets);
        reports++;
        onBytes(doneBytes);
      },
    }),
  ).then(
    () => undefined,
    (thrown: unknown) => thrown as Error,
  );
  const atEnd = { files: opened(dir).files, reports };
  return { error, atEnd, during, reportsNow: () => reports };
}

t.test(
  "one item that fails ends the others: files and sockets are closed, and nothing is written any more",
  async (t) => {
    const { dir, manifest, upstream } = await slowUpstream(t, "gone");
    const before = opened(dir).sockets;
    const since = Date.now();
    const { error, atEnd, during, reportsNow } = await packHere(dir, manifest, new AbortController().signal);
    t.match(
      error,
      { code: "ERR_UPSTREAM", message: new RegExp(`${SLOW}\\.bin.*404`) },
      "the failure is that of the item",
    );
    t.ok(Date.now() - since < 8000, "the others would have taken 20 s");
    t.ok(during > before, "there were connections");
    t.equal(upstream.of("/0.bin", "GET").length, 1, "the others were on their way, and nothing was tried again");
    t.strictSame(atEnd.files, [], "no file is open when the promise settles");
    await sleep(100);
    t.equal(reportsNow(), atEnd.reports, "no byte was written after");
    t.strictSame(opened(dir), { files: [], sockets: before }, "no connection is left");
  },
);

t.test("an interrupt ends all items, and the next run goes on from there", async (t) => {
  const { dir, manifest, upstream } = await slowUpstream(t, "slow");
  const before = opened(dir).sockets;
  const controller = new AbortController();
  const { error, atEnd, during } = await packHere(dir, manifest, controller.signal, (doneBytes) => {
    if (doneBytes > SLOW * 60_000) controller.abort();
  });
  t.match(error, { name: "AbortError" });
  t.ok(during > before, "there were connections");
  t.strictSame(atEnd.files, []);
  await sleep(100);
  t.strictSame(opened(dir), { files: [], sockets: before });
  for (let index = 0; index <= SLOW; index++) upstream.behaviour[`/${index}.bin`] = {};
  const again = await packHere(dir, manifest, new AbortController().signal);
  t.equal(again.error, undefined);
  const ranges = Array.from(
    { length: SLOW + 1 },
    (_, index) => upstream.of(`/${index}.bin`, "GET").at(-1)?.headers.range,
  );
  t.ok(ranges.filter((it) => it !== undefined).length > SLOW / 2, "what was in place was not fetched again");
});

t.test("a hash of a large file is given up within a moment", async (t) => {
  const file = join(scratch(t), "large");
  const fd = openSync(file, "w");
  ftruncateSync(fd, 64 * 1024 ** 3);
  closeSync(fd);
  const pool = new HashPool(2);
  const controller = new AbortController();
  const hashing = runUnder(controller.signal, () => pool.hashFile(file));
  setTimeout(() => controller.abort(), 200);
  const since = Date.now();
  await t.rejects(hashing, { name: "AbortError" });
  t.ok(Date.now() - since < 2000, `${Date.now() - since} ms`);
  t.strictSame(opened(file).files, [], "the thread has closed it");
  await pool.close();
});

/** Milliseconds from what is said on stderr, or from a signal, to the end of the process. */
async function timeToEnd(child: ReturnType<typeof start>, begins: Promise<unknown>): Promise<number> {
  await begins;
  const since = Date.now();
  await child.done;
  return Date.now() - since;
}

t.test("the process ends by itself after a failure, and after a signal", async (t) => {
  const failing = await slowUpstream(t, "gone");
  const args = ["--unsigned", "--concurrency", String(SLOW + 1), "--out", "out"];
  const child = start(failing.dir, ["pack", failing.manifest, ...args]);
  const said = new Promise((resolve) =>
    child.stderr?.on("data", (text: string) => {
      if (text.includes("error:")) resolve(undefined);
    }),
  );
  const failedMs = await timeToEnd(child, said);
  t.equal((await child.done).status, 4);
  t.ok(failedMs < 1000, `${failedMs} ms after the error`);
  const { dir, manifest, upstream } = await slowUpstream(t, "slow");
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    const seen = upstream.of("/0.bin", "GET").length;
    const packing = start(dir, ["pack", manifest, ...args]);
    const ended = packing.done.then(() => true);
    while (upstream.of("/0.bin", "GET").length === seen && !(await Promise.race([ended, sleep(20)])));
    await sleep(300);
    packing.kill(signal);
    const ms = await timeToEnd(packing, Promise.resolve());
    const ran = await packing.done;
    t.equal(ran.status, 130, ran.stderr);
    t.match(ran.stderr, /interrupted; run the same command to resume\n$/);
    t.notMatch(ran.stderr, /error:/, "no sibling is blamed");
    t.ok(ms < 1000, `${ms} ms after ${signal}`);
  }
});
