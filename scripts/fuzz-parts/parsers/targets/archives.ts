/** Archives, images of discs, and compressions. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { AirferryError } from "../../../../src/errors.ts";
import { readInstallTree } from "../../../../src/iso/install-tree.ts";
import { IsoImage } from "../../../../src/iso/iso-image.ts";
import { readMediaCheck, verifyMediaCheck } from "../../../../src/iso/media-check.ts";
import { SECTOR_BYTES } from "../../../../src/iso/volume.ts";
import { decodeBzip2 } from "../../../../src/rpm/bzip2.ts";
import { decompress, detectCodec } from "../../../../src/rpm/codecs.ts";
import { readTarStream } from "../../../../src/sources/archive/tar-stream.ts";
import { openImageArchive } from "../../../../src/sources/image/image-archive.ts";
import { findMember, indexTar } from "../../../../src/sources/image/tar-index.ts";
import { tarOf } from "../../../../test/fixtures/images.ts";
import { directory, dots, makeIso, NM, PX, SL } from "../../../../test/fixtures/iso-maker.ts";
import { DIGEST, inMemory, type Targets } from "../target.ts";

/** Bytes before the volume descriptors; the parser ignores them. */
const SYSTEM_AREA = 16 * SECTOR_BYTES;
const FILE = Buffer.from(
  "[general]\narch = x86_64\nvariant = A\n[variant-A]\nrepository = .\n[images-x86_64]\nkernel = k\n",
);
const ISO = makeIso(
  [
    { id: "A", block: 21, size: SECTOR_BYTES, flags: 2, use: Buffer.concat([NM("a"), PX(0o40755)]) },
    { id: "TREEINFO.;1", block: 22, size: FILE.length, use: Buffer.concat([NM(".treeinfo"), PX(0o100644)]) },
    { id: "L.;1", block: 0, size: 0, use: Buffer.concat([NM("l"), PX(0o120777), SL([0, "a"])]) },
  ],
  new Map([
    [21, directory(dots(21, 20))],
    [22, FILE],
  ]),
).subarray(SYSTEM_AREA);
const tar = (files: Record<string, string>) =>
  tarOf(Object.entries(files).map(([path, content]) => ({ path, bytes: Buffer.from(content) })));
const layout = {
  "oci-layout": '{"imageLayoutVersion":"1.0.0"}',
  "index.json": `{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"${DIGEST}","size":2}]}`,
};
const OCI_ARCHIVE = tar(layout);
const DOCKER_ARCHIVE = tar({
  "manifest.json": '[{"Config":"c.json","RepoTags":["a:b"],"Layers":["l.tar"]}]',
  "c.json": "{}",
  "l.tar": "",
});

let scratch: string | undefined;
/** A file that holds these bytes until the next call. */
function fileOf(data: Uint8Array): string {
  if (scratch === undefined) {
    const dir = mkdtempSync(join(tmpdir(), "airferry-fuzz-file-"));
    process.once("exit", () => rmSync(dir, { recursive: true, force: true }));
    scratch = join(dir, "archive");
  }
  writeFileSync(scratch, data);
  return scratch;
}

export const archives: Targets = {
  bzip2: {
    samples: [Buffer.from("425a683931415926535919319bb0000000010001002000219a68334d073338bb9229c28480c98cdd80", "hex")],
    run: (data) => {
      try {
        decodeBzip2(data, 1 << 20);
      } catch (error) {
        // The fault of the data; `decompress` adds the file's name.
        if ((error as Error).constructor !== Error) throw error;
      }
    },
  },
  codecs: {
    samples: [
      gzipSync("airferry".repeat(20)),
      zstdCompressSync("airferry".repeat(20)),
      Buffer.from("/Td6WFoAAATm1rRGAgAhARYAAAB0L+WjAQAHYWlyZmVycnkARKoBSbuakV0AASAIuxnZux+2830BAAAAAARZWg==", "base64"),
      "plain",
    ],
    run: (data) => {
      if (detectCodec(data) !== "bz2") return decompress(data, { name: "a", maxBytes: 1 << 20 });
    },
  },
  imageArchive: {
    samples: [OCI_ARCHIVE, DOCKER_ARCHIVE, gzipSync(OCI_ARCHIVE)],
    run: async (data) => {
      await using archive = await openImageArchive(fileOf(data), "a.tar");
      return archive.images.length;
    },
  },
  iso: {
    samples: [ISO],
    run: async (data) => {
      const bytes = inMemory(data, SYSTEM_AREA);
      const image = await IsoImage.open(bytes, "a.iso");
      for await (const { entry, path } of image.walk()) {
        await image.find(path);
        if (entry.kind === "file" && entry.unreadable === undefined) await image.member(entry).read(0, 100);
      }
      await readInstallTree(image);
      const check = await readMediaCheck(bytes);
      if (check !== undefined) await verifyMediaCheck(bytes, check);
    },
  },
  tarIndex: {
    samples: [OCI_ARCHIVE, tar({ b: "c" })],
    run: async (data) => {
      const read = async (buffer: Buffer, at: number, length: number, position: number) => ({
        bytesRead: data.copy(buffer, at, Math.min(position, data.length), Math.min(position + length, data.length)),
      });
      const members = await indexTar({ read }, data.length, "a.tar");
      for (const path of [...members.keys()].slice(0, 100)) findMember(members, path, "a.tar");
    },
  },
  tarStream: {
    samples: [OCI_ARCHIVE, tar({ b: "c", "d/e": "f" })],
    run: async (data) => {
      async function* chunks() {
        for (let at = 0; at < data.length; at += 700) yield data.subarray(at, at + 700);
      }
      await readTarStream(chunks(), "a.tar", async ({ body }) => {
        for await (const chunk of body) if (chunk.length === 0) throw new AirferryError("ERR_IO", "an empty chunk");
      });
    },
  },
};
