/** What a server reads is compared with signed digests before anybody gets it. */
import { copyFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { digestOf } from "../../../src/io/digest.ts";
import { openBundles, type ServeOptions, serve } from "../../../src/serve.ts";
import { RETRY_MS } from "../../../src/server/http/forget-later.ts";
import { SharedFiles } from "../../../src/server/http/handles.ts";
import { ReadCheck, type VerifyReads } from "../../../src/server/http/read-check.ts";
import { blobPathIn } from "../../../src/store/layout.ts";
import { unpack } from "../../../src/unpack.ts";
import { makeBundle, makeKey, noise, sha256 } from "../../fixtures/bundle-maker.ts";
import { flip } from "../../fixtures/bundle-tamper.ts";

const MIB = 1024 * 1024;
const root = t.testdir();
const key = makeKey();
const trust = [join(root, "key.pub")];
writeFileSync(join(root, "key.pub"), key.pem);
const iso = noise(3 * MIB + 500, 1);
const middle = noise(300_000, 2);
const small = noise(2000, 3);
const bundle = join(root, "bundle");
makeBundle(bundle, { files: { "files/iso": iso, "files/middle": middle, "files/small": small }, keys: [key] });

/** A store with the bundle, and a server of it. */
async function serveStore(t: Test, name: string, options: Partial<ServeOptions> = {}) {
  const store = join(root, name);
  await unpack([bundle], { trust, store });
  const messages: string[] = [];
  const serving = await serve({
    store,
    listen: "127.0.0.1:0",
    workers: 1,
    graceMs: 100,
    onMessage: (line) => messages.push(line),
    ...options,
  });
  t.teardown(() => serving.close());
  const url = serving.urls[0] as string;
  const file = blobPathIn(store, digestOf(iso));
  const get = (path: string, range?: string) =>
    fetch(`${url}${path}`, range === undefined ? {} : { headers: { range } });
  const bytes = async (path: string, range?: string) => Buffer.from(await (await get(path, range)).arrayBuffer());
  const text = async (path: string) => (await bytes(path)).toString();
  return { store, file, get, bytes, text, messages };
}

const PIECE_2 = 2 * MIB + 77;

t.test("a damaged piece is never sent, everything else is; a repaired file is served at once", async (t) => {
  const { file, get, bytes, text, messages } = await serveStore(t, "once");
  copyFileSync(file, `${file}.good`);
  flip(file, PIECE_2);
  t.same(await bytes("/files/iso", "bytes=5-1999999"), iso.subarray(5, 2_000_000), "pieces that are right");
  t.match(await text("/healthz"), /^ok: 1 release\n?$/);
  for (const range of [`bytes=${PIECE_2}-${PIECE_2}`, `bytes=${2 * MIB}-`, `bytes=${3 * MIB - 1}-${3 * MIB - 1}`]) {
    t.equal((await get("/files/iso", range)).status, 500, range);
    const told = /^cannot answer "\/files\/iso": .*damaged: piece 2, bytes 2097152 to 3145728: expected sha256:/;
    t.match(messages.pop(), told);
  }
  await t.rejects(bytes("/files/iso"), "cut before the first wrong byte");
  await t.rejects(bytes("/files/iso", `bytes=0-9,${PIECE_2}-${PIECE_2 + 5}`), "the second of two ranges");
  t.same(await bytes("/files/iso", `bytes=${3 * MIB}-`), iso.subarray(3 * MIB), "the last, short piece");
  t.match(await text("/healthz"), "ok: 1 release; damaged: 1 file, see the log");
  t.match(await text("/metrics"), /^airferry_damaged_files 1$/m);
  t.match(await text("/metrics"), /^airferry_faults_total 5$/m);
  renameSync(`${file}.good`, file);
  t.equal(sha256(await bytes("/files/iso")), sha256(iso));
  t.match(await text("/metrics"), /^airferry_damaged_files 0$/m);
  t.match(await text("/healthz"), /^ok: 1 release\n?$/);
});

t.test("a file of up to 1 MiB is one piece, and a small one is damage in /healthz too", async (t) => {
  const { store, get, bytes, text } = await serveStore(t, "small");
  flip(blobPathIn(store, digestOf(middle)), 200_000);
  t.equal((await get("/files/middle")).status, 500);
  t.equal((await get("/files/middle", "bytes=0-9")).status, 500);
  flip(blobPathIn(store, digestOf(small)), 5);
  t.equal((await get("/files/small")).status, 500);
  t.match(await text("/healthz"), "damaged: 2 files");
  flip(blobPathIn(store, digestOf(middle)), 200_000);
  t.same(await bytes("/files/middle"), middle, "the same inode, written to again");
});

t.test("once, always and never differ in what happens after the first read", async (t) => {
  for (const [mode, before, after] of [
    ["never", 206, 206],
    ["once", 500, 500],
    ["always", 500, 500],
  ] as const) {
    const { file, get, bytes } = await serveStore(t, mode, { verifyReads: mode });
    flip(file, PIECE_2);
    t.equal((await get("/files/iso", `bytes=${2 * MIB}-${3 * MIB - 1}`)).status, before, `${mode}, first read`);
    flip(file, PIECE_2);
    t.same(await bytes("/files/iso"), iso, mode);
    flip(file, PIECE_2);
    t.equal((await get("/files/iso", `bytes=${PIECE_2}-`)).status, after, `${mode}, changed after the first read`);
  }
});

t.test("ReadCheck reads every range right, and what a disk loses later is seen by always", async (t) => {
  const path = join(root, "loose");
  const list = Buffer.concat(
    Array.from({ length: 4 }, (_, index) => Buffer.from(sha256(iso.subarray(index * MIB, (index + 1) * MIB)), "hex")),
  );
  for (const mode of ["once", "always"] as VerifyReads[]) {
    writeFileSync(path, iso);
    const check = new ReadCheck(mode, async () => [Buffer.alloc(list.length), list]);
    const handle = await new SharedFiles(undefined, check).open(path);
    // The bytes change, and nothing else: as on a disk that fails.
    const rotten = Buffer.from(iso);
    rotten[PIECE_2] = (rotten[PIECE_2] as number) ^ 1;
    let disk = iso;
    Object.defineProperty(handle, "fillUnchecked", {
      value: async (target: Uint8Array, length: number, position: number) =>
        disk.copy(target, 0, position, Math.min(position + length, disk.length)),
    });
    for (const [from, length] of [
      [0, 10],
      [MIB - 5, 10],
      [5, 3 * MIB],
      [0, 4 * MIB],
      [3 * MIB, MIB],
      [iso.length - 1, 5],
      [iso.length, 5],
    ] as const) {
      const target = Buffer.alloc(length);
      const count = await handle.fill(target, length, from);
      const expected = iso.subarray(from, from + length);
      t.ok(count === expected.length && target.subarray(0, count).equals(expected), `${mode}: ${from}, ${length}`);
    }
    disk = rotten;
    const later = handle.fill(Buffer.alloc(MIB), MIB, 2 * MIB);
    if (mode === "once") t.equal(await later, MIB, "not seen");
    else await t.rejects(later, { code: "ERR_STORE_INVALID", message: /piece 2/ });
    handle.release();
  }
});

t.test("a lost or damaged list is reported, and its files are served as they are", async (t) => {
  const { store, file, get, messages } = await serveStore(t, "list");
  flip(join(store, "releases/test/000001/data.pieces"), 50);
  flip(file, PIECE_2);
  t.equal((await get("/files/iso", `bytes=${PIECE_2}-`)).status, 206);
  t.match(messages, [/data\.pieces": digest mismatch/]);
});

t.test("a list that was repaired is read again", async (t) => {
  const path = join(root, "listed");
  writeFileSync(path, small);
  flip(path, 1);
  let isThere = false;
  const check = new ReadCheck("once", async () => {
    if (isThere) return [Buffer.from(sha256(small), "hex")];
    throw new Error("damaged");
  });
  const handle = await new SharedFiles(undefined, check).open(path);
  const read = () => handle.fill(Buffer.alloc(small.length), small.length, 0);
  t.equal(await read(), small.length, "nothing to compare with");
  isThere = true;
  t.equal(await read(), small.length, "not asked for with each read");
  const now = performance.now.bind(performance);
  t.intercept(performance, "now", { value: () => now() + RETRY_MS });
  await t.rejects(read(), { code: "ERR_STORE_INVALID" });
  handle.release();
});

t.test("a bundle is checked too when it is served where it is", async (t) => {
  const opened = await openBundles([bundle], { trust });
  t.teardown(() => opened.close());
  const lists = await opened.store.pieceLists?.(digestOf(iso), iso.length);
  t.equal(lists?.length, 1);
  t.equal(lists?.[0]?.length, 4 * 32);
  const serving = await serve({ store: bundle, bundles: opened, listen: "127.0.0.1:0", workers: 1, graceMs: 100 });
  t.teardown(() => serving.close());
  const answer = await fetch(`${serving.urls[0]}/files/iso`);
  t.equal(sha256(Buffer.from(await answer.arrayBuffer())), sha256(iso));
});
