/**
 * The locked entry of one repository: artifacts for packages and metadata, exact or rewritten, and what the lock
 * records about it.
 */

import { AirferryError } from "../../errors.ts";
import { type AnyDigest, type Digest, digestOf, hexOf } from "../../io/digest.ts";
import type { Established } from "../../io/types.ts";
import { requestDigest } from "../../manifest/request.ts";
import type { RpmEntry } from "../../manifest/schema.ts";
import { cutComps } from "../../rpm/comps.ts";
import type { RepodataExtra } from "../../rpm/metadata-writer.ts";
import type { ModuleDocument } from "../../rpm/modulemd.ts";
import { cutModules } from "../../rpm/modules.ts";
import { formatNevra, type PackageEntry, type Primary } from "../../rpm/primary.ts";
import { type SubsetPackage, writeSubset } from "../../rpm/subset.ts";
import { cutUpdateinfo } from "../../rpm/updateinfo.ts";
import type { LockedRpm } from "../lock-document.ts";
import type { LockedArtifact } from "../locked-artifact.ts";
import type { LockBlobs, LockContext } from "../types.ts";
import { type Neighbour, readTree } from "./distribution-tree.ts";
import { type Location, locate } from "./location.ts";
import type { LooseFolder } from "./loose-folder.ts";
import { openGroup, type Repository } from "./repository.ts";
import type { RepositoryKeys } from "./repository-keys.ts";
import { CUT_RECORDS, type RpmDetail } from "./rpm-detail.ts";
import type { Selected } from "./selected.ts";
import type { Snapshot } from "./snapshot.ts";

/** A package with its source and its target location. */
interface Placed extends SubsetPackage {
  location: Location;
  checksum: AnyDigest;
  size: number;
  at: ReturnType<Snapshot["placeOf"]>;
}

/** Record types that dnf fetches. */
const DNF_READS = /^(primary|filelists|other|group|group_gz|modules|updateinfo|prestodelta|productid)$/;

/** What airferry generated from upstream's metadata or from packages. */
const GENERATED = { established: "generated" } as const;

/** Trust in what repomd.xml lists: from its signature, or as `otherwise`. */
function proofOf({ signedBy }: Snapshot, otherwise: Established): Pick<LockedArtifact, "established" | "signedBy"> {
  return signedBy.length > 0 ? { established: "upstream-signed", signedBy: [...signedBy] } : { established: otherwise };
}

const rpmPath = (name: string) => `rpms/${name}/`;

/** Writes the entry of a repository that has metadata. */
export async function lockRepository(
  repository: Repository & { snapshot: Snapshot },
  selected: Selected,
  keys: RepositoryKeys | undefined,
  neighbours: readonly Neighbour[],
  context: LockContext,
): Promise<LockedRpm> {
  const { entry, name, primary, snapshot } = repository;
  const path = rpmPath(name);
  const { placed, notes, repeated } = placePackages(repository, selected, context);
  const whole =
    selected.packages.size === primary.packages.length && placed.length + repeated === primary.packages.length;
  const inside = placed.every((it) => it.location.asUpstream);
  const exact = whole && entry.packages === undefined && inside && recordsInside(snapshot) && isReadable(snapshot);
  const signed = snapshot.signedBy.length > 0;
  const proof = proofOf(snapshot, "upstream-checksum");
  const metadata = exact
    ? await exactMetadata(repository, path, context)
    : await subsetMetadata(repository, placed, path, context);
  const artifacts: LockedArtifact[] = [
    ...metadata.artifacts,
    ...placed.map(({ entry: it, location, checksum, size, at }) => ({
      path: `${path}${location.stored}`,
      ...at,
      size,
      integrity: checksum,
      nevra: formatNevra(it),
      ...proof,
    })),
  ];
  const keepsSignature = exact && signed;
  if (keepsSignature) {
    artifacts.push(
      await keptArtifact(`${path}repodata/repomd.xml.asc`, snapshot.signature as Buffer, context.kept, {
        established: "first-sight",
      }),
    );
  }
  const wantsTree = entry.kickstart ?? (entry.packages === undefined || entry.packages.length > 0);
  const tree = wantsTree ? await readTree(snapshot, path, digestOf(metadata.repomd), neighbours) : undefined;
  if (tree) {
    artifacts.push(await keptArtifact(`${path}${tree.name}`, tree.bytes, context.kept, tree.proof), ...tree.images);
    notes.push(...tree.notes);
  }
  const detail: RpmDetail = {
    ...(await commonDetail(entry, keys, context)),
    ...(selected.moduleHotfixes && { moduleHotfixes: true }),
    mode: exact ? "exact" : "subset",
    repomdSignedBy: keepsSignature ? "upstream" : "airferry",
    rpmrepo: entry.rpmrepo ?? false,
    packages: placed.length,
    tree: tree !== undefined,
    metadata: metadata.digests,
    why: selected.why,
    notes: [...selected.notes, ...notes],
    ...(!exact && { upstreamRepomd: hexOf(digestOf(snapshot.repomdBytes)) }),
    ...(selected.leftOut.length > 0 && { leftOut: selected.leftOut }),
  };
  for (const note of notes) context.report(`${name}: ${note}`);
  return { kind: "rpm", name, request: requestDigest(entry), artifacts: onePerPath(artifacts), detail };
}

/** Writes the entry of a folder of loose RPMs. */
export async function lockLoose(
  entry: RpmEntry,
  folder: LooseFolder,
  keys: RepositoryKeys | undefined,
  context: LockContext,
): Promise<LockedRpm> {
  const path = rpmPath(entry.name);
  const repomd = await keptArtifact(`${path}repodata/repomd.xml`, folder.repomd, context.kept, GENERATED);
  const artifacts: LockedArtifact[] = [repomd];
  const digests: Record<string, Digest> = {};
  for (const file of folder.files) {
    const artifact = await keptArtifact(`${path}${file.path}`, file.bytes, context.kept, GENERATED);
    digests[file.type] = artifact.kept;
    artifacts.push(artifact);
  }
  for (const it of folder.packages) {
    artifacts.push({
      path: `${path}${it.href}`,
      file: `${folder.given.replace(/\/$/, "")}/${it.href}`,
      size: it.size,
      integrity: it.digest,
      nevra: formatNevra({ ...it.info, epoch: Number(it.info.epoch) }),
      established: "first-sight",
    });
  }
  const detail: RpmDetail = {
    ...(await commonDetail(entry, keys, context)),
    mode: "loose",
    repomdSignedBy: "airferry",
    rpmrepo: entry.rpmrepo ?? true,
    packages: folder.packages.length,
    tree: false,
    metadata: metadataOf(entry.name, repomd.kept, digests),
    why: {},
    notes: [],
    listing: folder.listing,
  };
  return { kind: "rpm", name: entry.name, request: requestDigest(entry), artifacts, detail };
}

async function commonDetail(
  entry: RpmEntry,
  keys: RepositoryKeys | undefined,
  context: LockContext,
): Promise<Pick<RpmDetail, "gpgcheck" | "moduleHotfixes" | "legacySignatures" | "quarantine" | "keys" | "arch">> {
  const carried = keys && {
    path: `keys/${entry.name}`,
    kept: await context.kept.put(keys.armored),
    fingerprints: keys.keyring.keys.map((it) => it.fingerprint),
  };
  return {
    gpgcheck: keys !== undefined && entry.gpgcheck !== false,
    ...(entry.module_hotfixes && { moduleHotfixes: true }),
    ...(keys && entry.legacy_signatures && { legacySignatures: true }),
    quarantine: entry.on_bad_package === "quarantine",
    keys: carried ? [carried] : [],
    ...(entry.arch && { arch: entry.arch }),
  };
}

/**
 * Source and target location of every selected package, in upstream's order. If two packages share a location, the one
 * built last wins. `repeated` counts identical repetitions: harmless when the metadata is not changed.
 */
function placePackages(
  { name, primary, snapshot }: Repository & { snapshot: Snapshot },
  selected: Selected,
  context: LockContext,
): { placed: Placed[]; notes: string[]; repeated: number } {
  const notes: string[] = [];
  let repeated = 0;
  const byPath = new Map<string, Placed & { buildTime: number }>();
  for (const entry of primary.packages) {
    if (!selected.packages.has(entry)) continue;
    const { checksum, href, base, size, buildTime } = primary.details(entry);
    const location = locate(href, base, checksum, `${name}: package ${formatNevra(entry)}`);
    const at = snapshot.recordedPlaceOf(href, base);
    const placed = {
      entry,
      pkgid: hexOf(checksum),
      href: location.asUpstream ? undefined : location.stored,
      location,
      checksum,
      size,
      at,
      buildTime,
    };
    const other = byPath.get(location.stored);
    if (other === undefined) byPath.set(location.stored, placed);
    else {
      notes.push(`${location.stored} is listed twice; the ${other.pkgid === placed.pkgid ? "first" : "latest"} counts`);
      if (other.pkgid === placed.pkgid) repeated++;
      if (other.pkgid !== placed.pkgid && buildTime > other.buildTime) byPath.set(location.stored, placed);
    }
  }
  for (const note of notes.slice(0, 5)) context.report(`${name}: ${note}`);
  return { placed: [...byPath.values()], notes, repeated };
}

/**
 * Whether clients find every record where upstream's repomd.xml says: not on another server, nor outside the
 * repository.
 */
function recordsInside({ name, repomd }: Snapshot): boolean {
  return repomd.records.every(
    ({ type, href, base, checksum }) => locate(href, base, checksum, `${name}: record ${type}`).asUpstream,
  );
}

/** dnf compares every record of a type with the first one's file, and refuses the repository if they differ. */
function isReadable({ repomd }: Snapshot): boolean {
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
async function exactMetadata(
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

async function subsetMetadata(
  repository: Repository & { snapshot: Snapshot },
  placed: readonly Placed[],
  path: string,
  context: LockContext,
): Promise<Metadata> {
  const { snapshot, modules } = repository;
  const timestamp = /<timestamp>\s*(\d{1,11})/.exec(snapshot.repomdBytes.toString("latin1"))?.[1];
  return writeCut(
    {
      name: repository.name,
      primary: repository.primary,
      chunks: (type) => snapshot.openChunks(type),
      open: (type) => (type === "group" ? openGroup(snapshot) : snapshot.open(type)),
      report: context.report,
      modules: modules.documents,
      // Derived from upstream's, so that the same selection from the same repository gives the same metadata.
      revision: snapshot.repomd.revision || (timestamp ?? "0"),
      time: new Date(Number(timestamp ?? 0) * 1000),
    },
    placed,
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
function metadataOf(name: string, repomd: Digest, digests: Readonly<Record<string, Digest>>): RpmDetail["metadata"] {
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

function onePerPath(artifacts: readonly LockedArtifact[]): LockedArtifact[] {
  return [...new Map(artifacts.map((it) => [it.path, it])).values()];
}
