/**
 * The locked entry of one repository: artifacts for packages and metadata, exact or rewritten, and what the lock
 * records about it.
 */
import { type Digest, digestOf, hexOf } from "../../io/digest.ts";
import { requestDigest } from "../../manifest/request.ts";
import type { RpmEntry } from "../../manifest/schema.ts";
import { flatString, formatNevra } from "../../rpm/primary.ts";
import type { LockedRpm } from "../lock-document.ts";
import type { LockedArtifact } from "../locked-artifact.ts";
import type { LockContext } from "../types.ts";
import { type Neighbour, readTree } from "./distribution-tree.ts";
import { locate } from "./location.ts";
import type { LooseFolder } from "./loose-folder.ts";
import type { Repository } from "./repository.ts";
import type { RepositoryKeys } from "./repository-keys.ts";
import type { RpmDetail } from "./rpm-detail.ts";
import type { Selected } from "./selected.ts";
import type { Snapshot } from "./snapshot.ts";
import {
  exactMetadata,
  GENERATED,
  isReadable,
  keptArtifact,
  metadataOf,
  type Placed,
  proofOf,
  recordsInside,
  subsetMetadata,
} from "./write-metadata.ts";

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
  const inside = placed.every((it) => it.asUpstream);
  const exact = whole && entry.packages === undefined && inside && recordsInside(snapshot) && isReadable(snapshot);
  const signed = snapshot.signedBy.length > 0;
  const metadata = exact
    ? await exactMetadata(repository, path, context)
    : await subsetMetadata(repository, placed, path, context);
  const artifacts: LockedArtifact[] = [...metadata.artifacts, ...placed.map((it) => it.artifact)];
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
 * The artifacts of all selected packages, in upstream's order. If two packages share a location, the one
 * built last wins. `repeated` counts identical repetitions: harmless when the metadata is not changed.
 */
function placePackages(
  { name, primary, snapshot }: Repository & { snapshot: Snapshot },
  selected: Selected,
  context: LockContext,
): { placed: Placed[]; notes: string[]; repeated: number } {
  const notes: string[] = [];
  let repeated = 0;
  const proof = proofOf(snapshot, "upstream-checksum");
  const byPath = new Map<string, Placed>();
  for (const entry of primary.packages) {
    if (!selected.packages.has(entry)) continue;
    const { checksum, href, base, size, buildTime } = primary.details(entry);
    const { stored, asUpstream } = locate(href, base, checksum, `${name}: package ${formatNevra(entry)}`);
    const path = flatString(`${rpmPath(name)}${stored}`);
    const at = snapshot.recordedPlaceOf(href, base);
    const nevra = flatString(formatNevra(entry));
    const placed = { entry, asUpstream, artifact: { path, ...at, size, integrity: checksum, nevra, ...proof } };
    const other = byPath.get(path);
    if (other === undefined) byPath.set(path, placed);
    else {
      const isSame = other.artifact.integrity === checksum;
      notes.push(`${stored} is listed twice; the ${isSame ? "first" : "latest"} counts`);
      if (isSame) repeated++;
      else if (buildTime > primary.details(other.entry).buildTime) byPath.set(path, placed);
    }
  }
  for (const note of notes.slice(0, 5)) context.report(`${name}: ${note}`);
  return { placed: [...byPath.values()], notes, repeated };
}

function onePerPath(artifacts: readonly LockedArtifact[]): LockedArtifact[] {
  return [...new Map(artifacts.map((it) => [it.path, it])).values()];
}
