/** unpack into object storage that fails, is full, is gone for a while, or that others write to as well. */
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import type { AirferryError } from "../src/errors.ts";
import { openBucket } from "../src/s3/bucket.ts";
import { parseS3Target } from "../src/s3/s3-target.ts";
import { checkStore } from "../src/store/check-store.ts";
import { unpack } from "../src/unpack.ts";
import { startBucketBench } from "./fixtures/bucket-bench.ts";
import { makeBundle, noise, sampleFiles } from "./fixtures/bundle-maker.ts";
import { refused } from "./fixtures/refused.ts";
import { startFaultyProxy } from "./fixtures/s3-faults.ts";
import { startGateway } from "./fixtures/s3-gateway.ts";
import { holds } from "./fixtures/unpacked.ts";

const { skip, gateway, key, trust, fresh, freshStore } = await startBucketBench(t);
const proxy = gateway && (await startFaultyProxy(gateway.endpoint));
t.teardown(() => proxy?.close());
const files: Record<string, Buffer> = {
  ...sampleFiles(),
  "files/copy-of-513": noise(513, 4),
  "isos/copy.iso": noise(3_300_000, 8),
  "isos/large.iso": noise(17_500_000, 9),
};

t.test("two unpacks at once: one is told to wait, and neither loses a release", { skip }, async (t) => {
  const { store, folder } = freshStore();
  const bundles = [1, 2, 3].map((serial) => {
    const bundle = fresh("bundle");
    const stream = serial === 3 ? "other" : "test";
    makeBundle(bundle, {
      files: { "isos/x.iso": noise(3_000_000, serial) },
      keys: [key],
      serial,
      spoil: (it) => {
        it.stream = stream;
      },
    });
    return bundle;
  });
  let waiting = bundles;
  for (let round = 0; waiting.length > 0; round++) {
    const results = await Promise.allSettled(waiting.map((it) => unpack([it], { trust, store })));
    const isBusy = (it: PromiseSettledResult<unknown>) =>
      it.status === "rejected" && (it.reason as AirferryError).code === "ERR_BUSY";
    t.notOk(results.every(isBusy), "at least one gets its turn");
    for (const it of results) if (it.status === "rejected") t.match(it.reason, { code: /ERR_BUSY|ERR_ROLLBACK/ });
    waiting = waiting.filter((_, at) => {
      const result = results[at];
      return result?.status === "rejected" && (result.reason as AirferryError).code === "ERR_BUSY";
    });
    if (round > 5) break;
  }
  t.equal(readFileSync(join(folder, "releases/test/current"), "utf8"), "000002\n");
  t.equal(readFileSync(join(folder, "releases/other/current"), "utf8"), "000003\n");
  t.match(await checkStore(folder), { ok: true });
  const lines = readFileSync(join(folder, "journal.jsonl"), "utf8").trim().split("\n");
  t.same(new Set(lines.map((it) => JSON.parse(it).n)).size, lines.length);
});

t.test("a lock that was lost stops the writer before anything becomes visible", { skip }, async (t) => {
  const { store, folder } = freshStore();
  const bundle = fresh("bundle");
  makeBundle(bundle, { files, keys: [key] });
  const bucket = await openBucket(parseS3Target(store));
  t.teardown(() => bucket.close());
  let stolen: Promise<string> | undefined;
  const error = await refused(
    unpack([bundle], {
      trust,
      store,
      progress: () => {
        // As another process does that takes it for gone.
        stolen ??= bucket.put("lock", Buffer.from("{}"));
      },
    }),
  );
  t.match(error, { code: "ERR_BUSY" });
  t.ok(stolen);
  t.notOk(existsSync(join(folder, "releases/test/current")));
});

t.test("a storage that ignores conditions is no place for a store", { skip }, async (t) => {
  if (proxy === undefined) return;
  const { store, folder } = freshStore(proxy.endpoint);
  const bundle = fresh("bundle");
  makeBundle(bundle, { files: sampleFiles(), keys: [key] });
  // If-None-Match at the first lock and at a later one, and If-Match.
  for (const ignored of [2, 2, 3]) {
    let writes = 0;
    proxy.fault = ({ method, url = "" }) =>
      method === "PUT" && url.includes("/lock?") && ++writes === ignored ? { status: 200 } : undefined;
    const error = await refused(unpack([bundle], { trust, store }));
    proxy.fault = () => undefined;
    t.match(error, { code: "ERR_OBJECT_STORAGE", message: /does not know conditional writes/ });
  }
  t.notOk(existsSync(join(folder, "releases")));
});

t.test("no store begins inside a tree, or inside another store", { skip }, async (t) => {
  const { store } = freshStore();
  const bundle = fresh("bundle");
  makeBundle(bundle, { files, keys: [key] });
  const bucket = await openBucket(parseS3Target(store));
  t.teardown(() => bucket.close());
  const { prefix } = parseS3Target(store);
  for (const [mark, what, places] of [
    [".airferry/tree.json", /inside a tree that airferry export wrote/, [prefix, `${prefix}/files`]],
    ["airferry-store.json", /inside another store/, [`${prefix}/blobs`]],
  ] as const) {
    await bucket.put(mark, Buffer.from("{}"));
    for (const place of places) {
      const error = await refused(unpack([bundle], { store: gateway?.name(place) ?? "", trust }));
      t.match(error, { code: "ERR_USAGE", message: what, hint: `s3://airferry/${prefix}-store?` }, place);
    }
    await bucket.remove([mark]);
  }
  t.match(await bucket.folder("", 10), { folders: [], objects: [] }, "nothing was written");
});

t.test("a storage that fails for a moment changes nothing", { skip }, async (t) => {
  if (proxy === undefined) return;
  const { store, folder } = freshStore(proxy.endpoint);
  const bundle = fresh("bundle");
  makeBundle(bundle, { files, keys: [key], volumeSize: 5_000_000 });
  proxy.fault = (_, n) =>
    n % 7 === 0
      ? { status: 503 }
      : n % 11 === 0
        ? { loseAnswer: true }
        : n % 13 === 0
          ? { cutAfter: 5 }
          : n % 17 === 0
            ? { reset: true }
            : undefined;
  t.match(await unpack([bundle], { trust, store }), { complete: true });
  proxy.fault = () => undefined;
  t.equal(await holds(folder, files), true);
  t.match(await checkStore(folder), { ok: true });
});

t.test("a storage that is slow, and one that lets nobody in", { skip }, async (t) => {
  if (proxy === undefined) return;
  const { store, folder } = freshStore(proxy.endpoint);
  const bundle = fresh("bundle");
  makeBundle(bundle, { files, keys: [key], volumeSize: 5_000_000 });
  const secret = process.env.AWS_SECRET_ACCESS_KEY ?? "";
  process.env.AWS_SECRET_ACCESS_KEY = "another-secret";
  const error = await refused(unpack([bundle], { trust, store })).finally(() => {
    process.env.AWS_SECRET_ACCESS_KEY = secret;
  });
  t.match(error, { code: "ERR_OBJECT_STORAGE", message: /SignatureDoesNotMatch/, hint: /AWS_SECRET_ACCESS_KEY/ });
  t.notMatch(`${error.message} ${error.hint}`, "another-secret");
  t.notOk(existsSync(folder), "nothing was written");
  proxy.fault = (_, n) => (n % 4 === 0 ? { delayMs: 300 } : undefined);
  t.match(await unpack([bundle], { trust, store }), { complete: true });
  proxy.fault = () => undefined;
  t.equal(await holds(folder, files), true);
});

t.test("a gateway that goes away for a while is waited for; one that stays away is named", { skip }, async (t) => {
  if (gateway === undefined) return;
  const { store, folder } = freshStore();
  const bundle = fresh("bundle");
  makeBundle(bundle, { files, keys: [key] });
  let away: Promise<void> | undefined;
  const report = unpack([bundle], {
    trust,
    store,
    progress: () => {
      away ??= gateway
        .stop()
        .then(() => new Promise<void>((done) => setTimeout(done, 700)))
        .then(() => gateway.start());
    },
  });
  t.match(await report, { complete: true });
  await away;
  t.equal(await holds(folder, files), true);
  await gateway.stop();
  const nowhere = store;
  const bucket = await openBucket(parseS3Target(nowhere), { patienceMs: 300 });
  t.match(await refused(bucket.head("current")), { code: "ERR_OBJECT_STORAGE", message: /ECONNREFUSED/ });
  bucket.close();
  await gateway.start();
});

t.test("a storage that is full is named, and a rerun finishes when it has room", { skip }, async (t) => {
  if (process.getuid?.() !== 0) return t.pass("tmpfs", { skip: "only root may mount a small tmpfs" });
  const dir = fresh("full");
  const data = join(dir, "data");
  mkdirSync(data, { recursive: true });
  const mount = (...options: string[]) => spawnSync("mount", ["-t", "tmpfs", "-o", ...options]).status === 0;
  if (!mount("size=14m", "tmpfs", data)) return t.pass("tmpfs", { skip: "mounting is not allowed here" });
  t.teardown(() => spawnSync("umount", ["-l", data]));
  const small = await startGateway(dir, { data });
  t.teardown(() => small.stop());
  const bundle = fresh("bundle");
  makeBundle(bundle, { files, keys: [key] });
  const store = small.name("st");
  const error = await refused(unpack([bundle], { trust, store }));
  t.match(error, { code: "ERR_SPACE", hint: /run the same command to resume/ });
  t.ok(mount("remount,size=200m", data));
  t.match(await unpack([bundle], { trust, store }), { complete: true });
  t.equal(await holds(join(data, "airferry/st"), files), true);
});
