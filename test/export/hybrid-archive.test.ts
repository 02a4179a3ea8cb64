/** src/export/hybrid-archive.ts: an archive that is a layout and a docker-archive at the same time. Real tools load it in test/interop. */
import { writeFileSync } from "node:fs";
import { buffer } from "node:stream/consumers";
import t, { type Test } from "tap";
import { Parser } from "tar";
import { createImageArchive } from "../../src/export/hybrid-archive.ts";
import type { Digest } from "../../src/io/digest.ts";
import { readPackedImage } from "../../src/store/packed-images.ts";
import { digestOf, TestImages } from "../fixtures/images.ts";
import { scratch } from "../fixtures/program.ts";
import { createTestStore } from "../fixtures/store-reader.ts";

async function packed(t: Test) {
  const images = new TestImages();
  const shared = { base: "the same in both" };
  const amd64 = images.image("linux/amd64", [shared, { a: "amd64" }]);
  const arm64 = images.image("linux/arm64", [shared, { a: "arm64" }]);
  const index = images.index([amd64, arm64]);
  const store = createTestStore(scratch(t));
  const catalog = [
    images.catalogImage("example.com/lab/both:1", index),
    images.catalogImage(`example.com/lab/one:1@${amd64.digest}`, amd64),
    images.catalogImage(`example.com/lab/pinned@${amd64.digest}`, amd64),
  ];
  const release = await store.put({ stream: "a", content: images.content(), catalog: { images: catalog } });
  const read = await Promise.all(catalog.map((it) => readPackedImage(store, release, it)));
  return { store, amd64, arm64, index, read };
}

async function members(archive: Buffer): Promise<Map<string, Buffer>> {
  const found = new Map<string, Buffer>();
  const reads: Promise<void>[] = [];
  const parser = new Parser({
    onReadEntry: (entry) => {
      reads.push(
        entry.concat().then((bytes) => {
          if (found.has(entry.path)) throw new Error(`${entry.path} is there twice`);
          found.set(entry.path, bytes);
        }),
      );
    },
  });
  parser.end(archive);
  await Promise.all(reads);
  return found;
}

t.test("every blob is in it once, under its digest, and both lists name what is there", async (t) => {
  const { read, amd64, arm64, index } = await packed(t);
  const archive = createImageArchive(read, "linux/arm64");
  const bytes = await buffer(archive.open());
  t.ok(Math.abs(archive.size - bytes.length) < 16 * 1024, `${archive.size} was said, ${bytes.length} came`);
  const found = await members(bytes);
  for (const [name, content] of found)
    if (name.startsWith("blobs/")) t.equal(name, `blobs/${digestOf(content).replace(":", "/")}`);
  for (const it of [amd64, arm64, index]) t.ok(found.has(`blobs/${it.digest.replace(":", "/")}`));
  t.equal(String(found.get("oci-layout")), '{"imageLayoutVersion":"1.0.0"}');
  const layout = JSON.parse(String(found.get("index.json"))) as {
    manifests: { digest: string; annotations: object }[];
  };
  t.match(layout.manifests, [
    { digest: index.digest, annotations: { "org.opencontainers.image.ref.name": "1" } },
    { digest: amd64.digest, annotations: { "io.containerd.image.name": "example.com/lab/one:1" } },
    { digest: amd64.digest, annotations: { "io.containerd.image.name": `example.com/lab/pinned@${amd64.digest}` } },
  ]);
  const docker = JSON.parse(String(found.get("manifest.json"))) as {
    Config: string;
    RepoTags: unknown;
    Layers: string[];
  }[];
  t.same(
    docker.map((it) => it.RepoTags),
    [["example.com/lab/both:1"], ["example.com/lab/one:1"], null],
  );
  t.match(String(found.get(docker[0]!.Config)), /arm64/, "the platform that was asked for");
  for (const it of docker) for (const path of [it.Config, ...it.Layers]) t.ok(found.has(path), path);
});

t.test("the same images give the same bytes", async (t) => {
  const { read } = await packed(t);
  const [one, two] = [await buffer(createImageArchive(read).open()), await buffer(createImageArchive(read).open())];
  t.ok(one.equals(two));
});

t.test("a platform that was not packed is refused before anything is written, with those that were", async (t) => {
  const { read } = await packed(t);
  t.throws(() => createImageArchive(read, "linux/s390x"), {
    code: "ERR_NOT_FOUND",
    hint: /packed: linux\/amd64, linux\/arm64/,
  });
});

t.test("the stream fails when a blob turns out damaged, and may be destroyed in the middle", async (t) => {
  const { read, store } = await packed(t);
  const layer = read[1]!.root.manifest.layers[1]!;
  writeFileSync(store.blobPath(layer.digest as Digest), Buffer.alloc(layer.size));
  await t.rejects(buffer(createImageArchive(read).open()), { code: "ERR_STORE_INVALID", expected: layer.digest });
  const stopped = createImageArchive(read).open();
  await new Promise((resolve) => stopped.once("readable", resolve));
  stopped.destroy();
  await new Promise((resolve) => stopped.once("close", resolve));
  t.ok(stopped.destroyed);
});
