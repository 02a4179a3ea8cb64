/** What a rerun of an interrupted pack takes over: only what the disk has, as it is locked now. */
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import t from "tap";
import { airferry } from "../fixtures/host.ts";
import { writeKeyPair } from "../fixtures/keys.ts";
import { scratch, seededBytes, start, writeManifest } from "../fixtures/program.ts";
import { startUpstream } from "../fixtures/upstream.ts";

const MIB = 1 << 20;
const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");

/** The bytes of an entry of a finished bundle of one volume, by its inventory. */
function contentOf(bundle: string, path: string): Buffer {
  const { entries } = JSON.parse(readFileSync(join(bundle, "airferry.json"), "utf8")) as {
    entries: { path: string; offset: number; size: number; sha256: string }[];
  };
  const { offset, size } = entries.find((it) => it.path === path)!;
  return readFileSync(join(bundle, "data.tar.0000")).subarray(offset, offset + size);
}

const workOf = (out: string) => join(out, readdirSync(out).find((it) => it.startsWith(".work-")) as string);

/** A pack that stops since `late.bin` cannot be had, after everything else is in place. */
async function interrupted(
  t: { teardown(work: () => unknown): unknown },
  files: object[],
  more: Map<string, Uint8Array>,
  delayMs = 1500,
) {
  const late = seededBytes(9, 3000);
  const upstream = await startUpstream({ files: new Map([["/late.bin", late], ...more]) });
  t.teardown(() => upstream.close());
  const dir = scratch(t);
  const wanted = files.map((it) => ("at" in it ? { url: `${upstream.url}${it.at}` } : it));
  const list = [...wanted, { url: `${upstream.url}/late.bin`, sha256: sha256(late) }];
  const file = writeManifest(dir, { files: list });
  // It is there when it is locked, and late enough for the others when it is fetched.
  upstream.behaviour["/late.bin"] = (request) => (request.method === "HEAD" ? undefined : { status: 404, delayMs });
  return { dir, file, upstream, list, work: () => workOf(join(dir, "out")) };
}

t.test("what is locked anew is packed, not what an earlier run took in", async (t) => {
  const { dir, file, upstream, list } = await interrupted(t, [{ path: "app.conf" }], new Map());
  writeFileSync(join(dir, "app.conf"), "version=1.0.1\n");
  const pack = () => airferry(dir, ["pack", file, "--unsigned", "--out", "out"]);
  t.equal((await airferry(dir, ["lock", file])).status, 0);
  t.equal((await pack()).status, 4);
  writeFileSync(join(dir, "app.conf"), "version=1.0.2\n");
  t.equal((await airferry(dir, ["lock", file, "--update"])).status, 0);
  t.equal((await pack()).status, 4);
  upstream.behaviour["/late.bin"] = {};
  const ran = await pack();
  t.equal(ran.status, 0, ran.stderr);
  t.equal(contentOf(join(dir, "out/test-000001"), "files/app.conf").toString(), "version=1.0.2\n");
  t.equal(list.length, 2);
  t.notOk(
    readdirSync(join(dir, "out")).some((it) => it.startsWith(".work-")),
    "what was left is gone",
  );
});

t.test("a journal that knows more than the disk: contents, headers and beginnings are looked at", async (t) => {
  const small = seededBytes(1, 5000);
  const large = seededBytes(2, 30 * MIB);
  // Nobody publishes a digest of either: what is packed is what is seen first, so a hole would be pinned for ever.
  const { dir, file, upstream, work } = await interrupted(
    t,
    [{ at: "/small.bin" }, { at: "/large.bin" }],
    new Map([
      ["/small.bin", small],
      ["/large.bin", large],
    ]),
    8000,
  );
  // Most of it comes, however slow this machine is, and never the end.
  upstream.behaviour["/large.bin"] = { stallAfter: 24 * MIB };
  const pack = () => airferry(dir, ["pack", file, "--unsigned", "--out", "out"]);
  t.equal((await pack()).status, 4);
  const lines = readFileSync(join(work(), "journal"), "utf8");
  t.match(lines, /"path":"files\/small.bin","done":"[0-9a-f]{64}"/);
  t.match(lines, /"path":"files\/large.bin","part":\d+,"sha256":"[0-9a-f]{64}"/);
  const volume = join(work(), "data.tar.0000");
  const bytes = readFileSync(volume);
  const header = bytes.indexOf("files/small.bin");
  t.ok(header >= 0);
  const places: [string, number, number][] = [
    ["a header", header, 512],
    ["a content", bytes.indexOf(small), 4096],
    ["the beginning of a large one", bytes.indexOf(large.subarray(0, 4096)), MIB],
  ];
  for (const [what, at, length] of places) {
    t.ok(at >= 0, what);
    const lost = Buffer.from(readFileSync(volume));
    lost.fill(0, at, at + length);
    writeFileSync(volume, lost);
  }
  upstream.behaviour["/late.bin"] = {};
  upstream.behaviour["/large.bin"] = {};
  const ran = await pack();
  t.equal(ran.status, 0, ran.stderr);
  const bundle = join(dir, "out/test-000001");
  t.ok(contentOf(bundle, "files/small.bin").equals(small));
  t.ok(contentOf(bundle, "files/large.bin").equals(large));
  writeKeyPair(dir);
  t.equal((await airferry(dir, ["sign", bundle, "--key", "k.key"])).status, 0);
  const verified = await airferry(dir, ["verify", bundle, "--trust", "k.pub"]);
  t.equal(verified.status, 0, verified.stderr);
});

t.test("on a slow link a kill loses seconds of a file, however small it is", async (t) => {
  const contents = new Map([
    ["/small.bin", seededBytes(5, 800_000)],
    ["/medium.bin", seededBytes(6, 3 * MIB)],
  ]);
  const upstream = await startUpstream({ files: new Map(contents) });
  t.teardown(() => upstream.close());
  const dir = scratch(t);
  const files = [...contents].map(([at, bytes]) => ({ url: `${upstream.url}${at}`, sha256: sha256(bytes) }));
  const file = writeManifest(dir, { files });
  t.equal((await airferry(dir, ["lock", file])).status, 0);
  for (const at of contents.keys()) upstream.behaviour[at] = { drip: { bytes: 2000, everyMs: 50 } };
  const killed = start(dir, ["pack", file, "--unsigned", "--out", "out"]);
  const partsOf = (at: string) => {
    const out = join(dir, "out");
    const work = existsSync(out) ? readdirSync(out).find((it) => it.startsWith(".work-")) : undefined;
    const journal = work === undefined ? "" : join(out, work, "journal");
    const text = existsSync(journal) ? readFileSync(journal, "utf8") : "";
    return [...text.matchAll(new RegExp(`"path":"files${at}","part":(\\d+)`, "g"))].map((it) => Number(it[1]));
  };
  for (let tries = 0; tries < 600 && [...contents.keys()].some((at) => partsOf(at).length === 0); tries++)
    await sleep(100);
  killed.kill("SIGKILL");
  await killed.done;
  const reached = new Map([...contents.keys()].map((at) => [at, partsOf(at).at(-1) ?? 0]));
  for (const at of contents.keys()) upstream.behaviour[at] = {};
  const ran = await airferry(dir, ["pack", file, "--unsigned", "--out", "out"]);
  t.equal(ran.status, 0, ran.stderr);
  for (const [at, bytes] of contents) {
    const from = reached.get(at) as number;
    t.ok(from > 0 && from < 800_000, `${at}: ${from} bytes`);
    t.equal(upstream.of(at, "GET").at(-1)?.range, `bytes=${from}-`, at);
    t.ok(contentOf(join(dir, "out/test-000001"), `files${at}`).equals(bytes), at);
  }
});
