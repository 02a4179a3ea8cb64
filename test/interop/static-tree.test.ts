/**
 * What `export tree` writes, under stock nginx and stock Apache: every answer that a server gives is the same there, and
 * dnf, zypper, curl, skopeo, podman, oras, containerd and helm work as they do with `serve`.
 */
import { createHash } from "node:crypto";
import { chmodSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { exportTree } from "../../src/export.ts";
import { needs } from "../fixtures/clients.ts";
import { EL_DVD_TOOLS } from "../fixtures/el-dvd.ts";
import { freePort } from "../fixtures/free-port.ts";
import { TestImages } from "../fixtures/images.ts";
import { scratch } from "../fixtures/program.ts";
import { startServer } from "../fixtures/serving.ts";
import { createTestStore } from "../fixtures/store-reader.ts";
import { apacheOver, nginxOver, type WebServer } from "../fixtures/web-servers.ts";
import { clients, compare, crawl, get, programPaths, treeReleases } from "../fixtures/written-tree.ts";

t.test("under stock web servers", { timeout: 300_000 }, async (t) => {
  if (!needs(t, "nginx", "apache2", "curl", "skopeo", ...EL_DVD_TOOLS, "modifyrepo_c")) return;
  const dir = scratch(t, "af-static");
  // Web servers run as another user.
  chmodSync(dir, 0o755);
  const { one, two, images } = await treeReleases(dir);

  const port = await freePort();
  const base = `http://127.0.0.1:${port}`;
  const { url, store } = await startServer(t, [one, two], { url: base });
  const tree = join(dir, "written");
  const write = (at: string) =>
    exportTree({ dir: tree, store: store.dir, base: at, openStore: async () => store, onFault: (it) => t.fail(it) });
  const written = await write(base);
  t.ok(written.changed);
  t.match(written.notes.join("\n"), /files\/\.airferry\.html/, "a packed file with the name of our pages is named");
  t.equal(written.leftOut, 2);

  const paths = new Set([...(await crawl(url)).keys(), ...programPaths(images, [one, two])]);
  for (const it of paths) if (it.includes(".airferry.html")) paths.delete(it);
  paths.delete("/healthz");
  const missing = new Set([...(await crawl(url))].filter(([, it]) => it.status !== 200).map(([path]) => path));
  for (const it of ["/files/.airferry.html", "/s/one/files/.airferry.html"]) missing.add(it);
  const check = async (t: Test, server: WebServer, at: string) => {
    await compare(t, url, at, paths, "all that the server's pages lead to");
    const broken = [...(await crawl(at))].filter(([path, it]) => it.status !== 200 && !missing.has(path));
    t.strictSame(
      broken.map(([path]) => path),
      [],
      "no page leads to what is not there",
    );
    t.equal((await get(`${at}/files/.airferry.html`)).status, 404);
    t.equal((await get(`${at}/nginx/airferry.conf`)).status, 404);
    t.equal((await get(`${at}/../nginx/airferry.conf`)).status, 404);
    for (const it of ["/files/x.php", "/files/page.html", "/files/.htaccess", "/files/x.var"]) {
      const answer = await fetch(at + it);
      t.equal(answer.status, 200, it);
      t.equal(answer.headers.get("content-security-policy"), "default-src 'none'; sandbox", it);
      t.equal(answer.headers.get("content-type"), "application/octet-stream", it);
    }
    const part = await fetch(`${at}/isos/el-9.iso`, { headers: { range: "bytes=32769-32773" } });
    t.equal(part.status, 206);
    t.equal(await part.text(), "CD001");
    const etag = part.headers.get("etag") ?? "";
    t.equal((await get(`${at}/isos/el-9.iso`, { "if-none-match": etag })).status, 304);
    t.equal(
      (await get(`${at}/isos/el-9.iso`, { "if-modified-since": new Date().toUTCString() })).status,
      200,
      "no times",
    );
    await clients(t, dir, at);
    t.equal(server.errors().match(/\[(?:crit|alert|emerg)\]/), null);
  };
  await t.test("nginx", async (t) => {
    const server = await nginxOver(t, join(dir, "nginx"), tree, port);
    await check(t, server, base);
    await server.stop();
  });
  await t.test("Apache", async (t) => {
    const again = await write(base);
    t.notOk(again.changed, "the same again changes nothing");
    t.equal(again.written.files, 0);
    const server = await apacheOver(t, join(dir, "apache"), tree, port);
    await check(t, server, base);
  });
});

t.test("a switch under running servers", { timeout: 120_000 }, async (t) => {
  if (!needs(t, "nginx", "apache2")) return;
  const dir = scratch(t, "af-switch");
  chmodSync(dir, 0o755);
  const store = createTestStore(join(dir, "store"));
  const images = new TestImages();
  const put = async (serial: number) => {
    const image = images.image("linux/amd64", [{ "etc/motd": `serial ${serial}\n` }]);
    const catalog = { images: [images.catalogImage("quay.io/lab/app:v1", image)] };
    await store.put({ stream: "a", serial, content: { ...images.content(), "files/x": `x${serial}` }, catalog });
    return image.digest;
  };
  const [tree, port] = [join(dir, "written"), await freePort()];
  const url = `http://127.0.0.1:${port}`;
  const write = () => exportTree({ dir: tree, store: store.dir, base: url, openStore: async () => store });
  const tag = () => get(`${url}/v2/lab/app/manifests/v1`);
  await put(1);
  await write();
  const nginx = await nginxOver(t, join(dir, "nginx"), tree, port);
  const before = await fetch(`${url}/files/x`);
  const second = await put(2);
  await write();
  t.equal((await get(`${url}/files/x`)).body.toString(), "x2", "at once");
  const stale = { "if-none-match": before.headers.get("etag") ?? "" };
  t.equal((await get(`${url}/files/x`, stale)).status, 200, "another ETag, although size and second are the same");
  const moved = await tag();
  t.equal(`sha256:${createHash("sha256").update(moved.body).digest("hex")}`, second, "the tag leads to the new image");
  t.equal(moved.digest, null, "and never has the digest of the old one");
  await nginx.reload();
  t.equal((await tag()).digest, second, "after a reload it has its own");
  await nginx.stop();
  await apacheOver(t, join(dir, "apache"), tree, port);
  t.equal((await tag()).digest, second);
  const third = await put(3);
  await write();
  t.equal((await tag()).digest, third, "Apache needs no reload");
});
