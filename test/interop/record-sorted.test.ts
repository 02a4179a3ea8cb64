/**
 * A recording is sorted into repositories, images, ISOs and files, packed with upstream stopped, and the build that was
 * recorded runs from the bundle unchanged: dnf with signed metadata, modules and a list of mirrors; skopeo against a
 * registry with tokens and signed redirects; curl. Names of upstream are in the hosts file of a namespace only.
 */
import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import type { RequestListener } from "node:http";
import { basename, join } from "node:path";
import t, { type Test } from "tap";
import { parse } from "yaml";
import { needs } from "../fixtures/clients.ts";
import { git, hasGitBackend, startGitUpstream } from "../fixtures/git-upstream.ts";
import { airferry } from "../fixtures/host.ts";
import { MANIFEST, TestImages } from "../fixtures/images.ts";
import { makeIso } from "../fixtures/iso-maker.ts";
import { writeKeyPairs } from "../fixtures/keys.ts";
import { CHECKOUT, scratch, start } from "../fixtures/program.ts";
import { everythingIn, startTlsUpstream } from "../fixtures/recording.ts";
import { buildRpmTree, RPM_BUILDERS } from "../fixtures/rpm-tree.ts";

const NAMES = ["repo.up.test", "registry.up.test", "storage.up.test", "dl.up.test"];
const ENV = { JAVA_TOOL_OPTIONS: "-Djavax.net.ssl.trustStore=own" };

/** Upstream's registry: an index of two platforms, for whoever has a token; blobs are at signed URLs of another host. */
function registry(images: TestImages, tag: string, port: () => number): RequestListener {
  return (request, response) => {
    const { pathname, searchParams } = new URL(request.url ?? "", "https://registry.up.test");
    const last = basename(pathname);
    if (pathname === "/token") {
      response.writeHead(200, { "content-type": "application/json" }).end('{"token":"SECRET-TOKEN-OF-REGISTRY"}');
    } else if (pathname.startsWith("/storage/")) {
      const isSigned = searchParams.get("X-Amz-Signature") === "SECRET-SIGNATURE";
      response.writeHead(isSigned ? 200 : 403).end(isSigned ? images.blobs.get(last) : undefined);
    } else if (request.headers.authorization !== "Bearer SECRET-TOKEN-OF-REGISTRY") {
      const realm = `https://registry.up.test:${port()}/token`;
      response.writeHead(401, { "www-authenticate": `Bearer realm="${realm}",service="registry.up.test"` }).end();
    } else if (images.blobs.has(last)) {
      const location = `https://storage.up.test:${port()}/storage/${last}?X-Amz-Signature=SECRET-SIGNATURE`;
      response.writeHead(307, { location }).end();
    } else {
      const found = images.manifests.get(last === "1.0" ? tag : last);
      if (found === undefined) return void response.writeHead(404).end();
      const digest = `sha256:${createHash("sha256").update(found.bytes).digest("hex")}`;
      response.writeHead(200, { "content-type": found.mediaType, "docker-content-digest": digest });
      response.end(request.method === "HEAD" ? undefined : found.bytes);
    }
  };
}

interface Lab {
  dir: string;
  port: number;
  /** Runs airferry where the names of upstream lead to it. */
  outside(...args: string[]): ReturnType<typeof airferry>;
  stop(): void;
}

/** Upstream and a folder; undefined, with a note, where clients are missing. */
async function startLab(t: Test, ...clients: string[]): Promise<Lab | undefined> {
  if (!needs(t, "unshare", "curl", ...clients, ...RPM_BUILDERS)) return undefined;
  const dir = scratch(t);
  const tree = await buildRpmTree(join(dir, "tree"));
  const images = new TestImages();
  const platforms = ["linux/amd64", "linux/arm64"].map((it) => images.image(it, [{ "/etc/box": it }]));
  const index = images.index(platforms);
  let port = 0;
  const answerRegistry = registry(images, index.digest, () => port);
  const at = () => `https://repo.up.test:${port}`;
  const files = new Map<string, Uint8Array | string>();
  for (const name of ["base", "app", "multi"])
    for (const [path, content] of tree.served(name)) files.set(decodeURIComponent(path), content as Uint8Array);
  files.set("/key", tree.key);
  files.set("/boot.iso", makeIso([]));
  files.set("/v1/tool.tar.gz", Buffer.from("1f8b08000000000000030300000000000000000000", "hex"));
  files.set("/page", "<html>not a file");
  const up = await startTlsUpstream(t, NAMES, (request, response) => {
    if (!/^(?:repo|dl)\./.test(request.headers.host ?? "")) return answerRegistry(request, response);
    if (request.url === "/mirrors?repo=app") return void response.end(`${at()}/app/\n`);
    const found = files.get(decodeURIComponent((request.url ?? "").replace(/\?.*/, "")));
    const type = request.url === "/page" ? "text/html" : "application/octet-stream";
    response.writeHead(found === undefined ? 404 : 200, { "content-type": type }).end(found);
  });
  port = up.port;
  writeFileSync(join(dir, "up.crt"), up.ca.cert);
  writeFileSync(join(dir, "hosts"), `127.0.0.1 localhost\n${NAMES.map((it) => `127.0.0.1 ${it}\n`).join("")}`);
  await writeKeyPairs(dir);
  const repository = (name: string, ...lines: string[]) => [`[${name}]`, `name=${name}`, ...lines, ""].join("\n");
  const keys = [`gpgcheck=1`, `gpgkey=${at()}/key`];
  writeFileSync(
    join(dir, "dnf.conf"),
    [
      `[main]\nplugins=0\nreposdir=/dev/null\ncachedir=${dir}/cache\nlogdir=${dir}\n`,
      repository("base", `baseurl=${at()}/base/`, "repo_gpgcheck=1", ...keys),
      repository("app", `mirrorlist=${at()}/mirrors?repo=app`, ...keys),
      repository("multi", `baseurl=${at()}/multi/`, ...keys),
    ].join("\n"),
  );
  const mount = 'mount --bind hosts /etc/hosts && exec "$@"';
  return {
    dir,
    port,
    outside: (...args) => start(dir, args, ENV, ["unshare", "-m", "sh", "-c", mount, "sh", ...CHECKOUT]).done,
    stop() {
      up.server.close();
      up.server.closeAllConnections();
    },
  };
}

const DNF =
  "rm -rf root cache; dnf -q -y --config=dnf.conf --installroot=$PWD/root --releasever=9 --forcearch=x86_64 --setopt=module_platform_id=platform:el9 install";

t.test("what was recorded is sorted, packed without upstream, and built from again", async (t) => {
  const lab = await startLab(t, "dnf", "skopeo");
  if (lab === undefined) return;
  const { dir, port } = lab;
  const build = [
    "set -e; rm -rf out; mkdir out",
    `curl -fsS -o out/boot.iso https://dl.up.test:${port}/boot.iso`,
    `curl -fsS -o out/tool.tar.gz https://dl.up.test:${port}/v1/tool.tar.gz`,
    `curl -fsS -o out/page https://dl.up.test:${port}/page`,
    `test $(curl -s -o /dev/null -w '%{http_code}' https://dl.up.test:${port}/missing) = 404`,
    `${DNF} aft-app aft-tool @aftweb:1/common`,
    `skopeo --override-arch amd64 copy -q docker://registry.up.test:${port}/tools/box:1.0 dir:out/box`,
    "",
  ];
  writeFileSync(join(dir, "build.sh"), build.join("\n"));
  const recorded = await lab.outside("record", "--out", "b.yaml", "--ca", "up.crt", "--json", "--", "sh", "build.sh");
  t.equal(recorded.status, 0, recorded.stderr);
  const result = JSON.parse(recorded.stdout);
  t.strictSame(result.left, [], recorded.stderr);
  const packages = { base: 4, app: 2, multi: 3 };
  t.match(
    result.sorted.map((it: { kind: string; name: string }) => `${it.kind} ${it.name}`),
    [
      `images registry.up.test:${port}/tools/box:1.0`,
      "rpms app",
      "rpms base",
      "rpms multi",
      "isos boot",
      "files tool.tar.gz",
    ],
  );
  const manifest = parse(readFileSync(join(dir, "b.yaml"), "utf8"));
  for (const [name, count] of Object.entries(packages)) {
    const entry = manifest.rpms.find((it: { name: string }) => it.name === name);
    t.match(entry, { dependencies: "none", keys: [`https://repo.up.test:${port}/key`] });
    t.equal(entry.packages.length, count, entry.packages.join(" "));
  }
  t.match(manifest.images, [{ platforms: ["linux/amd64"], referrers: false }]);
  t.notMatch(everythingIn(join(dir, "b.recording")) + JSON.stringify(manifest), /SECRET/);

  lab.stop();
  const packed = await lab.outside("pack", "b.yaml", "--key", "k.key", "--json");
  t.equal(packed.status, 0, packed.stderr);
  const { bundle, fetchedBytes } = JSON.parse(packed.stdout);
  t.equal(fetchedBytes, 0);
  const inspected = JSON.parse((await airferry(dir, ["inspect", bundle, "--json"])).stdout);
  t.match(inspected.catalog.rpms, [{ path: "rpms/app/" }, { path: "rpms/base/" }, { path: "rpms/multi/" }]);
  const large = inspected.entries.filter((it: { path: string }) =>
    /\.rpm$|blobs\/|\.iso$|tool\.tar\.gz$/.test(it.path),
  );
  t.equal(new Set(large.map((it: { digest: string }) => it.digest)).size, large.length, "nothing is carried twice");

  const args = ["rehearse", bundle, "--trust", "k.pub", "--json", "--", "sh", "build.sh"];
  const rehearsed = await start(dir, args).done;
  t.equal(rehearsed.status, 0, rehearsed.stderr + rehearsed.stdout);
  t.match(JSON.parse(rehearsed.stdout), { status: 0, missing: [] });
  const [image] = JSON.parse(readFileSync(join(dir, "out/box/manifest.json"), "utf8")).layers;
  t.ok(image);
  t.match(JSON.parse(readFileSync(join(dir, "out/box/manifest.json"), "utf8")), { mediaType: MANIFEST });
});

t.test("a clone runs again under its origin's name, as it was then", async (t) => {
  if (!needs(t, "unshare", "ip") || !hasGitBackend()) return;
  const dir = scratch(t);
  mkdirSync(join(dir, "up"));
  git(dir, "cd up; git init -q -b main a; cd a; git commit -q --allow-empty -m one; git tag v1");
  const upstream = (await startGitUpstream(t, join(dir, "up"))).replace("127.0.0.1", "git.up.test");
  await writeKeyPairs(dir);
  writeFileSync(join(dir, "hosts"), "127.0.0.1 git.up.test\n");
  const clone = `unset no_proxy NO_PROXY; rm -rf c; git clone -q ${upstream}/a/.git c; git -C c log --format=%s > said`;
  const command = ["--", "sh", "-ec", clone];
  const mount = 'mount --bind hosts /etc/hosts && exec "$@"';
  const outside = ["unshare", "-m", "sh", "-c", mount, "sh", ...CHECKOUT] as const;
  const recorded = await start(dir, ["record", "--out", "b.yaml", ...command], ENV, [...outside]).done;
  t.equal(recorded.status, 0, recorded.stderr);
  t.match(recorded.stderr, /git\.up\.test:\d+ .* git 1, web 1 +-$/m, "nothing of it is missing");
  git(dir, "cd up/a; git commit -q --allow-empty -m two");
  const packed = await airferry(dir, ["pack", "b.yaml", "--key", "k.key", "--json"], {
    http_proxy: "http://127.0.0.1:1",
  });
  t.equal(packed.status, 0, packed.stderr);
  const { bundle } = JSON.parse(packed.stdout);
  const rehearsed = await start(dir, ["rehearse", bundle, "--trust", "k.pub", ...command]).done;
  t.equal(rehearsed.status, 0, rehearsed.stderr + rehearsed.stdout);
  t.equal(readFileSync(join(dir, "said"), "utf8"), "one\n");
});

t.test("packages become a whole repository with --whole, and keys count only if they were fetched", async (t) => {
  const lab = await startLab(t);
  if (lab === undefined) return;
  const { dir, port } = lab;
  const at = `https://repo.up.test:${port}`;
  const fetchFrom = (name: string, some: RegExp) =>
    readdirSync(join(dir, "tree", name), { recursive: true, encoding: "utf8" })
      .filter((it) => some.test(it))
      .map((it) => `curl -fsS -o /dev/null '${at}/${name}/${it}'`);
  const recordFrom = async (out: string, lines: string[], ...more: string[]) => {
    const script = lines.join(" && ");
    const args = ["record", "--out", out, "--ca", "up.crt", "--json", ...more, "--", "sh", "-c", script];
    const { status, stdout, stderr } = await lab.outside(...args);
    t.equal(status, 0, stderr);
    return { ...JSON.parse(stdout), manifest: parse(readFileSync(join(dir, out), "utf8")) };
  };
  const some = [...fetchFrom("base", /repomd\.xml$|primary\.xml|aft-words/), `curl -fsS -o /dev/null ${at}/key`];
  const first = await recordFrom("b.yaml", some);
  t.match(first.manifest.rpms, [{ name: "base", packages: ["aft-words-3-1.noarch"], dependencies: "none" }]);
  const text = readFileSync(join(dir, "b.yaml"), "utf8").replace("name: base", "name: mine # my name");
  writeFileSync(join(dir, "b.yaml"), text);
  const more = await recordFrom("b.yaml", fetchFrom("base", /aft-lang/));
  t.strictSame(more.manifest.rpms[0].packages, ["aft-lang-1-1.noarch", "aft-words-3-1.noarch"]);
  const whole = await recordFrom("b.yaml", ["true"], "--whole");
  t.strictSame(whole.left, []);
  t.match(readFileSync(join(dir, "b.yaml"), "utf8"), "name: mine # my name");
  t.strictSame(Object.keys(whole.manifest.rpms[0]), ["name", "url", "keys", "kickstart"]);
  t.match(whole.sorted, [{ kind: "rpms", id: `${at}/base/`, name: "mine", packages: 6 }]);

  const unsigned = await recordFrom("c.yaml", [
    ...fetchFrom("multi", /repomd\.xml$|primary\.xml|aft-data/),
    // Nobody read what this one has.
    ...fetchFrom("app", /repomd\.xml$|aft-app/),
  ]);
  t.match(unsigned.manifest.rpms, [{ name: "multi", gpgcheck: false, packages: ["aft-data-1-1.noarch"] }]);
  t.equal(unsigned.manifest.rpms.length, 1);
  t.notOk(unsigned.manifest.files, "its package is no file");

  lab.stop();
  for (const name of ["b", "c"]) {
    const packed = await lab.outside("pack", `${name}.yaml`, "--key", "k.key", "--json");
    t.equal(packed.status, 0, packed.stderr);
    t.equal(JSON.parse(packed.stdout).fetchedBytes, 0);
  }
  const inspected = JSON.parse((await airferry(dir, ["inspect", "bundles/b-000001", "--json"])).stdout);
  const paths = inspected.entries.map((it: { path: string }) => it.path);
  t.ok(paths.includes("rpms/mine/repodata/repomd.xml.asc"), "as upstream signed it");
  t.equal(paths.filter((it: string) => it.endsWith(".rpm")).length, 6);
});
