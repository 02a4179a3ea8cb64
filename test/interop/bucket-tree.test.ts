/**
 * What `export tree` writes into a bucket, behind stock nginx and as the bucket's own website: answers are those of a
 * server, and dnf, zypper, podman, skopeo, oras, containerd, helm, curl and a browser work.
 */
import { createHash } from "node:crypto";
import { chmodSync, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { exportTree } from "../../src/export.ts";
import { openBrowser } from "../fixtures/browser.ts";
import { needs } from "../fixtures/clients.ts";
import { runClient } from "../fixtures/container-clients.ts";
import { EL_DVD_TOOLS } from "../fixtures/el-dvd.ts";
import { freePort } from "../fixtures/free-port.ts";
import { scratch } from "../fixtures/program.ts";
import { startGateway } from "../fixtures/s3-gateway.ts";
import { startServer } from "../fixtures/serving.ts";
import { nginxWith } from "../fixtures/web-servers.ts";
import { clients, compare, crawl, get, programPaths, treeReleases } from "../fixtures/written-tree.ts";

t.test("behind stock nginx, and as a website", { timeout: 300_000 }, async (t) => {
  if (!needs(t, "versitygw", "nginx", "curl", "skopeo", ...EL_DVD_TOOLS, "modifyrepo_c")) return;
  const dir = scratch(t, "af-bucket-tree");
  chmodSync(dir, 0o755);
  const gateway = await startGateway(join(dir, "gateway"), { website: true });
  t.teardown(() => gateway.stop());
  Object.assign(process.env, gateway.env);
  const { one, two, images } = await treeReleases(dir);
  const port = await freePort();
  const base = `http://127.0.0.1:${port}`;
  const { url, store } = await startServer(t, [one, two], { url: base });
  const write = (dir: string, base: string) =>
    exportTree({ dir, store: store.dir, base, openStore: async () => store, onFault: (it) => t.fail(it) });
  const all = new Set([...(await crawl(url)).keys(), ...programPaths(images, [one, two])]);
  for (const it of all) if (it.includes(".airferry.html") || it === "/healthz") all.delete(it);
  const missing = new Set([...(await crawl(url))].filter(([, it]) => it.status !== 200).map(([path]) => path));
  for (const it of ["/files/.airferry.html", "/s/one/files/.airferry.html"]) missing.add(it);
  const checkPages = async (t: Test, at: string) => {
    const broken = [...(await crawl(at, "follow"))].filter(([path, it]) => it.status !== 200 && !missing.has(path));
    t.strictSame(
      broken.map(([path]) => path),
      [],
      "no page leads to what is not there",
    );
  };

  await t.test("nginx", async (t) => {
    const written = await write(gateway.name("site/mirror"), base);
    t.match(written, { changed: true, generation: "1", leftOut: 2, foreign: 0 });
    const own = (name: string) => join(gateway.data, gateway.bucket, "site/mirror/.airferry", name);
    await gateway.configure(gateway.bucket, readFileSync(own("policy.json"), "utf8"));
    const server = await nginxWith(t, join(dir, "nginx"), own("nginx.conf"), port);
    // nginx compares these letter by letter.
    const paths = [...all].filter((it) => !it.includes("QUAY.IO"));
    await compare(t, url, base, paths, "all that the server's pages lead to", "bucket");
    await checkPages(t, base);
    for (const it of [
      "/.airferry/nginx.conf",
      "/.airferry/tree.json",
      "/s/x/.airferry/tree.json",
      "/files/.airferry.html",
      "/files/nothing",
      "/x/",
    ])
      t.match(await get(base + it), { status: 404, type: "text/plain" }, it);
    for (const it of ["lab/app/manifests/none.html", ".airferry/tree.json?ns=.."])
      t.match(await get(`${base}/v2/${it}`), { status: 404, type: "application/json" }, it);
    t.equal((await fetch(`${base}/files/only-two`, { method: "PUT", body: "x" })).status, 405);
    t.equal((await get(`${base}/files/only-two?acl`)).body.toString(), "2", "queries do not reach the storage");
    const page = await fetch(`${base}/files/`);
    t.match(page.headers.get("content-security-policy"), /script-src/);
    const file = await fetch(`${base}/files/page.html`);
    t.equal(file.headers.get("content-security-policy"), "default-src 'none'; sandbox");
    t.equal(file.headers.get("x-amz-meta-content-security-policy"), null);
    const part = await fetch(`${base}/isos/el-9.iso`, { headers: { range: "bytes=32769-32773" } });
    t.equal(part.status, 206);
    t.equal(await part.text(), "CD001");
    t.equal((await get(`${base}/isos/el-9.iso`, { "if-none-match": part.headers.get("etag") ?? "" })).status, 304);
    await clients(t, dir, base);
    const { body, digest } = await get(`${base}/v2/lab/app/manifests/V1`);
    t.equal(digest, `sha256:${createHash("sha256").update(body).digest("hex")}`);
    if (needs(t, "podman")) {
      const storage = ["--root", join(dir, "s"), "--runroot", join(dir, "r"), "--storage-driver", "vfs"];
      const image = `${new URL(base).host}/lab/app@${digest}`;
      const pulled = await runClient("podman", [...storage, "pull", "-q", "--tls-verify=false", image], { HOME: dir });
      t.equal(pulled.status, 0, pulled.out);
    }
    for (const it of [".treeinfo", "images/pxeboot/vmlinuz"]) {
      const path = `/isos/el-9/${it}`;
      const fetched = await runClient("curl", ["-fsS", base + path]);
      t.equal(fetched.out, (await get(url + path)).body.toString(), path);
    }
    if (needs(t, "chromium")) await checkBrowser(t, base);
    t.equal(server.errors(), "");
  });

  await t.test("the bucket's own website", async (t) => {
    const site = new URL(gateway.website ?? "");
    // Its buckets are hosts.
    site.hostname = "localhost";
    mkdirSync(join(gateway.data, "localhost"));
    const written = await write(`s3://localhost?endpoint=${gateway.endpoint}`, site.origin);
    t.match(written, { changed: true, leftOut: 2 });
    const own = (name: string) => readFileSync(join(gateway.data, "localhost/.airferry", name), "utf8");
    await gateway.configure("localhost", own("policy.json"), JSON.parse(own("website.json")) as object);
    await clients(t, dir, site.origin, ["oras"]);
    if (needs(t, "oras")) {
      const image = ["--plain-http", `${site.host}/quay.io/lab/app:v1`];
      const pull = ["pull", "-o", join(dir, "oras"), ...image, "--platform", "linux/amd64"];
      const pulled = await runClient("oras", pull, { HOME: dir });
      t.equal(pulled.status, 0, pulled.out);
      const found = await runClient("oras", ["discover", ...image], { HOME: dir });
      t.match(found.out, /missing required header "Docker-Content-Digest"/, "which a website cannot send");
    }
    // A website knows no queries, has each repository's own blobs, and no empty lists; configuration has another address.
    const other = /[?]|QUAY\.IO|^\/(?:s\/[^/]+\/)?config\/|\/v2$|\/(?:referrers|blobs)\/sha/;
    const paths = [...all].filter((it) => !other.test(it));
    await compare(t, url, site.origin, paths, "all that the server's pages lead to", "website");
    await checkPages(t, site.origin);
  });
});

/** The front page and one that it leads to, with their style and script, under the policy that they came with. */
async function checkBrowser(t: Test, base: string): Promise<void> {
  const tab = await openBrowser(t);
  await tab.open(`${base}/`);
  t.match(await tab.run("document.title"), /airferry/);
  await tab.open(`${base}/registry`);
  t.match(await tab.run("document.body.innerText"), /lab\/app/);
  t.ok(await tab.run("document.querySelectorAll('button.copy').length > 0"), "its script runs");
  t.not(await tab.run("getComputedStyle(document.body).fontFamily"), "", "and its style applies");
  t.strictSame(tab.complaints, []);
}
