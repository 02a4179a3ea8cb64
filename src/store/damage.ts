/**
 * A position in the tar stream that differs from what was signed, thrown by the copying code; unpack converts it to a
 * refusal that names volume, offset and entry.
 */
import type { InventoryEntry } from "../bundle/inventory-types.ts";
import type { Digest } from "../io/digest.ts";

export class ContentDamage extends Error {
  /** Offset in the stream. */
  readonly position: number;
  readonly length: number;
  readonly entry: InventoryEntry | undefined;
  /** The actual digest. */
  readonly actual: Digest | undefined;

  constructor(position: number, length: number, entry?: InventoryEntry, actual?: Digest) {
    super(`damage at ${position}`);
    this.name = "ContentDamage";
    this.position = position;
    this.length = length;
    this.entry = entry;
    this.actual = actual;
  }
}
