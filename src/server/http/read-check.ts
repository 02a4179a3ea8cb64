/**
 * Checks what is read from the store before anybody gets it: by the piece of 1 MiB, against digests that were signed.
 * A file of at most one piece is compared with the digest that is its name. Files whose pieces nobody signed are read
 * as they are. See docs/serve.md, "Checked reads".
 */
import { hash } from "node:crypto";
import { lstatSync, type Stats } from "node:fs";
import { AirferryError } from "../../errors.ts";
import { buffersUsed } from "../../io/flat-memory.ts";
import { PIECE_BYTES, PIECE_DIGEST_BYTES, pieceCount, pieceDigest } from "../../io/piece-digests.ts";
import { RETRY_MS } from "./forget-later.ts";

/** `once`: each piece when it is first read, again when the file changes · `always`: each time · `never`. */
export type VerifyReads = "always" | "once" | "never";

/**
 * What the pieces of a file may be: lists of their digests, usually one; undefined if that is unknown. Several releases
 * may have signed several lists, and bytes that match none of them are damaged.
 */
type ListsOf = (path: string, size: number) => Promise<readonly Uint8Array[] | undefined>;

/** An open file as it is. */
interface PlainFile {
  readonly path: string;
  readonly size: number;
  /** Changes when the file is written to, or replaced. */
  readonly stamp: string;
  readonly isRemovable?: boolean;
  fillUnchecked(target: Uint8Array, length: number, position: number): Promise<number>;
}

type Named = Pick<PlainFile, "path" | "stamp" | "isRemovable">;

/** What was found out about a file. */
interface Knowledge {
  stamp: string;
  /** A bit for each piece that was right. */
  bits: Uint8Array;
  /** How many were not read yet. */
  left: number;
  /** There is nothing to compare with, or it cannot be read: until then, by the clock of `performance`. */
  unknownUntil: number;
}

/** More files than that are checked again when they are read again. */
const MAX_KNOWN = 16_384;
/** Of the lists, in memory: that of a file of 15 GiB has 480 KiB. */
const MAX_LIST_BYTES = 8 * 1024 * 1024;
/** Whole pieces in memory, of which small parts are being sent. */
const KEPT_PIECES = 4;
/** How many of them are read at once; others wait. */
const MAX_READS = 4;
/** More damaged files are not counted. */
const MAX_DAMAGED = 100;

/** The checks of one site. */
export class ReadCheck {
  readonly #mode: VerifyReads;
  readonly #listsOf: ListsOf;
  readonly #known = new Map<string, Knowledge>();
  readonly #lists = new Map<string, readonly Uint8Array[]>();
  #listBytes = 0;
  readonly #pieces = new Map<string, Promise<Uint8Array>>();
  #reads = 0;
  readonly #waiting: (() => void)[] = [];
  /** With their stamps. */
  readonly #damaged = new Map<string, string>();

  readonly #report: (error: unknown, path: string) => void;

  /** @param report called when the list of a release cannot be read: then there is nothing to compare with */
  constructor(
    mode: VerifyReads = "never",
    listsOf: ListsOf = async () => undefined,
    report: (error: unknown, path: string) => void = () => {},
  ) {
    this.#mode = mode;
    this.#listsOf = listsOf;
    this.#report = report;
  }

  /** Paths of the files in which something was wrong, as long as they are the same files. */
  get damaged(): readonly string[] {
    for (const [path, stamp] of this.#damaged) {
      const now = lstatSync(path, { throwIfNoEntry: false });
      if (now !== undefined && stampOf(now) !== stamp) this.#damaged.delete(path);
    }
    return [...this.#damaged.keys()];
  }

  /** Notes that somebody else found a file to be damaged. */
  noteDamaged({ path, stamp }: Pick<PlainFile, "path" | "stamp">): void {
    if (this.#damaged.size < MAX_DAMAGED) this.#damaged.set(path, stamp);
  }

  /** Notes that a damaged file was removed, to be replaced by a right one. */
  noteMended(path: string): void {
    this.#damaged.delete(path);
  }

  /**
   * Fills `target` from `position` with bytes that are right; returns the number of bytes, fewer only at the end of the
   * file. @throws {AirferryError} ERR_STORE_INVALID, ERR_BUNDLE_INVALID; the system's error
   */
  async fill(file: PlainFile, target: Uint8Array, length: number, position: number): Promise<number> {
    const end = Math.min(position + length, file.size);
    const known = this.#knowledge(file);
    if (known === undefined || end <= position || this.#isChecked(known, position, end))
      return file.fillUnchecked(target, length, position);
    const lists = await this.#listsFor(file);
    if (lists === undefined) {
      known.unknownUntil = performance.now() + RETRY_MS;
      return file.fillUnchecked(target, length, position);
    }
    for (let index = Math.floor(position / PIECE_BYTES); index * PIECE_BYTES < end; index++) {
      const start = index * PIECE_BYTES;
      const size = Math.min(PIECE_BYTES, file.size - start);
      const from = Math.max(position, start);
      const part = target.subarray(from - position, Math.min(end, start + size) - position);
      if (this.#mode === "once" && hasBit(known, index)) {
        const count = await file.fillUnchecked(part, part.length, from);
        if (count < part.length) throw this.#damage(file, `it ends early, at byte ${from + count}`);
      } else if (part.length === size && !this.#pieces.has(keyOf(file, index))) {
        await this.#readRight(file, index, part, lists);
        note(known, index);
      } else {
        const piece = await this.#piece(file, index, lists);
        part.set(piece.subarray(from - start, from - start + part.length));
        note(known, index);
      }
    }
    return end - position;
  }

  /** Throws what {@link ReadCheck.fill} would of the byte at a position, before an answer begins. */
  async prepare(file: PlainFile, position: number): Promise<void> {
    const known = this.#knowledge(file);
    if (known === undefined || position >= file.size || this.#isChecked(known, position, position + 1)) return;
    const lists = await this.#listsFor(file);
    if (lists === undefined) known.unknownUntil = performance.now() + RETRY_MS;
    else {
      const index = Math.floor(position / PIECE_BYTES);
      await this.#piece(file, index, lists);
      note(known, index);
    }
  }

  /** Compares all bytes of a file. @throws {AirferryError} as {@link ReadCheck.fill} */
  async checkWhole(file: Named, bytes: Uint8Array): Promise<void> {
    if (this.#mode === "never" || bytes.length === 0) return;
    const lists = await this.#listsFor({ ...file, size: bytes.length });
    if (lists === undefined) return;
    for (let index = 0; index < pieceCount(bytes.length); index++)
      this.#compare(file, index, bytes.subarray(index * PIECE_BYTES, (index + 1) * PIECE_BYTES), lists);
  }

  #knowledge({ path, size, stamp }: PlainFile): Knowledge | undefined {
    if (this.#mode === "never") return undefined;
    const known = this.#known.get(path);
    if (known?.stamp === stamp) return known;
    const left = pieceCount(size);
    const fresh = { stamp, bits: new Uint8Array(Math.ceil(left / 8)), left, unknownUntil: 0 };
    if (this.#known.size >= MAX_KNOWN) {
      const [oldest] = this.#known.keys();
      if (oldest !== undefined) this.#known.delete(oldest);
    }
    this.#known.set(path, fresh);
    return fresh;
  }

  #isChecked(known: Knowledge, position: number, end: number): boolean {
    if (this.#mode !== "always" && known.left === 0) return true;
    if (known.unknownUntil > 0 && performance.now() < known.unknownUntil) return true;
    if (this.#mode === "always") return false;
    for (let at = Math.floor(position / PIECE_BYTES); at * PIECE_BYTES < end; at++)
      if (!hasBit(known, at)) return false;
    return true;
  }

  async #listsFor(file: Named & Pick<PlainFile, "size">): Promise<readonly Uint8Array[] | undefined> {
    const { path, size } = file;
    const expected = pieceCount(size) * PIECE_DIGEST_BYTES;
    const known = this.#lists.get(path);
    if (known !== undefined && known[0]?.length === expected) return known;
    const all = await this.#listsOf(path, size).catch((error: unknown) => this.#report(error, path));
    if (!all) return undefined;
    const lists = all.filter((it) => it.length === expected);
    if (lists.length === 0) throw this.#damage(file, `it has ${size} bytes, which is not its size`);
    // Somebody else may have asked for it at the same time.
    for (const it of this.#lists.get(path) ?? []) this.#listBytes -= it.length;
    this.#lists.set(path, lists);
    this.#listBytes += expected * lists.length;
    for (const [oldest, it] of this.#lists) {
      if (this.#listBytes <= MAX_LIST_BYTES || oldest === path) break;
      this.#lists.delete(oldest);
      for (const list of it) this.#listBytes -= list.length;
    }
    return lists;
  }

  /** A whole piece in memory, for whoever sends parts of it; those who ask at the same time share it. */
  #piece(file: PlainFile, index: number, lists: readonly Uint8Array[]): Promise<Uint8Array> {
    const key = keyOf(file, index);
    const kept = this.#pieces.get(key);
    if (kept !== undefined) return kept;
    const reading = this.#inTurn(async () => {
      const bytes = Buffer.allocUnsafeSlow(Math.min(PIECE_BYTES, file.size - index * PIECE_BYTES));
      await this.#readRight(file, index, bytes, lists);
      buffersUsed(bytes.length);
      return bytes;
    });
    this.#pieces.set(key, reading);
    reading.catch(() => this.#pieces.delete(key));
    if (this.#pieces.size > KEPT_PIECES) {
      const [oldest] = this.#pieces.keys();
      if (oldest !== undefined) this.#pieces.delete(oldest);
    }
    return reading;
  }

  async #inTurn<T>(read: () => Promise<T>): Promise<T> {
    if (this.#reads >= MAX_READS) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    else this.#reads++;
    try {
      return await read();
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#reads--;
      else next();
    }
  }

  async #readRight(file: PlainFile, index: number, target: Uint8Array, lists: readonly Uint8Array[]): Promise<void> {
    const start = index * PIECE_BYTES;
    const count = await file.fillUnchecked(target, target.length, start);
    if (count < target.length) throw this.#damage(file, `it ends early, at byte ${start + count}`);
    this.#compare(file, index, target, lists);
  }

  #compare(file: Named, index: number, bytes: Uint8Array, lists: readonly Uint8Array[]): void {
    const actual = hash("sha256", bytes, "buffer");
    if (lists.some((it) => actual.equals(pieceDigest(it, index)))) return;
    const from = index * PIECE_BYTES;
    const expected = Buffer.from(pieceDigest(lists[0] ?? new Uint8Array(), index)).toString("hex");
    const found = `expected sha256:${expected}, got sha256:${actual.toString("hex")}`;
    throw this.#damage(file, `piece ${index}, bytes ${from} to ${from + bytes.length}: ${found}`);
  }

  #damage(file: Named, fault: string): AirferryError {
    this.noteDamaged(file);
    return damagedFile(file, fault);
  }
}

/** What changes when a file is written to, or replaced. */
export function stampOf({ ino, ctimeMs, size }: Pick<Stats, "ino" | "ctimeMs" | "size">): string {
  return `${ino}-${ctimeMs}-${size}`;
}

function keyOf({ path, stamp }: PlainFile, index: number): string {
  return `${index} ${stamp} ${path}`;
}

function hasBit({ bits }: Knowledge, index: number): boolean {
  return ((bits[index >> 3] ?? 0) & (1 << (index & 7))) !== 0;
}

function note(known: Knowledge, index: number): void {
  if (hasBit(known, index)) return;
  known.bits[index >> 3] = (known.bits[index >> 3] ?? 0) | (1 << (index & 7));
  known.left--;
}

/** The error for a file of the store that is not what it was. */
export function damagedFile(
  { path, isRemovable = false }: { path: string | undefined; isRemovable?: boolean | undefined },
  found: string,
): AirferryError {
  if (isRemovable) {
    return new AirferryError("ERR_BUNDLE_INVALID", `a file of the bundle is damaged: ${found}`, {
      path,
      hint: "the medium reads differently than before: check it, then start airferry serve again",
    });
  }
  return new AirferryError("ERR_STORE_INVALID", `a file of the store is damaged: ${found}`, {
    path,
    hint: "check the disk, then repair the store from the bundle: airferry fsck --store DIR --repair-from BUNDLE --trust KEY",
  });
}
