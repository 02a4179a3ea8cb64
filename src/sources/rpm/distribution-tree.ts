/**
 * The installation tree around a repository: `.treeinfo`, the images it names, and its variants, whose paths are
 * adapted to the mirror. Checksums in it are updated.
 */
import { posix } from "node:path";
import { AirferryError } from "../../errors.ts";
import type { AnyDigest, Digest } from "../../io/digest.ts";
import { textOf } from "../../io/text.ts";
import {
  MAX_TREEINFO_BYTES,
  parseTreeinfo,
  rewriteTreeinfo,
  type Treeinfo,
  type VariantPlace,
} from "../../rpm/treeinfo.ts";
import type { LockedArtifact } from "../locked-artifact.ts";
import { isSamePlace, resolveHref } from "./location.ts";
import type { Place } from "./place.ts";
import type { Snapshot } from "./snapshot.ts";

interface Tree {
  /** `.treeinfo` or `treeinfo`, as upstream names it. */
  name: string;
  bytes: Buffer;
  /** Upstream's, byte for byte, or rewritten. */
  proof: Pick<LockedArtifact, "established">;
  images: LockedArtifact[];
  notes: string[];
}

/** Where the other repositories of the manifest are, to find variants. */
export interface Neighbour {
  name: string;
  place: Place;
}

/**
 * Reads the tree; undefined if upstream has none.
 * @param repomd digest of the mirror's own repomd.xml
 */
export async function readTree(
  snapshot: Snapshot,
  path: string,
  repomd: Digest,
  neighbours: readonly Neighbour[],
): Promise<Tree | undefined> {
  for (const name of [".treeinfo", "treeinfo"]) {
    const bytes = await snapshot.fetchFile(name, MAX_TREEINFO_BYTES);
    if (bytes === undefined) continue;
    // As upstream wrote it, except for UTF-16, which installers do not read.
    const text = textOf(bytes);
    // Some servers answer missing files with 200 and a page.
    if (/^\s*</.test(text)) continue;
    const label = `${snapshot.name}: ${name}`;
    const tree = tryParseTreeinfo(text, label, snapshot);
    if (tree === undefined) continue;
    for (const fault of tree.faults) snapshot.report(`${name}: ${fault}; ignored`);
    const notes: string[] = [];
    const variants = new Map<string, VariantPlace | null>();
    for (const { uid, repository, packages } of tree.variants) {
      const within = posix.normalize(repository).replace(/\/$/, "");
      if (within === "." || within === "") continue;
      const other = neighbours.find((it) => isAt(it.place, snapshot.place, within));
      const below = other && posix.relative(posix.normalize(repository), posix.normalize(packages || repository));
      variants.set(
        uid,
        other ? { repository: `../${other.name}`, packages: `../${other.name}/${below}`.replace(/\/$/, "") } : null,
      );
      notes.push(
        other
          ? `${name}: variant ${uid} now points to ${other.name}`
          : `${name}: variant ${uid} is not mirrored and was removed`,
      );
    }
    const checksums = new Map<string, Digest | null>();
    for (const it of tree.badChecksums) checksums.set(it, null);
    for (const it of tree.repomds) checksums.set(it, it === "repodata/repomd.xml" ? repomd : null);
    const images: LockedArtifact[] = [];
    for (const file of tree.files) {
      const image = await lockImage(file, snapshot, path);
      if (image) images.push(image);
      else notes.push(`${name}: upstream does not have ${file.path}`);
    }
    const written = Buffer.from(rewriteTreeinfo(text, { variants, checksums }, label));
    const proof = { established: written.equals(bytes) ? "first-sight" : "generated" } as const;
    return { name, bytes: written, proof, images, notes };
  }
  return undefined;
}

/** Installers work without a `.treeinfo` that they cannot read. */
function tryParseTreeinfo(text: string, label: string, snapshot: Snapshot): Treeinfo | undefined {
  try {
    return parseTreeinfo(text, label);
  } catch (error) {
    if (!(error instanceof AirferryError) || error.code !== "ERR_UPSTREAM_INVALID") throw error;
    snapshot.report(`${error.message}; carried without the installation tree`);
    return undefined;
  }
}

async function lockImage(
  file: { path: string; checksum?: AnyDigest },
  snapshot: Snapshot,
  path: string,
): Promise<LockedArtifact | undefined> {
  const at = snapshot.recordedPlaceOf(file.path, undefined);
  const size = await snapshot.sizeOf(file.path, undefined);
  if (size === undefined) return undefined;
  return {
    path: `${path}${file.path}`,
    ...at,
    ...(size > 0 && { size }),
    ...(file.checksum && { integrity: file.checksum }),
    established: file.checksum ? "upstream-checksum" : "first-sight",
  };
}

/** Whether a relative path from this tree leads to a neighbour. */
function isAt(other: Place, own: Snapshot["place"], path: string): boolean {
  if (own.kind === "disk") return other.kind === "disk" && posix.resolve(own.dir, path) === posix.resolve(other.dir);
  if (other.kind !== "remote") return false;
  return own.bases.some((base) => other.bases.some((it) => isSamePlace(resolveHref(path, base), it)));
}
