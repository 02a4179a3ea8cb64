/** Every kind of page and content of a server on a bucket: the answers are those of a server on the same store in a folder. */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { render } from "../../src/render.ts";
import { serve } from "../../src/serve.ts";
import { putStore } from "../fixtures/bucket-store.ts";
import { noise } from "../fixtures/bundle-maker.ts";
import { needs } from "../fixtures/clients.ts";
import { manyPackages, unpackPageStream } from "../fixtures/page-store.ts";
import { scratch } from "../fixtures/program.ts";
import { startGateway } from "../fixtures/s3-gateway.ts";

const MIB = 1024 * 1024;
const skip = !needs(t, "versitygw", "xorriso");
const dir = scratch(t);
const gateway = skip ? undefined : await startGateway(join(dir, "gateway"));
t.teardown(() => gateway?.stop());
Object.assign(process.env, gateway?.env);

/** An ISO with directories and a file that is larger than a piece. */
function makeImage(): Buffer {
  const tree = join(dir, "tree");
  mkdirSync(join(tree, "images/pxeboot"), { recursive: true });
  const write = (path: string, bytes: Buffer) =>
    execFileSync("tee", [join(tree, path)], { input: bytes, stdio: ["pipe", "ignore", "ignore"] });
  const treeinfo =
    "[general]\nfamily = Rocky Linux\nversion = 9.6\narch = x86_64\n[tree]\narch = x86_64\nvariants = \n[images-x86_64]\nkernel = images/pxeboot/vmlinuz\n";
  write(".treeinfo", Buffer.from(treeinfo));
  write("images/pxeboot/vmlinuz", noise(2 * MIB + 3, 5));
  write("small", noise(500, 6));
  execFileSync("xorriso", ["-as", "mkisofs", "-quiet", "-R", "-V", "Rocky-9-6", "-o", join(dir, "made.iso"), tree], {
    stdio: "ignore",
  });
  return readFileSync(join(dir, "made.iso"));
}

const PATHS = [
  "/index.json",
  "/registry",
  "/packages",
  "/packages?q=lib-tools",
  "/packages.json?q=devel&limit=5",
  "/s/rocky-9/BOM.html",
  "/s/rocky-9/releases/000001",
  "/releases/",
  "/isos/",
  "/isos/rocky-9/",
  "/isos/rocky-9/.treeinfo",
  "/isos/rocky-9/images/pxeboot/vmlinuz",
  "/isos/rocky-9/small",
  "/isos/rocky-9/none",
  "/isos/rocky-9.iso.sha256",
  "/rpms/kubernetes/repodata/repomd.xml",
  "/v2/_catalog",
  "/v2/registry.k8s.io/kube-part-0/tags/list",
  "/v2/registry.k8s.io/kube-part-0/manifests/v1.33.4",
  "/v2/registry.k8s.io/kube-part-0/manifests/v9",
  "/config/",
  "/config/yum.repos.d/airferry.repo",
];

t.test("pages, trees inside ISOs, packages, images and configuration", { skip }, async (t) => {
  if (gateway === undefined) return;
  const iso = makeImage();
  const store = await unpackPageStream(dir, {
    stream: "rocky-9",
    packages: manyPackages(300),
    files: { "isos/rocky-9.iso": iso },
  });
  const name = gateway.name("pages");
  await putStore(store, name);
  const options = { listen: "127.0.0.1:0", graceMs: 100, url: "http://mirror.example:9000" };
  const folder = await serve({ ...options, store });
  t.teardown(() => folder.close());
  const bucket = await serve({ ...options, store: name, cache: join(dir, "cache"), workers: 2 });
  t.teardown(() => bucket.close());
  // Its index of packages is lost: it is made of the metadata.
  rmSync(join(store, "releases/rocky-9/000001/packages.idx"), { force: true });
  const lost = gateway.name("lost");
  await putStore(store, lost);
  const without = await serve({ ...options, store: lost, cache: join(dir, "cache-lost") });
  t.teardown(() => without.close());

  const ask = async (base: string | undefined, path: string, headers: Record<string, string> = {}) => {
    const answer = await fetch(`${base}${path}`, { headers });
    const digest = createHash("sha256")
      .update(Buffer.from(await answer.arrayBuffer()))
      .digest("hex");
    const kept = ["content-type", "content-length", "etag", "last-modified", "content-range", "cache-control"];
    return { status: answer.status, digest, ...Object.fromEntries(kept.map((it) => [it, answer.headers.get(it)])) };
  };
  const [a, b, c] = [folder, bucket, without].map((it) => it.urls.at(-1));
  for (const path of PATHS) {
    const expected = await ask(a, path);
    t.ok(expected.status < 500, `${path}: ${expected.status}`);
    t.same(await ask(b, path), expected, path);
    if (/packages/.test(path)) t.same(await ask(c, path), expected, `${path}, without the index`);
    const part = { range: "bytes=100-1048700" };
    t.same(await ask(b, path, part), await ask(a, path, part), `${path}, a range`);
  }
  t.equal((await ask(a, "/isos/rocky-9/small")).status, 200, "the tree is there at all");
  t.equal((await ask(a, "/packages.json?q=devel&limit=5")).status, 200);

  const url = "http://mirror.example:9000";
  const cache = join(dir, "cache-render");
  for (const what of ["repo", "boot-ipxe", "checksum"] as const) {
    const of = await render(what, { store, url }).catch((error: Error) => error.message.replace(/"[^"]*"/g, "…"));
    t.same(
      await render(what, { store: name, url, cache }).catch((error: Error) => error.message.replace(/"[^"]*"/g, "…")),
      of,
      what,
    );
  }
});
