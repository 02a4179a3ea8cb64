/**
 * A place in the tar stream that is not what was signed, as the copying code throws it; unpack turns it into a refusal
 * that names volume, offset and entry.
 */
import type { InventoryEntry } from "../bundle/inventory-types.ts";
import type { Digest } from "../io/digest.ts";

export class ContentDamage extends Error {
  /** Offset in the stream. */
  readonly position: number;
  readonly length: number;
  readonly entry: InventoryEntry | undefined;
  /** The digest that was found. */
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
