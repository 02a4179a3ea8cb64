/** Archives as the tar programs of the world write them, files that are none, and names that name nothing. */
import { execFileSync } from "node:child_process";
import { copyFileSync, linkSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { clientPath } from "../../fixtures/clients.ts";
import { layersOf, lockImages, packImages } from "../../fixtures/image-lock.ts";
import { digestOf, type TestDescriptor, TestImages, tarOf } from "../../fixtures/images.ts";
import { scratch, seededBytes } from "../../fixtures/program.ts";

/** A folder with the layout `lay` of one image. */
function made(t: Test): { dir: string; images: TestImages; image: TestDescriptor; layer: string } {
  const dir = scratch(t);
  const images = new TestImages();
  const image = images.image("linux/amd64", [{ a: seededBytes(1, 5000) }]);
  mkdirSync(join(dir, "lay"));
  images.writeLayout(join(dir, "lay"), { "x.example/y:1": image });
  const [layer] = layersOf(images, image) as [TestDescriptor];
  return { dir, images, image, layer: `blobs/${layer.digest.replace(":", "/")}` };
}

function tar(dir: string, ...args: string[]): void {
  execFileSync(clientPath("tar") ?? "tar", ["-C", join(dir, "lay"), "-cf", join(dir, "x.tar"), ...args]);
}

t.test("GNU and PAX archives, with ./ before the names and without, with long names, with hard links", async (t) => {
  const ways = new Map<string, string[]>([
    ["GNU, ./", ["--format=gnu", "."]],
    ["PAX, ./", ["--format=posix", "--pax-option=comment=a comment", "."]],
    ["ustar", ["--format=ustar", "blobs", "index.json", "oci-layout", "copies"]],
    ["a copy of a layer first", ["--format=gnu", "copies", "blobs", "index.json", "oci-layout"]],
  ]);
  for (const [name, args] of ways) {
    const { dir, image, layer } = made(t);
    const folder = name === "ustar" ? "copies" : `copies/${"long/".repeat(30)}`;
    mkdirSync(join(dir, "lay", folder), { recursive: true });
    mkdirSync(join(dir, "lay/copies"), { recursive: true });
    // tar writes the second of the two as a hard link to the first.
    linkSync(join(dir, "lay", layer), join(dir, "lay", folder, "layer"));
    tar(dir, ...args);
    const { error, images: locked } = await packImages(dir, [{ archive: "x.tar" }]);
    t.equal(error, undefined, `${name}: ${error?.message}`);
    t.equal(locked[0]?.digest, image.digest, name);
  }
});

t.test("an archive that was cut between two members is told from a whole one", async (t) => {
  const { dir, images, layer } = made(t);
  // What lists the layers comes first: nothing else would notice that they are missing.
  tar(dir, "oci-layout", "index.json", "blobs");
  const bytes = readFileSync(join(dir, "x.tar"));
  const content = images.blobs.get(layer.replace("blobs/sha256/", "sha256:")) as Buffer;
  const header = bytes.indexOf(content) - 512;
  writeFileSync(join(dir, "x.tar"), bytes.subarray(0, header));
  const { error } = await lockImages(dir, [{ archive: "x.tar" }]);
  t.equal(error?.code, "ERR_UPSTREAM_INVALID");
  t.match(error?.message, /"x\.tar": its end is missing/);
});

t.test("files that are no archives", async (t) => {
  const { dir } = made(t);
  const files = new Map<string, [(file: string) => void, string, RegExp]>([
    ["0x90", [(file) => writeFileSync(file, Buffer.alloc(1024, 0x90)), "ERR_UPSTREAM_INVALID", /is not a tar file/]],
    ["random", [(file) => writeFileSync(file, seededBytes(9, 4096)), "ERR_UPSTREAM_INVALID", /is not a tar file/]],
    ["a program", [(file) => copyFileSync(process.execPath, file), "ERR_UPSTREAM_INVALID", /is not a tar file/]],
    ["empty", [(file) => writeFileSync(file, ""), "ERR_UPSTREAM_INVALID", /is not a tar file/]],
    [
      "damaged behind the first member",
      [
        (file) => {
          const bytes = tarOf([{ path: "oci-layout", bytes: Buffer.from("{}") }]);
          writeFileSync(file, Buffer.concat([bytes.subarray(0, 1024), Buffer.alloc(512, 0x90), bytes]));
        },
        "ERR_UPSTREAM_INVALID",
        /its header at 1024 is damaged/,
      ],
    ],
    [
      "a pipe",
      [(file) => execFileSync("mkfifo", [file]), "ERR_MANIFEST_INVALID", /neither a regular file nor a folder/],
    ],
  ]);
  for (const [name, [make, code, message]] of files) {
    const file = join(dir, "x.tar");
    rmSync(file, { force: true });
    make(file);
    const { error } = await lockImages(dir, [{ archive: "x.tar" }]);
    t.equal(error?.code, code, name);
    t.match(error?.message, message, name);
    t.match(error?.message, "x.tar", name);
    t.ok(error?.hint, name);
  }
  const device = await lockImages(dir, [{ archive: "/dev/null" }]);
  t.match(device.error?.message, /"\/dev\/null": it is neither a regular file/);
});

t.test("what is wrong in a layout on disk is not blamed on a registry", async (t) => {
  for (const text of ["{", "null", '{"schemaVersion":2,"manifests":[{"mediaType":"x"}]}']) {
    const { dir } = made(t);
    writeFileSync(join(dir, "lay/index.json"), text);
    const { error } = await lockImages(dir, [{ archive: "lay" }]);
    t.equal(error?.code, "ERR_UPSTREAM_INVALID", text);
    t.match(error?.message, "lay index.json", text);
    t.equal(error?.hint, "copy the file again, or save the image again", text);
  }
  const { dir, images, image } = made(t);
  images.writeIndex(join(dir, "lay"), [
    { ...image, size: 0, annotations: { "org.opencontainers.image.ref.name": "x.example/y:1" } },
  ]);
  const { error } = await lockImages(dir, [{ archive: "lay" }]);
  t.match(error?.message, /expected sha256:\w+ over 0 bytes, got sha256:\w+ over \d+/);
});

t.test("names in an archive that name nothing: the archive is named, and as: helps", async (t) => {
  const layer = tarOf([{ path: "file", bytes: Buffer.from("content") }]);
  const archive = (dir: string, tags: unknown, diffId = digestOf(layer)) => {
    const config = Buffer.from(JSON.stringify({ os: "linux", architecture: "amd64", rootfs: { diff_ids: [diffId] } }));
    const manifest = Buffer.from(JSON.stringify([{ Config: "c.json", RepoTags: tags, Layers: ["l.tar"] }]));
    writeFileSync(
      join(dir, "x.tar"),
      tarOf([
        { path: "c.json", bytes: config },
        { path: "l.tar", bytes: layer },
        { path: "manifest.json", bytes: manifest },
      ]),
    );
  };
  const bad = new Map<string, [unknown, RegExp]>([
    ["none", [null, /"x\.tar": the image sha256:\w+ in it has no name/]],
    ["docker's none", [["<none>:<none>"], /"x\.tar": the image sha256:\w+ in it has no name/]],
    ["no reference", [["Not A:Reference!"], /"x\.tar": the name "Not A:Reference!" in it is not a reference: bad tag/]],
  ]);
  for (const [name, [tags, message]] of bad) {
    const dir = scratch(t);
    archive(dir, tags);
    const { error } = await lockImages(dir, [{ archive: "x.tar" }]);
    t.equal(error?.code, "ERR_MANIFEST_INVALID", name);
    t.match(error?.message, message, name);
    t.match(error?.hint, "as: registry.example.com/name:tag", name);
    const named = await lockImages(dir, [{ archive: "x.tar", as: "x.example/y:1" }]);
    t.equal(named.images[0]?.reference, "x.example/y:1", name);
  }
  const dir = scratch(t);
  archive(dir, ["x.example/y:1"], `sha256:${"1".repeat(64)}`);
  const { error } = await packImages(dir, [{ archive: "x.tar" }]);
  t.equal(error?.code, "ERR_UPSTREAM_DIGEST");
  t.match(error?.message, /of image "x\.example\/y:1": "\S+x\.tar" does not match its own index/, "a config that lies");
});
