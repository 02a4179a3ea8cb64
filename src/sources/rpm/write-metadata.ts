/**
 * The metadata of one repository as artifacts of the lock: upstream's byte for byte, or cut to the selected packages.
 * The bytes are stored beside the lock.
 */
import { AirferryError } from "../../errors.ts";
import { type AnyDigest, type Digest, hexOf } from "../../io/digest.ts";
import type { Established } from "../../io/types.ts";
import { cutComps } from "../../rpm/comps.ts";
import type { RepodataExtra } from "../../rpm/metadata-writer.ts";
import type { ModuleDocument } from "../../rpm/modulemd.ts";
import { cutModules } from "../../rpm/modules.ts";
import { formatNevra, type PackageEntry, type Primary } from "../../rpm/primary.ts";
import { type SubsetPackage, writeSubset } from "../../rpm/subset.ts";
import { cutUpdateinfo } from "../../rpm/updateinfo.ts";
import type { LockedArtifact } from "../locked-artifact.ts";
import type { LockBlobs, LockContext } from "../types.ts";
import { locate } from "./location.ts";
import { openGroup, type Repository } from "./repository.ts";
import { CUT_RECORDS, type RpmDetail } from "./rpm-detail.ts";
import type { Snapshot } from "./snapshot.ts";

/** Record types that dnf fetches. */
const DNF_READS = /^(primary|filelists|other|group|group_gz|modules|updateinfo|prestodelta|productid)$/;

/** What airferry generated from upstream's metadata or from packages. */
export const GENERATED = { established: "generated" } as const;

/** A package and its artifact of the lock. */
export interface Placed {
  entry: PackageEntry;
  artifact: LockedArtifact & { integrity: AnyDigest };
  /** Whether its path is the one that upstream has it at. */
  asUpstream: boolean;
}

/** Trust in what repomd.xml lists: from its signature, or as `otherwise`. */
export function proofOf(
  { signedBy }: Snapshot,
  otherwise: Established,
): Pick<LockedArtifact, "established" | "signedBy"> {
  return signedBy.length > 0 ? { established: "upstream-signed", signedBy: [...signedBy] } : { established: otherwise };
}

/**
 * Whether clients find every record where upstream's repomd.xml says: not on another server, nor outside the
 * repository.
 */
export function recordsInside({ name, repomd }: Snapshot): boolean {
  return repomd.records.every(
    ({ type, href, base, checksum }) => locate(href, base, checksum, `${name}: record ${type}`).asUpstream,
  );
}

/** dnf compares every record of a type with the first one's file, and refuses the repository if they differ. */
export function isReadable({ repomd }: Snapshot): boolean {
  return repomd.records.every(({ type, checksum }) => {
    const first = repomd.records.find((it) => it.type === type)?.checksum ?? checksum;
    return !DNF_READS.test(type) || first === checksum;
  });
}

interface Metadata {
  artifacts: LockedArtifact[];
  digests: RpmDetail["metadata"];
  repomd: Buffer;
}

/** repomd.xml and all its records unchanged; what a later step reads is stored, the rest is fetched at pack. */
export async function exactMetadata(
  { name, entry, snapshot }: Repository & { snapshot: Snapshot },
  path: string,
  context: LockContext,
): Promise<Metadata> {
  const { place } = snapshot;
  const isListed = place.kind === "remote" && place.repomds.length > 0;
  const own = proofOf(snapshot, isListed ? "upstream-checksum" : "first-sight");
  const repomd = await keptArtifact(`${path}repodata/repomd.xml`, snapshot.repomdBytes, context.kept, own);
  const artifacts: LockedArtifact[] = [repomd];
  const digests: Record<string, Digest> = {};
  const listed = proofOf(snapshot, "upstream-checksum");
  for (const record of snapshot.repomd.records) {
    const { stored } = locate(record.href, record.base, record.checksum, `${name}: record ${record.type}`);
    const isSmall = ["primary", "modules", "group", "updateinfo", "productid"].includes(record.type);
    const isNeeded = isSmall || (entry.rpmrepo === true && record.type === "filelists");
    const bytes = isNeeded ? await snapshot.fetchRecord(record) : undefined;
    if (bytes === undefined && (isNeeded || !(await snapshot.hasRecord(record)))) {
      context.report(`${name}: upstream does not have ${record.href}, which its repomd.xml lists; skipped`);
      continue;
    }
    if (bytes) {
      const artifact = await keptArtifact(`${path}${stored}`, bytes, context.kept, listed);
      digests[record.type] ??= artifact.kept;
      artifacts.push(artifact);
    } else {
      artifacts.push({
        path: `${path}${stored}`,
        ...snapshot.recordedPlaceOf(record.href, record.base),
        ...(record.size !== undefined && { size: record.size }),
        integrity: record.checksum,
        ...listed,
      });
    }
  }
  return { artifacts, digests: metadataOf(name, repomd.kept, digests), repomd: snapshot.repomdBytes };
}

export async function subsetMetadata(
  repository: Repository & { snapshot: Snapshot },
  placed: readonly Placed[],
  path: string,
  context: LockContext,
): Promise<Metadata> {
  const { snapshot, modules } = repository;
  // It was expected to be taken as it is.
  const primary = repository.primary.hasBlocks ? repository.primary : await snapshot.primary({ plainBytes: 0 });
  const numbers = new Map(repository.primary.packages.map((it, index) => [it, index]));
  const timestamp = /<timestamp>\s*(\d{1,11})/.exec(snapshot.repomdBytes.toString("latin1"))?.[1];
  const packages = placed.map(({ entry, artifact, asUpstream }) => ({
    entry: primary.packages[numbers.get(entry) as number] as PackageEntry,
    pkgid: hexOf(artifact.integrity),
    href: asUpstream ? undefined : artifact.path.slice(path.length),
  }));
  return writeCut(
    {
      name: repository.name,
      primary,
      chunks: (type) => snapshot.openChunks(type),
      open: (type) => (type === "group" ? openGroup(snapshot) : snapshot.open(type)),
      report: context.report,
      modules: modules.documents,
      // Derived from upstream's, so that the same selection from the same repository gives the same metadata.
      revision: snapshot.repomd.revision || (timestamp ?? "0"),
      time: new Date(Number(timestamp ?? 0) * 1000),
    },
    packages,
    path,
    context.kept,
  );
}

/** Input of cut metadata: upstream, or what an earlier cut stored. */
interface CutSource {
  name: string;
  primary: Primary;
  chunks: (type: "filelists" | "other") => Promise<AsyncIterable<Uint8Array> | undefined>;
  open: (type: "group" | "updateinfo" | "productid") => Promise<Buffer | undefined>;
  report?: (line: string) => void;
  modules: readonly ModuleDocument[];
  revision: string;
  time: Date;
}

/** Writes cut metadata into the lock's folder. */
export async function writeCut(
  source: CutSource,
  packages: readonly SubsetPackage[],
  path: string,
  kept: LockBlobs,
): Promise<Metadata> {
  const { files, repomd } = await writeSubset({
    primary: source.primary,
    packages,
    filelists: await source.chunks("filelists"),
    other: await source.chunks("other"),
    extra: await extrasOf(
      source,
      packages.map((it) => it.entry),
    ),
    revision: source.revision,
    time: source.time,
  });
  const root = await keptArtifact(`${path}repodata/repomd.xml`, repomd, kept, GENERATED);
  const artifacts: LockedArtifact[] = [root];
  const digests: Record<string, Digest> = {};
  for (const file of files) {
    const artifact = await keptArtifact(`${path}${file.path}`, file.bytes, kept, GENERATED);
    if ((CUT_RECORDS as readonly string[]).includes(file.type)) digests[file.type] = artifact.kept;
    artifacts.push(artifact);
  }
  return { artifacts, digests: metadataOf(source.name, root.kept, digests), repomd };
}

/** The stored metadata of a repository. Every repository has a repomd and a primary. */
export function metadataOf(
  name: string,
  repomd: Digest,
  digests: Readonly<Record<string, Digest>>,
): RpmDetail["metadata"] {
  const { primary } = digests;
  if (primary === undefined) {
    throw new AirferryError("ERR_UPSTREAM_INVALID", `cannot lock repository "${name}": it has no primary metadata`, {
      path: name,
    });
  }
  return { ...digests, repomd, primary };
}

async function extrasOf(source: CutSource, packages: readonly PackageEntry[]): Promise<RepodataExtra[]> {
  const extra: RepodataExtra[] = [];
  const nevras = new Set(packages.map(formatNevra));
  const names = new Set(packages.map((it) => it.name));
  const group = await source.open("group");
  if (group) {
    const bytes = await cutComps(group, `${source.name}: comps.xml`, (it) => names.has(it));
    extra.push({ type: "group", name: "comps.xml", bytes, compress: false });
  }
  const modules = cutModules(source.modules, nevras);
  if (modules !== undefined) {
    extra.push({ type: "modules", name: "modules.yaml", bytes: Buffer.from(modules), compress: true });
  }
  const updateinfo = await source.open("updateinfo");
  const cut = updateinfo && (await cutAdvisories(source, updateinfo, nevras));
  if (cut) extra.push({ type: "updateinfo", name: "updateinfo.xml", bytes: cut, compress: true });
  const productid = await source.open("productid");
  if (productid) extra.push({ type: "productid", name: "productid", bytes: productid, compress: false });
  return extra;
}

/** Clients use a repository without its advisories when those are malformed. */
async function cutAdvisories(
  source: CutSource,
  updateinfo: Buffer,
  nevras: ReadonlySet<string>,
): Promise<Buffer | undefined> {
  const name = `${source.name}: updateinfo.xml`;
  try {
    return await cutUpdateinfo(updateinfo, name, (it) => nevras.has(formatNevra(it)));
  } catch (error) {
    if (!(error instanceof AirferryError) || error.code !== "ERR_UPSTREAM_INVALID") throw error;
    source.report?.(`${error.message}; carried without advisories`);
    return undefined;
  }
}

/** Stores a small file in the lock's folder and returns it as an artifact. */
export async function keptArtifact(
  path: string,
  bytes: Buffer,
  kept: LockBlobs,
  proof: Pick<LockedArtifact, "established" | "signedBy">,
): Promise<LockedArtifact & { kept: Digest }> {
  const digest = await kept.put(bytes);
  return {
    path,
    kept: digest,
    size: bytes.length,
    integrity: digest,
    ...proof,
  };
}
