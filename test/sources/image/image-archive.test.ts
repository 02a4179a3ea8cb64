/** Images from archives on disk: told apart by content, blobs taken from their place, hostile files refused. */
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import type { AirferryError } from "../../../src/errors.ts";
import { resolveManifest } from "../../../src/pack/resolve.ts";
import { openWorkspace } from "../../../src/pack/workspace.ts";
import { entriesOfKind, type LockedImageEntry } from "../../../src/sources/lock-document.ts";
import { clientPath, needs } from "../../fixtures/clients.ts";
import { runClient } from "../../fixtures/container-clients.ts";
import { airferry } from "../../fixtures/host.ts";
import { digestOf, type TarPart, TestImages, tarFolder, tarOf } from "../../fixtures/images.ts";
import { scratch, writeManifest } from "../../fixtures/program.ts";

/** Locks one archive; returns the lock's entry, or the error. */
async function lockArchive(dir: string, entry: object) {
  const file = writeManifest(dir, { images: [entry] });
  await using workspace = await openWorkspace(file);
  return resolveManifest(workspace, { pinFirstSight: false }).then(
    (it) => ({ entry: entriesOfKind(it.lock, "image")[0], error: undefined }),
    (error: AirferryError) => ({ entry: undefined, error }),
  );
}

function imagesOf(entry: LockedImageEntry | undefined) {
  return entry?.detail.images ?? [];
}

/** A docker-archive of one image with the given layers, as docker wrote it for years. */
function dockerArchive(layers: Buffer[], change: (parts: TarPart[]) => TarPart[] = (it) => it): Buffer {
  const config = Buffer.from(
    JSON.stringify({
      os: "linux",
      architecture: "amd64",
      rootfs: { type: "layers", diff_ids: layers.map((it) => digestOf(it)) },
    }),
  );
  const name = createHash("sha256").update(config).digest("hex");
  const manifest = [
    {
      Config: `${name}.json`,
      RepoTags: ["vendor.example/builder:v4"],
      Layers: layers.map((_, index) => `${index}/layer.tar`),
    },
  ];
  return tarOf(
    change([
      { path: `${name}.json`, bytes: config },
      ...layers.map((bytes, index) => ({ path: `${index}/layer.tar`, bytes })),
      { path: "manifest.json", bytes: Buffer.from(JSON.stringify(manifest)) },
      { path: "repositories", type: "SymbolicLink", linkpath: "/etc/passwd" },
    ]),
  );
}

t.test("docker-archive, OCI archive and OCI layout give the same image", async (t) => {
  const dir = scratch(t);
  const images = new TestImages();
  const index = images.index([
    images.image("linux/amd64", [{ a: "a" }, { b: "amd64" }]),
    images.image("linux/arm64", [{ a: "a" }, { b: "arm64" }]),
  ]);
  const layout = join(dir, "layout");
  mkdirSync(layout);
  images.writeLayout(layout, { "vendor.example/bb:1.0": index });
  tarFolder(layout, join(dir, "oci.tar"));
  for (const archive of ["layout", "oci.tar"]) {
    const { entry, error } = await lockArchive(dir, { archive, platforms: ["linux/amd64"] });
    t.equal(error, undefined);
    t.match(imagesOf(entry), [
      { reference: "vendor.example/bb:1.0", digest: index.digest, platforms: ["linux/amd64"] },
    ]);
  }
  const manifest = writeManifest(dir, { images: [{ archive: "oci.tar" }] });
  const packed = await airferry(dir, ["pack", manifest, "--unsigned"]);
  t.equal(packed.status, 0, packed.stderr);
  const inspected = JSON.parse((await airferry(dir, ["inspect", packed.stdout.trim(), "--json"])).stdout);
  for (const [digest, bytes] of images.blobs) {
    const found = inspected.entries.find(
      (it: { path: string }) => it.path === `images/blobs/${digest.replace(":", "/")}`,
    );
    t.match(found, { size: bytes.length, digest });
  }
});

t.test("a docker-archive becomes an image with the digest of its content, the same every time", async (t) => {
  const dir = scratch(t);
  const layers = ["one", "two"].map((it) => tarOf([{ path: it, bytes: Buffer.from(it) }]));
  writeFileSync(join(dir, "d.tar"), dockerArchive(layers));
  const { entry } = await lockArchive(dir, { archive: "d.tar" });
  const [image] = imagesOf(entry);
  t.equal(image?.reference, "vendor.example/builder:v4");
  writeFileSync(
    join(dir, "z.tar"),
    dockerArchive(layers, (parts) => [...parts].reverse()),
  );
  t.equal(imagesOf((await lockArchive(dir, { archive: "z.tar" })).entry)[0]?.digest, image?.digest);
  const packed = await airferry(dir, ["pack", "m.yaml", "--unsigned"]);
  t.equal(packed.status, 0, packed.stderr);
  // The same layer twice, the second as a link to the first, as docker and podman did.
  const twice = dockerArchive([layers[0] as Buffer, layers[0] as Buffer], (parts) =>
    parts.map((it) =>
      it.path === "1/layer.tar" ? { path: it.path, type: "SymbolicLink", linkpath: "../0/layer.tar" } : it,
    ),
  );
  writeFileSync(join(dir, "l.tar"), twice);
  t.equal((await lockArchive(dir, { archive: "l.tar" })).error, undefined);
});

t.test("what real tools write is read", async (t) => {
  if (!needs(t, "skopeo", "crane")) return;
  const dir = scratch(t);
  const images = new TestImages();
  const layout = join(dir, "layout");
  mkdirSync(layout);
  images.writeLayout(layout, { "1.0": images.image("linux/amd64", [{ a: "a" }, { b: "b" }]) });
  const copy = (to: string) => runClient("skopeo", ["copy", "-q", `oci:${layout}:1.0`, to], { HOME: dir });
  t.equal((await copy(`docker-archive:${dir}/docker.tar:vendor.example/bb:1.0`)).status, 0);
  t.equal((await copy(`oci-archive:${dir}/oci.tar:vendor.example/bb:1.0`)).status, 0);
  for (const archive of ["docker.tar", "oci.tar"]) {
    const { entry, error } = await lockArchive(dir, { archive });
    t.equal(error, undefined, archive);
    t.equal(imagesOf(entry)[0]?.reference, "vendor.example/bb:1.0");
  }
  t.ok(clientPath("crane"));
});

t.test("archives that are not what they should be", async (t) => {
  const dir = scratch(t);
  const layer = tarOf([{ path: "file", bytes: Buffer.from("content") }]);
  const good = dockerArchive([layer]);
  const link = (type: "SymbolicLink" | "Link", linkpath: string) =>
    dockerArchive([layer], (parts) =>
      parts.map((it) => (it.path === "0/layer.tar" ? { path: it.path, type, linkpath } : it)),
    );
  writeFileSync(join(dir, "secret"), "secret");
  const bad = new Map<string, [Buffer, string, RegExp]>([
    [
      "a layer that is a link to a file of this host",
      [link("SymbolicLink", "/etc/passwd"), "ERR_PATH_UNSAFE", /is a link/],
    ],
    [
      "a layer that is a link out of the archive",
      [link("SymbolicLink", "../../secret"), "ERR_PATH_UNSAFE", /is a link/],
    ],
    ["a hard link to a file of this host", [link("Link", "/etc/passwd"), "ERR_PATH_UNSAFE", /is a link/]],
    ["a hard link out of the archive", [link("Link", "../secret"), "ERR_PATH_UNSAFE", /is a link/]],
    ["a hard link to itself", [link("Link", "0/layer.tar"), "ERR_PATH_UNSAFE", /is a link/]],
    ["a device", [tarOf([{ path: "x", type: "CharacterDevice" }]), "ERR_UPSTREAM_INVALID", /CharacterDevice/]],
    [
      "a name that leads out",
      [tarOf([{ path: "../../x", bytes: layer }]), "ERR_PATH_UNSAFE", /is outside the archive/],
    ],
    ["an absolute name", [tarOf([{ path: "/etc/x", bytes: layer }]), "ERR_PATH_UNSAFE", /is outside the archive/]],
    ["half of it", [good.subarray(0, 1200), "ERR_UPSTREAM_INVALID", /its end is missing|neither/]],
    [
      "a damaged header",
      [
        Buffer.concat([good.subarray(0, 100), Buffer.from("X"), good.subarray(101)]),
        "ERR_UPSTREAM_INVALID",
        /not a tar|damaged/,
      ],
    ],
    ["no image at all", [tarOf([{ path: "readme", bytes: layer }]), "ERR_UPSTREAM_INVALID", /neither oci-layout/]],
    [
      "a manifest.json beyond all measure",
      [
        dockerArchive([layer], (parts) =>
          parts.map((it) => (it.path === "manifest.json" ? { ...it, bytes: Buffer.alloc(5_000_000, 32) } : it)),
        ),
        "ERR_UPSTREAM_SIZE",
        /too large/,
      ],
    ],
    [
      "fewer layers than its config lists",
      [
        dockerArchive([layer], (parts) => parts.filter((it) => it.path !== "0/layer.tar")),
        "ERR_UPSTREAM_INVALID",
        /which is missing/,
      ],
    ],
  ]);
  for (const [name, [bytes, code, message]] of bad) {
    writeFileSync(join(dir, "bad.tar"), bytes);
    const { error } = await lockArchive(dir, { archive: "bad.tar", as: "x.example/y:1" });
    t.equal(error?.code, code, name);
    t.match(error?.message, message, name);
    t.match(error?.message, "bad.tar", "says which file");
  }
});

t.test("a layer with other bytes than its config says, and a blob with other bytes than its name", async (t) => {
  const dir = scratch(t);
  const layer = tarOf([{ path: "file", bytes: Buffer.from("content") }]);
  const other = tarOf([{ path: "file", bytes: Buffer.from("CONTENT") }]);
  const swap = (parts: TarPart[]) => parts.map((it) => (it.path === "0/layer.tar" ? { ...it, bytes: other } : it));
  writeFileSync(join(dir, "swapped.tar"), dockerArchive([layer], swap));
  const manifest = writeManifest(dir, { images: [{ archive: "swapped.tar" }] });
  const packed = await airferry(dir, ["pack", manifest, "--unsigned"]);
  t.equal(packed.status, 4, packed.stderr);
  t.match(packed.stderr, /digest mismatch/);

  const images = new TestImages();
  const image = images.image("linux/amd64", [{ a: "a" }]);
  const layout = join(dir, "layout");
  mkdirSync(layout);
  images.writeLayout(layout, { "x.example/y:1": image });
  const blob = join(layout, "blobs", image.digest.replace(":", "/"));
  writeFileSync(blob, readFileSync(blob).fill(32, 5, 6));
  t.equal((await lockArchive(dir, { archive: "layout" })).error?.code, "ERR_UPSTREAM_DIGEST");
});

t.test("a layout with links in it is refused", async (t) => {
  const dir = scratch(t);
  const images = new TestImages();
  const image = images.image("linux/amd64", [{ a: "a" }]);
  const layout = join(dir, "layout");
  mkdirSync(layout);
  images.writeLayout(layout, { "x.example/y:1": image }, (digest) => digest === image.digest);
  symlinkSync("/etc/hostname", join(layout, "blobs", image.digest.replace(":", "/")));
  t.equal((await lockArchive(dir, { archive: "layout" })).error?.code, "ERR_PATH_UNSAFE");
});

t.test("names: several images, none, or another one", async (t) => {
  const dir = scratch(t);
  const images = new TestImages();
  const layout = join(dir, "layout");
  mkdirSync(layout);
  const one = images.image("linux/amd64", [{ a: "1" }]);
  const two = images.image("linux/amd64", [{ a: "2" }]);
  images.writeLayout(layout, { "x.example/one:1": one, "x.example/two:1": two });
  const all = await lockArchive(dir, { archive: "layout" });
  t.same(
    imagesOf(all.entry).map((it) => it.reference),
    ["x.example/one:1", "x.example/two:1"],
  );
  const picked = await lockArchive(dir, { archive: "layout", as: "x.example/two:1" });
  t.same(
    imagesOf(picked.entry).map((it) => it.digest),
    [two.digest],
  );
  t.equal((await lockArchive(dir, { archive: "layout", as: "x.example/three:1" })).error?.code, "ERR_MANIFEST_INVALID");
  t.equal((await lockArchive(dir, { archive: "none.tar" })).error?.code, "ERR_MANIFEST_INVALID");
});
