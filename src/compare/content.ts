/**
 * What a release holds, in the form that two of them are compared in: packages, images, ISOs and files with their
 * versions and digests, out of an inventory or a lock. Generated files (metadata, checksum sidecars, configuration)
 * follow from these and are left out.
 */
import type { Inventory, InventoryEntry } from "../bundle/inventory-types.ts";
import { digestsIn } from "../io/integrity.ts";
import { isWebPath } from "../io/web-hosts.ts";
import { formatReference, parseReference, repositoryOf } from "../oci/reference.ts";
import { entriesOfKind, type Lock } from "../sources/lock-document.ts";
import type { LockedArtifact } from "../sources/locked-artifact.ts";
import type { Item, Part } from "./parts.ts";

/** A release, or what a lock says that one will hold. */
export interface Content extends Record<Part, Item[]> {
  stream: string;
  /** Null for a lock. */
  epoch: number | null;
  serial: number | null;
  /** RFC 3339: when it was packed; of a lock, when its content last changed. */
  created: string;
  /** keyids; of a bundle whose signatures nobody checked their first 16 digits. None for a lock. */
  signers: readonly string[];
}

/** The content of an inventory. */
export function contentOfInventory(inventory: Inventory, signers: readonly string[]): Content {
  const { stream, epoch, serial, created, catalog, entries } = inventory;
  const plain = (paths: Iterable<{ path: string }>) =>
    [...paths].flatMap(({ path }) => {
      const entry = entries.get(path);
      return entry === undefined ? [] : [plainItem(path, [entry.digest], entry.size)];
    });
  return {
    stream,
    epoch,
    serial,
    created,
    signers,
    packages: catalog.rpms.flatMap((it) => packagesIn(it.name, entries.below(it.path))),
    images: catalog.images.map((it) => imageItem(it.reference, it.digest, it.size, it.platforms)),
    isos: plain(catalog.isos),
    files: plain(catalog.files),
    web: plain(catalog.web === undefined ? [] : entries.below("web/").filter(({ path }) => isWebPath(path))),
  };
}

/** The content that a lock pins. */
export function contentOfLock(lock: Lock): Content {
  const plain = (kind: "iso" | "file" | "web") =>
    entriesOfKind(lock, kind).flatMap((it) =>
      it.artifacts.map((artifact) => plainItem(artifact.path, digestsOf(artifact), artifact.size ?? null)),
    );
  return {
    stream: lock.stream,
    epoch: null,
    serial: null,
    created: lock.time,
    signers: [],
    packages: entriesOfKind(lock, "rpm").flatMap(({ name, artifacts }) =>
      artifacts.flatMap((it) => {
        const found = packageItem(name, it.path, digestsOf(it), it.size ?? null);
        return found === undefined ? [] : [{ ...found, ...epochOf(it.nevra) }];
      }),
    ),
    images: entriesOfKind(lock, "image").flatMap((it) =>
      it.detail.images.map(({ reference, digest, manifestSize, platforms }) =>
        imageItem(reference, digest, manifestSize, platforms),
      ),
    ),
    isos: plain("iso"),
    files: plain("file"),
    web: plain("web"),
  };
}

function packagesIn(repository: string, entries: readonly InventoryEntry[]): Item[] {
  return entries.flatMap(({ path, digest, size }) => {
    const found = packageItem(repository, path, [digest], size);
    return found === undefined ? [] : [found];
  });
}

/** `name-version-release.arch.rpm`, none of which has a slash, and version and release no dash. */
const PACKAGE_FILE = /([^/]+)-([^/-]+-[^/-]+)\.([^/.-]+)\.rpm$/;

/** A package by the name of its file, which carries no epoch; undefined for what is none. */
function packageItem(
  repository: string,
  path: string,
  digests: readonly string[],
  size: number | null,
): Item | undefined {
  if (!path.endsWith(".rpm")) return undefined;
  const [, name, version, arch] = PACKAGE_FILE.exec(path) ?? [];
  // A file of another name is still a package, with an unknown version.
  if (name === undefined || version === undefined) return { name: path, version: "", path, digests, size, repository };
  return { name: `${name}.${arch}`, version, path, digests, size, repository };
}

/** The epoch in `name-epoch:version-release.arch`. */
function epochOf(nevra: string | undefined): { epoch?: number } {
  const epoch = /-(\d+):[^:]*$/.exec(nevra ?? "")?.[1];
  return epoch === undefined ? {} : { epoch: Number(epoch) };
}

function imageItem(reference: string, digest: string, size: number, platforms: readonly string[]): Item {
  const parsed = parseReference(reference);
  const { tag, digest: pinned } = parsed;
  const path = formatReference(parsed);
  return { name: repositoryOf(parsed), version: tag ?? pinned ?? digest, path, digests: [digest], size, platforms };
}

/** Numbers with dots between, and what clings to them: `v1.29.3`, `9.4`, `2.1.4-rc.1`. */
const VERSION_IN_PATH = /\d+(?:\.\d+)+(?:[-+~][A-Za-z]*\.?\d+(?:\.\d+)*)?/g;

function plainItem(path: string, digests: readonly string[], size: number | null): Item {
  return { name: path.replace(VERSION_IN_PATH, "*"), version: path, path, digests, size };
}

function digestsOf({ integrity, kept }: LockedArtifact): string[] {
  return [...(integrity === undefined ? [] : digestsIn(integrity)), ...(kept === undefined ? [] : [kept])];
}
