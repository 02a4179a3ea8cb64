/** Reads large records in a thread: what reading leaves behind ends with it, and others are not kept waiting. */
import { stat } from "node:fs/promises";
import { join } from "node:path";
import { INVENTORY_NAME } from "../bundle/media-names.ts";
import { AirferryError } from "../errors.ts";
import { runInThread } from "../io/parser-thread.ts";
import { readRelease } from "./release-record.ts";
import { type SharedRelease, sharedRelease } from "./share-release.ts";
import type { Release } from "./types.ts";

/** Smaller inventories are read faster than a thread starts. */
const MIN_BYTES = 4 * 1024 * 1024;

/**
 * Reads a release back from its folder.
 * @param apartFrom bytes of the inventory from which on it is read in a thread
 * @throws {AirferryError} as {@link readRelease}; ERR_SIZE_LIMIT when it takes too much time or memory
 */
export async function readReleaseApart(folder: string, apartFrom = MIN_BYTES): Promise<Release> {
  const file = await stat(join(folder, INVENTORY_NAME)).catch(() => undefined);
  if (file === undefined || file.size < apartFrom) return readRelease(folder);
  const tooMuch = (fault: string) => new AirferryError("ERR_SIZE_LIMIT", `cannot read release "${folder}": ${fault}`);
  const work = { bytes: new Uint8Array(), args: [folder], tooMuch };
  return sharedRelease(await runInThread<SharedRelease>("release", work));
}
