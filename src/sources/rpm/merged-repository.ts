/**
 * `/rpmrepo/`: metadata of one repository over the packages of several, for builders that support only one repository.
 * Packages are not stored twice: locations lead to `NAME/…`, which the server resolves below `/rpms/`.
 */
import { decompress } from "../../rpm/codecs.ts";
import { pkgidOf } from "../../rpm/filelists.ts";
import { type RepodataDocument, type RepodataFile, writeRepodata } from "../../rpm/metadata-writer.ts";
import { Primary } from "../../rpm/primary.ts";
import { maxOpenBytes } from "../../rpm/repomd.ts";
import { withLocation } from "../../rpm/subset.ts";
import { sliceBlocks } from "../../rpm/xml-blocks.ts";
import type { LockedRpm } from "../lock-document.ts";
import type { PlanContext } from "../types.ts";
import { locate } from "./location.ts";
import type { RpmDetail } from "./rpm-detail.ts";

const HEADS = {
  primary:
    '<metadata xmlns="http://linux.duke.edu/metadata/common" xmlns:rpm="http://linux.duke.edu/metadata/rpm" packages="N">',
  filelists: '<filelists xmlns="http://linux.duke.edu/metadata/filelists" packages="N">',
  other: '<otherdata xmlns="http://linux.duke.edu/metadata/other" packages="N">',
};

/** Writes the metadata. A package that several repositories have is listed once, at the first. */
export async function writeMergedRepository(
  entries: readonly LockedRpm[],
  context: PlanContext,
): Promise<{ files: RepodataFile[]; repomd: Buffer }> {
  const primary: Buffer[] = [];
  const filelists: Buffer[] = [];
  const other: Buffer[] = [];
  const modules: Buffer[] = [];
  const seen = new Set<string>();
  for (const entry of entries) {
    const { metadata } = entry.detail;
    const open = async (type: string) => openKept(metadata, type, entry.name, context);
    const document = await Primary.readCompressed(await context.kept.get(metadata.primary), entry.name);
    const mine = new Set<string>();
    for (const it of document.packages) {
      const { checksum, href, base } = document.details(it);
      if (seen.has(checksum)) continue;
      seen.add(checksum);
      mine.add(checksum);
      const { stored } = locate(href, base, checksum, entry.name);
      primary.push(Buffer.from(withLocation(document.block(it), `${entry.name}/${stored}`)), NEWLINE);
    }
    for (const [type, list] of [["filelists", filelists] as const, ["other", other] as const]) {
      const blocks = await open(type);
      if (blocks === undefined) continue;
      await sliceBlocks([blocks], "package", `${entry.name}: ${type}`, (block) => {
        if (mine.has(pkgidOf(block))) list.push(Buffer.from(block), NEWLINE);
      });
    }
    const yaml = await open("modules");
    if (yaml) modules.push(yaml.at(-1) === 0x0a ? yaml : Buffer.concat([yaml, NEWLINE]));
  }
  return writeRepodata({
    revision: context.time,
    time: new Date(context.time),
    primary: documentOf("primary", primary),
    filelists: documentOf("filelists", filelists),
    ...(other.length > 0 && { other: documentOf("other", other) }),
    extra:
      modules.length > 0
        ? [{ type: "modules", name: "modules.yaml", bytes: Buffer.concat(modules), compress: true }]
        : [],
  });
}

const NEWLINE = Buffer.from("\n");

function documentOf(type: keyof typeof HEADS, blocks: Buffer[]): RepodataDocument {
  const head = HEADS[type].replace("N", String(blocks.length / 2));
  const root = /^<(\w+)/.exec(head)?.[1] as string;
  return { head: `<?xml version="1.0" encoding="UTF-8"?>\n${head}\n`, blocks, tail: `</${root}>\n` };
}

async function openKept(
  metadata: RpmDetail["metadata"],
  type: string,
  owner: string,
  context: PlanContext,
): Promise<Buffer | undefined> {
  const digest = metadata[type];
  if (digest === undefined) return undefined;
  return decompress(await context.kept.get(digest), { name: `${owner}: ${type}`, maxBytes: maxOpenBytes(type) });
}
