/** Chooses the bundle of a pack: its serial and its folder. Or finds that it exists already. */
import { rename, stat } from "node:fs/promises";
import { join } from "node:path";
import { workFolderName } from "../bundle/work-folder.ts";
import { AirferryError } from "../errors.ts";
import { ifThere, makeFolder, syncPath } from "../io/atomic.ts";
import type { Lock } from "../sources/lock-document.ts";
import { adoptable, type Finished, noteState, packedBefore } from "./finished.ts";
import { findHeld, type HeldThere } from "./held-there.ts";
import type { PackJob } from "./job.ts";
import type { Plan } from "./lay-out.ts";

/** A bundle to create. */
export interface Target {
  serial: number;
  /** Its folder under `--out`, which does not exist yet. */
  path: string;
  /** What it does not carry, since the far side has it. */
  held: HeldThere | undefined;
}

/**
 * Chooses serial and folder of the bundle, unless an earlier run completed it: then it is recorded and returned.
 * @throws {AirferryError} ERR_USAGE when something else has its name; ERR_BUNDLE_INVALID when the bundle was changed;
 *   ERR_BASE_UNKNOWN
 */
export async function chooseTarget(job: PackJob, lock: Lock): Promise<Target | { finished: Finished }> {
  const { out, state } = job;
  const whole = async (finished: Finished) => {
    await noteState(job, lock, finished);
    return { finished };
  };
  const earlier = await packedBefore(job, lock);
  if (earlier !== undefined) return whole(earlier);

  const last = Math.max(state?.serial ?? 0, lock.last?.serial ?? 0);
  const serial = job.serial ?? last + 1;
  const held = await heldAt(job, serial);
  // Without a state file, the last bundle may still exist.
  const mayBeHere = state === undefined && job.serial === undefined && last > 0;
  const known = mayBeHere
    ? await adoptable(job, lock, join(out, bundleName(lock.stream, last)), last, await heldAt(job, last))
    : undefined;
  if (known !== undefined) return whole(known);
  if (last > (state?.serial ?? 0) && job.serial === undefined)
    job.report(
      `serial ${serial} follows serial ${last}, which is recorded in the lock but was not packed in this folder`,
    );
  const name = bundleName(lock.stream, serial);
  const path = join(out, name);
  await makeFolder(out);
  if (!(await exists(path))) return { serial, path, held };
  // A run that was killed after its last step left everything but the record.
  const left = await adoptable(job, lock, path, serial, held);
  if (left !== undefined) return whole(left);
  throw new AirferryError("ERR_USAGE", `cannot pack "${name}": "${path}" exists and is not this bundle`, {
    path,
    hint: `choose another --out, or give --serial ${serial + 1}`,
  });
}

/** A work folder of this plan that a killed run had finished except for its name: it is renamed and recorded. */
export async function adoptWork(job: PackJob, lock: Lock, plan: Plan, target: Target): Promise<Finished | undefined> {
  const left = await adoptable(job, lock, join(job.out, workFolderName(plan)), target.serial, target.held);
  if (left === undefined) return undefined;
  await rename(left.bundle, target.path);
  await syncPath(job.out);
  const finished = { ...left, bundle: target.path };
  await noteState(job, lock, finished);
  return finished;
}

/** What the far side has when this serial is packed. */
async function heldAt({ delta, out, workspace, report }: PackJob, serial: number): Promise<HeldThere | undefined> {
  return delta && (await findHeld(delta, { out, stream: workspace.manifest.stream, serial, report }));
}

function bundleName(stream: string, serial: number): string {
  return `${stream}-${String(serial).padStart(6, "0")}`;
}

async function exists(path: string): Promise<boolean> {
  return (await ifThere(path, stat(path))) !== undefined;
}
