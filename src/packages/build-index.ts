/**
 * Makes the index of a release's packages from the metadata in the store: of packed repositories, and of those inside
 * ISOs. Streams the metadata. What cannot be read is left out: clients find out by themselves.
 */
import { AirferryError } from "../errors.ts";
import type { Digest } from "../io/digest.ts";
import type { BytesPlace } from "../io/held-files.ts";
import { openBytes, readBytes } from "../io/open-bytes.ts";
import { readInstallTree } from "../iso/install-tree.ts";
import { IsoImage } from "../iso/iso-image.ts";
import { decompressChunks } from "../rpm/codecs.ts";
import { describePackage } from "../rpm/primary.ts";
import { MAX_METADATA_BYTES, MAX_REPOMD_BYTES, maxOpenBytes, parseRepomd } from "../rpm/repomd.ts";
import { sliceBlocks } from "../rpm/xml-blocks.ts";
import { IndexWriter, MAX_PROVIDES } from "./index-file.ts";
import type { MetadataPlace } from "./types.ts";

/** Three times what the largest distribution has; a search would take too long over more. */
const MAX_INDEXED_PACKAGES = 200_000;
/** So many packages have about this; whoever makes the index has all of it in memory. */
const MAX_INDEX_BYTES = 96 * 1024 * 1024;

const REPOMD = "repodata/repomd.xml";

/** Reads a file of a repository; undefined when there is none, or it is larger. */
type ReadFile = (path: string, maxBytes: number) => Promise<Uint8Array | undefined>;

/**
 * Builds the index, of at most 96 MiB. Undefined when no package was found, or more than fit or than 200,000.
 * @param release digest of its SHA256SUMS
 */
export async function buildIndex(release: Digest, places: readonly MetadataPlace[]): Promise<Buffer | undefined> {
  const writer = new IndexWriter(release);
  for (const place of places) {
    if (place.kind === "files") await addRepository(writer, place.path, readerOf(place.files));
    else await addIso(writer, place).catch(passUnreadable);
    if (isFull(writer)) return undefined;
  }
  return writer.packages === 0 ? undefined : writer.finish();
}

function isFull({ packages, bytes }: IndexWriter): boolean {
  return packages > MAX_INDEXED_PACKAGES || bytes > MAX_INDEX_BYTES;
}

function readerOf(files: Readonly<Record<string, BytesPlace>>): ReadFile {
  return async (path) => {
    const file = Object.hasOwn(files, path) ? files[path] : undefined;
    return file === undefined ? undefined : readBytes(file);
  };
}

async function addIso(writer: IndexWriter, { path, file }: MetadataPlace & { kind: "iso" }): Promise<void> {
  const { bytes, close } = await openBytes(file);
  try {
    const image = await IsoImage.open(bytes, path);
    for (const repository of (await readInstallTree(image)).repositories) {
      const folder = repository.path === "" ? "" : `${repository.path}/`;
      await addRepository(writer, `${path}${folder}`, async (name, maxBytes) => {
        const found = await image.find(`${folder}${name}`);
        if (found?.entry.kind !== "file" || found.entry.size > maxBytes) return undefined;
        return image.member(found.entry).read(0, found.entry.size);
      });
    }
  } finally {
    await close();
  }
}

async function addRepository(writer: IndexWriter, path: string, read: ReadFile): Promise<void> {
  try {
    const repomd = await read(REPOMD, MAX_REPOMD_BYTES);
    const record = repomd && parseRepomd(repomd, `${path}${REPOMD}`).records.find((it) => it.type === "primary");
    const primary = record && (await read(record.href, MAX_METADATA_BYTES));
    if (!primary) return;
    const name = `${path}${record.href}`;
    const chunks = decompressChunks(primary, { name, maxBytes: maxOpenBytes("primary") });
    let number = 0;
    await sliceBlocks(chunks, "package", name, (block, _, frame) => {
      const found = describePackage(block, frame, { name, number: ++number, maxProvides: MAX_PROVIDES });
      const { epoch, version, release, href = "", ...it } = found;
      writer.add({ ...it, href, evr: `${epoch > 0 ? `${epoch}:` : ""}${version}-${release}` });
      if (isFull(writer)) throw new AirferryError("ERR_SIZE_LIMIT", "too many packages");
    });
    writer.end(path);
  } catch (error) {
    // What is too much is too much for all of the release.
    if (!isFull(writer)) writer.drop();
    passUnreadable(error);
  }
}

/** Malformed metadata and images concern only themselves. */
function passUnreadable(error: unknown): void {
  if (!(error instanceof AirferryError)) throw error;
}
