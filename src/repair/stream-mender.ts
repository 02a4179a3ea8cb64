/**
 * Completes volumes of a stream from the recovery files that follow them: what came of a volume that is not good is
 * kept on disk until these have come. One volume at a time, so that a stream of any length needs the room of two.
 */
import { mkdir, open, rm } from "node:fs/promises";
import { join } from "node:path";
import type { StreamPart, VolumeMender } from "../bundle/bundle-stream.ts";
import type { Inventory, InventoryVolume } from "../bundle/inventory-types.ts";
import { isVolumeParity } from "../bundle/media-names.ts";
import { AirferryError } from "../errors.ts";
import { ioError } from "../io/atomic.ts";
import { plural } from "../io/format.ts";
import type { HashPool, RangeHasher } from "../io/hash-pool.ts";
import { ParityPool } from "../parity/parity-pool.ts";
import { type ParitySet, readParity } from "../parity/read-parity.ts";
import { findBlocks, rebuild } from "../parity/rebuild.ts";

/** Of one volume; blocks are no larger either. */
const MIN_RECOVERY_BYTES = 16 * 1024 * 1024;
/** Of one volume, as they may come without any bytes. */
const MAX_RECOVERY_FILES = 1000;
/** So many sets are tried for one volume: each reads all of it, and anybody may have made them. */
const MAX_SETS = 8;

/** Of larger ones the first bytes are no longer in memory when the last ones come. */
const MAX_VOLUME_BYTES = 64 * 1024 * 1024;

/** A volume that is coming. */
interface Coming {
  index: number;
  hasher: RangeHasher;
  end: number;
  work: Promise<void>;
}

/** A volume that did not come as it was signed, on disk as it came. */
interface Spooled {
  index: number;
  file: string;
  size: number;
  recovery: string[];
  recoveryBytes: number;
}

/** The caller closes it, which removes its folder. */
export class StreamMender implements VolumeMender {
  readonly #dir: string;
  readonly #volumes: Inventory["volumes"];
  readonly #hashes: HashPool;
  readonly #notice: (line: string) => void;
  readonly #good = new Set<number>();
  #pool: ParityPool | undefined;
  #coming: Coming | undefined;
  #spooled: Spooled | undefined;

  /**
   * Undefined, with a notice, where volumes are too large.
   * @param dir for what is not good, created when there is any
   */
  static open(
    dir: string,
    inventory: Pick<Inventory, "volumes" | "volumeSize">,
    hashes: HashPool,
    notice: (line: string) => void,
  ): StreamMender | undefined {
    if (inventory.volumeSize <= MAX_VOLUME_BYTES) return new StreamMender(dir, inventory, hashes, notice);
    notice("its parity passes by: volumes of more than 64 MiB are gone from memory before it comes");
    return undefined;
  }

  private constructor(
    dir: string,
    { volumes }: Pick<Inventory, "volumes">,
    hashes: HashPool,
    notice: (line: string) => void,
  ) {
    this.#dir = dir;
    this.#volumes = volumes;
    this.#hashes = hashes;
    this.#notice = notice;
  }

  async came(index: number, at: number, { bytes }: StreamPart): Promise<void> {
    if (this.#good.has(index)) return;
    if (at === 0) {
      this.#coming?.hasher.discard();
      this.#coming = { index, hasher: this.#hashes.open(), end: 0, work: Promise.resolve() };
    }
    const it = this.#coming;
    if (it?.index !== index || it.end !== at) return;
    await it.work;
    it.work = it.hasher.feed(bytes);
    it.work.catch(() => undefined);
    it.end += bytes.length;
  }

  async ended(index: number, bytes: Iterable<Uint8Array>): Promise<void> {
    const it = this.#coming;
    this.#coming = undefined;
    const volume = this.#volumes[index];
    if (this.#good.has(index) || volume === undefined) return it?.hasher.discard();
    try {
      await it?.work;
      if (it?.index === index && it.end === volume.size && (await it.hasher.digest()) === volume.digest) {
        this.#good.add(index);
        return;
      }
    } finally {
      it?.hasher.discard();
    }
    await this.#drop();
    const file = join(this.#dir, "came");
    const size = await this.#write(file, bytes);
    this.#spooled = { index, file, size, recovery: [], recoveryBytes: 0 };
  }

  wants(name: string, size: number): boolean {
    const it = this.#spooled;
    if (it === undefined || this.#good.has(it.index) || it.recovery.length === MAX_RECOVERY_FILES) return false;
    if (!isVolumeParity(name) || !name.startsWith(`data.${String(it.index).padStart(4, "0")}.`)) return false;
    return it.recoveryBytes + size <= 2 * Math.max(MIN_RECOVERY_BYTES, this.#volumes[it.index]?.size ?? 0);
  }

  async recovery(bytes: AsyncIterable<Uint8Array>): Promise<void> {
    const it = this.#spooled;
    if (it === undefined) return;
    // Names in them say nothing: each packet has its own checksum.
    const file = join(this.#dir, `${it.recovery.length}.par2`);
    it.recoveryBytes += await this.#write(file, bytes);
    it.recovery.push(file);
  }

  async mend(): Promise<{ index: number; file: string } | undefined> {
    const it = this.#spooled;
    const volume = it && this.#volumes[it.index];
    if (it === undefined || volume === undefined || it.recovery.length === 0) {
      await this.#drop();
      return undefined;
    }
    this.#pool ??= new ParityPool();
    const { name, size } = volume;
    const file = join(this.#dir, "mended");
    let why = "what came of it describes nothing";
    for (const set of await setsOf(volume, it.recovery, this.#pool)) {
      const damage = await findBlocks(set, () => [{ path: it.file, size: it.size }], this.#pool);
      why = `it has ${plural(damage.damaged, "damaged block")} and ${plural(set.slices.length, "recovery block")}`;
      if (!damage.isRepairable) continue;
      await this.#write(file, []);
      await resize(file, size);
      if (!(await rebuild(damage, new Map([[name, file]]), this.#pool))) continue;
      if ((await this.#hashes.hashFile(file, { length: size })).digest !== volume.digest) continue;
      this.#good.add(it.index);
      // The file stays until this is asked again.
      it.recovery = [];
      this.#notice(`"${name}" came damaged: completed from its parity (${plural(damage.damaged, "block")})`);
      return { index: it.index, file };
    }
    this.#notice(`"${name}" came damaged, and its parity does not suffice: ${why}`);
    await this.#drop();
    return undefined;
  }

  /** Removes what is on disk. */
  async close(): Promise<void> {
    this.#coming?.hasher.discard();
    await this.#pool?.close();
    await rm(this.#dir, { recursive: true, force: true });
  }

  async #drop(): Promise<void> {
    if (this.#spooled !== undefined) await rm(this.#dir, { recursive: true, force: true });
    this.#spooled = undefined;
  }

  /** Returns how many bytes there were. */
  async #write(file: string, bytes: Iterable<Uint8Array> | AsyncIterable<Uint8Array>): Promise<number> {
    let size = 0;
    try {
      await mkdir(this.#dir, { recursive: true, mode: 0o700 });
      const handle = await open(file, "w", 0o600);
      try {
        for await (const it of bytes) {
          await handle.writeFile(it);
          size += it.length;
        }
      } finally {
        await handle.close();
      }
    } catch (error) {
      throw ioError("write", file, error);
    }
    return size;
  }
}

/** The sets that describe a volume and nothing else. */
async function setsOf({ name, size }: InventoryVolume, files: string[], pool: ParityPool): Promise<ParitySet[]> {
  const sets = await readParity(files, pool).catch((error: unknown) => {
    // Whoever sends too much of it keeps nobody from the rest of the stream.
    if (error instanceof AirferryError && error.code === "ERR_SIZE_LIMIT") return [];
    throw error;
  });
  const isOwn = ({ files: [only, ...others], blockSize }: ParitySet) =>
    others.length === 0 &&
    only?.name === name &&
    only.size === size &&
    blockSize <= Math.max(MIN_RECOVERY_BYTES, size + 3);
  return sets.filter(isOwn).slice(0, MAX_SETS);
}

async function resize(file: string, size: number): Promise<void> {
  const handle = await open(file, "r+");
  await handle.truncate(size).finally(() => handle.close());
}
