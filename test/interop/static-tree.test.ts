/**
 * What `export tree` writes, under stock nginx and stock Apache: every answer that a server gives is the same there, and
 * dnf, zypper, curl, skopeo, podman, oras, containerd and helm work as they do with `serve`.
 */
import { createHash } from "node:crypto";
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { exportTree } from "../../src/export.ts";
import { chartPackage } from "../fixtures/charts.ts";
import { needs } from "../fixtures/clients.ts";
import { runClient, startContainerd } from "../fixtures/container-clients.ts";
import { EL_DVD_TOOLS, makeElDvd } from "../fixtures/el-dvd.ts";
import { freePort } from "../fixtures/free-port.ts";
import { TestImages } from "../fixtures/images.ts";
import { scratch } from "../fixtures/program.ts";
import { dnf } from "../fixtures/rpm-carry.ts";
import { buildRpmTree } from "../fixtures/rpm-tree.ts";
import { startServer } from "../fixtures/serving.ts";
import { createTestStore, type TestRelease } from "../fixtures/store-reader.ts";
import { apacheOver, nginxOver, type WebServer } from "../fixtures/web-servers.ts";

const HUB = "docker.io/library/redis:7";
const QUAY = "quay.io/lab/app:v1";

interface Answer {
  status: number;
  type: string | null;
  digest: string | null;
  body: Buffer;
}

async function get(url: string, headers: Record<string, string> = {}): Promise<Answer> {
  const answer = await fetch(url, { redirect: "manual", headers });
  const body = Buffer.from(await answer.arrayBuffer());
  const { headers: got } = answer;
  return { status: answer.status, type: got.get("content-type"), digest: got.get("docker-content-digest"), body };
}

/** Pages that search, count or continue, and what asks with a query: there is no program behind a file. */
const LEFT_OUT = /^\/(?:s\/[^/]+\/)?(?:packages|metrics)|[?#]/;

/** Every path that the pages of a site lead to. */
async function crawl(url: string): Promise<Map<string, Answer>> {
  const found = new Map<string, Answer>();
  const unvisited = ["/"];
  for (let path = unvisited.pop(); path !== undefined; path = unvisited.pop()) {
    if (found.has(path) || LEFT_OUT.test(path)) continue;
    const answer = await get(url + path);
    found.set(path, answer);
    if (answer.type?.startsWith("text/html") !== true || /BOM\.html$/.test(path)) continue;
    for (const [, href = ""] of answer.body.toString().matchAll(/href="([^"]*)"/g))
      unvisited.push(new URL(href.replaceAll("&amp;", "&"), url + path).href.slice(url.length));
  }
  return found;
}

/** What programs ask for that no page leads to. */
function programPaths(images: TestImages, releases: readonly TestRelease[]): string[] {
  const digests = [...images.blobs.keys()];
  const names = ["lab/app", "quay.io/lab/app", "library/redis", "redis", "docker.io/redis", "docker.io/library/redis"];
  const asked = [
    "/v2/",
    "/v2",
    "/v2/_catalog",
    "/index.json",
    "/openapi.json",
    `/s/${releases[0]?.stream}/v2/_catalog`,
  ];
  for (const name of [...names, "nothing/here"]) {
    asked.push(
      "/v2/lab/part/tags/list",
      "/v2/lab/part/manifests/1-packed",
      `/v2/${name}/tags/list`,
      `/v2/${name}/manifests/v1`,
      `/v2/${name}/manifests/7`,
      `/v2/${name}/manifests/V1`,
    );
    for (const it of digests)
      for (const kind of ["manifests", "referrers"])
        asked.push(`/v2/${name}/${kind}/${it}`, `/s/one/v2/${name}/${kind}/${it}`);
  }
  for (const it of digests)
    asked.push(`/v2/quay.io/lab/app/blobs/${it}`, `/v2/lab/app/manifests/${it.replace(":", "-")}`);
  for (const ns of [
    "quay.io",
    "docker.io",
    "registry-1.docker.io",
    "index.docker.io",
    "ghcr.io",
    "QUAY.IO",
    "quay.io%3A443",
  ]) {
    asked.push(
      `/v2/lab/app/manifests/v1?ns=${ns}`,
      `/ns/${ns}/v2/lab/app/manifests/v1`,
      `/v2/redis/manifests/7?ns=${ns}`,
    );
    asked.push(`/ns/${ns}/v2/library/redis/manifests/7`, `/v2/quay.io/lab/app/manifests/v1?ns=${ns}`);
  }
  const entries = releases
    .flatMap((it) => Object.keys(it.content))
    .map((it) => `/${encodeURI(it).replaceAll("#", "%23")}`);
  const sidecars = entries.filter((it) => /^\/(?:files|isos)\//.test(it) && !/\.sha256(?:sum)?$/.test(it));
  return [...asked, ...entries, ...sidecars.flatMap((it) => [`${it}.sha256`, `${it}.sha256sum`])];
}

async function compare(
  t: Test,
  served: string,
  written: string,
  paths: Iterable<string>,
  label: string,
): Promise<void> {
  const wrong: string[] = [];
  let count = 0;
  for (const path of paths) {
    const [a, b] = [await get(served + path), await get(written + path)];
    count++;
    const isPage = a.status === 200 && a.type?.startsWith("text/html") === true && !/BOM\.html$/.test(path);
    // What was refused says why in words of its own.
    const isSame = isPage || a.status >= 400 ? true : a.body.equals(b.body) && a.digest === b.digest;
    const isAlike = a.status >= 400 ? b.status === 404 : a.status === b.status && a.type === b.type;
    // A written registry has blobs whatever the name before them, and lists of nothing.
    if (/\/blobs\//.test(path) && a.status === 404 && b.status === 200) continue;
    if (!isSame || !isAlike)
      wrong.push(
        `${path}: ${a.status} ${a.type} ${a.digest} ${a.body.length}, written ${b.status} ${b.type} ${b.digest} ${b.body.length}`,
      );
  }
  t.strictSame(wrong, [], `${label}: ${count} answers are those of the server`);
}

t.test("under stock web servers", { timeout: 300_000 }, async (t) => {
  if (!needs(t, "nginx", "apache2", "curl", "skopeo", ...EL_DVD_TOOLS, "modifyrepo_c")) return;
  const dir = scratch(t, "af-static");
  // Web servers run as another user.
  chmodSync(dir, 0o755);
  const rpmTree = await buildRpmTree(join(dir, "rpms"));
  const dvd = await makeElDvd(dir);
  const rpms = ["base", "app"].flatMap((name) =>
    [...rpmTree.served(name)].map(([path, bytes]) => [`rpms${decodeURIComponent(path)}`, bytes as Buffer] as const),
  );
  const images = new TestImages();
  const redis = images.image("linux/amd64", [{ "etc/motd": "redis\n" }]);
  const parts = [
    images.image("linux/amd64", [{ "etc/motd": "one\n" }]),
    images.image("linux/arm64", [{ "etc/motd": "two\n" }]),
  ];
  const app = images.index(parts);
  const left = images.image("linux/s390x", [{ "etc/motd": "left out\n" }]);
  const part = images.index([...parts, left]);
  const chart = images.manifest(
    {
      config: images.blob(Buffer.from('{"name":"web","version":"1.0.0"}'), "application/vnd.cncf.helm.config.v1+json"),
      layers: [
        images.blob(
          chartPackage("web", { "Chart.yaml": "apiVersion: v2\nname: web\nversion: 1.0.0\n" }),
          "application/vnd.cncf.helm.chart.content.v1.tar+gzip",
        ),
      ],
    },
    "application/vnd.oci.image.manifest.v1+json",
  );
  const docker = images.image("linux/amd64", [{ "etc/motd": "docker\n" }], true);
  const signature = images.referrer(app, "application/vnd.example.signature", Buffer.from("signed"));
  const keys = { "keys/base.asc": rpmTree.key, "keys/RPM-GPG-KEY-el": readFileSync(dvd.key.file) };
  const one: TestRelease = {
    stream: "one",
    content: {
      ...Object.fromEntries(rpms),
      ...keys,
      ...images.content(
        JSON.parse(String(images.manifests.get(left.digest)?.bytes)).layers.map((it: { digest: string }) => it.digest),
      ),
      "isos/el-9.iso": readFileSync(dvd.iso),
      "files/tool.tar.gz": "tool",
      "files/tool.tar.gz.sha256": `${"0".repeat(64)}  upstream's\n`,
      "files/release/v1.2+3/a b#c%20d&e;'f\"g$h{i}.txt": "odd",
      "files/x.php": "<?php echo 1;",
      "files/x.var": "URI: other\n",
      "files/.htaccess": "Deny from all\n",
      "files/page.html": "<script>alert(1)</script>",
      "files/.airferry.html": "<p>not ours</p>",
      "files/CHECKSUM": "sums",
      "files/empty": "",
    },
    catalog: {
      isos: [{ name: "el-9", path: "isos/el-9.iso", volumeId: "AFT" }],
      files: [{ path: "files/tool.tar.gz" }],
      images: [
        images.catalogImage(QUAY, app, {
          manifests: [...parts, docker, signature].map((it) => it.digest),
          tags: { V1: docker.digest, "2.0": docker.digest },
          attached: 1,
        }),
        images.catalogImage(HUB, redis),
        images.catalogImage("quay.io/charts/web:1.0.0", chart),
        images.catalogImage("quay.io/lab/part:1", part, {
          manifests: [...parts, left].map((it) => it.digest),
          platforms: ["linux/amd64", "linux/arm64"],
        }),
      ],
    },
  };
  const two: TestRelease = { stream: "two", content: { "files/tool.tar.gz": "another", "files/only-two": "2" } };

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

let round = 0;

/** Real clients, with what the site renders for them. */
async function clients(t: Test, dir: string, url: string): Promise<void> {
  const work = join(dir, `clients-${round++}`);
  mkdirSync(work);
  const home = { HOME: work, XDG_RUNTIME_DIR: work, DOCKER_CONFIG: work };
  const { host } = new URL(url);
  writeFileSync(join(work, "config.json"), "{}");
  const ran = async (name: string, ...args: string[]) => {
    const { status, out } = await runClient(name, args, home);
    t.equal(status, 0, `${name} ${args.join(" ")}: ${out}`);
    return out;
  };
  const checked = await runClient(
    "sh",
    [
      "-c",
      `cd '${work}' && curl -fsSO ${url}/files/only-two && curl -fsS ${url}/files/only-two.sha256sum | sha256sum -c`,
    ],
    home,
  );
  t.equal(checked.status, 0, checked.out);

  if (needs(t, "dnf")) {
    const repos = [
      ...["base", "app"].map(
        (it) =>
          `[${it}]\nname=${it}\nbaseurl=${url}/rpms/${it}/\ngpgcheck=1\nrepo_gpgcheck=${it === "base" ? 1 : 0}\ngpgkey=${url}/keys/base.asc\n`,
      ),
      ...["BaseOS", "AppStream"].map(
        (it) => `[${it}]\nname=${it}\nbaseurl=${url}/isos/el-9/${it}/\ngpgcheck=1\ngpgkey=${url}/keys/RPM-GPG-KEY-el\n`,
      ),
    ].join("");
    const installed = await dnf(work, "root", repos, "install", "aft-words", "aft++", "aft-web", "el-app");
    t.equal(installed.status, 0, installed.out);
    t.match(installed.out, /aft-web.*module/s, "a module's package");
  }
  if (needs(t, "zypper")) {
    mkdirSync(join(work, "zypp/etc/zypp/repos.d"), { recursive: true });
    writeFileSync(
      join(work, "zypp/etc/zypp/repos.d/a.repo"),
      `[base]\nname=base\nenabled=1\ntype=rpm-md\nbaseurl=${url}/rpms/base/\ngpgcheck=1\nrepo_gpgcheck=1\npkg_gpgcheck=1\ngpgkey=${url}/keys/base.asc\n`,
    );
    const args = ["--root", join(work, "zypp"), "--non-interactive", "--gpg-auto-import-keys"];
    await ran("zypper", ...args, "install", "--no-recommends", "aft-words", "aft++");
  }
  for (const name of ["skopeo", "newer-skopeo"].filter((it) => needs(t, it))) {
    await ran(
      name,
      "copy",
      "--all",
      "--src-tls-verify=false",
      `docker://${host}/lab/app:v1`,
      `dir:${join(work, name)}`,
    );
    await ran(name, "copy", "--src-tls-verify=false", `docker://${host}/lab/app:2.0`, `dir:${join(work, `${name}-2`)}`);
  }
  if (needs(t, "podman")) {
    const storage = ["--root", join(work, "s"), "--runroot", join(work, "r"), "--storage-driver", "vfs"];
    await ran("podman", ...storage, "pull", "-q", "--tls-verify=false", `${host}/${HUB}`);
    await ran("podman", ...storage, "pull", "-q", "--tls-verify=false", `${host}/lab/app:V1`);
  }
  if (needs(t, "oras")) {
    await ran(
      "oras",
      "pull",
      "--plain-http",
      "-o",
      join(work, "oras"),
      `${host}/quay.io/lab/app:v1`,
      "--platform",
      "linux/amd64",
    );
    const tree = await ran("oras", "discover", "--plain-http", `${host}/quay.io/lab/app:v1`);
    t.match(tree, /vnd\.example\.signature/);
  }
  if (needs(t, "helm")) {
    const chart = `oci://${host}/quay.io/charts/web`;
    await ran("helm", "pull", chart, "--version", "1.0.0", "--plain-http", "--destination", work);
  }
  if (needs(t, "skopeo")) {
    const part = (tag: string) => ["--all", "--src-tls-verify=false", `docker://${host}/lab/part:${tag}`];
    await ran("skopeo", "copy", ...part("1-packed"), `dir:${join(work, "part")}`);
    const whole = await runClient("skopeo", ["copy", ...part("1"), `dir:${join(work, "whole")}`], home);
    t.not(whole.status, 0, "as with serve: a platform was not packed");
  }
  if (needs(t, "crane")) t.match(await ran("crane", "digest", "--insecure", `${host}/lab/app:V1`), /^sha256:/);
  if (needs(t, "containerd", "ctr")) {
    const certs = join(work, "certs.d");
    for (const it of ["quay.io", "docker.io"]) {
      const rendered = await get(`${url}/config/certs.d/${it}/hosts.toml`);
      t.equal(rendered.status, 200, `hosts.toml of ${it}`);
      mkdirSync(join(certs, it), { recursive: true });
      writeFileSync(join(certs, it, "hosts.toml"), rendered.body);
    }
    const daemon = await startContainerd(join(work, "containerd"), certs);
    const pull = ["-a", daemon.socket, "images", "pull", "--hosts-dir", certs, "--snapshotter", "native", "--local"];
    await ran("ctr", ...pull, "--platform", "linux/amd64", QUAY);
    await ran("ctr", ...pull, HUB);
    await daemon.stop();
  }
}
