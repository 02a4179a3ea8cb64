/**
 * Bytes already on this host: in finished bundles under `--out`, and in the work folders of interrupted packs with
 * another plan. They are found by digest and checked again while being copied, so none of this is trusted.
 */
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { foldersOf } from "../bundle/check-finished.ts";
import { MAX_SUMS_BYTES } from "../bundle/format-limits.ts";
import type { Inventory } from "../bundle/inventory-types.ts";
import { INVENTORY_NAME, PIECES_NAME, SUMS_NAME } from "../bundle/media-names.ts";
import { Journal } from "../bundle/pack-journal.ts";
import { checkPieceList, PieceList, readingFile } from "../bundle/piece-list.ts";
import { digestOfInventory, readInventory } from "../bundle/read-inventory.ts";
import { parseSums } from "../bundle/sums.ts";
import { piecesOf, volumeName, volumeSizes } from "../bundle/volume-layout.ts";
import { VolumeSet } from "../bundle/volumes.ts";
import { otherWorkFolders, type WorkFolder } from "../bundle/work-folder.ts";
import { ifThere } from "../io/atomic.ts";
import type { Digest } from "../io/digest.ts";
import { type Integrity, parseIntegrity, sha256In } from "../io/integrity.ts";
import { hasPieces } from "../io/piece-digests.ts";
import { readSmall } from "../io/safe-open.ts";
import type { RandomAccess } from "../io/types.ts";
import type { SizedItem } from "./left-out.ts";

export interface Reusable {
  find(item: SizedItem): { bytes: RandomAccess; close(): Promise<void> } | undefined;
  close(): Promise<void>;
}

/** Looks for the bytes of `wanted`; unreadable folders are skipped. */
export async function findReusable(
  out: string,
  stream: string,
  work: WorkFolder,
  wanted: readonly SizedItem[],
): Promise<Reusable> {
  const keys = new Set<string>(wanted.flatMap((item) => keysOf(item.integrity)));
  const places = new Map<string, { volumes: VolumeSet; offset: number; size: number }>();
  const opened: VolumeSet[] = [];
  const add = async (
    dirs: readonly string[],
    sizes: { streamSize: number; volumeSize: number },
    found: [string, number, number][],
  ) => {
    const useful = found.filter(([key]) => keys.has(key) && !places.has(key));
    if (useful.length === 0) return;
    const names = volumeSizes(sizes.streamSize, sizes.volumeSize).map((_, index) => volumeName(index));
    const files = await Promise.all(names.map((name) => inOneOf(dirs, name)));
    const volumes = VolumeSet.over(files, sizes);
    opened.push(volumes);
    // Volumes of an earlier bundle may be gone.
    const isHere = (offset: number, size: number) =>
      piecesOf(offset, size, sizes.volumeSize).every((it) => files[it.volume] !== undefined);
    for (const [key, offset, size] of useful) if (isHere(offset, size)) places.set(key, { volumes, offset, size });
  };
  if (keys.size > 0) {
    for (const name of await readdir(out).catch(() => [])) {
      if (name.startsWith(".")) continue;
      const dirs = await foldersOf(join(out, name)).catch(() => []);
      const [dir = ""] = dirs;
      const inventory = await inventoryIn(dir);
      if (inventory === undefined) continue;
      await takePieces(dir, inventory, keys, work.pieces);
      const other = new Map<string, Integrity | undefined>();
      for (const { path, integrity } of inventory.catalog.provenance)
        if (integrity !== undefined) other.set(path, parseIntegrity(integrity));
      const found: [string, number, number][] = [];
      for (const { path, digest, offset, size } of inventory.entries) {
        if (offset === undefined) continue;
        for (const key of [digest, ...keysOf(other.get(path))]) if (keys.has(key)) found.push([key, offset, size]);
      }
      await add(dirs, inventory, found);
    }
    const own = work.dir.split("/").at(-1) as string;
    for (const dir of await otherWorkFolders(out, stream, own)) {
      const journal = await Journal.read(join(dir, "journal"));
      if (journal === undefined) continue;
      await add(
        [dir],
        journal.head,
        [...journal.done.values()].map((line) => [line.done, line.offset, line.size]),
      );
    }
  }
  return {
    find(item) {
      for (const key of keysOf(item.integrity)) {
        const place = places.get(key);
        if (place?.size === item.size) {
          return { bytes: place.volumes.range(place.offset, place.size), close: async () => {} };
        }
      }
      return undefined;
    },
    async close() {
      await Promise.all(opened.map((volumes) => volumes.close()));
    },
  };
}

/** The file of this name: volumes of a set of media are spread over folders. */
async function inOneOf(dirs: readonly string[], name: string): Promise<string | undefined> {
  for (const dir of dirs) {
    const file = join(dir, name);
    if ((await ifThere(file, stat(file))) !== undefined) return file;
  }
  return undefined;
}

/** What bytes are found by: their SHA-256, and all that is expected of them where that is more. */
function keysOf(integrity: Integrity | undefined): string[] {
  if (integrity === undefined) return [];
  const digest = sha256In(integrity);
  return digest === undefined || digest === integrity ? [integrity] : [digest, integrity];
}

/**
 * Takes over the digests of pieces of wanted content that a finished bundle has, so that they are not computed again.
 */
async function takePieces(
  dir: string,
  { entries }: Inventory,
  keys: ReadonlySet<string>,
  known: Map<Digest, Uint8Array>,
): Promise<void> {
  const useful = entries.filter((it) => hasPieces(it.size) && keys.has(it.digest) && !known.has(it.digest));
  if (useful.length === 0) return;
  try {
    const { lines } = parseSums(await readSmall(join(dir, SUMS_NAME), MAX_SUMS_BYTES));
    const digest = lines.find((it) => it.name === PIECES_NAME)?.digest;
    if (digest === undefined) return;
    const file = join(dir, PIECES_NAME);
    await checkPieceList(file, digest, entries);
    const list = new PieceList(entries, readingFile(file));
    for (const it of useful) {
      const pieces = await list.of(it.digest);
      if (pieces !== undefined) known.set(it.digest, pieces);
    }
  } catch {
    // A damaged bundle: they are computed.
  }
}

async function inventoryIn(dir: string) {
  try {
    const file = join(dir, INVENTORY_NAME);
    return await readInventory(file, await digestOfInventory(file));
  } catch {
    return undefined;
  }
}
