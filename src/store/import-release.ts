/**
 * The last step of an import: the signed record is stored, then one rename makes the release current.
 * A kill in between leaves the old release current; a rerun finishes.
 */

import { existsSync } from "node:fs";
import { readdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { isLateAttestation } from "../bundle/attest-rules.ts";
import type { Inventory } from "../bundle/inventory-types.ts";
import { PIECES_NAME, SIGNATURES_NAME, SUMS_NAME } from "../bundle/media-names.ts";
import { checkPieceList } from "../bundle/piece-list.ts";
import { AirferryError } from "../errors.ts";
import { ioError, makeFolder, syncPath, writeAtomic } from "../io/atomic.ts";
import type { Digest } from "../io/digest.ts";
import { type Incoming, readIncomingState } from "./incoming.ts";
import { CURRENT_FILE, FLOOR_FILE, IMPORT_FILE, PACKAGES_FILE, releaseName, streamFolder } from "./layout.ts";
import { copyDocument, documentsIn } from "./release-documents.ts";
import { type ImportRecord, readIdentity, readImport } from "./release-record.ts";
import type { Floor, Store } from "./store.ts";

/** Everything stored of a release besides its blobs. */
interface ReleaseParts {
  inventory: Inventory;
  sums: Buffer;
  signatures: { name: string; bytes: Buffer }[];
  /** Public keys (PEM) of the signers, by file name. */
  trust: { name: string; pem: string }[];
  /** Files of the media to keep with the record: the inventory, the bill of materials, the digests of pieces. */
  documents: readonly { name: string; file: string; digest: Digest }[];
  record: ImportRecord;
  /** Index of its packages; undefined without any. */
  packages: Buffer | undefined;
}

/** A bundle's position in the order of releases. */
type Standing = "new" | "again" | "back";

/**
 * Compares a bundle with earlier releases of its stream here.
 * @throws {AirferryError} ERR_EQUIVOCATION when another bundle had the same serial
 */
export async function standingOf(store: Store, inventory: Inventory, digest: string): Promise<Standing> {
  const { stream, epoch, serial } = inventory;
  const floor = await store.floor(stream);
  const sameAsFloor = floor !== undefined && floor.epoch === epoch && floor.serial === serial;
  const known = await knownDigest(store, inventory, sameAsFloor ? floor.digest : undefined);
  for (const other of [known, sameAsFloor ? floor.digest : undefined]) {
    if (other === undefined || other === digest) continue;
    throw new AirferryError(
      "ERR_EQUIVOCATION",
      `cannot unpack "${stream}" serial ${serial}: another bundle with this serial was imported before: expected ${other}, got ${digest}`,
      {
        path: stream,
        expected: other,
        actual: digest,
        hint: "two different bundles were signed with one serial: find out why before anything else is imported",
      },
    );
  }
  if (floor === undefined) return "new";
  if (sameAsFloor) return known === undefined ? "new" : "again";
  return epoch > floor.epoch || (epoch === floor.epoch && serial > floor.serial) ? "new" : "back";
}

/** The digest of this folder's release; for a damaged record from the floor or from what is left of it. */
async function knownDigest(
  store: Store,
  { stream, epoch, serial }: Inventory,
  floor: string | undefined,
): Promise<string | undefined> {
  const folder = await store.recordFolder(stream, releaseName(epoch, serial));
  if (!existsSync(folder)) return undefined;
  const release = await readIdentity(folder).catch(() => undefined);
  return release?.digest ?? floor ?? (await readImport(folder).catch(() => undefined))?.digest;
}

/** Writes the record of a release whose blobs are all in the store, and makes it the current one. */
export async function importRelease(store: Store, incoming: Incoming, parts: ReleaseParts): Promise<void> {
  const { stream, epoch, serial } = parts.inventory;
  const name = releaseName(epoch, serial);
  const releases = streamFolder(store.dir, stream);
  const target = await store.recordFolder(stream, name);
  try {
    await makeFolder(releases);
    if (!(await isWhole(target, parts))) {
      const folder = join(incoming.dir, "release");
      await rm(folder, { recursive: true, force: true });
      await makeFolder(join(folder, SIGNATURES_NAME));
      await makeFolder(join(folder, "trust"));
      await writeAtomic(join(folder, SUMS_NAME), parts.sums);
      for (const it of parts.signatures) await writeAtomic(join(folder, SIGNATURES_NAME, it.name), it.bytes);
      for (const { name, file, digest } of parts.documents) await copyDocument(file, join(folder, name), digest);
      for (const it of parts.trust) await writeAtomic(join(folder, "trust", it.name), it.pem);
      await writeAtomic(join(folder, IMPORT_FILE), `${JSON.stringify(parts.record, undefined, 2)}\n`);
      if (parts.packages) await writeAtomic(join(folder, PACKAGES_FILE), parts.packages);
      await syncPath(folder);
      // A damaged record is replaced by the good one.
      if (existsSync(target)) await dropRecord(target);
      await rename(folder, target);
      await syncPath(releases);
    } else await addEvidence(target, parts);
  } catch (error) {
    throw ioError("write", target, error);
  }
  await raiseFloor(store, parts.inventory, parts.record);
  await writeAtomic(join(releases, CURRENT_FILE), `${name}\n`);
}

/** The same release scanned or attested once more: the newer evidence counts. */
async function addEvidence(target: string, { record, signatures }: ReleaseParts): Promise<void> {
  const before = await readImport(target);
  const { scan, attestations, timestamps } = record;
  const newer = { ...(scan && { scan }), ...(timestamps && { timestamps }), ...(attestations && { attestations }) };
  const now = { ...before, ...newer };
  if (JSON.stringify(now) === JSON.stringify(before)) return;
  for (const { name, bytes } of signatures.filter((it) => isLateAttestation(it.name) || it.name.endsWith(".tsr")))
    await writeAtomic(join(target, SIGNATURES_NAME, name), bytes);
  await writeAtomic(join(target, IMPORT_FILE), `${JSON.stringify(now, undefined, 2)}\n`);
}

/** Whether the record of a release is there, with all its documents. */
async function isWhole(folder: string, { documents, inventory }: ReleaseParts): Promise<boolean> {
  const release = await readIdentity(folder).catch(() => undefined);
  if (release === undefined) return false;
  const found = await documentsIn(folder, release.lines);
  const pieces = found.find((it) => it.name === PIECES_NAME);
  if (pieces !== undefined) {
    const isRight = await checkPieceList(pieces.file, pieces.digest, inventory.entries).then(
      () => true,
      () => false,
    );
    if (!isRight) return false;
  }
  // All are there but the inventory, which was read above.
  return found.length + 1 >= documents.length;
}

/** Removes the record of a release: first, durably, its name. */
export async function dropRecord(folder: string): Promise<void> {
  const aside = join(folder, "..", `.gone-${process.pid}-${Date.now()}`);
  await rename(folder, aside);
  await syncPath(join(folder, ".."));
  await rm(aside, { recursive: true, force: true });
}

/** Records that a stream had a release: later ones must be above the highest. Never lowers anything. */
export async function raiseFloor(
  store: Store,
  { stream, epoch, serial, created }: Pick<Inventory, "stream" | "epoch" | "serial" | "created">,
  record: Pick<ImportRecord, "digest" | "importedAt">,
): Promise<void> {
  const { digest, importedAt } = record;
  // Only a time that both the signer's clock and the local one have passed counts: a bundle from 2049 must not expire
  // all others.
  const past = created < importedAt ? created : importedAt;
  const floor = await store.floor(stream);
  const higher = floor === undefined || epoch > floor.epoch || (epoch === floor.epoch && serial > floor.serial);
  const newest = floor === undefined || past > floor.created ? past : floor.created;
  const next: Floor = higher ? { epoch, serial, digest, created: newest } : { ...floor, created: newest };
  await writeAtomic(join(streamFolder(store.dir, stream), FLOOR_FILE), `${JSON.stringify(next)}\n`);
}

/** Removes quarantine of this stream that the current release makes obsolete. */
export async function dropOldIncoming(store: Store, { stream, epoch, serial }: Inventory): Promise<void> {
  const root = join(store.dir, "incoming");
  for (const name of await readdir(root)) {
    const state = await readIncomingState(join(root, name));
    // Unidentifiable leftovers are removed by prune on request.
    if (state === undefined || state.stream !== stream) continue;
    const older = state.epoch < epoch || (state.epoch === epoch && state.serial <= serial);
    if (older) await rm(join(root, name), { recursive: true, force: true });
  }
}
