/** Checks the volumes of a bundle as they come in a stream: each as a whole, by its digest. */
import type { Problem } from "../errors.ts";
import type { HashPool, RangeHasher } from "../io/hash-pool.ts";
import { affectedEntries } from "./affected-entries.ts";
import type { LooseBytes, StreamPart } from "./bundle-stream.ts";
import type { Inventory } from "./inventory-types.ts";

/** A volume that is coming. */
interface Coming {
  index: number;
  hasher: RangeHasher;
  /** Bytes that came, without a gap. */
  end: number;
  work: Promise<void>;
}

/**
 * Returns what is wrong, by volume. A volume that comes several times is good if one copy is.
 * @param progress called with bytes as they are hashed
 */
export async function checkStream(
  parts: AsyncIterable<StreamPart | LooseBytes>,
  inventory: Inventory,
  pool: HashPool,
  progress: (bytes: number) => void,
): Promise<Problem[]> {
  const { volumes, volumeSize } = inventory;
  const good = new Set<number>();
  const begun = new Set<number>();
  let coming: Coming | undefined;
  try {
    for await (const part of parts) {
      if (!("bytes" in part)) continue;
      const { position, bytes } = part;
      const index = Math.floor(position / volumeSize);
      const at = position - index * volumeSize;
      if (good.has(index)) continue;
      begun.add(index);
      if (at === 0) {
        coming?.hasher.discard();
        coming = { index, hasher: pool.open(), end: 0, work: Promise.resolve() };
      }
      if (coming?.index !== index || coming.end !== at) continue;
      await coming.work;
      coming.work = coming.hasher.feed(bytes).then(() => progress(bytes.length));
      coming.work.catch(() => undefined);
      coming.end += bytes.length;
      if (coming.end !== volumes[index]?.size) continue;
      await coming.work;
      if ((await coming.hasher.digest()) === volumes[index]?.digest) good.add(index);
      coming = undefined;
      if (good.size === volumes.length) break;
    }
  } finally {
    coming?.hasher.discard();
  }
  return volumes.flatMap(({ name, size }, index): Problem[] => {
    if (good.has(index)) return [];
    if (!begun.has(index)) return [{ code: "ERR_BUNDLE_INCOMPLETE", path: name, message: `"${name}" did not come` }];
    const whole = { position: index * volumeSize, length: size };
    const message = `"${name}" came damaged, or only in part; touches ${affectedEntries(inventory, whole, [whole])}`;
    return [{ code: "ERR_DIGEST_MISMATCH", path: name, message }];
  });
}
