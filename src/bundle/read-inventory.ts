/** Reads an inventory from its file, of which no more than a part is ever in memory. */
import { createHash } from "node:crypto";
import { stat } from "node:fs/promises";
import { AirferryError } from "../errors.ts";
import { type Digest, parseHex } from "../io/digest.ts";
import { heapMayHaveGrown } from "../io/flat-memory.ts";
import { inTurns } from "../io/pace.ts";
import { readPieces } from "../io/safe-open.ts";
import { MAX_INVENTORY_BYTES } from "./format-limits.ts";
import { InventoryReader, inventoryPace } from "./inventory.ts";
import type { Inventory } from "./inventory-types.ts";
import { INVENTORY_NAME } from "./media-names.ts";

/**
 * The digest of the file, of which nothing is parsed.
 * @throws {AirferryError} ERR_SIZE_LIMIT, ERR_NOT_FOUND, ERR_PATH_UNSAFE, ERR_IO
 */
export async function digestOfInventory(file: string): Promise<Digest> {
  const hash = createHash("sha256");
  for await (const bytes of readPieces(file, MAX_INVENTORY_BYTES)) hash.update(bytes);
  return parseHex(hash.digest("hex")) as Digest;
}

/**
 * The inventory in a file that has this digest, which was compared with the signed one. With pauses, so that signals
 * are handled.
 * @param skips `provenance` of an inventory that was read before: its lines are not looked at, and it has none then
 * @throws {AirferryError} ERR_DIGEST_MISMATCH when the file has another digest now; as {@link digestOfInventory} and
 *   {@link InventoryReader}
 */
export async function readInventory(file: string, digest: Digest, skips?: "provenance"): Promise<Inventory> {
  const pace = inventoryPace();
  const size = await stat(file).then(
    (it) => it.size,
    () => 0,
  );
  const reader = new InventoryReader(Math.min(size, MAX_INVENTORY_BYTES), skips);
  const hash = createHash("sha256");
  for await (const bytes of readPieces(file, MAX_INVENTORY_BYTES)) {
    hash.update(bytes);
    reader.push(bytes);
    heapMayHaveGrown();
    if (pace.isDue) await pace.rest();
  }
  const actual = parseHex(hash.digest("hex"));
  if (actual === digest) return inTurns(reader.finish(), pace);
  const message = `cannot read "${file}": digest mismatch: expected ${digest}, got ${actual}`;
  const hint = "the medium reads differently each time: copy it again";
  throw new AirferryError("ERR_DIGEST_MISMATCH", message, {
    path: INVENTORY_NAME,
    expected: digest,
    actual: `${actual}`,
    hint,
  });
}
