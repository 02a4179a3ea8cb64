/**
 * Foreign layers, which registries may not keep: taken from the registry, else by choice from the URLs they name, as nobody;
 * inside the gap they are blobs like any other, for serve, export and publish. See OCI image-spec v1.1, layer.md.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import t, { type Test } from "tap";
import { needs } from "../fixtures/clients.ts";
import { runClient } from "../fixtures/container-clients.ts";
import { type FakeRegistryOptions, PASSWORD, startFakeRegistry, USER } from "../fixtures/fake-registry.ts";
import { airferry } from "../fixtures/host.ts";
import { CONFIG, MANIFEST, startDockerRegistry, TestImages, tarOf } from "../fixtures/images.ts";
import { writeKeyPair } from "../fixtures/keys.ts";
import { scratch, start, writeManifest } from "../fixtures/program.ts";

const FOREIGN = "application/vnd.oci.image.layer.nondistributable.v1.tar";
const DOCKER_FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";

/** The place that foreign layers name: a web server of somebody else. */
async function startVendor(t: Test, bytes: Buffer) {
  const log: string[] = [];
  const server = createServer((req, res) => {
    log.push(`${req.method} ${req.url} ${req.headers.authorization ?? "-"}`);
    res.writeHead(200, { "content-length": bytes.length }).end(req.method === "HEAD" ? undefined : bytes);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const close = () => {
    server.closeAllConnections();
    return new Promise((resolve) => server.close(resolve));
  };
  t.teardown(close);
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/layer.tar`;
  return { log, url, close };
}

/** An image with one ordinary layer and one foreign one, which is in the registry only where `pushed`. */
function makeImage(urls: string[], pushed: boolean, mediaType = FOREIGN) {
  const images = new TestImages();
  const own = tarOf([{ path: "own", bytes: Buffer.from("own") }]);
  const foreign = tarOf([{ path: "foreign", bytes: Buffer.from("foreign") }]);
  const layer = images.blob(foreign, mediaType, { urls });
  if (!pushed) images.blobs.delete(layer.digest);
  const ownLayer = images.blob(own, "application/vnd.oci.image.layer.v1.tar");
  const config = {
    os: "linux",
    architecture: "amd64",
    config: {},
    rootfs: { type: "layers", diff_ids: [ownLayer.digest, layer.digest] },
  };
  const configDescriptor = images.blob(Buffer.from(JSON.stringify(config)), CONFIG);
  const image = images.manifest({ config: configDescriptor, layers: [ownLayer, layer] }, MANIFEST);
  return { images, image, layer, foreign };
}

async function pack(
  t: Test,
  made: ReturnType<typeof makeImage>,
  entry: object = {},
  upstream: Partial<FakeRegistryOptions> = {},
  args: string[] = [],
) {
  const fake = await startFakeRegistry({ images: made.images, tags: { "1.0": made.image }, ...upstream });
  t.teardown(() => fake.close());
  const dir = scratch(t, "airferry-foreign");
  const auth = Buffer.from(`${USER}:${PASSWORD}`).toString("base64");
  writeFileSync(join(dir, "auth.json"), JSON.stringify({ auths: { [fake.host]: { auth } } }));
  const manifest = writeManifest(dir, { images: [{ ref: `${fake.host}/lab/bb:1.0`, insecure: true, ...entry }] });
  writeKeyPair(dir);
  const ran = await airferry(dir, ["pack", manifest, "--key", "k.key", ...args], {
    HOME: dir,
    REGISTRY_AUTH_FILE: join(dir, "auth.json"),
  });
  return { fake, dir, ran };
}

t.test("a foreign layer that the registry has is taken from there, and said", async (t) => {
  for (const mediaType of [FOREIGN, DOCKER_FOREIGN]) {
    const vendor = await startVendor(t, Buffer.alloc(0));
    const { ran } = await pack(t, makeImage([vendor.url], true, mediaType), { foreign_layers: true });
    t.equal(ran.status, 0, ran.stderr);
    t.same(vendor.log, [], "its URL is not asked");
    t.match(ran.stderr, `names URLs (${vendor.url})`, "clients may dial it: that is said");
  }
});

t.test("one that it lacks is refused, unless its URLs are to be followed", async (t) => {
  const made = makeImage([], false);
  const vendor = await startVendor(t, made.foreign);
  const again = makeImage([vendor.url], false);
  const refused = await pack(t, again);
  t.equal(refused.ran.status, 4);
  t.match(refused.ran.stderr, `its foreign layer ${again.layer.digest} is not in the registry`);
  t.match(refused.ran.stderr, /foreign_layers: true/);
  t.same(vendor.log, []);
  const none = await pack(t, made, { foreign_layers: true });
  t.equal(none.ran.status, 4);
  t.match(none.ran.stderr, /it names none/);
});

t.test("what the URL gives is checked; it may not lead into the site's own network", async (t) => {
  const vendor = await startVendor(t, Buffer.from("something else"));
  const wrong = await pack(t, makeImage([vendor.url], false), { foreign_layers: true });
  t.equal(wrong.ran.status, 4);
  t.match(wrong.ran.stderr, /digest|size/);
  // The same host, known by a public name.
  const made = makeImage([vendor.url, "ftp://x.example/layer", "https://u:p@x.example/layer"], false);
  const before = vendor.log.length;
  const fake = await startFakeRegistry({ images: made.images, tags: { "1.0": made.image } });
  t.teardown(() => fake.close());
  const dir = scratch(t);
  const entry = { ref: "registry.example.com/lab/bb:1.0", insecure: true, foreign_layers: true };
  const manifest = writeManifest(dir, { images: [entry] });
  const ran = await airferry(dir, ["lock", manifest, "--rewrite", `registry.example.com=${fake.host}`]);
  t.equal(ran.status, 4, ran.stderr);
  t.match(ran.stderr, /no URL that it names may be fetched/);
  t.equal(vendor.log.length, before);
});

t.test("an archive that lacks a foreign layer takes it from its URL too", async (t) => {
  const made = makeImage(["http://layers.example/layer.tar"], false);
  const vendor = await startVendor(t, made.foreign);
  const dir = scratch(t);
  mkdirSync(join(dir, "layout"));
  made.images.writeLayout(join(dir, "layout"), { "vendor.example/win:1": made.image });
  const run = (entry: object) =>
    airferry(dir, [
      "pack",
      writeManifest(dir, { images: [{ archive: "layout", ...entry }] }),
      "--unsigned",
      "--rewrite",
      `layers.example=${new URL(vendor.url).host}`,
    ]);
  const refused = await run({});
  t.equal(refused.status, 4, refused.stderr);
  const taken = await run({ foreign_layers: true });
  t.equal(taken.status, 0, taken.stderr);
  t.same(vendor.log, ["GET /layer.tar -"]);
});

t.test("fetched from its URL without any login, then served, exported and published as a blob", async (t) => {
  if (!needs(t, "crane", "oras", "skopeo", "docker-registry")) return;
  const vendor = await startVendor(t, makeImage([], false).foreign);
  const made = makeImage([vendor.url], false);
  const { fake, dir, ran } = await pack(t, made, { foreign_layers: true }, { auth: "bearer" });
  t.equal(ran.status, 0, ran.stderr);
  t.same(vendor.log, ["GET /layer.tar -"], "fetched once, as nobody");
  t.ok(
    fake.log.some((it) => it.includes(`/blobs/${made.layer.digest}`)),
    "after the registry was asked",
  );
  await vendor.close();

  const unpacked = await airferry(dir, ["unpack", ran.stdout.trim(), "--trust", "k.pub", "--store", "store"]);
  t.equal(unpacked.status, 0, unpacked.stderr);
  const server = start(dir, ["serve", "--store", "store", "--listen", "127.0.0.1:0"]);
  t.teardown(() => server.kill());
  const url = await new Promise<string>((resolve) => {
    server.stdout?.on("data", (text: string) => resolve(/http:\/\/[^\s/]+/.exec(text)?.[0] ?? ""));
  });
  const host = new URL(url).host;
  const blob = await fetch(`${url}/v2/lab/bb/blobs/${made.layer.digest}`);
  t.equal(blob.status, 200);
  t.ok(Buffer.from(await blob.arrayBuffer()).equals(made.foreign));
  const home = { HOME: dir, DOCKER_CONFIG: dir };
  const crane = await runClient("crane", ["pull", "--insecure", `${host}/lab/bb:1.0`, join(dir, "c.tar")], home);
  t.equal(crane.status, 0, crane.out);
  const oras = await runClient(
    "oras",
    ["copy", "--from-plain-http", `${host}/lab/bb:1.0`, "--to-oci-layout", `${dir}/o:1`],
    home,
  );
  t.equal(oras.status, 0, oras.out);

  const exported = await airferry(dir, ["export", "image", "lab/bb:1.0", "--store", "store", "--out", "e.tar"]);
  t.equal(exported.status, 0, exported.stderr);
  const read = await runClient("skopeo", ["copy", `docker-archive:${dir}/e.tar`, `dir:${dir}/sk`], home);
  t.equal(read.status, 0, read.out);

  const site = await startDockerRegistry(join(dir, "site"), {
    sections: 'validation: {manifests: {urls: {allow: ["^http://127"]}}}',
  });
  t.teardown(() => site.stop());
  const published = await airferry(dir, ["publish", site.host, "--store", "store", "--insecure", "--names", "bare"]);
  t.equal(published.status, 0, published.stderr);
  const copy = await fetch(`http://${site.host}/v2/lab/bb/blobs/${made.layer.digest}`);
  t.ok(Buffer.from(await copy.arrayBuffer()).equals(made.foreign), "the site's registry has the bytes themselves");
  t.equal((await runClient("crane", ["digest", `${site.host}/lab/bb:1.0`], home)).out.trim(), made.image.digest);
});
