/** An index that unpack did not leave is made once for all threads, and nobody waits long for it. */
import { rmSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import type { Digest } from "../../../src/io/digest.ts";
import { metadataPlaces } from "../../../src/packages/metadata-places.ts";
import { serve } from "../../../src/serve.ts";
import { IndexMaker } from "../../../src/server/process/index-maker.ts";
import { startSite } from "../../../src/server/process/site.ts";
import { openStore } from "../../../src/store/store.ts";
import { manyPackages, unpackPageStream } from "../../fixtures/page-store.ts";
import { scratch } from "../../fixtures/program.ts";

t.test("one index of each stream is made, in memory that threads share", async (t) => {
  const store = await openStore(await unpackPageStream(scratch(t), { stream: "a", packages: manyPackages(50) }));
  const [release] = await store.releases();
  const places = metadataPlaces(release!, (digest) => store.blobPath(digest));
  const maker = new IndexMaker();
  const order = { stream: "a", release: release!.digest, places };
  const [first, second] = await Promise.all([maker.make(order), maker.make(structuredClone(order))]);
  t.ok(first!.buffer instanceof SharedArrayBuffer);
  t.equal(second, first, "made once");
  const digest: Digest = `sha256:${"1".repeat(64)}`;
  t.not(await maker.make({ ...order, release: digest }), first, "the next release has its own");
  t.not(await maker.make(order), first, "which takes the place of the last one");
  t.equal(await maker.make({ stream: "b", release: digest, places: [] }), undefined);
});

t.test("every thread finds packages without an index in the store", { timeout: 120_000 }, async (t) => {
  const store = await unpackPageStream(scratch(t), { stream: "a", packages: manyPackages(500) });
  rmSync(join(store, "releases/a/000001/packages.idx"));
  const messages: string[] = [];
  const serving = await serve({ store, listen: "127.0.0.1:0", workers: 3, onMessage: (it) => messages.push(it) });
  t.teardown(() => serving.close());
  const search = `${serving.urls[0]}/packages.json?q=config(thing-499)`;
  const ask = () => fetch(search, { headers: { Connection: "close" } });
  for (let i = 0; i < 20 && (await ask()).status === 503; i++);
  const answers = await Promise.all(Array.from({ length: 24 }, async () => (await ask()).json()));
  for (const it of answers) t.match(it, { total: 1 });
  t.strictSame(messages, []);
});

t.test("whoever asks while an index is made is told so after a while", { timeout: 60_000 }, async (t) => {
  const dir = await unpackPageStream(scratch(t), { stream: "a", packages: manyPackages(20) });
  rmSync(join(dir, "releases/a/000001/packages.idx"));
  let finish = (_bytes: Uint8Array | undefined): void => {};
  const settings = { store: dir, listen: { host: "127.0.0.1", port: 0 } };
  const site = await startSite(settings, {
    openStore,
    collect: async (own) => own,
    makeIndex: () => new Promise((resolve) => (finish = resolve)),
    report: (message) => t.fail(message),
  });
  t.teardown(() => site.close(0));
  const url = `http://127.0.0.1:${site.listeners[0]!.address.port}`;
  const began = performance.now();
  const [json, page] = await Promise.all(["/packages.json?q=a", "/packages?q=a"].map((it) => fetch(url + it)));
  const waited = performance.now() - began;
  t.ok(waited > 4000 && waited < 20_000, `after ${waited.toFixed(0)} ms`);
  for (const it of [json!, page!]) t.match([it.status, it.headers.get("retry-after")], [503, "5"]);
  t.match(await json!.text(), "503: the list of packages is being prepared");
  t.match(page!.headers.get("content-type"), "text/html");
  t.equal(page!.headers.get("refresh"), "5");
  t.match(await page!.text(), /<h1>Packages<\/h1><p role="status">The list of packages is being prepared/);
  const again = performance.now();
  t.equal((await fetch(`${url}/packages.json?q=a`)).status, 503);
  t.ok(performance.now() - again < 3000, "and further ones at once");
  finish(undefined);
  t.match(await (await fetch(`${url}/packages.json?q=a`)).json(), { total: 0, repositories: [] });
});
