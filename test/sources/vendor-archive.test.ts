/** `vendor:`: the vendor's archive as one line; locked, planned, packed, packed again; and archives that want to do harm. */
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync, zstdCompressSync } from "node:zlib";
import t, { type Test } from "tap";
import { parseInventory } from "../../src/bundle/inventory.ts";
import type { AirferryError } from "../../src/errors.ts";
import { digestOf } from "../../src/io/digest.ts";
import { readManifest } from "../../src/manifest/load.ts";
import type { Manifest } from "../../src/manifest/schema.ts";
import { openImageArchive } from "../../src/sources/image/image-archive.ts";
import { type OpenedVendor, openVendor } from "../../src/sources/vendor-archive.ts";
import { airferry } from "../fixtures/host.ts";
import { type TarPart, tarOf } from "../fixtures/images.ts";
import { scratch, writeManifest } from "../fixtures/program.ts";
import { makeRpm } from "../fixtures/rpm-files.ts";

const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");
const REFERENCE = "us-docker.pkg.dev/x/capi-builder:v4.6.23";

function builderTar(): Buffer {
  const layer = tarOf([{ path: "a", bytes: Buffer.from("a") }]);
  const rootfs = { type: "layers", diff_ids: [`sha256:${sha256(layer)}`] };
  const config = Buffer.from(JSON.stringify({ architecture: "amd64", os: "linux", rootfs }));
  const list = [{ Config: "c.json", RepoTags: [REFERENCE], Layers: ["l.tar"] }];
  return tarOf([
    { path: "c.json", bytes: config },
    { path: "l.tar", bytes: layer },
    { path: "manifest.json", bytes: Buffer.from(JSON.stringify(list)) },
  ]);
}

/** As the vendor packs it, below `top`. */
function parts(top = ""): TarPart[] {
  const at = (path: string, bytes: Buffer | string = "") => ({ path: `${top}${path}`, bytes: Buffer.from(bytes) });
  return [
    { path: `${top}output/`, type: "Directory" },
    at("README", "read me"),
    at("capi-builder-v4.6.23.tar", builderTar()),
    at("yum-repo-v1.0.0.tar", "the yum container, which airferry replaces"),
    at("kickstart/ks.cfg.rhel8", "cdrom\n"),
    at("kickstart/ks.cfg.rocky8", "cdrom\n# rocky\n"),
    at("rpmrepo/ferry-1.0-1.noarch.rpm", makeRpm()),
  ];
}

function site(t: Test, bytes: Buffer, vendor: object = {}): { dir: string; file: string; cache: string } {
  const dir = scratch(t);
  writeFileSync(join(dir, "v.tgz"), bytes);
  const file = writeManifest(dir, { vendor: { archive: "./v.tgz", ...vendor } });
  return { dir, file, cache: join(dir, ".cache/vendor") };
}

function opened(dir: string, vendor: object = {}, report: (line: string) => void = () => {}): Promise<OpenedVendor> {
  return openVendor({} as Manifest, { archive: "./v.tgz", ...vendor }, dir, join(dir, ".cache"), report);
}

async function pathsOf(dir: string, file: string): Promise<string[]> {
  const ran = await airferry(dir, ["plan", file, "--files", "--json"]);
  t.equal(ran.status, 0, ran.stderr);
  return (JSON.parse(ran.stdout) as { entries: { path: string }[] }).entries.map((it) => it.path);
}

t.test("lock, plan, pack and frozen pack; a rerun fetches nothing; a lost cache is made again", async (t) => {
  const { dir, file, cache } = site(t, gzipSync(tarOf(parts())));
  const locked = await airferry(dir, ["lock", file]);
  t.equal(locked.status, 0, locked.stderr);
  t.match(locked.stderr, /skipped README, yum-repo-v1\.0\.0\.tar/);
  const paths = await pathsOf(dir, file);
  for (const it of [
    "files/kickstart/ks.cfg.rhel8",
    "files/kickstart/ks.cfg.rocky8",
    "rpms/vendor/ferry-1.0-1.noarch.rpm",
    "rpms/vendor/repodata/repomd.xml",
    "rpmrepo/repodata/repomd.xml",
  ]) {
    t.ok(paths.includes(it), it);
  }
  t.notMatch(readFileSync(file.replace(/\.yaml$/, ".lock.json"), "utf8"), dir, "the lock names no folder of this host");

  const packed = await airferry(dir, ["pack", file, "--unsigned", "--frozen", "--out", "out"]);
  t.equal(packed.status, 0, packed.stderr);
  t.notMatch(packed.stderr, /unpacking/, "unpacked once");
  const inventory = parseInventory(readFileSync(join(dir, "out/test-000001/airferry.json")));
  t.match(inventory.catalog.images, [{ reference: REFERENCE, source: "capi-builder-v4.6.23.tar" }]);
  t.match(inventory.catalog.rpms, [{ name: "vendor", mode: "loose", rpmrepo: true, packages: 1 }]);
  const entry = inventory.entries.get("files/kickstart/ks.cfg.rhel8");
  t.equal(entry?.digest, digestOf("cdrom\n"));

  for (const lost of [false, true]) {
    if (lost) rmSync(cache, { recursive: true });
    const again = await airferry(dir, ["pack", file, "--unsigned", "--out", "out"]);
    t.equal(again.status, 0, again.stderr);
    t.match(again.stderr, /nothing to do/, lost ? "unpacked anew, it is the same" : "a rerun");
  }
  t.strictSame(readdirSync(join(dir, "out")), ["test-000001"]);
});

t.test("with a folder at its top, as zstd, and as plain tar", async (t) => {
  const top = "capi-image-builder-v4.6.23/";
  for (const [name, bytes, at] of [
    ["folder", gzipSync(tarOf(parts(top))), top],
    ["zstd", zstdCompressSync(tarOf(parts())), ""],
    ["plain", tarOf(parts()), ""],
    ["./", gzipSync(tarOf(parts("./"))), ""],
  ] as const) {
    const { manifest, unpacked } = await opened(site(t, bytes).dir);
    t.strictSame(manifest.images, [{ archive: `./v.tgz/${at}capi-builder-v4.6.23.tar` }], name);
    t.strictSame(manifest.rpms, [{ name: "vendor", path: `./v.tgz/${at}rpmrepo` }], name);
    t.match(manifest.files, [
      { path: `./v.tgz/${at}kickstart/ks.cfg.rhel8`, as: "kickstart/ks.cfg.rhel8" },
      { as: "kickstart/ks.cfg.rocky8" },
    ]);
    t.equal(readFileSync(join(unpacked.dir, `${at}kickstart/ks.cfg.rhel8`), "utf8"), "cdrom\n", name);
  }
});

t.test("another archive under the same name is unpacked, and the old one is gone; its digest is held", async (t) => {
  const first = gzipSync(tarOf(parts()));
  const held = { sha256: sha256(first) };
  const { dir, cache } = site(t, first);
  const before = await opened(dir, held);
  t.strictSame((await opened(dir, held)).unpacked, before.unpacked, "read once");
  writeFileSync(join(dir, "v.tgz"), gzipSync(tarOf([...parts(), { path: "kickstart/new", bytes: Buffer.from("n") }])));
  utimesSync(join(dir, "v.tgz"), 1, 1);
  await t.rejects(opened(dir, held), {
    code: "ERR_MANIFEST_INVALID",
    message: /digest mismatch: expected sha256:.*got sha256:/,
  });
  t.match((await opened(dir)).manifest.files?.at(-1), { as: "kickstart/new" });
  t.equal(readdirSync(cache).filter((it) => /^[0-9a-f]{64}$/.test(it)).length, 1);
});

t.test("many members that are not carried are counted, not listed", async (t) => {
  const notes = Array.from({ length: 12 }, (_, index) => ({ path: `docs/${index}`, bytes: Buffer.from("x") }));
  const said: string[] = [];
  await opened(site(t, gzipSync(tarOf([...parts(), ...notes]))).dir, {}, (line) => said.push(line));
  t.match(said.at(-1), /skipped README, yum-repo-v1\.0\.0\.tar, .*docs\/7 and 4 more$/);
});

t.test("hostile archives are refused, and nothing of them stays", async (t) => {
  const good = parts();
  const twice = { path: "kickstart/ks.cfg.rhel8", bytes: Buffer.from("other") };
  const zeros = Buffer.alloc(128 * 1024 * 1024);
  const bomb = gzipSync(Buffer.concat([tarOf(good).subarray(0, -1024), zeros]));
  const cut = gzipSync(tarOf(good));
  const cases = new Map<string, [Buffer, RegExp]>([
    [
      "..",
      [gzipSync(tarOf([...good, { path: "kickstart/../../x", bytes: Buffer.from("x") }])), /has a "\.\." segment/],
    ],
    ["absolute", [gzipSync(tarOf([...good, { path: "/etc/x", bytes: Buffer.from("x") }])), /cannot read archive/]],
    [
      "symbolic link",
      [gzipSync(tarOf([{ path: "kickstart", type: "SymbolicLink", linkpath: "/etc" }, ...good])), /is a SymbolicLink/],
    ],
    [
      "hard link",
      [gzipSync(tarOf([...good, { path: "rpmrepo/x.rpm", type: "Link", linkpath: "README" }])), /is a Link/],
    ],
    [
      "device",
      [gzipSync(tarOf([...good, { path: "rpmrepo/x.rpm", type: "CharacterDevice" }])), /is a CharacterDevice/],
    ],
    ["duplicate", [gzipSync(tarOf([...good, twice])), /is in it more than once/]],
    ["cut off", [cut.subarray(0, cut.length / 2), /damaged or truncated|unexpected end/]],
    ["compressed twice", [gzipSync(gzipSync(tarOf(good))), /compressed twice/]],
    ["no archive", [gzipSync(Buffer.from("hello ".repeat(1000))), /": it is not a tar archive$/m]],
    ["without an image", [gzipSync(tarOf(good.filter((it) => !it.path.endsWith(".tar")))), /no builder image/]],
    ["bomb", [bomb, /it grows to more than/]],
  ]);
  for (const [name, [bytes, message]] of cases) {
    const { dir, cache } = site(t, bytes);
    const error = (await opened(dir).catch((it: unknown) => it)) as AirferryError;
    t.match(error?.message, message, name);
    t.ok(error?.hint, `${name} has a hint`);
    t.notOk(existsSync(join(dir, "x")), `${name} wrote nothing beside`);
    if (name !== "without an image") {
      t.notOk(
        readdirSync(cache).some((it) => /part$|^[0-9a-f]{64}$/.test(it)),
        `${name} left nothing`,
      );
    }
  }
});

t.test("bytes behind the archive's end cost no memory and no time", async (t) => {
  const { dir } = site(t, Buffer.concat([tarOf(parts()), Buffer.alloc(128 * 1024 * 1024)]));
  const before = process.memoryUsage().rss;
  const { manifest } = await opened(dir);
  t.equal(manifest.images?.length, 1);
  t.ok(process.memoryUsage().rss - before < 256 * 1024 * 1024);
});

t.test("a file that is missing, and a name that is taken, are reported as such", async (t) => {
  const { dir, file } = site(t, gzipSync(tarOf(parts())));
  rmSync(join(dir, "v.tgz"));
  await t.rejects(opened(dir), { message: 'cannot use vendor archive "./v.tgz": no such file' });
  writeManifest(dir, { vendor: { archive: "./v.tgz" }, rpms: [{ name: "vendor", path: "x" }] });
  const error = (await readManifest(file).catch((it: unknown) => it)) as AirferryError;
  t.match(error.problems, [{ path: "rpms[0].name", message: /is reserved for the rpmrepo/ }]);
});

t.test("given under images:, it leads to the line that takes it", async (t) => {
  for (const bytes of [gzipSync(tarOf(parts())), tarOf(parts())]) {
    const dir = scratch(t);
    writeFileSync(join(dir, "v.tgz"), bytes);
    const error = (await openImageArchive(join(dir, "v.tgz"), "./v.tgz").catch((it: unknown) => it)) as AirferryError;
    t.match(error.message, /it is not an image archive, but holds capi-builder-v4\.6\.23\.tar, yum-repo-v1\.0\.0\.tar/);
    t.match(error.hint, /vendor: \{ archive: \.\/v\.tgz \}/);
  }
});
