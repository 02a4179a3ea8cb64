/**
 * A good volume from several damaged copies, by what the inventory says of its content: each small entry, and each
 * piece of a large one, is taken from a copy in which it has its digest. Everything else in a volume is known.
 */
import { hash } from "node:crypto";
import type { FileHandle } from "node:fs/promises";
import { open } from "node:fs/promises";
import { printableName } from "../bundle/entry-paths.ts";
import { streamEntriesBehind } from "../bundle/inventory.ts";
import { frameStart, type PlacedEntry } from "../bundle/steps.ts";
import { headerBytes } from "../bundle/tar-layout.ts";
import { piecesOf } from "../bundle/volume-layout.ts";
import { ioError } from "../io/atomic.ts";
import { type Digest, hexOf } from "../io/digest.ts";
import { throwIfAborted } from "../io/limit.ts";
import { describePieces, hasPieces, PIECE_BYTES, pieceCount, pieceDigest, runsOf } from "../io/piece-digests.ts";
import { openRegular } from "../io/safe-open.ts";
import { type Donor, placeIn } from "./donors.ts";
import type { RepairJob } from "./open-repair.ts";

/** Further entries are counted, not named. */
const SHOWN_ENTRIES = 3;
/** Combinations of copies that are tried for one piece: across many small volumes there are too many. */
const MAX_CHOICES = 4096;

interface MergeOptions {
  /** Files that may be copies of a volume, best first. */
  copiesOf: (volume: number) => readonly string[];
  /** A file of zeros of the volume's size; undefined: nothing is written. */
  target: string | undefined;
  progress: (bytes: number) => void;
}

/** A part of the stream that has a digest of its own. */
interface Unit {
  /** Of its entry, and where it is in it. */
  entry: Digest;
  at: number;
  position: number;
  length: number;
  /** Hex. */
  digest: string;
}

/**
 * Merges the copies of a volume. Returns what is good in none of them, for people; empty if the volume is whole.
 * @throws {AirferryError} ERR_SPACE, ERR_IO when the target cannot be written
 */
export async function mergeContent(
  { contents, donors }: Pick<RepairJob, "contents" | "donors">,
  volume: number,
  { copiesOf, target, progress }: MergeOptions,
): Promise<string[]> {
  const { inventory, pieces } = contents;
  const start = volume * inventory.volumeSize;
  const end = start + (inventory.volumes[volume]?.size ?? 0);
  const files = new CopyFiles();
  const to = target === undefined ? undefined : await open(target, "r+");
  /** Puts bytes of the stream into the volume, as far as they belong there. */
  const put = async (position: number, bytes: Uint8Array) => {
    const from = Math.max(start, position);
    const part = bytes.subarray(from - position, Math.max(0, Math.min(end, position + bytes.length) - position));
    let done = 0;
    while (to !== undefined && done < part.length)
      done += (await to.write(part, done, part.length - done, from - start + done)).bytesWritten;
  };
  const lost: string[] = [];
  try {
    for (const entry of streamEntriesBehind(inventory, start)) {
      if (frameStart(entry) >= end) break;
      throwIfAborted();
      await put(frameStart(entry), headerBytes(entry));
      const list = hasPieces(entry.size) ? await pieces?.list.of(entry.digest).catch(() => undefined) : undefined;
      const wrong: number[] = [];
      for (const [index, unit] of unitsOf(entry, list, start, end)) {
        const bytes = (await files.find(unit, inventory.volumeSize, copiesOf)) ?? (await files.findIn(donors, unit));
        if (bytes === undefined) wrong.push(index);
        else await put(unit.position, bytes);
        progress(unit.length);
      }
      if (wrong.length > 0) lost.push(nameOf(entry, list === undefined ? [] : wrong));
    }
    await to?.sync();
  } catch (error) {
    throw ioError("write", target ?? "", error);
  } finally {
    await to?.close();
    await files.close();
  }
  return lost.length > SHOWN_ENTRIES ? [...lost.slice(0, SHOWN_ENTRIES), `${lost.length - SHOWN_ENTRIES} more`] : lost;
}

function nameOf(entry: PlacedEntry, wrong: readonly number[]): string {
  const name = `"${printableName(entry.path, 120)}"`;
  return wrong.length === 0 ? name : `${describePieces(runsOf(wrong))} of ${name}`;
}

/** The parts of an entry's content that overlap a range of the stream, with their numbers. */
function* unitsOf(
  { offset, size, digest }: PlacedEntry,
  list: Uint8Array | undefined,
  start: number,
  end: number,
): Generator<[index: number, unit: Unit]> {
  if (list === undefined) {
    // Larger content without pieces is too large to be read at once.
    if (size > 0 && !hasPieces(size) && offset < end && offset + size > start)
      yield [0, { entry: digest, at: 0, position: offset, length: size, digest: hexOf(digest) }];
    else if (hasPieces(size) && offset < end && offset + size > start)
      yield [0, { entry: digest, at: 0, position: offset, length: 0, digest: "" }];
    return;
  }
  const first = Math.max(0, Math.floor((start - offset) / PIECE_BYTES));
  for (let index = first; index < pieceCount(size) && offset + index * PIECE_BYTES < end; index++) {
    const length = Math.min(PIECE_BYTES, size - index * PIECE_BYTES);
    const hex = Buffer.from(pieceDigest(list, index)).toString("hex");
    const at = index * PIECE_BYTES;
    yield [index, { entry: digest, at, position: offset + at, length, digest: hex }];
  }
}

/** Copies of volumes, open while they are needed. What cannot be read is not good. */
class CopyFiles {
  readonly #handles = new Map<string, Promise<FileHandle | undefined>>();

  /** The bytes of a unit, from any combination of copies in which they have their digest. */
  async find(
    unit: Unit,
    volumeSize: number,
    copiesOf: (volume: number) => readonly string[],
  ): Promise<Buffer | undefined> {
    const parts = piecesOf(unit.position, unit.length, volumeSize);
    let choices: Buffer[][] = [[]];
    for (const { volume, offset, length } of parts) {
      const read = await Promise.all(copiesOf(volume).map((file) => this.#read(file, offset, length)));
      const good = read.filter((it) => it !== undefined);
      choices = choices.flatMap((before) => good.map((it) => [...before, it])).slice(0, MAX_CHOICES);
    }
    for (const choice of parts.length === 0 ? [] : choices) {
      const bytes = Buffer.concat(choice);
      if (hash("sha256", bytes, "hex") === unit.digest) return bytes;
    }
    return undefined;
  }

  /** The same from other bundles that have the entry. */
  async findIn(donors: readonly Donor[], unit: Unit): Promise<Buffer | undefined> {
    for (const donor of donors) {
      const { volumeSize, files } = donor;
      const position = placeIn(donor, unit.entry, unit.at, unit.length);
      if (position === undefined) continue;
      const at = { ...unit, position };
      const bytes = await this.find(at, volumeSize, (volume) =>
        files.slice(volume, volume + 1).flatMap((it) => it ?? []),
      );
      if (bytes !== undefined) return bytes;
    }
    return undefined;
  }

  async close(): Promise<void> {
    for (const it of this.#handles.values()) await (await it)?.close();
  }

  async #read(file: string, offset: number, length: number): Promise<Buffer | undefined> {
    const known = this.#handles.get(file);
    const opening =
      known ??
      openRegular(file).then(
        (it) => it.handle,
        () => undefined,
      );
    this.#handles.set(file, opening);
    const handle = await opening;
    if (handle === undefined) return undefined;
    const buffer = Buffer.allocUnsafe(length);
    for (let done = 0; done < length; ) {
      const count = await handle.read(buffer, done, length - done, offset + done).then(
        (it) => it.bytesRead,
        () => 0,
      );
      if (count === 0) return undefined;
      done += count;
    }
    return buffer;
  }
}
