/**
 * What the metadata of a repository says of its packages: licences, vendors, exact versions. Read as a stream from the
 * bundle's own entries, each of which must have its digest. What cannot be read is a gap: a release without a licence
 * is still a release.
 */
import type { CatalogRpm, InventoryEntry } from "../bundle/inventory-types.ts";
import { AirferryError } from "../errors.ts";
import { type Digest, isDigest } from "../io/digest.ts";
import { decompressChunks } from "../rpm/codecs.ts";
import { type PackageFacts, readFacts } from "../rpm/primary.ts";
import { MAX_METADATA_BYTES, MAX_REPOMD_BYTES, maxOpenBytes, parseRepomd } from "../rpm/repomd.ts";
import { sliceBlocks } from "../rpm/xml-blocks.ts";

/** Reads an entry of at most `maxBytes`. @throws {AirferryError} when it is missing, larger, or not as signed */
export type ReadEntry = (entry: InventoryEntry, maxBytes: number) => Promise<Buffer>;

/** What is known of the packages of one repository. */
interface RepositoryFacts {
  of(entry: InventoryEntry): PackageFacts | undefined;
  /** Why it is not all; undefined when nothing is missing. */
  gap: string | undefined;
}

/** Reads the facts of a repository, whose entries are `entries`. */
export async function readRepositoryFacts(
  { name, path }: CatalogRpm,
  entries: readonly InventoryEntry[],
  read: ReadEntry,
): Promise<RepositoryFacts> {
  const byDigest = new Map<Digest, PackageFacts>();
  const byFile = new Map<string, PackageFacts>();
  const of = (entry: InventoryEntry) =>
    byDigest.get(entry.digest) ?? byFile.get(`${entry.size} ${entry.path.slice(entry.path.lastIndexOf("/") + 1)}`);
  try {
    const primary = await findPrimary(path, entries, read);
    if (primary === undefined) return { of, gap: `${name}: it has no primary metadata` };
    const bytes = await read(primary, MAX_METADATA_BYTES);
    const what = `${name}: primary.xml`;
    const chunks = decompressChunks(bytes, { name: what, maxBytes: maxOpenBytes("primary") });
    await sliceBlocks(chunks, "package", what, (block, _, frame) => {
      const facts = readFacts(block, frame, what);
      if (facts === undefined) return;
      if (isDigest(facts.checksum)) byDigest.set(facts.checksum, facts);
      // Packages that the entry's own digest does not find: repositories of EL 5 and 6, and locations outside.
      else byFile.set(`${facts.size} ${facts.file}`, facts);
    });
  } catch (error) {
    if (!(error instanceof AirferryError)) throw error;
    return { of, gap: `${name}: ${error.message}` };
  }
  return { of, gap: undefined };
}

async function findPrimary(
  path: string,
  entries: readonly InventoryEntry[],
  read: ReadEntry,
): Promise<InventoryEntry | undefined> {
  const repomd = entries.find((it) => it.path === `${path}repodata/repomd.xml`);
  if (repomd === undefined) return undefined;
  const { records } = parseRepomd(await read(repomd, MAX_REPOMD_BYTES), `${path}repodata/repomd.xml`);
  const record = records.find((it) => it.type === "primary");
  return entries.find((it) => it.digest === record?.checksum) ?? entries.find((it) => it.path === path + record?.href);
}
