/**
 * Takes content from a stream whose bytes may be wrong, missing or doubled: each byte is written and hashed once, from
 * the memory it came in. What has its signed digest becomes a blob. Of large entries that did not come whole, the good
 * pieces stay in the quarantine, so that the next copy only fills the gaps. docs/format.md, "A bundle in a stream".
 */
import { hash } from "node:crypto";
import { constants, existsSync, renameSync, write as writeCallback } from "node:fs";
import { type FileHandle, open, readFile, rm } from "node:fs/promises";
import { setImmediate } from "node:timers/promises";
import { promisify } from "node:util";
import type { LooseBytes, StreamPart } from "../bundle/bundle-stream.ts";
import type { PieceList } from "../bundle/piece-list.ts";
import { type PlacedEntry, planSteps } from "../bundle/steps.ts";
import { ioError, syncPath, writeAtomic } from "../io/atomic.ts";
import type { Digest } from "../io/digest.ts";
import { heapMayHaveGrown } from "../io/flat-memory.ts";
import { likelyShifts } from "../io/gap-shifts.ts";
import type { RangeHasher } from "../io/hash-pool.ts";
import { eachLimited, throwIfAborted } from "../io/limit.ts";
import { PIECE_BYTES, type PieceRun, pieceCount, pieceDigest, runsOf } from "../io/piece-digests.ts";
import { DISK_BLOCK_BYTES, type Piece, SharedPieces } from "../io/shared-pieces.ts";
import type { CopyContext } from "./copy-entries.ts";

const writeAt = promisify(writeCallback);

/** MiB that may wait to be hashed and written. */
const WAITING_PIECES = 8;
/** So many pieces are read at once from disk. */
const STEP_PIECES = 64;
/** Memory of a run of small entries: as much as they have at most. */
const RUN_BYTES = 4 * 1024 * 1024;
const MAX_FINISHING = 2;
/** So many pieces are hashed at most to find what lies between two places of one stretch: a second's work. */
const MAX_TRIES = 2048;
/** Which shifts are tried for every piece before the next ones are for any. */
const ROUNDS = [
  [0, 64],
  [64, 512],
  [512, MAX_TRIES],
] as const;
/** Most that may be lost in one stretch: there are too many places for what lies between gaps. */
const MAX_LOST_BYTES = 1024 * 1024 * 1024;
/** So many sizes of gaps are remembered. */
const MAX_UNITS = 8;

type TakeContext = Pick<CopyContext, "incoming" | "committer" | "pool" | "progress" | "written"> & {
  /** Of the entries above 1 MiB. */
  pieces: PieceList | undefined;
  volumeSize: number;
};

/** What did not come. */
export interface LostContent {
  entry: PlacedEntry;
  /** Only these pieces of it; absent: all of it. */
  pieces?: PieceRun[];
}

interface Step {
  /** Range of the tar stream from the first content to the end of the last. */
  from: number;
  to: number;
  entries: PlacedEntry[];
  large: boolean;
}

/** Small entries whose bytes are being collected. */
interface Run {
  step: Step;
  memory: Uint8Array<SharedArrayBuffer>;
  /** Where each entry is in the memory. */
  places: number[];
  /** How many of its first bytes are there. */
  filled: number[];
}

/** A large entry that is being written. */
interface Large {
  entry: PlacedEntry;
  file: string;
  handle: FileHandle;
  /** For whole pieces, which need not be in the page cache; absent where the file system has no direct writes. */
  direct: FileHandle | undefined;
  /** Of all bytes from the first on, while none is missing. */
  hasher: RangeHasher | undefined;
  /** First byte after those that came so far. */
  end: number;
  /** Memory with the last of them, from a whole MiB of the entry on. */
  staged: { piece: Piece; from: number } | undefined;
  /** All that was begun with it. */
  work: Promise<unknown>;
  /** Set when some of what is on disk may be wrong: from then on only good pieces are written. */
  check: PieceCheck | undefined;
}

/** What is known of the pieces of an entry. */
interface PieceCheck {
  digests: Uint8Array;
  /** 1 for pieces that are on disk and good. */
  good: Uint8Array;
  /** Which one is being collected, and how much of it. */
  index: number;
  filled: number;
}

/** The caller calls `settle` at the end, or `close` after a failure. */
export class StreamTaker {
  readonly #context: TakeContext;
  readonly #steps: Step[];
  readonly #large: PlacedEntry[];
  readonly #small: PlacedEntry[];
  readonly #done = new Set<Digest>();
  /** Small entries that a thread is at. */
  readonly #busy = new Set<Digest>();
  readonly #checks = new Map<Digest, PieceCheck>();
  readonly #pending = new Set<Promise<void>>();
  /** Large entries that are hashed and forced to disk while others come. */
  readonly #finishing = new Map<Digest, Promise<void>>();
  readonly #spare: Uint8Array<SharedArrayBuffer>[] = [];
  readonly #memory = new SharedPieces(WAITING_PIECES);
  readonly #piece = Buffer.allocUnsafe(PIECE_BYTES);
  #run: Run | undefined;
  #open: Large | undefined;
  /** Of a small entry that goes on in the next volume: what came of it last. */
  #edge: { entry: PlacedEntry; bytes: Uint8Array } | undefined;
  /** What was on disk of a piece before bytes came whose place is not sure. */
  #other: { entry: PlacedEntry; index: number; bytes: Buffer } | undefined;
  /** Sizes of gaps. */
  readonly #units = new Set<number>();
  #fault: { error: unknown } | undefined;

  /** @param entries in stream order, one per digest */
  constructor(entries: readonly PlacedEntry[], context: TakeContext) {
    this.#context = context;
    this.#steps = [...planSteps(entries.filter((it) => it.size > 0))].map(({ entries, large }) => {
      const [first] = entries;
      const last = entries.at(-1);
      return { from: first?.offset ?? 0, to: (last?.offset ?? 0) + (last?.size ?? 0), entries, large };
    });
    this.#large = this.#steps.flatMap((it) => (it.large ? it.entries : []));
    const large = new Set(this.#large);
    this.#small = entries.filter((it) => !large.has(it));
  }

  /** Whether everything is there. */
  get isComplete(): boolean {
    return this.#done.size === this.#large.length + this.#small.length;
  }

  /** Takes what is in none but its own memory: the empty file. Call it once, first. */
  async begin(): Promise<void> {
    const empty = this.#small.find((it) => it.size === 0);
    if (empty !== undefined) await this.#store([empty], new Uint8Array(new SharedArrayBuffer(1)).subarray(0, 0));
  }

  /**
   * Takes a part, and returns when the next one may come.
   * @throws {AirferryError} ERR_SPACE, ERR_IO, …
   */
  async take({ position, bytes, isShifted }: StreamPart): Promise<void> {
    for (let at = position, left = bytes; left.length > 0; ) {
      const step = this.#stepAt(at);
      if (step === undefined || step.from >= at + left.length) break;
      const skipped = Math.max(0, step.from - at);
      const length = Math.min(step.to - at, left.length) - skipped;
      const part = left.subarray(skipped, skipped + length);
      const [entry] = step.entries;
      if (entry !== undefined && step.large) await this.#takeLarge(entry, at + skipped - entry.offset, part, isShifted);
      else await this.#takeSmall(step, at + skipped, part);
      at += skipped + length;
      left = left.subarray(skipped + length);
    }
    if (this.#fault !== undefined) throw this.#fault.error;
  }

  /**
   * Looks for pieces of large entries between gaps, by their digests. Small entries have headers, which are found
   * before.
   */
  async search({ from, to, length, read }: LooseBytes): Promise<void> {
    const lost = to - from - length;
    // No piece fits, or the link was down for long: shifts cannot be guessed, and to look for what is missing is slow.
    if (length < PIECE_BYTES || Math.abs(lost) > MAX_LOST_BYTES) return;
    const missing: { entry: PlacedEntry; index: number; inside: number; size: number }[] = [];
    for (let at = from; at < to; ) {
      const step = this.#stepAt(at);
      if (step === undefined || step.from >= to) break;
      at = step.to;
      const [entry] = step.entries;
      const it = entry !== undefined && step.large ? await this.#doubted(entry) : undefined;
      if (entry === undefined || it?.check === undefined) continue;
      for (let index = 0; index < it.check.good.length; index++) {
        const inside = entry.offset + index * PIECE_BYTES - from;
        const size = Math.min(PIECE_BYTES, entry.size - index * PIECE_BYTES);
        if (inside < 0 || inside + size > to - from || (await this.#isOnDisk(it, it.check, index))) continue;
        missing.push({ entry, index, inside, size });
      }
    }
    // The first and the last have gaps in them. One gap may have taken what is between.
    const inner = missing.slice(1, -1);
    if (lost >= inner.reduce((sum, it) => sum + it.size, 0)) return;
    const shifts: number[] = [];
    for (const it of likelyShifts(lost, this.#units)) if (shifts.push(it) === MAX_TRIES) break;
    const found = new Set<number>();
    let tries = MAX_TRIES;
    // A piece with a gap in it is found by no shift: the others come first.
    for (const [first, end] of ROUNDS) {
      for (const { entry, index, inside, size } of inner) {
        const it = await this.#doubted(entry);
        if (it?.check === undefined || it.check.good[index] === 1) continue;
        for (const shift of new Set([...found, ...shifts.slice(first, end)])) {
          if (inside - shift < 0 || inside - shift + size > length || tries-- <= 0) continue;
          const bytes = read(inside - shift, size);
          if (!isPiece(bytes, it.check.digests, index)) continue;
          await writeFull(it.handle, it.file, bytes, index * PIECE_BYTES);
          it.check.good[index] = 1;
          found.add(shift);
          this.#units.add(Math.abs(shift)).add(Math.abs(lost - shift));
          this.#context.progress(size);
          this.#context.written(size);
          break;
        }
        // Others may want to end: this takes a millisecond for each try.
        await setImmediate();
        throwIfAborted();
      }
    }
    if (this.#units.size > MAX_UNITS) this.#units.clear();
  }

  /** A large entry of which only good pieces count; undefined if it is done. */
  async #doubted(entry: PlacedEntry): Promise<Large | undefined> {
    if (this.#done.has(entry.digest)) return undefined;
    if (this.#open?.entry !== entry) {
      await this.#endLarge();
      this.#open = await this.#openLarge(entry);
    }
    const it = this.#open;
    if (this.#done.has(entry.digest)) {
      await this.#endLarge();
      return undefined;
    }
    if (it.check === undefined) await this.#doubt(it);
    else await this.#leavePiece(it, it.check);
    return it;
  }

  /** Whether a piece is on disk and good. */
  async #isOnDisk(it: Large, check: PieceCheck, index: number): Promise<boolean> {
    if (check.good[index] === 1) return true;
    const size = Math.min(PIECE_BYTES, it.entry.size - index * PIECE_BYTES);
    await this.#beginPiece(it, check, { index, size, inside: 0 });
    Object.assign(check, { index: -1, filled: 0 });
    return check.good[index] === 1;
  }

  /** Makes blobs of what is whole, and returns the rest, in stream order. */
  async settle(): Promise<LostContent[]> {
    await this.flush();
    const lost: LostContent[] = this.#small.filter((it) => !this.#done.has(it.digest)).map((entry) => ({ entry }));
    await eachLimited(
      this.#large.filter((it) => !this.#done.has(it.digest)),
      this.#context.pool.size,
      async (entry) => {
        const wrong = await this.#wrongPieces(entry);
        if (wrong === undefined) lost.push({ entry });
        else if (wrong.length > 0) lost.push({ entry, pieces: runsOf(wrong) });
        else if (!(await this.#complete(entry))) lost.push({ entry });
      },
    );
    return lost.sort((a, b) => a.entry.offset - b.entry.offset);
  }

  /** Ends all work; what is on disk stays there. */
  async close(): Promise<void> {
    await this.#endAll().catch(() => undefined);
  }

  /** Waits for all that has come. */
  async flush(): Promise<void> {
    await this.#endAll();
    if (this.#fault !== undefined) throw this.#fault.error;
  }

  async #endAll(): Promise<void> {
    await this.#endRun();
    await this.#endLarge();
    while (this.#pending.size > 0) await Promise.all(this.#pending);
  }

  /** The first step that ends after a position. */
  #stepAt(position: number): Step | undefined {
    let low = 0;
    let high = this.#steps.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#steps[middle]?.to ?? 0) > position) high = middle;
      else low = middle + 1;
    }
    return this.#steps[low];
  }

  /** Work that goes on behind the stream. Its failure is thrown by what comes next. */
  #behind(work: Promise<void>): void {
    const it = work
      .catch((error: unknown) => {
        this.#fault ??= { error };
      })
      .finally(() => {
        this.#pending.delete(it);
      });
    this.#pending.add(it);
  }

  async #takeSmall(step: Step, position: number, bytes: Uint8Array): Promise<void> {
    if (this.#run?.step !== step) {
      await this.#endRun();
      this.#run = this.#newRun(step);
    }
    const { places, filled, memory } = this.#run;
    const end = position + bytes.length;
    for (const [index, entry] of step.entries.entries()) {
      const { offset, size } = entry;
      const from = Math.max(position, offset);
      const to = Math.min(end, offset + size);
      const at = from - offset;
      if (to <= from) continue;
      const place = places[index] ?? 0;
      const edge = this.#edge;
      // What came of it at the end of the volume before, also if the rest came wrong meanwhile.
      if (at !== 0 && edge?.entry.offset === offset && edge.bytes.length === at) memory.set(edge.bytes, place);
      else if (at !== 0 && at !== filled[index]) continue;
      memory.set(bytes.subarray(from - position, to - position), place + at);
      filled[index] = at + to - from;
      if (to % this.#context.volumeSize === 0 && to < offset + size)
        this.#edge = { entry, bytes: memory.slice(place, place + at + to - from) };
    }
    if (end === step.to) await this.#endRun();
  }

  #newRun(step: Step): Run {
    let place = 0;
    const places = step.entries.map(({ size }) => {
      place += size;
      return place - size;
    });
    const memory = this.#spare.pop() ?? new Uint8Array(new SharedArrayBuffer(RUN_BYTES));
    return { step, memory, places, filled: step.entries.map(() => 0) };
  }

  /** Hands what is whole of the current run to a thread. */
  async #endRun(): Promise<void> {
    const run = this.#run;
    this.#run = undefined;
    if (run === undefined) return;
    const { step, memory, places, filled } = run;
    // What came of it before may be wrong, and is not known to be yet.
    if (step.entries.some((it) => this.#busy.has(it.digest)))
      while (this.#pending.size > 0) await Promise.all(this.#pending);
    const groups: { entries: PlacedEntry[]; from: number; to: number }[] = [];
    for (const [index, entry] of step.entries.entries()) {
      const { digest, size } = entry;
      if (filled[index] !== size || this.#done.has(digest)) continue;
      const from = places[index] ?? 0;
      const last = groups.at(-1);
      if (last?.to === from) {
        last.entries.push(entry);
        last.to = from + size;
      } else groups.push({ entries: [entry], from, to: from + size });
    }
    this.#behind(
      Promise.all(groups.map(({ entries, from, to }) => this.#store(entries, memory.subarray(from, to)))).then(() => {
        this.#spare.push(memory);
      }),
    );
    while (this.#pending.size > this.#context.pool.size + 1) await Promise.race(this.#pending);
  }

  /** Makes blobs of those small entries whose bytes are right. */
  async #store(entries: readonly PlacedEntry[], bytes: Uint8Array<SharedArrayBuffer>): Promise<void> {
    const { pool, incoming, committer, progress, written } = this.#context;
    for (const it of entries) this.#busy.add(it.digest);
    const frames = entries.map(({ digest, size }) => ({
      header: 0,
      size,
      padded: size,
      to: incoming.smallFile(digest),
    }));
    const results = await pool.run({ pieces: [], bytes, headers: new Uint8Array(0), frames });
    heapMayHaveGrown();
    for (const [index, { digest, size }] of entries.entries()) {
      if (results[index]?.digest !== digest) {
        // Only then may another copy of it be written there.
        await rm(incoming.smallFile(digest), { force: true });
        this.#busy.delete(digest);
        continue;
      }
      this.#busy.delete(digest);
      this.#done.add(digest);
      progress(size);
      written(size);
      await committer.add(incoming.smallFile(digest), digest, size);
    }
  }

  async #takeLarge(
    entry: PlacedEntry,
    at: number,
    bytes: Uint8Array<SharedArrayBuffer>,
    isShifted: boolean,
  ): Promise<void> {
    if (this.#done.has(entry.digest)) return;
    if (this.#open?.entry !== entry) {
      await this.#endLarge();
      this.#open = await this.#openLarge(entry);
      if (this.#done.has(entry.digest)) return this.#endLarge();
    }
    const it = this.#open;
    if (it.check === undefined && (isShifted || at < it.end)) await this.#doubt(it);
    if (it.check !== undefined) {
      it.end = Math.max(it.end, at + bytes.length);
      await this.#takePieces(it, it.check, { at, bytes, isShifted });
    } else {
      if (at !== it.end) {
        it.hasher?.discard();
        it.hasher = undefined;
        this.#handOver(it);
        it.end = at;
      }
      for (let done = 0; done < bytes.length; ) {
        it.staged ??= { piece: await this.#memory.take(), from: it.end };
        const { piece, from } = it.staged;
        const until = (Math.floor(from / PIECE_BYTES) + 1) * PIECE_BYTES;
        const part = bytes.subarray(done, done + until - it.end);
        piece.bytes.set(part, it.end % PIECE_BYTES);
        done += part.length;
        it.end += part.length;
        if (it.end === until || it.end === entry.size) this.#handOver(it);
      }
    }
    if (it.end === entry.size && (it.check === undefined || isWhole(it.check))) await this.#endLarge();
  }

  /** Has a thread hash what is staged, and writes it meanwhile. */
  #handOver(it: Large): void {
    const { staged, end, file, hasher } = it;
    it.staged = undefined;
    if (staged === undefined) return;
    const { piece, from } = staged;
    const start = from % PIECE_BYTES;
    const bytes = piece.bytes.subarray(start, start + end - from);
    const work = Promise.all([hasher?.feed(bytes), writeWhole(it, file, bytes, from)]).then(() => {
      this.#context.progress(bytes.length);
      this.#context.written(bytes.length);
    });
    this.#behind(work.finally(() => this.#memory.giveBack(piece)));
    it.work = Promise.all([it.work, work]);
    it.work.catch(() => undefined);
  }

  async #openLarge(entry: PlacedEntry): Promise<Large> {
    const { incoming, pool } = this.#context;
    const file = incoming.piecesFile(entry.digest);
    // The same one, once more.
    await this.#finishing.get(entry.digest);
    try {
      // What an earlier run copied from a medium, from its start.
      const part = incoming.partFile(entry.digest);
      if (!existsSync(file)) {
        await rm(this.#noteOf(entry.digest), { force: true });
        if (existsSync(part)) renameSync(part, file);
      }
      const isThere = existsSync(file);
      const handle = await open(file, isThere ? "r+" : "w+", 0o600);
      const it: Large = {
        entry,
        file,
        handle,
        direct: isThere ? undefined : await openDirect(file),
        hasher: isThere ? undefined : pool.open(),
        end: 0,
        staged: undefined,
        work: Promise.resolve(),
        check: undefined,
      };
      if (isThere) await this.#doubt(it);
      return it;
    } catch (error) {
      throw ioError("write", file, error);
    }
  }

  /** From now on only pieces that are right are written. */
  async #doubt(it: Large): Promise<void> {
    this.#handOver(it);
    it.hasher?.discard();
    it.hasher = undefined;
    await it.work;
    it.check = await this.#checkOf(it.entry);
  }

  async #checkOf({ digest, size }: PlacedEntry): Promise<PieceCheck | undefined> {
    const known = this.#checks.get(digest);
    if (known !== undefined) return known;
    const digests = await this.#context.pieces?.of(digest);
    if (digests === undefined) return undefined;
    // As settled in an earlier run. The entry's own digest decides in the end.
    const noted = await readFile(this.#noteOf(digest)).catch(() => undefined);
    const good = noted?.length === pieceCount(size) ? new Uint8Array(noted) : new Uint8Array(pieceCount(size));
    const check = { digests, good, index: -1, filled: 0 };
    this.#checks.set(digest, check);
    return check;
  }

  /** Which pieces of an entry are good, a byte for each. */
  #noteOf(digest: Digest): string {
    return this.#context.incoming.piecesNote(digest);
  }

  /** Writes good pieces. Of one that begins before these bytes, the first part may be on disk. */
  async #takePieces(
    it: Large,
    check: PieceCheck,
    { at, bytes, isShifted }: { at: number; bytes: Uint8Array; isShifted: boolean },
  ): Promise<void> {
    const { progress, written } = this.#context;
    const { entry, file, handle } = it;
    for (let done = 0; done < bytes.length; ) {
      const index = Math.floor((at + done) / PIECE_BYTES);
      const inside = (at + done) % PIECE_BYTES;
      const size = Math.min(PIECE_BYTES, entry.size - index * PIECE_BYTES);
      const length = Math.min(size - inside, bytes.length - done);
      if (check.good[index] !== 1) {
        // What is on disk may be better than what comes.
        if (check.index !== index || check.filled !== inside) {
          await this.#leavePiece(it, check);
          await this.#beginPiece(it, check, { index, size, inside });
          const isKept = this.#other?.entry === entry && this.#other.index === index;
          if (isShifted && !isKept && check.good[index] !== 1)
            this.#other = { entry, index, bytes: Buffer.from(this.#piece.subarray(0, size)) };
        }
      }
      if (check.good[index] !== 1) {
        this.#piece.set(bytes.subarray(done, done + length), inside);
        check.filled += length;
        const piece = this.#piece.subarray(0, size);
        if (check.filled === size && this.#isRight(piece, { entry, check, index, inside })) {
          await writeFull(handle, file, piece, index * PIECE_BYTES);
          check.good[index] = 1;
          progress(size);
          written(size);
        }
        if (check.filled === size) await this.#leavePiece(it, check);
      }
      done += length;
    }
  }

  /**
   * Whether a piece is right, whose bytes from `inside` on came last. Of what is before them, what was on disk before
   * shifted bytes came may be better.
   */
  #isRight(
    piece: Buffer,
    { entry, check, index, inside }: { entry: PlacedEntry; check: PieceCheck; index: number; inside: number },
  ): boolean {
    if (isPiece(piece, check.digests, index)) return true;
    if (this.#other?.entry !== entry || this.#other.index !== index || inside === 0) return false;
    const now = Buffer.from(piece.subarray(0, inside));
    piece.set(this.#other.bytes.subarray(0, inside));
    if (isPiece(piece, check.digests, index)) return true;
    piece.set(now);
    return false;
  }

  /** Begins with what is on disk of it, which may be all. */
  async #beginPiece(
    { handle }: Large,
    check: PieceCheck,
    { index, size, inside }: { index: number; size: number; inside: number },
  ): Promise<void> {
    const piece = this.#piece.subarray(0, size);
    const { bytesRead } = await handle.read(piece, 0, size, index * PIECE_BYTES);
    if (bytesRead === size && isPiece(piece, check.digests, index)) check.good[index] = 1;
    else Object.assign(check, { index, filled: inside });
  }

  /** Ends a piece of which the rest did not follow: it may come later. */
  async #leavePiece({ file, handle }: Large, check: PieceCheck): Promise<void> {
    const { index, filled } = check;
    Object.assign(check, { index: -1, filled: 0 });
    if (index >= 0 && check.good[index] !== 1)
      await writeFull(handle, file, this.#piece.subarray(0, filled), index * PIECE_BYTES);
  }

  /** Ends work on the current large entry; a thread's digest is awaited behind the stream. */
  async #endLarge(): Promise<void> {
    const it = this.#open;
    this.#open = undefined;
    if (it === undefined) return;
    if (it.check !== undefined) await this.#leavePiece(it, it.check);
    this.#handOver(it);
    const { entry, handle, hasher } = it;
    const isCopied = hasher !== undefined && it.end === entry.size;
    if (!isCopied) {
      hasher?.discard();
      await it.work.catch(() => undefined);
      await it.direct?.close();
      await handle.close();
      if (it.check !== undefined && isWhole(it.check)) await this.#complete(entry);
      return;
    }
    const finish = async () => {
      try {
        await it.work;
        const digest = await hasher.digest();
        await handle.sync().catch((error: unknown) => Promise.reject(ioError("write", it.file, error)));
        if (digest === entry.digest) this.#commit(entry);
      } finally {
        hasher.discard();
        await it.direct?.close();
        await handle.close();
      }
    };
    const finishing = finish().finally(() => this.#finishing.delete(entry.digest));
    this.#finishing.set(entry.digest, finishing);
    this.#behind(finishing);
    if (this.#finishing.size > MAX_FINISHING) await Promise.race(this.#finishing.values());
  }

  #commit({ digest }: PlacedEntry): void {
    this.#context.committer.addSynced(this.#context.incoming.piecesFile(digest), digest);
    this.#done.add(digest);
    this.#checks.delete(digest);
  }

  /** Hashes all of an entry whose pieces are good; false if it is something else nevertheless. */
  async #complete(entry: PlacedEntry): Promise<boolean> {
    const { incoming, pool } = this.#context;
    const file = incoming.piecesFile(entry.digest);
    const { digest } = await pool.hashFile(file, { length: entry.size });
    if (digest === entry.digest) {
      await syncPath(file);
      this.#commit(entry);
      return true;
    }
    this.#checks.delete(entry.digest);
    await rm(file, { force: true });
    await rm(this.#noteOf(entry.digest), { force: true });
    return false;
  }

  /** Indexes of the pieces that are not on disk, in order; undefined if none is. */
  async #wrongPieces(entry: PlacedEntry): Promise<number[] | undefined> {
    const { incoming, pool } = this.#context;
    const file = incoming.piecesFile(entry.digest);
    const check = await this.#checkOf(entry);
    if (!existsSync(file) || check === undefined) return undefined;
    const { digests, good } = check;
    try {
      const handle = await open(file, "r+");
      await handle.truncate(entry.size).finally(() => handle.close());
    } catch (error) {
      throw ioError("write", file, error);
    }
    const unknown = [...good.keys()].filter((it) => good[it] !== 1);
    if (unknown.length === 0) return [];
    for (const { first, count } of runsOf(unknown)) {
      for (let done = 0; done < count; done += STEP_PIECES) {
        const from = first + done;
        const until = Math.min(first + count, from + STEP_PIECES);
        const offset = from * PIECE_BYTES;
        const hasher = pool.openPieces();
        try {
          await hasher.advance({ file, offset, length: Math.min(entry.size, until * PIECE_BYTES) - offset });
          const actual = await hasher.pieces();
          for (let it = from; it < until; it++)
            if (Buffer.compare(pieceDigest(actual, it - from), pieceDigest(digests, it)) === 0) good[it] = 1;
        } finally {
          hasher.discard();
        }
      }
    }
    const wrong = [...good.keys()].filter((it) => good[it] !== 1);
    if (wrong.length > 0 && wrong.length < good.length) {
      await syncPath(file);
      await writeAtomic(this.#noteOf(entry.digest), good);
    }
    return wrong.length === good.length ? undefined : wrong;
  }
}

function isWhole({ good }: PieceCheck): boolean {
  return good.every((it) => it === 1);
}

function isPiece(bytes: Uint8Array, digests: Uint8Array, index: number): boolean {
  return Buffer.compare(hash("sha256", bytes, "buffer"), pieceDigest(digests, index)) === 0;
}

/** Undefined if the file system has no direct writes. */
function openDirect(file: string): Promise<FileHandle | undefined> {
  const { O_DIRECT, O_WRONLY } = constants;
  return O_DIRECT ? open(file, O_WRONLY | O_DIRECT).catch(() => undefined) : Promise.resolve(undefined);
}

/** Whole blocks bypass the page cache, as in io/hash-worker.ts: that takes a fraction of the time. */
async function writeWhole({ handle, direct }: Large, file: string, bytes: Uint8Array, position: number): Promise<void> {
  let done = 0;
  if (direct !== undefined && position % DISK_BLOCK_BYTES === 0) {
    const whole = bytes.length - (bytes.length % DISK_BLOCK_BYTES);
    try {
      await writeFull(direct, file, bytes.subarray(0, whole), position);
      done = whole;
    } catch (error) {
      // Some file systems accept the flag and refuse the writes.
      if (((error as Error).cause as NodeJS.ErrnoException | undefined)?.code !== "EINVAL") throw error;
    }
  }
  await writeFull(handle, file, bytes.subarray(done), position + done);
}

async function writeFull({ fd }: FileHandle, file: string, bytes: Uint8Array, position: number): Promise<void> {
  try {
    for (let done = 0; done < bytes.length; ) {
      const { bytesWritten } = await writeAt(fd, bytes, done, bytes.length - done, position + done);
      done += bytesWritten;
    }
  } catch (error) {
    throw ioError("write", file, error);
  }
}
