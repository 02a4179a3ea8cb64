/** src/doctor.ts and src/stage.ts over a real server: what is found good, what is not, and the builder's folder. */
import { createHash } from "node:crypto";
import { readFile, stat, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import t, { type Test } from "tap";
import type { Catalog } from "../src/bundle/inventory-types.ts";
import { doctor } from "../src/doctor.ts";
import { digestOf } from "../src/io/digest.ts";
import { serve } from "../src/serve.ts";
import { stage } from "../src/stage.ts";
import type { StoreReader } from "../src/store/types.ts";
import { shortDir } from "./fixtures/el-dvd.ts";
import { makeIso, NM, PX } from "./fixtures/iso-maker.ts";
import { serveStore } from "./fixtures/serving.ts";
import { createTestStore, type TestStore } from "./fixtures/store-reader.ts";

const sha = (bytes: string | Uint8Array) => createHash("sha256").update(bytes).digest("hex");
const RPM = "not really a package";
const PRIMARY = gzipSync(
  `<metadata><package type="rpm"><name>x</name><checksum type="sha256" pkgid="YES">${sha(RPM)}</checksum><location href="x-1-1.noarch.rpm"/></package></metadata>`,
);
const repomd = (digest: string) =>
  `<repomd xmlns="http://linux.duke.edu/metadata/repo"><revision>1</revision><data type="primary"><checksum type="sha256">${digest}</checksum><location href="repodata/primary.xml.gz"/><size>${PRIMARY.length}</size></data></repomd>`;
const CONTENT = {
  "isos/el.iso": makeIso(
    [{ id: "T", block: 30, size: 4, use: Buffer.concat([PX(0o100644), NM(".treeinfo")]) }],
    new Map([[30, Buffer.from("[a]\n")]]),
  ),
  "rpms/r/repodata/repomd.xml": repomd(sha(PRIMARY)),
  "rpms/r/repodata/primary.xml.gz": PRIMARY,
  "rpms/r/x-1-1.noarch.rpm": RPM,
  "keys/r.asc": "-----BEGIN PGP PUBLIC KEY BLOCK-----\n",
  "files/containerd-2.1.4-linux-amd64.tar.gz": "a tarball",
  "files/ks.cfg": "cdrom\n",
  "files/pre/harden.sh": "#!/bin/sh\n",
};
const FILES = Object.keys(CONTENT).filter((it) => it.startsWith("files/"));
const CATALOG: Partial<Catalog> = {
  files: FILES.map((path) => ({ path })),
  keys: [{ path: "keys/r.asc", fingerprints: ["A".repeat(40)], for: ["r"] }],
  isos: [{ name: "el", path: "isos/el.iso" }],
  rpms: [
    {
      name: "r",
      path: "rpms/r/",
      mode: "exact",
      repomdSignedBy: "none",
      gpgcheck: true,
      keys: ["keys/r.asc"],
      packages: 1,
      tree: false,
      rpmrepo: false,
    },
  ],
};

async function start(
  t: Test,
  content: Record<string, string | Uint8Array>,
  builder?: unknown,
): Promise<{ base: string; store: TestStore }> {
  const store = createTestStore(await shortDir(t));
  const release = await store.put({ stream: "s", content, catalog: CATALOG });
  if (builder !== undefined) release.inventory.builder = builder;
  return { base: await serveStore(t, store), store };
}

const statuses = (report: Awaited<ReturnType<typeof doctor>>) =>
  Object.fromEntries(report.findings.map((it) => [it.check, it.status]));

t.test("finds a good server good", async (t) => {
  const { base } = await start(t, CONTENT);
  const report = await doctor({ url: base });
  t.match(statuses(report), {
    name: "ok",
    reach: "ok",
    index: "ok",
    clock: "ok",
    yum: "ok",
    keys: "ok",
    iso: "ok",
    file: "ok",
    registry: "skipped",
    config: "skipped",
    versions: "skipped",
  });
  t.ok(report.ok, JSON.stringify(report.findings.filter((it) => it.status === "failed")));
  t.match(report.findings.find((it) => it.check === "yum")?.message, /x-1-1\.noarch\.rpm by digest/);
  t.match(report.findings.find((it) => it.check === "iso")?.message, /\.treeinfo inside it/);
  for (const it of report.findings) if (it.status !== "ok") t.ok(it.remedy, `${it.check} has a remedy`);
});

t.test("sees what is wrong, and says what to do", async (t) => {
  const wrongPrimary = await start(t, { ...CONTENT, "rpms/r/repodata/repomd.xml": repomd("0".repeat(64)) });
  t.match(statuses(await doctor({ url: wrongPrimary.base })), { yum: "failed", iso: "ok" });
  const wrongPackage = await start(t, { ...CONTENT, "rpms/r/x-1-1.noarch.rpm": "changed" });
  t.match(statuses(await doctor({ url: wrongPackage.base })), { yum: "failed" });
  const wrongSidecar = await start(t, {
    ...CONTENT,
    "files/containerd-2.1.4-linux-amd64.tar.gz.sha256": `${"0".repeat(64)}\n`,
  });
  t.match(statuses(await doctor({ url: wrongSidecar.base })), { file: "failed" });
  const builder = { flavor: "spectro-capi", imageconfig: { os_versions: "x" } };
  const wrongBuilder = await start(t, CONTENT, builder);
  const report = await doctor({ url: wrongBuilder.base });
  t.match(statuses(report), { versions: "failed" });
  t.match(report.findings.find((it) => it.check === "versions")?.remedy, /write os_version/);
  t.notOk(report.ok);
});

t.test("a server that is missing, or is another one", async (t) => {
  const other = createServer((_, res) => res.writeHead(404).end("no")).listen(0, "127.0.0.1");
  await new Promise((resolve) => other.once("listening", resolve));
  const { port } = other.address() as AddressInfo;
  t.match(statuses(await doctor({ url: `http://127.0.0.1:${port}` })), { reach: "failed" });
  await new Promise((resolve) => other.close(resolve));
  const gone = await doctor({ url: `http://127.0.0.1:${port}` });
  t.match(gone.findings.at(-1), { check: "reach", status: "failed", remedy: /airferry serve/ });
  t.match(statuses(await doctor({ url: "http://no-such-name.invalid:9000" })), { name: "failed" });
  await t.rejects(doctor({ url: "ftp://x" }), { code: "ERR_USAGE" });
});

t.test("a TLS server at its wrong addresses, or without its CA, is told from one that is down", async (t) => {
  const dir = await shortDir(t);
  const store = createTestStore(dir);
  await store.put({ stream: "s", content: CONTENT, catalog: CATALOG });
  const serving = await serve({
    store: store.dir,
    listen: "127.0.0.1:0",
    listenHttp: ["127.0.0.1:0"],
    tls: "auto",
    tlsDir: join(await shortDir(t), "tls"),
    workers: 1,
    graceMs: 100,
    openStore: async () => store,
  });
  t.teardown(() => serving.close());
  const base = serving.urls.find((it) => it.startsWith("https:"))!;
  const plain = serving.httpUrls[0]!;
  const reach = async (url: string, ca?: string) => (await doctor({ url, ca })).findings.at(-1)!;
  const untrusted = await reach(base);
  t.match(untrusted, { check: "reach", status: "failed", message: /not trusted/ });
  t.match(untrusted.remedy, `airferry doctor --url ${base} --ca ca.crt`);
  t.match(await reach(base.replace("https:", "http:")), { check: "reach", message: /uses TLS, not plain HTTP/ });
  t.match(await reach(plain.replace("http:", "https:")), { check: "reach", message: /uses plain HTTP, not TLS/ });
  t.match(await reach(plain), { check: "reach", message: /plain listener of a TLS server/ });
  const ca = await (await fetch(`${plain}/ca.crt`)).text();
  t.match(statuses(await doctor({ url: base, ca })), { reach: "ok", yum: "ok", file: "ok" });
});

t.test("a registry behind a login that nobody gave is a warning", async (t) => {
  const dir = await shortDir(t);
  const store = createTestStore(dir);
  const image = {
    reference: "quay.io/x:1",
    digest: `sha256:${"0".repeat(64)}` as const,
    mediaType: "application/vnd.oci.image.manifest.v1+json",
    size: 1,
    platforms: [],
    manifests: [],
  };
  await store.put({ stream: "s", content: CONTENT, catalog: { ...CATALOG, images: [image] } });
  const htpasswd = join(await shortDir(t), "users");
  await writeFile(htpasswd, `u:$2b$05$${"a".repeat(53)}\n`);
  const openStore = async () => store;
  const serving = await serve({
    store: store.dir,
    listen: "127.0.0.1:0",
    workers: 1,
    graceMs: 100,
    htpasswd,
    openStore,
  });
  t.teardown(() => serving.close());
  const report = await doctor({ url: serving.urls[0]!, env: { HOME: dir, XDG_RUNTIME_DIR: dir } });
  t.match(statuses(report), { registry: "warning" });
  t.match(report.findings.find((it) => it.check === "registry")?.remedy, /podman login/);
  t.ok(report.ok);
});

t.test("a server without a release, one whose address is another, and one without an index", async (t) => {
  const full = createTestStore(await shortDir(t));
  await full.put({ stream: "s", content: CONTENT, catalog: CATALOG });
  let isEmpty = false;
  const store: StoreReader = { ...full, releases: async () => (isEmpty ? [] : full.releases()) };
  const serving = await serve({
    store: full.dir,
    listen: "127.0.0.1:0",
    workers: 1,
    graceMs: 100,
    url: "http://mirror.example:9000",
    openStore: async () => store,
  });
  t.teardown(() => serving.close());
  const url = serving.urls.at(-1) as string;
  isEmpty = true;
  await new Promise((resolve) => setTimeout(resolve, 1100));
  t.match((await doctor({ url })).findings.at(-1), { check: "index", status: "failed", remedy: /airferry unpack/ });
  isEmpty = false;
  await new Promise((resolve) => setTimeout(resolve, 1100));
  t.match(
    (await doctor({ url })).findings.find((it) => it.check === "yum"),
    {
      status: "failed",
      message: /airferry\.repo leads to/,
      remedy: /airferry doctor --url http:\/\/mirror\.example:9000/,
    },
  );

  const old = createServer((req, res) => res.writeHead(req.url === "/healthz" ? 200 : 404).end("no"));
  old.listen(0, "127.0.0.1");
  await new Promise((resolve) => old.once("listening", resolve));
  t.teardown(() => old.close());
  const report = await doctor({ url: `http://127.0.0.1:${(old.address() as AddressInfo).port}` });
  t.match(report.findings.at(-1), { check: "index", status: "failed", remedy: /update the server/ });
  t.notOk(report.ok);
});

t.test("a file under another name, without a builder: nothing fails, nothing is claimed", async (t) => {
  const store = createTestStore(await shortDir(t));
  await store.put({ stream: "s", content: { "files/a.bin": "one" }, catalog: { files: [{ path: "files/a.bin" }] } });
  const report = await doctor({ url: await serveStore(t, store) });
  t.ok(report.ok, JSON.stringify(report.findings.filter((it) => it.status === "failed")));
  t.match(statuses(report), {
    file: "ok",
    versions: "skipped",
    config: "skipped",
    iso: "skipped",
    registry: "skipped",
  });
});

t.test("a builder whose files cannot be rendered fails in the server's words", async (t) => {
  const { base } = await start(t, CONTENT, { flavor: "spectro-capi", imageconfig: { os_version: "rockylinux-9" } });
  const config = (await doctor({ url: base })).findings.find((it) => it.check === "config");
  t.match(config, { status: "failed", message: /imageconfig answers 404: cannot render "imageconfig"/ });
  t.match(config?.remedy, /manifest/);
});

t.test("stage writes the builder's folder", async (t) => {
  const builder = { flavor: "spectro-capi", kickstart: "ks.cfg", custom_scripts: { pre: ["pre/harden.sh"] } };
  const { store } = await start(t, CONTENT, builder);
  const dir = join(await shortDir(t), "output");
  await t.rejects(
    stage(dir, { store, url: "http://h:9000" }),
    { code: "ERR_RENDER" },
    "imageconfig cannot be rendered",
  );

  const [release] = await store.releases();
  release!.inventory.builder = { ...builder, flavor: "image-builder", packer_vars: { goss_skip_install: "true" } };
  await t.rejects(stage(dir, { store, url: "http://h:9000" }), { code: "ERR_RENDER", hint: /image-builder\.yaml/ });

  const more: Record<string, string | Uint8Array> = { ...CONTENT };
  for (const it of ["kubeadm", "kubelet", "kubectl"]) more[`files/release/v1.33.4/bin/linux/amd64/${it}`] = it;
  more["files/cni/v1.6.0/cni-plugins-linux-amd64-v1.6.0.tgz"] = "cni";
  more["files/crictl-v1.33.0-linux-amd64.tar.gz"] = "crictl";
  more["files/runc.amd64"] = "runc";
  more["files/containerd.service"] = "unit";
  const full = await start(t, more, {
    ...builder,
    flavor: "image-builder",
    packer_vars: { goss_skip_install: "true" },
  });
  const staged = await stage(dir, { store: full.store, url: "http://h:9000/", ca: "PEM", env: {} });
  t.strictSame(
    [...staged.files].sort(),
    [
      "CHECKSUM",
      "airferry.repo",
      "check.json",
      "composer-repositories.json",
      "custom_scripts/pre/00-airferry-guest.sh",
      "custom_scripts/pre/harden.sh",
      "el.iso",
      "http/10/ks.cfg",
      "http/8/ks.cfg",
      "http/9/ks.cfg",
      "ks.cfg",
      "packer-vars.json",
      "roles/airferry_pre/tasks/main.yml",
      "server.crt",
    ].sort(),
  );
  t.equal(await readFile(join(dir, "ks.cfg"), "utf8"), 'url --url="http://h:9000/isos/el/"\n');
  t.equal(sha(await readFile(join(dir, "el.iso"))), sha(CONTENT["isos/el.iso"]));
  t.not((await stat(join(dir, "el.iso"))).ino, (await stat(full.store.blobPath(digestOf(CONTENT["isos/el.iso"])))).ino);
  t.match(
    staged.left.map((it) => it.path),
    ["imageconfig", "boot.ipxe"],
  );
  await stage(dir, { store: full.store, url: "http://h:9000" });
  await t.rejects(stage(dir, { store: full.store, url: "http://h:9000", stream: "none" }), { code: "ERR_RENDER" });
});
