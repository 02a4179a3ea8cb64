/**
 * `isos:` of the manifest: one file each, served as `/isos/NAME.iso` with checksum sidecars; with `keys:`, also the
 * vendor's OpenPGP keys for the repositories inside, as `/keys/NAME.iso`.
 */

import type { CatalogIso, CatalogKey } from "../bundle/inventory-types.ts";
import { requestDigest } from "../manifest/request.ts";
import { itemsOf, lockArtifact, sidecarsOf } from "./artifact.ts";
import type { IsoDetail } from "./iso-detail.ts";
import type { LockedOf } from "./lock-document.ts";
import { mapEntries } from "./map-entries.ts";
import { documentItems, withKeptDocuments } from "./named-documents.ts";
import { artifactOrigins } from "./origin-lines.ts";
import { readKeysOf } from "./rpm/repository-keys.ts";
import type { LockContext, PlanContext, PlanItem, SourceKind } from "./types.ts";

const keysOf = (entry: LockedOf<"iso">) => entry.detail?.keys ?? [];
const pathOf = (name: string) => `isos/${name}.iso`;

export const isoSource: SourceKind<"iso"> = {
  kind: "iso",
  lock: async (context) =>
    mapEntries(
      "iso",
      context.manifest.isos ?? [],
      (entry) => entry.name,
      { ...context, previous: await withKeptKeys(context) },
      async (entry) => {
        const found = await lockArtifact(entry, pathOf(entry.name), context);
        const locked = { kind: "iso" as const, name: entry.name, request: requestDigest(entry), ...found };
        const keys = await readKeysOf("isos", entry, context);
        if (keys === undefined) return locked;
        const fingerprints = keys.keyring.keys.map((it) => it.fingerprint);
        const kept = await context.kept.put(keys.armored);
        const detail: IsoDetail = { keys: [{ path: `keys/${entry.name}.iso`, kept, fingerprints }] };
        return { ...locked, detail };
      },
    ),
  async plan(entries, context) {
    const artifacts = entries.flatMap((entry) => entry.artifacts);
    const taken = new Set(artifacts.map((artifact) => artifact.path));
    const isos: CatalogIso[] = entries.map((entry) => ({ name: entry.name, path: pathOf(entry.name) }));
    const keys: CatalogKey[] = entries.flatMap((entry) =>
      keysOf(entry).map(({ path, fingerprints }) => ({ path, fingerprints, for: [pathOf(entry.name)] })),
    );
    return {
      items: [
        ...itemsOf("iso", entries, context),
        ...artifacts.flatMap((artifact) => sidecarsOf(artifact.path, taken)),
        ...documentItems(entries),
        ...(await keyItems(entries, context)),
      ],
      catalog: { isos, keys, origins: artifactOrigins(entries, context.manifest) },
    };
  },
};

/** Locked entries whose keys and documents are still in the lock's folder; the others are locked again. */
async function withKeptKeys({ previous, kept }: LockContext<"iso">): Promise<Map<string, LockedOf<"iso">>> {
  const whole = await withKeptDocuments(previous, kept);
  for (const entry of previous.values()) {
    for (const key of keysOf(entry)) if (!(await kept.has(key.kept))) whole.delete(entry.name);
  }
  return whole;
}

function keyItems(entries: readonly LockedOf<"iso">[], context: PlanContext): Promise<PlanItem[]> {
  return Promise.all(
    entries.flatMap(keysOf).map(async ({ path, kept }) => ({
      path,
      kind: "iso" as const,
      mode: "0644" as const,
      size: (await context.kept.get(kept)).length,
      integrity: kept,
      established: "manifest" as const,
      source: { from: "kept" as const, digest: kept },
    })),
  );
}
