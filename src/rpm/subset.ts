/**
 * Metadata of a subset of a repository: upstream's package blocks in primary, filelists and other, byte for byte except
 * for locations that had to be made safe; comps, modules and advisories cut to match; what cannot be cut (sqlite,
 * zchunk, deltas) dropped. filelists and other may be missing upstream, or be stubs.
 */

import { pkgidOf } from "./filelists.ts";
import type { RepodataDocument, RepodataExtra, RepodataFile } from "./metadata-writer.ts";
import { writeRepodata } from "./metadata-writer.ts";
import type { PackageEntry, Primary } from "./primary.ts";
import { escapeXml } from "./xml.ts";
import { sliceBlocks, type XmlFrame } from "./xml-blocks.ts";

/** One package of the subset. */
export interface SubsetPackage {
  entry: PackageEntry;
  /** Lower-case hex: what filelists and other call it. */
  pkgid: string;
  /** Where the mirror stores it, relative to the repository, percent-encoded for XML; undefined: as upstream has it. */
  href?: string | undefined;
}

interface SubsetInput {
  primary: Primary;
  packages: readonly SubsetPackage[];
  /** The uncompressed documents, streamed; undefined if upstream has none. */
  filelists?: AsyncIterable<Uint8Array> | undefined;
  other?: AsyncIterable<Uint8Array> | undefined;
  extra: readonly RepodataExtra[];
  revision: string;
  time: Date;
}

const FILELISTS_HEAD =
  '<?xml version="1.0" encoding="UTF-8"?>\n<filelists xmlns="http://linux.duke.edu/metadata/filelists" packages="0">';

/** Writes the metadata. @throws {AirferryError} ERR_UPSTREAM_INVALID for malformed filelists or other */
export async function writeSubset(input: SubsetInput): Promise<{ files: RepodataFile[]; repomd: Buffer }> {
  const { primary, packages } = input;
  const pkgids = new Set(packages.map((it) => it.pkgid));
  const filelists = await cutDocument(input.filelists, `${primary.name}: filelists`, pkgids);
  const other = await cutDocument(input.other, `${primary.name}: other`, pkgids);
  return writeRepodata({
    revision: input.revision,
    time: input.time,
    primary: {
      head: `${withCount(primary.frame, packages.length)}\n`,
      blocks: primaryBlocks(primary, packages),
      tail: `${primary.frame.tail}\n`,
    },
    // Clients need a filelists record; upstream's stub is empty too.
    filelists: filelists ?? { head: `${FILELISTS_HEAD}\n`, blocks: [], tail: "</filelists>\n" },
    other,
    extra: input.extra,
  });
}

function* primaryBlocks(primary: Primary, packages: readonly SubsetPackage[]): Generator<Uint8Array | string> {
  for (const { entry, href } of packages) {
    const block = primary.block(entry);
    yield href === undefined ? block : withLocation(block, href);
    yield "\n";
  }
}

/** A primary block with another location: the only change that a mirror makes. */
export function withLocation(block: Buffer, href: string): Buffer {
  const text = block.toString("latin1");
  const location = Buffer.from(`location href="${escapeXml(href)}"`, "utf8").toString("latin1");
  const changed = text.replace(/<((?:[\w.-]+:)?)location\b[^>]*?(\/?)>/, (_tag, prefix: string, slash: string) => {
    return `<${prefix}${location}${slash}>`;
  });
  return Buffer.from(changed, "latin1");
}

async function cutDocument(
  chunks: AsyncIterable<Uint8Array> | undefined,
  name: string,
  pkgids: ReadonlySet<string>,
): Promise<RepodataDocument | undefined> {
  if (chunks === undefined) return undefined;
  const blocks: Buffer[] = [];
  const seen = new Set<string>();
  const frame = await sliceBlocks(chunks, "package", name, (block) => {
    const pkgid = pkgidOf(block);
    if (!pkgids.has(pkgid) || seen.has(pkgid)) return;
    seen.add(pkgid);
    blocks.push(Buffer.from(block), Buffer.from("\n"));
  });
  return { head: `${withCount(frame, seen.size)}\n`, blocks, tail: `${frame.tail}\n` };
}

/** Upstream's head with another number of packages. */
function withCount(frame: XmlFrame, count: number): string {
  const head = Buffer.from(frame.head, "latin1").toString("utf8");
  return head.replace(/(\spackages\s*=\s*)(["'])[^"']*\2/, (_all, before: string) => `${before}"${count}"`);
}
