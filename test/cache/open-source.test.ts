/** Commands that read a store, on one in a bucket: what they write is what they write of the folder. */
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { diff } from "../../src/diff.ts";
import type { AirferryError } from "../../src/errors.ts";
import { exportImage } from "../../src/export.ts";
import { publish, publishFiles } from "../../src/publish.ts";
import { render } from "../../src/render.ts";
import { serve } from "../../src/serve.ts";
import { unpack } from "../../src/unpack.ts";
import { startBucketBench } from "../fixtures/bucket-bench.ts";
import { makeBundle, noise } from "../fixtures/bundle-maker.ts";
import { needs } from "../fixtures/clients.ts";
import { startDockerRegistry, TestImages } from "../fixtures/images.ts";
import { makePki } from "../fixtures/pki.ts";
import { startGateway } from "../fixtures/s3-gateway.ts";
import { PASSWORD, siteDouble, USER } from "../fixtures/site-repository.ts";

const MIB = 1024 * 1024;
const { skip, root: dir, gateway, key, trust } = await startBucketBench(t);
const name = gateway?.name("site") ?? "";
const store = join(dir, "store");
const cache = join(dir, "cache");

const files = { "files/b": noise(2 * MIB + 3, 7) };
const images = new TestImages();
const image = images.image("linux/amd64", [{ "etc/motd": "hello\n" }, { "opt/blob": noise(3 * MIB, 1) }]);
for (const serial of skip ? [] : [1, 2]) {
  const bundle = join(dir, `bundle-${serial}`);
  const content = Object.entries(images.content()).map(([path, bytes]) => [path, Buffer.from(bytes)]);
  makeBundle(bundle, {
    files: { "files/a": noise(1000, serial), ...files, ...Object.fromEntries(content) },
    keys: [key],
    serial,
    spoil: (inventory) => inventory.catalog.images.push(images.catalogImage("quay.io/t/a:1", image)),
  });
  for (const to of [store, name]) await unpack([bundle], { trust, store: to });
}

t.test("export image, diff and render give the same", { skip }, async (t) => {
  for (const [from, out] of [
    [store, "folder.tar"],
    [name, "bucket.tar"],
  ] as const)
    await exportImage({ store: from, references: ["a:1"], out: join(dir, out), cache });
  t.ok(readFileSync(join(dir, "folder.tar")).equals(readFileSync(join(dir, "bucket.tar"))));

  const [of, inBucket] = [
    await diff("test-000001", "test", { store }),
    await diff("test-000001", "test", { store: name }),
  ];
  t.same(inBucket, of);
  await t.rejects(diff("test-000009", "test", { store: name }), {
    code: "ERR_NOT_FOUND",
    message: new RegExp(name.slice(0, 20)),
  });

  const url = "http://192.0.2.1:9000";
  t.same(await render("registries-conf", { store: name, url, cache }), await render("registries-conf", { store, url }));
  await t.rejects(render("registries-conf", { store: gateway?.name("none") ?? "", url, cache: join(dir, "c2") }), {
    code: "ERR_NOT_FOUND",
    message: /no airferry-store.json there/,
  });
});

t.test("a bucket that is emptied leaves a server what it has, and another version is refused", { skip }, async (t) => {
  if (gateway === undefined) return;
  const site = gateway.name("emptied");
  await unpack([join(dir, "bundle-1")], { trust, store: site });
  const said: string[] = [];
  const serving = await serve({
    store: site,
    cache: join(dir, "cache-emptied"),
    listen: "127.0.0.1:0",
    graceMs: 100,
    onMessage: (line) => said.push(line),
  });
  t.teardown(() => serving.close());
  const place = join(gateway.data, "airferry", "emptied");
  rmSync(place, { recursive: true });
  for (let wait = 0; said.length === 0 && wait < 60; wait++) await new Promise((done) => setTimeout(done, 50));
  t.match(said, [/no airferry-store.json there/]);
  await new Promise((done) => setTimeout(done, 1100));
  t.match(await (await fetch(`${serving.urls[0]}/healthz`)).text(), /: 1 release/);
  mkdirSync(place);
  writeFileSync(join(place, "airferry-store.json"), '{"storeVersion":9}');
  const options = { store: site, cache: join(dir, "cache-9"), url: "http://192.0.2.1:9000" };
  await t.rejects(render("registries-conf", options), { code: "ERR_STORE_INVALID", message: /version 9: expected 1/ });
});

t.test("an endpoint with a private CA, and credentials that are wrong", { skip }, async (t) => {
  const pki = await makePki();
  const place = join(dir, "secure");
  mkdirSync(place);
  writeFileSync(join(place, "ca.pem"), pki.ca);
  const secure = await startGateway(place, { tls: pki.server });
  t.teardown(() => secure.stop());
  const site = `${secure.name("site")}&ca=${join(place, "ca.pem")}`;
  await unpack([join(dir, "bundle-1")], { trust, store: site });
  const serving = await serve({ store: site, cache: join(place, "cache"), listen: "127.0.0.1:0", graceMs: 100 });
  t.teardown(() => serving.close());
  const answer = await fetch(`${serving.urls[0]}/files/b`);
  t.ok(Buffer.from(await answer.arrayBuffer()).equals(files["files/b"]));
  const options = { url: "http://192.0.2.1:9000", cache: join(place, "cache-2") };
  await t.rejects(render("registries-conf", { ...options, store: secure.name("site") }), {
    code: "ERR_OBJECT_STORAGE",
    message: /certificate of https:.* is not trusted/,
  });
  process.env.AWS_SECRET_ACCESS_KEY = "wrong-secret-of-nobody";
  t.teardown(() => Object.assign(process.env, gateway?.env));
  const refused = await render("registries-conf", { ...options, store: site }).catch((error: AirferryError) => error);
  t.match(refused, { code: "ERR_OBJECT_STORAGE", message: /refused it: SignatureDoesNotMatch/ });
  t.notMatch(JSON.stringify(refused), /wrong-secret|airferrytestkey/);
});

t.test("publish copies images from a bucket", { skip }, async (t) => {
  if (!needs(t, "docker-registry")) return;
  const registry = await startDockerRegistry(join(dir, "registry"));
  t.teardown(() => registry.stop());
  const [sent] = await publish({ store: name, registry: registry.host, insecure: true, cache });
  t.match(sent, { digest: image.digest, pushedBlobs: 3 });
});

t.test("publish puts files from a bucket, and knows them again by their checksums", { skip }, async (t) => {
  const site = await siteDouble(t, { product: "nexus" });
  const netrc = join(dir, "netrc");
  const { hostname } = new URL(site.url);
  writeFileSync(netrc, `machine ${hostname} login ${USER} password ${PASSWORD}\n`, { mode: 0o600 });
  const options = { store: name, cache, url: site.url, kind: "files", insecure: true, env: { NETRC: netrc } } as const;
  t.match(await publishFiles(options), [{ done: "uploaded" }, { done: "uploaded" }]);
  t.ok(site.files.get("b")?.equals(files["files/b"]));
  t.match(await publishFiles(options), [{ done: "present" }, { done: "present" }]);
});

t.test("pages show former releases, and a rollback is followed", { skip }, async (t) => {
  const serving = await serve({ store: name, cache: join(dir, "cache-past"), listen: "127.0.0.1:0", graceMs: 100 });
  t.teardown(() => serving.close());
  const [url] = serving.urls;
  const page = async () => (await fetch(`${url}/releases/`)).text();
  for (let wait = 0; !/000001/.test(await page()) && wait < 60; wait++)
    await new Promise((done) => setTimeout(done, 50));
  t.match(await page(), /000001/);
  t.same(
    readdirSync(join(dir, "cache-past", "releases", "test", "000001")).sort(),
    ["SHA256SUMS", "airferry.json", "import.json", "signatures"],
    "no more of it is here",
  );
  const { rollback } = await import("../../src/rollback.ts");
  await rollback(name, { stream: "test", to: "1" });
  const first = noise(1000, 1);
  const read = async () => Buffer.from(await (await fetch(`${url}/files/a`)).arrayBuffer());
  for (let wait = 0; !(await read()).equals(first) && wait < 60; wait++)
    await new Promise((done) => setTimeout(done, 50));
  t.ok((await read()).equals(first));
  t.ok(readdirSync(join(dir, "cache-past", "releases", "test", "000001")).includes("data.pieces"));
});
