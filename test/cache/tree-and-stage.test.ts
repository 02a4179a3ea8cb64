/** `export tree` and `stage` on a store in a bucket: every file is that which the same store in a folder gives. */
import { chmodSync, lstatSync, mkdirSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { exportTree } from "../../src/export.ts";
import { digestOf, hexOf } from "../../src/io/digest.ts";
import { stage } from "../../src/stage.ts";
import { unpack } from "../../src/unpack.ts";
import { putStore } from "../fixtures/bucket-store.ts";
import { makeBundle, makeKey, noise } from "../fixtures/bundle-maker.ts";
import { needs } from "../fixtures/clients.ts";
import { TestImages } from "../fixtures/images.ts";
import { makeIso, NM, PX } from "../fixtures/iso-maker.ts";
import { scratch, start } from "../fixtures/program.ts";
import { makeRepository } from "../fixtures/rpm-metadata.ts";
import { startGateway } from "../fixtures/s3-gateway.ts";

const MIB = 1024 * 1024;
const skip = !needs(t, "versitygw");
const dir = scratch(t);
const gateway = skip ? undefined : await startGateway(join(dir, "gateway"));
t.teardown(() => gateway?.stop());
Object.assign(process.env, gateway?.env);
const name = gateway?.name("site") ?? "";
const store = join(dir, "store");
const cache = join(dir, "cache");
const base = "http://mirror.example.com";

const images = new TestImages();
const image = images.image("linux/amd64", [{ "etc/motd": "hello\n" }, { "opt/blob": noise(3 * MIB, 1) }]);
const repository = await makeRepository([{ name: "tool", evr: "1-1" }]);
const iso = makeIso(
  [{ id: "T", block: 30, size: 4, use: Buffer.concat([PX(0o100644), NM(".treeinfo")]) }],
  new Map([
    [30, Buffer.from("[a]\n")],
    [700, noise(1.5 * MIB, 9)],
  ]),
);
const content: Record<string, Buffer> = {
  "isos/el.iso": iso,
  "files/large": noise(2 * MIB + 3, 7),
  "files/empty": Buffer.alloc(0),
  "keys/r.asc": Buffer.from("-----BEGIN PGP PUBLIC KEY BLOCK-----\n"),
};
for (const it of ["kubeadm", "kubelet", "kubectl"])
  content[`files/release/v1.33.4/bin/linux/amd64/${it}`] = noise(9, 4);
for (const it of [
  "cni/v1.6.0/cni-plugins-linux-amd64-v1.6.0.tgz",
  "crictl-v1.33.0-linux-amd64.tar.gz",
  "containerd-2.1.4-linux-amd64.tar.gz",
  "containerd.service",
  "runc.amd64",
])
  content[`files/${it}`] = noise(10, 5);
for (const [path, bytes] of repository.files) content[`rpms/r/${path}`] = Buffer.from(bytes);
for (const [path, bytes] of Object.entries(images.content())) content[path] = Buffer.from(bytes);

if (!skip) {
  const key = makeKey();
  writeFileSync(join(dir, "key.pub"), key.pem);
  for (const serial of [1, 2]) {
    const bundle = join(dir, `bundle-${serial}`);
    makeBundle(bundle, {
      files: { "files/a": noise(1000, serial), ...(serial === 2 && content) },
      keys: [key],
      serial,
      notes: { "BOM.html": Buffer.from('<!doctype html><html lang="en"><title>bill</title></html>') },
      spoil: (inventory) => {
        if (serial === 1) return;
        inventory.builder = { flavor: "image-builder", packer_vars: { goss_skip_install: "true" } };
        inventory.catalog.isos.push({ name: "el", path: "isos/el.iso" });
        inventory.catalog.images.push(images.catalogImage("quay.io/t/a:1", image));
      },
    });
    await unpack([bundle], { trust: [join(dir, "key.pub")], store });
  }
  await putStore(store, name);
}

/** What each name below a folder is: a digest, or where a link leads. */
function allOf(folder: string): Record<string, string> {
  const found = readdirSync(folder, { recursive: true, withFileTypes: true }).map((it) => {
    const path = join(it.parentPath, it.name);
    const what = it.isSymbolicLink() ? readlinkSync(path) : it.isFile() ? digestOf(readFileSync(path)) : "folder";
    return [path.slice(folder.length), what] as const;
  });
  return Object.fromEntries(found.sort(([a], [b]) => (a < b ? -1 : 1)));
}

t.test("export tree writes the same", { skip }, async (t) => {
  if (gateway === undefined) return;
  const [ofFolder, ofBucket] = [join(dir, "tree"), join(dir, "tree-of-bucket")];
  const faults: string[] = [];
  const onFault = (it: string) => faults.push(it);
  await exportTree({ dir: ofFolder, store, base, onFault });
  const written = await exportTree({ dir: ofBucket, store: name, base, cache, onFault });
  t.same(faults, []);
  const expected = allOf(join(ofFolder, "current/"));
  for (const it of [
    "tree/isos/el/.treeinfo",
    "tree/s/test/releases/000001/.airferry.html",
    "tree/files/large",
    "tree/BOM.html",
  ])
    t.ok(expected[it], it);
  const isSame = ([path]: [string, string]) => /^(?:tree|registry)\//.test(path);
  t.same(
    Object.fromEntries(Object.entries(allOf(join(ofBucket, "current/"))).filter(isSame)),
    Object.fromEntries(Object.entries(expected).filter(isSame)),
  );
  t.equal(written.written.sharedBytes, 0);

  const args = ["--store", name, "--base", base, "--cache", cache, "--cache-size", "1GiB", "--recheck", "--json"];
  const again = await start(dir, ["export", "tree", ofBucket, ...args]).done;
  t.match(JSON.parse(again.stdout), { changed: false, written: { files: 0 } }, again.stderr);

  await t.rejects(exportTree({ dir: ofBucket, store: name, link: true }), { code: "ERR_USAGE", message: /hard links/ });
  await t.rejects(exportTree({ dir: join(cache, "tree"), store: name, cache }), {
    code: "ERR_USAGE",
    message: /inside/,
  });
});

t.test("into a bucket as well", { skip }, async (t) => {
  if (gateway === undefined) return;
  const onFault = (it: string) => t.fail(it);
  const all: Record<string, string>[] = [];
  for (const [prefix, from] of [
    ["of-folder", store],
    ["of-bucket", name],
  ] as const) {
    const tree = gateway.name(prefix);
    t.match(await exportTree({ dir: tree, store: from, base, cache, onFault }), { changed: true, leftOut: 0 });
    t.match(await exportTree({ dir: tree, store: from, base, cache, onFault }), { changed: false });
    const found = Object.entries(allOf(join(gateway.data, gateway.bucket, prefix)));
    all.push(Object.fromEntries(found.filter(([path]) => !path.startsWith("/.airferry/"))));
  }
  for (const it of ["/isos/el/.treeinfo", "/files/large", "/v2/t/a/manifests/1", "/s/test/releases/000001"])
    t.ok(all[0]?.[it], it);
  t.same(all[1], all[0]);
  await t.rejects(exportTree({ dir: gateway.name("site/tree"), store }), {
    code: "ERR_USAGE",
    message: /inside a store/,
  });
  await t.rejects(exportTree({ dir: name, store: name, cache }), {
    code: "ERR_USAGE",
    message: /it has other objects/,
  });
});

t.test("content that was altered in the bucket stops it, and what was served stays", { skip }, async (t) => {
  if (gateway === undefined) return;
  const site = gateway.name("altered");
  await putStore(store, site);
  for (const [at, path] of ["files/large", "files/a"].entries()) {
    const digest = digestOf(path === "files/a" ? noise(1000, 2) : (content[path] as Buffer));
    const blob = join(gateway.data, "airferry/altered/blobs/sha256", hexOf(digest).slice(0, 2), hexOf(digest));
    const right = readFileSync(blob);
    const wrong = Buffer.from(right);
    wrong[right.length - 1] = (wrong[right.length - 1] ?? 0) ^ 1;
    chmodSync(blob, 0o644);
    writeFileSync(blob, wrong);
    const tree = join(dir, `tree-altered-${at}`);
    const options = { dir: tree, store: site, cache: join(dir, `cache-altered-${at}`) };
    await t.rejects(exportTree(options), { code: "ERR_STORE_INVALID" }, path);
    t.notOk(readdirSync(tree).includes("current"));
    writeFileSync(blob, right);
    t.match(await exportTree(options), { changed: true });
  }
});

t.test("stage writes the same", { skip }, async (t) => {
  const folders = [join(dir, "staged"), join(dir, "staged-of-bucket")] as const;
  for (const it of folders) mkdirSync(it);
  const options = { url: "http://192.0.2.1:9000", env: {}, builderUid: process.getuid?.() };
  const expected = await stage(folders[0], { ...options, store });
  t.ok(expected.files.includes("el.iso"));
  const staged = await stage(folders[1], { ...options, store: name, cache });
  t.same({ ...staged, dir: "" }, { ...expected, dir: "" });
  t.same(allOf(folders[1]), allOf(folders[0]));
  for (const it of staged.files)
    t.equal(lstatSync(join(folders[1], it)).mode, lstatSync(join(folders[0], it)).mode, it);
  t.ok(readFileSync(join(folders[1], "el.iso")).equals(iso));
});

t.test("while the bucket does not answer the tree is that of the cache, and says so", { skip }, async (t) => {
  if (gateway === undefined) return;
  await gateway.stop();
  const faults: string[] = [];
  const onFault = (it: string) => faults.push(it);
  t.match(await exportTree({ dir: join(dir, "tree-of-bucket"), store: name, base, cache, onFault }), {
    changed: false,
  });
  t.match(faults, [/^the bucket of "s3:.* does not answer: this is what was current when it last did$/]);
});
