/** Image archives that are compressed as a whole: read as a stream at lock and at pack, refused when changed, bounded. */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync, zstdCompressSync } from "node:zlib";
import t from "tap";
import { parseInventory } from "../../../src/bundle/inventory.ts";
import type { Inventory } from "../../../src/bundle/inventory-types.ts";
import type { AirferryError } from "../../../src/errors.ts";
import { resolveManifest } from "../../../src/pack/resolve.ts";
import { openWorkspace } from "../../../src/pack/workspace.ts";
import { InflatedFiles } from "../../../src/sources/archive/inflated-file.ts";
import { entriesOfKind, type LockedImageEntry } from "../../../src/sources/lock-document.ts";
import { clientPath } from "../../fixtures/clients.ts";
import { airferry } from "../../fixtures/host.ts";
import { digestOf, TestImages, tarFolder, tarOf } from "../../fixtures/images.ts";
import { scratch, seededBytes, writeManifest } from "../../fixtures/program.ts";

const REFERENCE = "vendor.example/builder:v4";
const LAYERS = [1, 2, 3].map((seed) => tarOf([{ path: `${seed}`, bytes: seededBytes(seed, 300_000) }]));

const hasXz = clientPath("xz") !== undefined;
/** In blocks, as xz with several threads makes them. */
const xz = (bytes: Buffer) =>
  execFileSync("xz", ["-c", "-1", "-T2", "--block-size=262144"], { input: bytes, maxBuffer: 1 << 30 });

/** A docker-archive whose list comes last, as docker writes it, and whose middle layer is compressed itself. */
function dockerArchive(): Buffer {
  const diff_ids = LAYERS.map((it) => digestOf(it));
  const config = Buffer.from(
    JSON.stringify({ os: "linux", architecture: "amd64", rootfs: { type: "layers", diff_ids } }),
  );
  const list = [{ Config: "c.json", RepoTags: [REFERENCE], Layers: ["0/layer.tar", "1/layer.tar", "2/layer.tar"] }];
  return tarOf([
    ...LAYERS.map((it, index) => ({ path: `${index}/layer.tar`, bytes: index === 1 ? gzipSync(it) : it })),
    { path: "c.json", bytes: config },
    { path: "manifest.json", bytes: Buffer.from(JSON.stringify(list)) },
  ]);
}

/** An OCI archive of two platforms. */
function ociArchive(dir: string): Buffer {
  const images = new TestImages();
  const index = images.index([
    images.image("linux/amd64", [{ a: "a" }, { b: "amd64" }]),
    images.image("linux/arm64", [{ a: "a" }, { b: "arm64" }]),
  ]);
  mkdirSync(join(dir, "layout"));
  images.writeLayout(join(dir, "layout"), { [REFERENCE]: index });
  tarFolder(join(dir, "layout"), join(dir, "layout.tar"));
  return readFileSync(join(dir, "layout.tar"));
}

function flipped(bytes: Buffer, at: number): Buffer {
  bytes.writeUInt8(bytes.readUInt8(at) ^ 1, at);
  return bytes;
}

async function locked(dir: string, archive: string): Promise<LockedImageEntry> {
  await using workspace = await openWorkspace(writeManifest(dir, { images: [{ archive }] }));
  const { lock } = await resolveManifest(workspace, { pinFirstSight: false });
  return entriesOfKind(lock, "image")[0] as LockedImageEntry;
}

async function refused(dir: string, archive: string): Promise<AirferryError> {
  return locked(dir, archive).then(
    () => ({}) as AirferryError,
    (error: AirferryError) => error,
  );
}

function inventoryOf(bundle: string): Inventory {
  return parseInventory(readFileSync(join(bundle, "airferry.json")));
}

t.test("compressed or not, of either kind, it is the same image", async (t) => {
  const dir = scratch(t);
  for (const [kind, plain] of [
    ["docker", dockerArchive()],
    ["oci", ociArchive(dir)],
  ] as const) {
    writeFileSync(join(dir, `${kind}.tar`), plain);
    const expected = await locked(dir, `${kind}.tar`);
    for (const [codec, bytes] of [
      ["gzip", gzipSync(plain)],
      ["zstd", zstdCompressSync(plain)],
      ...(hasXz ? ([["xz", xz(plain)]] as const) : []),
    ] as const) {
      // What the name says does not count.
      const name = `${kind}-${codec}.tar`;
      writeFileSync(join(dir, name), bytes);
      const { artifacts, detail } = await locked(dir, name);
      t.strictSame(detail, expected.detail, `${kind} ${codec}`);
      t.strictSame(
        artifacts,
        expected.artifacts.map((it) => (it.file === undefined ? it : { ...it, file: name, codec })),
        `${kind} ${codec}`,
      );
    }
  }
});

t.test(
  "packed without a copy on disk; another file is refused; the right one goes on where that stopped",
  async (t) => {
    const dir = scratch(t);
    const plain = dockerArchive();
    writeFileSync(join(dir, "p.tar"), plain);
    const whole = zstdCompressSync(plain);
    writeFileSync(join(dir, "i.tar.zst"), whole);
    const file = writeManifest(dir, { images: [{ archive: "i.tar.zst" }] });
    t.equal((await airferry(dir, ["lock", file])).status, 0);

    const changed = Buffer.from(plain);
    changed.writeUInt8(7, changed.indexOf(LAYERS[2] as Buffer) + 2000);
    for (const [name, bytes, message] of [
      ["another layer", zstdCompressSync(changed), /digest mismatch/],
      ["cut off", whole.subarray(0, 500_000), /cannot pack .*(?:truncated|digest mismatch)/],
      ["another compression", gzipSync(plain), /cannot pack .*damaged or truncated/],
    ] as const) {
      writeFileSync(join(dir, "i.tar.zst"), bytes);
      const { status, stderr } = await airferry(dir, ["pack", file, "--unsigned", "--frozen", "--out", "out"]);
      t.equal(status, 4, name);
      t.match(stderr, message, name);
      t.match(stderr, /hint: .*--update i\.tar\.zst/, name);
    }
    writeFileSync(join(dir, "i.tar.zst"), whole);
    const packed = await airferry(dir, ["pack", file, "--unsigned", "--frozen", "--out", "out"]);
    t.equal(packed.status, 0, packed.stderr);
    const inventory = inventoryOf(packed.stdout.trim().replace(/^/, `${dir}/`));
    t.match(inventory.catalog.images, [{ reference: REFERENCE, source: "i.tar.zst" }]);
    const paths = new Set(inventory.entries.paths());
    for (const [index, layer] of LAYERS.entries()) {
      const digest = digestOf(index === 1 ? gzipSync(layer) : layer);
      t.ok(paths.has(`images/blobs/${digest.replace(":", "/")}`), `layer ${index}`);
    }
    t.strictSame(readdirSync(join(dir, "out")), ["test-000001"]);
  },
);

t.test("what is no image archive, damaged, or grows without measure is refused at lock", async (t) => {
  const dir = scratch(t);
  const plain = dockerArchive();
  const write = (bytes: Buffer) => writeFileSync(join(dir, "b.tgz"), bytes);
  const zeros = tarOf([{ path: "0/layer.tar", bytes: Buffer.alloc(128 * 1024 * 1024) }]);
  for (const [name, bytes, message] of [
    ["cut off", gzipSync(plain).subarray(0, 200_000), /damaged or truncated/],
    ["cut off, zstd", zstdCompressSync(plain).subarray(0, 200_000), /truncated|it ends at/],
    ["a tar that is cut off", gzipSync(plain.subarray(0, -1024)), /it ends at/],
    ["a bomb", gzipSync(zeros), /it grows to more than \d+ bytes out of/],
    ["a member that leads out", gzipSync(tarOf([{ path: "../x", bytes: Buffer.from("x") }])), /is outside the archive/],
    ["no tar", gzipSync(Buffer.from("hello ".repeat(500))), /it is not a tar file/],
    ["no image", gzipSync(tarOf([{ path: "x", bytes: Buffer.from("x") }])), /neither oci-layout/],
    ["xz, but for its head", Buffer.from("fd377a585a000004", "hex"), /damaged or truncated/],
    ["bzip2", Buffer.from("425a683931415926", "hex"), /compressed with bzip2: expected gzip, zstd or xz/],
    ...(hasXz
      ? ([
          ["cut off, xz", xz(plain).subarray(0, 200_000), /damaged or truncated|it ends at/],
          ["changed, xz", flipped(xz(plain), 300_000), /damaged or truncated/],
          ["a tar that is cut off, xz", xz(plain.subarray(0, -1024)), /it ends at/],
          ["a bomb, xz", xz(zeros), /it grows to more than \d+ bytes out of/],
        ] as const)
      : []),
  ] as const) {
    write(bytes);
    const error = await refused(dir, "b.tgz");
    t.match(error.message, message, name);
    t.ok(error.hint, name);
  }
});

t.test("parts come out right in any order, at once, and behind the end", async (t) => {
  const dir = scratch(t);
  const plain = seededBytes(9, 3_000_000);
  const file = join(dir, "f.zst");
  // Two frames, as pzstd and cat make them.
  writeFileSync(file, Buffer.concat([zstdCompressSync(plain.subarray(0, 1e6)), zstdCompressSync(plain.subarray(1e6))]));
  await using files = new InflatedFiles();
  const take = async (offset: number, size: number) => {
    const hash = createHash("sha256");
    for await (const chunk of files.take(file, "zstd", offset, size)) hash.update(chunk);
    t.equal(
      hash.digest("hex"),
      createHash("sha256")
        .update(plain.subarray(offset, offset + size))
        .digest("hex"),
      `${size} bytes at ${offset}`,
    );
  };
  for (const [offset, size] of [
    [0, 1],
    [1, 511],
    [700, 999_300],
    [999_999, 2],
    [2_999_999, 1],
    [5, 0],
    [10, 2_000_000],
    [2_900_000, 500_000],
  ] as const) {
    await take(offset, size);
  }
  await Promise.all([take(1, 2_500_000), take(2_000_000, 10), take(0, 3_000_000)]);
  for await (const chunk of files.take(file, "zstd", 100, 2_000_000)) {
    t.ok(chunk.length > 0, "left in the middle");
    break;
  }
  await take(100, 100);
});
