/**
 * The verb `pack`: resolve → lay out → fill → seal. A rerun continues where the last one stopped; a rerun after success
 * checks the finished bundle and fetches nothing.
 */
import type { CatalogWeb } from "./bundle/inventory-types.ts";
import type { Finding } from "./io/findings.ts";
import { releaseMemory } from "./io/flat-memory.ts";
import { throwIfAborted } from "./io/limit.ts";
import { requireUnmoved } from "./pack/drift.ts";
import { fillBundle } from "./pack/fill.ts";
import type { Finished } from "./pack/finished.ts";
import { openJob, type PackJob, type PackOptions } from "./pack/job.ts";
import { layOutBundle } from "./pack/lay-out.ts";
import { openWork } from "./pack/open-work.ts";
import { excludeFaults, pinUnsized, savePins } from "./pack/pins.ts";
import { RecipePlanner } from "./pack/plan-recipes.ts";
import { resolveManifest } from "./pack/resolve.ts";
import { scanFinished } from "./pack/scan-packed.ts";
import { sealBundle } from "./pack/seal.ts";
import { ByteTally, type Origins } from "./pack/tally.ts";
import { adoptWork, chooseTarget } from "./pack/target.ts";
import type { Workspace } from "./pack/workspace.ts";
import type { Lock } from "./sources/lock-document.ts";
import type { ItemFault } from "./sources/types.ts";

interface PackResult extends Finished, Origins {
  stream: string;
  /** False: it existed already, and was checked and complete. */
  packed: boolean;
  /** Web answers that were packed. */
  web?: CatalogWeb[];
  faults: ItemFault[];
  /** What may not work inside, or will not but was allowed by `allowFindings`. */
  findings: Finding[];
}

/** Quarantined packages change the metadata, which changes the plan; more rounds than this indicate a fault. */
const MAX_ROUNDS = 5;
/** From here on, a collection of all garbage between the steps pays: each leaves as much as it keeps. */
const MANY_ITEMS = 20_000;

/**
 * Packs what a manifest names.
 * @throws {AirferryError} ERR_UPSTREAM* (exit 4), ERR_MANIFEST_INVALID, ERR_LOCK_STALE and ERR_FINDINGS (2), ERR_SPACE
 *   and ERR_SCANNER (1), ERR_BASE_UNKNOWN (1), ERR_SCAN_FOUND and ERR_TIMESTAMP (3)
 */
export async function pack(
  workspace: Workspace,
  options: PackOptions & {
    /** URL of a timestamp authority, which is asked for each signature that has no timestamp. */
    timestamp?: string;
  },
): Promise<PackResult> {
  const result = await packBundle(workspace, options);
  const { timestamp, signers } = options;
  if (timestamp === undefined) return result;
  const { addTimestamps } = await import("./timestamp/add-timestamps.ts");
  const keyids16 = signers.map((it) => it.keyid16);
  await addTimestamps(result.bundle, keyids16, timestamp).catch((error: unknown) => {
    options.report?.(`"${result.bundle}" is complete and signed; run the same command again to add its timestamps`);
    throw error;
  });
  return result;
}

async function packBundle(workspace: Workspace, options: PackOptions): Promise<PackResult> {
  await using job = await openJob(workspace, options);
  let lock = await resolve(job);
  const target = await chooseTarget(job, lock);
  if ("finished" in target) {
    await scanFinished(job, target.finished.bundle);
    return resultOf(job, lock, target.finished);
  }
  const planner = target.held && new RecipePlanner(job, target.held);
  const faults: ItemFault[] = [];
  const tally = new ByteTally();
  for (let round = 1; ; round++) {
    throwIfAborted();
    lock = await pinUnsized(job, lock);
    const plan = await layOutBundle(workspace, lock, job.volumeSize, job.rpmSigner, target.held, planner);
    const left = await adoptWork(job, lock, plan, target);
    if (left !== undefined) {
      await scanFinished(job, left.bundle);
      return resultOf(job, lock, left);
    }
    const isLarge = plan.items.length > MANY_ITEMS;
    if (isLarge) releaseMemory();
    await using work = await openWork(job, plan);
    const filled = await fillBundle(job, plan, work.folder, tally);
    lock = await savePins(job, lock, filled.digestAt);
    if (filled.faults.length > 0 && round < MAX_ROUNDS) {
      faults.push(...filled.faults);
      lock = await excludeFaults(job, lock, filled.faults);
      continue;
    }
    if (isLarge) releaseMemory();
    const origins = tally.of([...plan.items, ...plan.twins.map((it) => it.item)]);
    const sealed = await sealBundle(job, { lock, plan, planner, work: work.folder, filled }, target);
    const { web } = plan.catalog;
    return {
      ...resultOf(job, lock, sealed),
      packed: true,
      ...origins,
      ...(web && { web }),
      faults,
    };
  }
}

/** The lock of this pack, with everything that can be reported before hours of downloading. */
async function resolve(job: PackJob): Promise<Lock> {
  const { workspace, frozen, report } = job;
  const { lock, changes, findings } = await resolveManifest(workspace, {
    frozen,
    pinFirstSight: false,
    fetchIsos: true,
    report,
  });
  for (const { change, kind, name, path, before, after } of changes) {
    if (change === "changed" || path !== undefined)
      report(`${change} ${kind} ${path ?? name}: ${before ?? "-"} → ${after ?? "-"}`);
  }
  job.found(findings);
  // Also if the bundle exists: this may be used as a check for drift.
  if (frozen) await requireUnmoved(job, lock);
  return lock;
}

/** The result if the bundle exists already. */
function resultOf({ findings }: PackJob, { stream }: Lock, finished: Finished): PackResult {
  return {
    ...finished,
    stream,
    packed: false,
    fetchedBytes: 0,
    reusedBytes: 0,
    foundBytes: finished.contentSize - finished.leftOut.bytes - finished.built.bytes,
    generatedBytes: 0,
    faults: [],
    findings: [...findings],
  };
}
