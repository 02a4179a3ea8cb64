/** The packages that a repository of upstream offers now, whether or not a manifest wants them. */
import type { RpmEntry } from "../../manifest/schema.ts";
import type { UpstreamContext } from "../types.ts";
import { SnapshotOpening } from "./open-repositories.ts";
import { placeOf } from "./place.ts";
import { readKeys } from "./repository-keys.ts";

/**
 * Reads the metadata of a repository, which is verified as a lock verifies it. Returns the names of its packages;
 * undefined for a folder of loose packages.
 * @throws {AirferryError} ERR_UPSTREAM*, ERR_MANIFEST_INVALID
 */
export async function offeredPackages(
  entry: RpmEntry,
  context: UpstreamContext,
): Promise<ReadonlySet<string> | undefined> {
  const place = await placeOf(entry, context);
  if (place.kind === "loose") return undefined;
  const keys = await readKeys(entry, context);
  const { primary } = await new SnapshotOpening(entry, place, keys, context, { detailsOnly: true }).open();
  return new Set(primary.packages.map((it) => it.name));
}
