/**
 * A build that was recorded runs again from the bundle alone, with the same commands: skopeo against a registry with
 * tokens and signed redirects, dnf with its packages, curl. Names in `.test` are known to the recording's proxy only.
 */
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import type { RequestListener } from "node:http";
import { basename, join } from "node:path";
import { gzipSync } from "node:zlib";
import t from "tap";
import { clientEnvironment } from "../../src/record/client-environment.ts";
import { runClient as runRecorded } from "../../src/record/run-client.ts";
import { systemTrust } from "../../src/record/system-trust.ts";
import { serve } from "../../src/serve.ts";
import { clientEnv, needs } from "../fixtures/clients.ts";
import { runClient } from "../fixtures/container-clients.ts";
import { airferry } from "../fixtures/host.ts";
import { writeKeyPairs } from "../fixtures/keys.ts";
import { writeManifest } from "../fixtures/program.ts";
import { curl, everythingIn, startRecording, startTlsUpstream } from "../fixtures/recording.ts";

const sha256 = (bytes: Uint8Array | string) => `sha256:${createHash("sha256").update(bytes).digest("hex")}`;

/** A `+` in its version: clients spell URLs differently. */
const SPEC = `Name: tool
Version: 1.0+a
Release: 1
Summary: x
License: MIT
BuildArch: noarch
%description
x
%files
`;

/** An image of one layer. */
function image(): { blobs: Map<string, Buffer>; manifest: Buffer } {
  const tar = Buffer.alloc(10240);
  const layer = gzipSync(tar);
  const config = Buffer.from(
    JSON.stringify({
      architecture: "amd64",
      os: "linux",
      config: {},
      rootfs: { type: "layers", diff_ids: [sha256(tar)] },
    }),
  );
  const describe = (mediaType: string, bytes: Buffer) => ({ mediaType, digest: sha256(bytes), size: bytes.length });
  const manifest = JSON.stringify({
    schemaVersion: 2,
    mediaType: "application/vnd.oci.image.manifest.v1+json",
    config: describe("application/vnd.oci.image.config.v1+json", config),
    layers: [describe("application/vnd.oci.image.layer.v1.tar+gzip", layer)],
  });
  const blobs = new Map([config, layer].map((it) => [sha256(it), it]));
  return { blobs, manifest: Buffer.from(manifest) };
}

/** A registry that gives out tokens, whose blobs are at signed URLs of another host. */
function registry(port: () => number): RequestListener {
  const { blobs, manifest } = image();
  return (request, response) => {
    const { pathname, searchParams } = new URL(request.url ?? "", "https://registry.test");
    const at = `https://registry.test:${port()}`;
    if (pathname === "/token") {
      response.writeHead(200, { "content-type": "application/json" }).end('{"token":"SECRET-TOKEN-OF-REGISTRY"}');
    } else if (pathname.startsWith("/storage/")) {
      const blob =
        searchParams.get("X-Amz-Signature") === "SECRET-SIGNATURE" ? blobs.get(basename(pathname)) : undefined;
      response.writeHead(blob === undefined ? 403 : 200).end(blob);
    } else if (request.headers.authorization !== "Bearer SECRET-TOKEN-OF-REGISTRY") {
      response.writeHead(401, { "www-authenticate": `Bearer realm="${at}/token",service="registry.test"` }).end();
    } else if (pathname.endsWith("/manifests/1.0") || pathname.endsWith(`/manifests/${sha256(manifest)}`)) {
      const headers = { "docker-content-digest": sha256(manifest), "content-length": manifest.length };
      response.writeHead(200, { ...headers, "content-type": "application/vnd.oci.image.manifest.v1+json" });
      response.end(request.method === "HEAD" ? undefined : manifest);
    } else if (blobs.has(basename(pathname))) {
      const location = `https://storage.test:${port()}/storage/${basename(pathname)}?X-Amz-Signature=SECRET-SIGNATURE`;
      response.writeHead(307, { location }).end();
    } else response.writeHead(404).end();
  };
}

t.test("skopeo, dnf and curl, recorded and then answered from the bundle", async (t) => {
  if (!needs(t, "skopeo", "dnf", "createrepo_c", "rpmbuild", "curl")) return;
  const dir = t.testdir();
  const repo = join(dir, "repo");
  mkdirSync(repo);
  writeFileSync(join(dir, "tool.spec"), SPEC);
  const build = ["-bb", "--quiet", `--define=_topdir ${dir}/build`, `--define=_rpmdir ${repo}`, join(dir, "tool.spec")];
  t.equal((await runClient("rpmbuild", build)).status, 0);
  t.equal((await runClient("createrepo_c", ["-q", repo])).status, 0);
  let port = 0;
  const answerRegistry = registry(() => port);
  const up = await startTlsUpstream(t, ["registry.test", "storage.test", "repo.test"], (request, response) => {
    if (!request.headers.host?.startsWith("repo.test")) return answerRegistry(request, response);
    try {
      response.end(
        readFileSync(join(repo, decodeURIComponent(new URL(request.url ?? "", "https://repo.test").pathname))),
      );
    } catch {
      response.writeHead(404).end("not in this repository");
    }
  });
  port = up.port;
  const lab = await startRecording(t, up.ca.cert, { dir });

  const certs = join(dir, "certs");
  mkdirSync(certs);
  const pull = async (to: string, proxy: string, ca: string) => {
    writeFileSync(join(certs, "ca.crt"), ca);
    const source = `docker://registry.test:${port}/tools/box:1.0`;
    return runClient("skopeo", ["copy", "-q", "--src-cert-dir", certs, source, `dir:${join(dir, to)}`], {
      HTTPS_PROXY: proxy,
    });
  };
  const dnfArgs = (root: string, ...more: string[]): [string, ...string[]] => [
    "dnf",
    ...["-q", "-y", "--noplugins", "--releasever=9", `--installroot=${join(dir, root)}`, "--setopt=reposdir=/dev/null"],
    ...[`--repofrompath=a,https://repo.test:${port}/`, "--repo=a", "--nogpgcheck", ...more],
    ...["install", "--downloadonly", `--downloaddir=${join(dir, root, "got")}`, "--setopt=tsflags=nodocs", "*"],
  ];

  const pulled = await pull("recorded", lab.proxy, lab.recorder.ca);
  t.equal(pulled.status, 0, pulled.out);
  t.equal(await curl(lab, `https://repo.test:${port}/missing`), "not in this repository");

  await t.test("dnf finds the CA in place of the system's", async (t) => {
    const system = await systemTrust({});
    const bundle = join(dir, "bundle.crt");
    writeFileSync(bundle, `${system.pem}\n${lab.recorder.ca}`);
    const env = await clientEnvironment(
      { ...clientEnv(), JAVA_TOOL_OPTIONS: "-Djavax.net.ssl.trustStore=own" },
      { proxy: lab.proxy, dir, bundle, caFile: lab.caFile, keepCaches: true },
    );
    const overlays = system.files.map((over) => ({ file: bundle, over }));
    const run = { command: dnfArgs("dnf-recorded"), env, overlays, isQuiet: true };
    t.equal(await runRecorded(run), 0);
  });

  const answers = await lab.end();
  t.notMatch(everythingIn(lab.folder), /SECRET/);
  const paths = answers.map((it) => new URL(it.url).pathname);
  for (const it of ["/repodata/repomd.xml", "/noarch/tool-1.0+a-1.noarch.rpm", "/v2/", "/v2/tools/box/manifests/1.0"])
    t.ok(paths.includes(it), it);
  t.notOk(
    answers.some((it) => it.url.includes("storage.test")),
    "the storage is never asked inside",
  );

  writeManifest(dir, { web: [{ name: "b", recording: "./b.recording" }] }, "b.yaml");
  await writeKeyPairs(dir);
  const packed = await airferry(dir, ["pack", "b.yaml", "--key", "k.key", "--json"], {
    https_proxy: "http://127.0.0.1:1",
  });
  t.equal(packed.status, 0, packed.stderr);
  const { bundle } = JSON.parse(packed.stdout);
  const unpacked = await airferry(dir, ["unpack", bundle, "--trust", "k.pub", "--store", "store"]);
  t.equal(unpacked.status, 0, unpacked.stderr);
  up.server.close();
  up.server.closeAllConnections();

  const tlsDir = join(dir, "tls");
  const serving = await serve({ store: join(dir, "store"), listen: "127.0.0.1:0", proxy: "127.0.0.1:0", tlsDir });
  t.teardown(() => serving.close());
  const inside = serving.origins?.proxyUrl ?? "";
  const caFile = join(tlsDir, "origins-ca.crt");
  const again = await pull("replayed", inside, readFileSync(caFile, "utf8"));
  t.equal(again.status, 0, again.out);
  const [before, after] = ["recorded", "replayed"].map((it) => readFileSync(join(dir, it, "manifest.json"), "utf8"));
  t.equal(after, before);
  const [dnf, ...args] = dnfArgs("dnf-replayed", `--setopt=proxy=${inside}`, `--setopt=sslcacert=${caFile}`);
  const installed = await runClient(dnf, args);
  t.equal(installed.status, 0, installed.out);
  t.ok(existsSync(join(dir, "dnf-replayed/got/tool-1.0+a-1.noarch.rpm")));
  const missing = ["-x", inside, "--cacert", caFile, "-w", " %{http_code}", `https://repo.test:${port}/missing`];
  t.equal(await curl(lab, ...missing), "not in this repository 404");
});
