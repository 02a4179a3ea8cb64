/**
 * Finished bundles: what `pack` finds when it runs again after success, or after a kill between its last steps. Each is
 * hashed completely before it counts.
 */

import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { checkFinished, foldersOf } from "../bundle/check-finished.ts";
import type { Inventory, WrittenInventory } from "../bundle/inventory-types.ts";
import { BIN_NAME, INVENTORY_NAME, isSpareName, SUMS_NAME } from "../bundle/media-names.ts";
import { digestOfInventory, readInventory } from "../bundle/read-inventory.ts";
import { ensureSigned, isSignedBy } from "../bundle/signatures.ts";
import { parseSums } from "../bundle/sums.ts";
import { AirferryError } from "../errors.ts";
import { ifThere } from "../io/atomic.ts";
import { type Digest, digestOf, hexOf } from "../io/digest.ts";
import { countEstablished, type EstablishedCounts } from "../io/established.ts";
import { throwIfAborted } from "../io/limit.ts";
import { shellWord } from "../io/shell.ts";
import { compareUtf8 } from "../io/text.ts";
import { canonicalJson } from "../manifest/canonical-json.ts";
import { writeState } from "../manifest/pack-state.ts";
import type { Manifest } from "../manifest/schema.ts";
import { type Lock, lockDigest, writeLock } from "../sources/lock-document.ts";
import type { HeldThere } from "./held-there.ts";
import type { PackJob } from "./job.ts";
import { parityFiles, planParity } from "./pack-parity.ts";
import { readStamp } from "./program-stamp.ts";

/** A complete bundle. `size` counts the volumes, `leftOut` what the far side has and it does not carry. */
export interface Finished {
  bundle: string;
  serial: number;
  /** SHA-256 (hex) of SHA256SUMS. */
  digest: Digest;
  entries: number;
  size: number;
  /** Bytes of its entries, without what the archive puts between them. */
  contentSize: number;
  established: EstablishedCounts;
  leftOut: { files: number; bytes: number };
  /** What the far side builds by recipes. */
  built: { files: number; bytes: number };
}

/** What a finished bundle has, according to its inventory. */
export function contentOf({
  entries,
  catalog,
}: WrittenInventory): Pick<Finished, "entries" | "contentSize" | "established" | "leftOut" | "built"> {
  return {
    entries: entries.length,
    contentSize: entries.totalBytes,
    established: countEstablished(catalog.provenance),
    leftOut: entries.tally("store"),
    built: entries.tally("recipe"),
  };
}

/**
 * The bundle of the last pack, if it is still up to date; adds the signatures of this run's signers if missing.
 * @throws {AirferryError} ERR_BUNDLE_INVALID when it was changed
 */
export async function packedBefore(job: PackJob, lock: Lock): Promise<Finished | undefined> {
  const { workspace, pool, state } = job;
  const last = state?.last;
  if (last === undefined || last.lock !== lockDigest(lock)) return undefined;
  if (last.volumeSize !== job.volumeSize || last.volumesPerMedium !== job.volumesPerMedium) return undefined;
  if (last.parity !== job.parity || last.paritySet !== job.paritySet) return undefined;
  if (last.delta !== job.delta?.name) return undefined;
  const serial = Number(last.name.slice(last.name.lastIndexOf("-") + 1));
  if (job.serial !== undefined && job.serial !== serial) return undefined;
  const bundle = join(job.out, last.name);
  if (!(await ifThere(bundle, stat(bundle)))?.isDirectory()) return undefined;
  const claims = await readClaims(bundle, undefined);
  // Parts of the manifest that the lock does not cover may have changed: the builder, the expiry date.
  if (claims !== undefined && !matchesManifest(claims, workspace.manifest)) return undefined;
  if (!(await bringsPrograms(job, bundle))) return undefined;
  job.report(`checking ${bundle}, which was packed from this lock`);
  const problems = await checkFinished(bundle, pool, last.digest);
  if (problems.length > 0 || claims === undefined) {
    throw new AirferryError(
      "ERR_BUNDLE_INVALID",
      `cannot use finished bundle "${bundle}": it was changed since it was packed`,
      { path: bundle, problems, hint: `move it away and run airferry pack ${shellWord(workspace.file)} again` },
    );
  }
  for (const signer of job.signers) {
    const added = await ensureSigned(bundle, signer);
    if (added.length > 0) job.report(`signed ${bundle} by ${signer.keyid} as well`);
  }
  return { bundle, serial, digest: last.digest, ...claims.content };
}

/**
 * A folder that is this bundle although no state records it: complete, and signed by every signer of this run, so that
 * no foreign folder is mistaken for it. Undefined otherwise.
 */
export async function adoptable(
  job: PackJob,
  lock: Lock,
  dir: string,
  serial: number,
  held: HeldThere | undefined,
): Promise<Finished | undefined> {
  const { workspace, pool } = job;
  try {
    const names = await readdir(dir);
    if (
      names.includes("journal") ||
      names.some((it) => it.startsWith("medium-")) !== (job.volumesPerMedium !== undefined)
    )
      return undefined;
    const claims = await readClaims(dir, held);
    if (claims === undefined || !claims.leavesOutHeld || claims.serial !== serial || claims.stream !== lock.stream)
      return undefined;
    if (
      claims.lock !== lockDigest(lock) ||
      claims.volumeSize !== job.volumeSize ||
      !matchesManifest(claims, workspace.manifest) ||
      !(await bringsPrograms({ ...job, programs: [] }, dir))
    )
      return undefined;
    for (const signer of job.signers) if (!(await isSignedBy(dir, signer))) return undefined;
    const [folder] = await foldersOf(dir);
    const sums = await readFile(join(folder as string, SUMS_NAME));
    if (!hasParity(sums, claims, job)) return undefined;
    const digest = digestOf(sums);
    const problems = await checkFinished(dir, pool, digest);
    return problems.length > 0 ? undefined : { bundle: dir, serial, digest, ...claims.content };
  } catch {
    throwIfAborted();
    return undefined;
  }
}

/** Records what was packed, for the next run. */
export async function noteState(job: PackJob, lock: Lock, finished: Finished): Promise<void> {
  const { workspace, state } = job;
  const { serial, digest, bundle } = finished;
  if (serial > (lock.last?.serial ?? 0)) await writeLock(workspace.paths.lock, { ...lock, last: { serial, digest } });
  await writeState(workspace.paths.state, {
    stream: lock.stream,
    serial: Math.max(serial, state?.serial ?? 0),
    previous: { serial, digest },
    last: {
      lock: lockDigest(lock),
      name: bundle.split("/").at(-1) as string,
      digest,
      volumeSize: job.volumeSize,
      ...(job.volumesPerMedium !== undefined && { volumesPerMedium: job.volumesPerMedium }),
      ...(job.parity !== undefined && { parity: job.parity }),
      ...(job.paritySet !== undefined && { paritySet: job.paritySet }),
      ...(job.delta !== undefined && { delta: job.delta.name }),
    },
  });
}

const DAYS = { d: 1, w: 7, m: 30, y: 365 } as const;

/** When a bundle created at `created` expires, in RFC 3339; undefined when it does not. */
export function notAfterOf(manifest: Manifest, created: string): string | undefined {
  const span = manifest.expires;
  if (span === undefined) return undefined;
  const days = Number(span.slice(0, -1)) * DAYS[span.at(-1) as keyof typeof DAYS];
  return `${new Date(Date.parse(created) + days * 86_400_000).toISOString().slice(0, 19)}Z`;
}

/** The sites that bundles of a manifest are made for, as in an inventory. */
export function audienceOf({ audience }: Manifest): string[] | undefined {
  return audience?.toSorted(compareUtf8);
}

/** Whether a bundle lists the recovery files that this pack would write, and no others. */
function hasParity(sums: Buffer, { volumes, volumeSize }: Claims, job: PackJob): boolean {
  const listed = parseSums(sums).lines.filter((it) => isSpareName(it.name));
  const planned = new Set(parityFiles(planParity({ volumes, volumeSize }, job)).map((it) => it.name));
  return listed.length === planned.size && listed.every((it) => planned.has(it.name));
}

/** Whether an inventory matches the manifest apart from its entries. */
function matchesManifest(inventory: Claims, manifest: Manifest): boolean {
  const builder = (it: unknown) => (it === undefined ? "" : canonicalJson(it));
  return (
    inventory.notAfter === notAfterOf(manifest, inventory.created) &&
    (inventory.audience ?? []).join() === (audienceOf(manifest) ?? []).join() &&
    builder(inventory.builder) === builder(manifest.builder)
  );
}

/**
 * Whether a bundle brings a program for every platform that this pack has one for, and every file of its trust root. A
 * program of another build stays as it is, and that is reported.
 */
async function bringsPrograms({ programs, trustRoot = [], report }: PackJob, bundle: string): Promise<boolean> {
  const [folder = bundle] = await foldersOf(bundle);
  const sums = await readFile(join(folder, SUMS_NAME), "utf8").catch(() => undefined);
  // Whoever checks it will say what it lacks.
  if (sums === undefined) return true;
  const root = trustRoot.filter((it) => !sums.includes(`${hexOf(it.digest)}  ${it.name}\n`));
  const missing = [
    ...programs.map(({ name }) => `${BIN_NAME}/${name}`).filter((it) => !sums.includes(`  ${it}\n`)),
    ...root.slice(0, 1).map((it) => it.name),
  ];
  if (missing.length > 0) {
    report(`packing again: ${bundle} brings no ${missing.join(" and ")}`);
    return false;
  }
  for (const { name, content } of programs) {
    const stamp = await readStamp(join(folder, BIN_NAME, name));
    if (stamp !== undefined && stamp.content !== content)
      report(`${bundle} brings ${BIN_NAME}/${name} of another build; --serial with the next number packs it again`);
  }
  return true;
}

/** What counts of an inventory that is not checked yet: without its entries, of which there may be 200,000. */
interface Claims
  extends Pick<
    Inventory,
    "stream" | "serial" | "lock" | "volumeSize" | "volumes" | "created" | "notAfter" | "audience" | "builder"
  > {
  content: Omit<Finished, "bundle" | "serial" | "digest">;
  /** Whether it leaves out exactly what the far side has. */
  leavesOutHeld: boolean;
}

async function readClaims(bundle: string, held: HeldThere | undefined): Promise<Claims | undefined> {
  try {
    const [folder] = await foldersOf(bundle);
    const file = join(folder as string, INVENTORY_NAME);
    const inventory = await readInventory(file, await digestOfInventory(file));
    const { stream, serial, lock, volumeSize, volumes, created, notAfter, audience, builder, streamSize } = inventory;
    const content = { size: streamSize, ...contentOf(inventory) };
    const gates = { ...(notAfter !== undefined && { notAfter }), ...(audience !== undefined && { audience }) };
    const leavesOutHeld = !inventory.entries.some((it) => (it.from === "store") !== (held?.has(it.digest) ?? false));
    return { stream, serial, lock, volumeSize, volumes, created, ...gates, builder, content, leavesOutHeld };
  } catch {
    return undefined;
  }
}
