/** Step 4 of a pack: inventory, signatures, final name; then the state for the next pack, and cleanup. */
import { rm } from "node:fs/promises";
import { type EntryTable, EntryTableWriter } from "../bundle/entry-table.ts";
import { finishBundle } from "../bundle/finish.ts";
import {
  INVENTORY_MEDIA_TYPE,
  type InventoryEntry,
  type Provenance,
  REQUIRES_RECIPES,
  type WrittenInventory,
} from "../bundle/inventory-types.ts";
import { writePieceList } from "../bundle/piece-list.ts";
import { type ProvenanceTable, ProvenanceWriter } from "../bundle/provenance-table.ts";
import { otherWorkFolders, type WorkFolder } from "../bundle/work-folder.ts";
import { bug } from "../errors.ts";
import { releaseMemory } from "../io/flat-memory.ts";
import { throwIfAborted } from "../io/limit.ts";
import { atOnce } from "../io/pace.ts";
import { compareUtf8 } from "../io/text.ts";
import { signatureFiles } from "../sign/signer.ts";
import type { Lock } from "../sources/lock-document.ts";
import { lockDigest, lockTime } from "../sources/lock-document.ts";
import { TOOL } from "../version.ts";
import { writeCarriedRoot } from "./carried-root.ts";
import type { Filled } from "./fill.ts";
import { audienceOf, contentOf, type Finished, notAfterOf, noteState } from "./finished.ts";
import { ItemSources } from "./item-sources.ts";
import type { PackJob } from "./job.ts";
import type { LaidItem, Plan } from "./lay-out.ts";
import type { LeftOutItem } from "./left-out.ts";
import { LeftOutBytes } from "./left-out-bytes.ts";
import { planParity, writeParity } from "./pack-parity.ts";
import type { RecipePlanner } from "./plan-recipes.ts";
import { scanPacked, writeScan } from "./scan-packed.ts";
import type { Target } from "./target.ts";
import { attestationsOf, makeAttestations } from "./write-attestations.ts";
import { writeFileList, writeRecipes } from "./write-recipes.ts";
import { writeSources } from "./write-sources.ts";

/** The filled folder, and its lock. */
interface FilledBundle {
  lock: Lock;
  plan: Plan;
  /** Of a delta. */
  planner: RecipePlanner | undefined;
  work: WorkFolder;
  filled: Filled;
}

/** From here on, a collection of all garbage pays. */
const MANY_ENTRIES = 50_000;
/** Of a long line of provenance. */
const LINE_BYTES = 256;
/** More than the longest path. */
const SPARE_BYTES = 16 * 1024;

/**
 * Turns a filled work folder into a bundle. The plan has no items afterwards.
 * @throws {AirferryError} ERR_SCAN_FOUND, ERR_SCANNER, ERR_SIGNER, ERR_SPACE, ERR_IO; a rerun continues with the
 *   filled folder
 */
export async function sealBundle(job: PackJob, bundle: FilledBundle, target: Target): Promise<Finished> {
  const { lock, plan, planner, work, filled } = bundle;
  const volumes = await work.finishVolumes();
  const inventory = inventoryOf(job, bundle, volumes, target);
  // From here on the inventory says it all, in a third of the memory.
  plan.items = [];
  plan.catalog = inventory.catalog;
  if (inventory.entries.length > MANY_ENTRIES) releaseMemory();
  await work.completePieces(inventory.entries, job.pool);
  throwIfAborted();
  const scanned = await scanPacked(job, inventory, work, plan.leftOut);
  const spread = await writeParity(work.dir, planParity(inventory, job), job.parityProgress);
  const digest = await finishBundle({
    dir: work.dir,
    target: target.path,
    inventory,
    programs: job.programs,
    keys: job.signers,
    spread,
    writeDocuments: async (dir) => {
      const { readBill } = await import("../bom/read-bill.ts");
      const { writeBomFiles } = await import("../bom/bom-files.ts");
      const bill = await withLeftOut(job, bundle, (elsewhere) =>
        readBill(inventory, work.volumes, lock.time, elsewhere),
      );
      for (const gap of bill.gaps) job.report(`the bill of materials is not complete: ${gap}`);
      const pieces = await writePieceList(dir, inventory.entries, (digest) => work.pieces.get(digest) ?? bug(digest));
      return [
        ...(await writeBomFiles(dir, bill)),
        ...(await writeScan(dir, scanned)),
        ...(await writeSources(dir, job.workspace, lock)),
        ...(await writeCarriedRoot(dir, job.trustRoot)),
        ...(pieces === undefined ? [] : [pieces]),
        ...(await writeRecipes(dir, inventory.entries, plan.leftOut)),
        ...(await writeFileList(dir, job, { inventory, work, planner })),
      ];
    },
    attestations: attestationsOf(job.signers, scanned),
    ...(job.volumesPerMedium !== undefined && { volumesPerMedium: job.volumesPerMedium }),
    sign: async (sums, documents) => [
      ...(await Promise.all(job.signers.map((signer) => signatureFiles(sums, signer)))).flat(),
      ...(await makeAttestations(sums, job.signers, { inventory, documents, scanned })),
    ],
  });
  const size = inventory.volumes.reduce((sum, volume) => sum + volume.size, 0);
  const finished = { bundle: target.path, serial: target.serial, digest, size, ...contentOf(inventory) };
  await noteState(job, lock, finished);
  for (const folder of await otherWorkFolders(job.out, lock.stream, "")) {
    await rm(folder, { recursive: true, force: true });
  }
  for (const digest of [...filled.cached, ...(planner?.cached ?? [])]) await job.workspace.cache.remove(digest);
  return finished;
}

function* entriesOf(plan: Plan): Generator<InventoryEntry> {
  for (const it of plan.items) yield entryOf(it);
  for (const it of plan.twins) yield twinOf(it);
  yield* leftOutOf(plan);
}

/** An item is its entry: of 200,000 there need not be two. */
function entryOf(item: LaidItem): LaidItem & InventoryEntry {
  return isFilled(item) ? item : bug(`"${item.path}" was not filled`);
}

/** What is not in the stream: the far side has it, or after all another item with the same bytes is carried. */
function leftOutOf({ items, leftOut }: Plan): InventoryEntry[] {
  if (leftOut.length === 0) return [];
  const carried = new Set(items.map((it) => it.digest));
  const entry = ({ path, size, mode, digest, built }: LeftOutItem): InventoryEntry => ({
    path,
    size,
    mode,
    digest,
    from: carried.has(digest) ? "bundle" : built !== undefined ? "recipe" : "store",
  });
  return leftOut.map(entry);
}

function basesOf(held: Target["held"]): Pick<WrittenInventory, "bases"> {
  const bases = (held?.bases ?? []).map(({ epoch, serial, digest }) => ({ epoch, serial, digest }));
  return bases.length === 0 ? {} : { bases };
}

function twinOf({ item: { path, size, mode }, carrier }: Plan["twins"][number]): InventoryEntry {
  return { path, size, mode, digest: entryOf(carrier).digest, from: "bundle" };
}

/** Lets the bill of materials read what the bundle does not carry. */
async function withLeftOut<T>(
  job: PackJob,
  { plan, work, filled }: FilledBundle,
  make: (elsewhere: (entry: InventoryEntry) => Promise<Buffer | undefined>) => Promise<T>,
): Promise<T> {
  const items = new Map(plan.leftOut.map((it) => [it.digest, it]));
  let sources: ItemSources | undefined;
  const open = async (): Promise<ItemSources> => {
    sources = new ItemSources(job);
    await sources.findReusable(plan.stream, work, plan.leftOut);
    return sources;
  };
  try {
    return await make(async ({ digest }) => {
      const item = items.get(digest);
      return item && new LeftOutBytes(job, sources ?? (await open()), filled.digestAt).read(item);
    });
  } finally {
    filled.cached.push(...(sources?.cached ?? []));
    await sources?.[Symbol.asyncDispose]();
  }
}

function isFilled(item: LaidItem): item is LaidItem & InventoryEntry {
  return item.digest !== undefined;
}

/** In memory of the right size, and in its order: neither is copied. */
function entryTable(entries: InventoryEntry[]): EntryTable {
  entries.sort((a, b) => compareUtf8(a.path, b.path));
  const pathBytes = entries.reduce((sum, it) => sum + Buffer.byteLength(it.path), SPARE_BYTES);
  const writer = new EntryTableWriter(entries.length, pathBytes);
  for (const it of entries) writer.add(it);
  return writer.finish();
}

function provenanceTable(lines: Iterable<Provenance>, entries: EntryTable): ProvenanceTable {
  const writer = new ProvenanceWriter(LINE_BYTES * entries.length);
  for (const it of lines) writer.add(it);
  return atOnce(writer.finish(entries, () => {}));
}

function inventoryOf(
  { workspace, state }: PackJob,
  { lock, plan }: FilledBundle,
  volumes: WrittenInventory["volumes"],
  { serial, held }: Target,
): WrittenInventory {
  const created = lockTime();
  const notAfter = notAfterOf(workspace.manifest, created);
  const audience = audienceOf(workspace.manifest);
  const noted = state?.stream === lock.stream ? state.previous : undefined;
  const previous = (lock.last?.serial ?? 0) > (noted?.serial ?? 0) ? lock.last : noted;
  const entries = entryTable([...entriesOf(plan)]);
  return {
    mediaType: INVENTORY_MEDIA_TYPE,
    requires: entries.tally("recipe").files > 0 ? [REQUIRES_RECIPES] : [],
    stream: lock.stream,
    epoch: 1,
    serial,
    created,
    ...(notAfter && { notAfter }),
    ...(audience && { audience }),
    ...(previous && previous.serial < serial && { previous: { epoch: 1, ...previous } }),
    ...(plan.leftOut.length > 0 && basesOf(held)),
    lock: lockDigest(lock),
    tool: TOOL,
    streamSize: plan.streamSize,
    volumeSize: plan.volumeSize,
    volumes,
    entries,
    catalog: { ...plan.catalog, provenance: provenanceTable(plan.catalog.provenance, entries) },
    ...(workspace.manifest.builder !== undefined && { builder: workspace.manifest.builder }),
    ext: {},
  };
}
