/** Stock nginx with a cache before a server, as docs/caches.md has it: what comes from the cache, what is fresh, dnf and podman. */
import { createHash } from "node:crypto";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { needs } from "../fixtures/clients.ts";
import { runClient } from "../fixtures/container-clients.ts";
import { TestImages } from "../fixtures/images.ts";
import { scratch } from "../fixtures/program.ts";
import { dnf } from "../fixtures/rpm-carry.ts";
import { buildRpmTree, RPM_BUILDERS } from "../fixtures/rpm-tree.ts";
import { patterned, startServer } from "../fixtures/serving.ts";
import { siteNginx } from "../fixtures/site-nginx.ts";

const BIG = patterned(3 * 1024 * 1024 + 100);
const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");

/** Fetches; what nginx's cache said, and the bytes. */
async function get(url: string, headers: Record<string, string> = {}) {
  const answer = await fetch(url, { headers });
  const body = Buffer.from(await answer.arrayBuffer());
  return { status: answer.status, cache: answer.headers.get("x-cache"), body, etag: answer.headers.get("etag") ?? "" };
}

t.test("what a stock cache answers by itself, and what it asks for", async (t) => {
  if (!needs(t, "nginx")) return;
  const primary = Buffer.from("primary");
  const metadata = `rpms/r/repodata/${sha256(primary)}-primary.xml`;
  const images = new TestImages();
  const one = images.image("linux/amd64", [{ "etc/motd": "one\n" }]);
  const release = (serial: number, text: string, image: typeof one) => ({
    stream: "a",
    serial,
    content: {
      "files/big.bin": BIG,
      "files/empty": "",
      "files/tool": text,
      "rpms/r/Packages/x-1-1.noarch.rpm": "package",
      "rpms/r/repodata/repomd.xml": `<repomd>${text}</repomd>`,
      [metadata]: primary,
      ...images.content(),
    },
    catalog: { images: [images.catalogImage("quay.io/t/a:1", image)] },
  });
  const { port, store } = await startServer(t, [release(1, "old", one)], { trustProxy: ["loopback"] });
  const { url } = await siteNginx(t, join(t.testdir(), "nginx"), [`127.0.0.1:${port}`]);
  const manifest = `/v2/quay.io/t/a/manifests/${one.digest}`;
  for (const path of [`/${metadata}`, manifest, "/rpms/r/Packages/x-1-1.noarch.rpm", "/files/big.bin"]) {
    const [first, second] = [await get(url + path), await get(url + path)];
    t.equal(first.cache, "MISS", path);
    t.match(second.cache, /^(?:HIT|REVALIDATED)$/, path);
    t.ok(first.body.equals(second.body), path);
    t.equal((await get(url + path, { "if-none-match": second.etag })).status, 304, `${path}: the cache's 304`);
  }
  for (const path of [`/${metadata}`, manifest]) t.equal((await get(url + path)).cache, "HIT", "for ever");
  t.ok((await get(`${url}/files/big.bin`)).body.equals(BIG), "whole, from slices");
  const part = await get(`${url}/files/big.bin`, { range: "bytes=1048570-2097160" });
  t.equal(part.status, 206);
  t.match(part.cache, /^(?:HIT|REVALIDATED)$/, "a range comes from the slices that a whole file left");
  t.ok(part.body.equals(BIG.subarray(1048570, 2097161)));
  t.equal((await get(`${url}/files/empty`)).status, 200, "an empty file, although the cache asks for its first slice");

  for (const path of ["/config/", "/"])
    t.match((await get(url + path)).body.toString(), url, `${path} has the address that clients know`);

  const moving = [
    "/rpms/r/repodata/repomd.xml",
    "/files/tool.sha256",
    "/v2/quay.io/t/a/manifests/1",
    "/v2/quay.io/t/a/tags/list",
    "/index.json",
  ];
  const before = await Promise.all(moving.map((it) => get(url + it)));
  const two = images.image("linux/amd64", [{ "etc/motd": "two\n" }]);
  const next = release(2, "new", two);
  next.catalog.images.push(images.catalogImage("quay.io/t/a:2", one));
  await store.put(next);
  // The server itself looks once a second.
  for (let tries = 0; tries < 40; tries++) {
    if (
      ((await (await fetch(`http://127.0.0.1:${port}/index.json`)).json()) as { releases: { serial: number }[] })
        .releases[0]?.serial === 2
    )
      break;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  for (const [at, path] of moving.entries()) {
    const answer = await get(url + path);
    t.equal(answer.status, 200, path);
    t.notOk(answer.body.equals(before[at]?.body as Buffer), `${path} is the new release's`);
  }
  t.equal((await get(`${url}${manifest}`)).cache, "HIT", "what a digest names stays");
});

t.test("dnf and podman through it", async (t) => {
  if (!needs(t, "nginx", "dnf", "skopeo", "podman", ...RPM_BUILDERS)) return;
  const dir = scratch(t, "af-cache");
  const tree = await buildRpmTree(join(dir, "tree"));
  const rpms = [...tree.served("base")].map(([path, bytes]) => [`rpms${decodeURIComponent(path)}`, bytes as Buffer]);
  const images = new TestImages();
  const image = images.image("linux/amd64", [{ "etc/motd": "hello\n" }]);
  const { port } = await startServer(t, [
    {
      stream: "a",
      content: { ...Object.fromEntries(rpms), "keys/base.asc": tree.key, ...images.content() },
      catalog: { images: [images.catalogImage("quay.io/t/a:1", image)] },
    },
  ]);
  const { url, port: front } = await siteNginx(t, join(dir, "nginx"), [`127.0.0.1:${port}`]);
  const repos = `[base]\nname=base\nbaseurl=${url}/rpms/base/\ngpgcheck=1\nrepo_gpgcheck=1\ngpgkey=${url}/keys/base.asc\n`;
  for (const root of ["first", "second"]) {
    const { status, out } = await dnf(dir, root, repos, "install", "aft-words");
    t.equal(status, 0, `${root}: ${out}`);
  }
  const [name] = [...tree.served("base").keys()].filter((it) => it.includes("/aft-words"));
  t.match((await get(`${url}/rpms${name}`)).cache, /^(?:HIT|REVALIDATED|EXPIRED)$/, "the package is in the cache");
  const home = join(dir, "home");
  mkdirSync(home);
  const env = { HOME: home, XDG_RUNTIME_DIR: home };
  const storage = ["--root", join(dir, "storage"), "--runroot", join(dir, "run"), "--storage-driver", "vfs"];
  const reference = `127.0.0.1:${front}/quay.io/t/a:1`;
  const pulled = await runClient("podman", [...storage, "pull", "--tls-verify=false", reference], env);
  t.equal(pulled.status, 0, pulled.out);
  for (const to of ["one", "two"]) {
    const args = ["copy", "--src-tls-verify=false", `docker://${reference}`, `dir:${join(dir, to)}`];
    const copied = await runClient("skopeo", args, env);
    t.equal(copied.status, 0, copied.out);
  }
  t.equal((await get(`${url}/v2/quay.io/t/a/manifests/${image.digest}`)).status, 200);
  const [layer] = [...images.blobs.keys()];
  t.equal((await get(`${url}/v2/quay.io/t/a/blobs/${layer}`)).cache, "HIT", "layers come from the cache");
});
