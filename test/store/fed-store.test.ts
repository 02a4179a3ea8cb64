/** Releases that another thread has read: one copy of what is large, and the same answers. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { MessageChannel, receiveMessageOnPort } from "node:worker_threads";
import t, { type Test } from "tap";
import { bug } from "../../src/errors.ts";
import { FedStore, type ReleaseFeed } from "../../src/store/fed-store.ts";
import { readReleaseApart } from "../../src/store/read-apart.ts";
import { readRelease } from "../../src/store/release-record.ts";
import { type SharedRelease, shareRelease } from "../../src/store/share-release.ts";
import { openStore } from "../../src/store/store.ts";
import type { Release } from "../../src/store/types.ts";
import { unpack } from "../../src/unpack.ts";
import { makeBundle, makeKey } from "../fixtures/bundle-maker.ts";
import { scratch } from "../fixtures/program.ts";

const FILES = 150;

async function imported(t: Test) {
  const dir = scratch(t);
  const key = makeKey();
  const trust = [join(dir, "key.pub")];
  writeFileSync(join(dir, "key.pub"), key.pem);
  const store = join(dir, "store");
  const put = async (stream: string, serial: number) => {
    const names = Array.from({ length: FILES }, (_, at) => `files/${stream}-${at}`);
    const bundle = join(dir, `bundle-${stream}-${serial}`);
    makeBundle(bundle, {
      files: Object.fromEntries(names.map((it) => [it, Buffer.from(`${it} of ${serial}`)])),
      keys: [key],
      stream,
      serial,
      spoil(inventory) {
        inventory.catalog.files = names.toReversed().map((path) => ({ path }));
        inventory.catalog.provenance.push({ path: "files/", kind: "file", source: "x", established: "first-sight" });
      },
    });
    await unpack([bundle], { trust, store });
  };
  await put("a", 1);
  await put("b", 1);
  return { store, put };
}

/** What arrives in another thread. */
function sent(value: SharedRelease): SharedRelease {
  const { port1, port2 } = new MessageChannel();
  port1.postMessage(value);
  const { message } = receiveMessageOnPort(port2) as { message: SharedRelease };
  port1.close();
  return message;
}

t.test("FedStore has the releases of the first thread, in its memory, and asks for new ones only", async (t) => {
  const { store: dir, put } = await imported(t);
  const first = await openStore(dir);
  const asked: string[][] = [];
  const feed: ReleaseFeed = async (known) => {
    asked.push([...known]);
    return (await first.releases()).map((it) => (known.includes(it.digest) ? it.digest : sent(shareRelease(it))));
  };
  const store = new FedStore(dir, feed);
  t.equal(store.areTried, true);
  const releases = await store.releases();
  t.equal(await store.releases(), releases, "the same list while nothing is new");
  const theirs = await first.releases();
  t.same(asked, [[], theirs.map((it) => it.digest)]);
  for (const [at, { inventory, entries, ...rest }] of releases.entries()) {
    const { inventory: original, entries: _, ...others } = theirs[at] ?? bug("nothing");
    t.same(rest, others);
    t.same([...inventory.entries], [...original.entries]);
    t.equal(inventory.entries.shared.paths.buffer.byteLength, original.entries.shared.paths.buffer.byteLength);
    t.ok(inventory.entries.shared.paths.buffer instanceof SharedArrayBuffer);
    t.equal(inventory.catalog.files.length, FILES);
    t.same([...inventory.catalog.files], [...original.catalog.files], "in the order of the catalog");
    t.same([...inventory.catalog.provenance], [...original.catalog.provenance]);
    t.equal(entries.get(`files/${rest.stream}-7`)?.size, original.entries.get(`files/${rest.stream}-7`)?.size);
  }
  await put("b", 2);
  const later = await store.releases();
  t.equal(later[0], releases[0], "what has not changed stays what it is");
  t.match(later[1], { stream: "b", serial: 2 });
  const read = later[1]?.inventory.entries.get("files/b-3");
  t.equal(readFileSync(store.blobPath(read?.digest ?? bug("nothing")), "utf8"), "files/b-3 of 2");
  t.ok(await store.pieceLists(store.blobPath(read?.digest ?? bug("nothing")), read?.size ?? 0));
});

t.test("readReleaseApart() reads the same in a thread, and refuses the same", async (t) => {
  const { store } = await imported(t);
  const folder = join(store, "releases/a/000001");
  const [here, there] = [await readRelease(folder), await readReleaseApart(folder, 0)];
  const plain = ({ inventory: { entries, catalog, ...inventory }, entries: _, ...rest }: Release) => {
    const { files, provenance, ...others } = catalog;
    return { ...rest, inventory, others, lists: [[...entries], [...files], [...provenance]] };
  };
  t.same(plain(there), plain(here));
  const file = join(folder, "import.json");
  writeFileSync(file, "{}");
  const refusal = await readRelease(folder).then(
    () => bug("nothing"),
    (error: Error) => error,
  );
  await t.rejects(readReleaseApart(folder, 0), { ...refusal, message: refusal.message, cause: undefined });
});
