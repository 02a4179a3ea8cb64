/**
 * Reads bundles from a stream, in which bytes may be wrong, missing, doubled or foreign: finds the small files, of
 * which nothing but the signed root is taken before its signatures are good, and then the parts of the volumes.
 * docs/format.md, "A bundle in a stream".
 */
import { createHash, hash } from "node:crypto";
import { mkdir, open, readFile, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { ioError } from "../io/atomic.ts";
import { type Digest, digestOf } from "../io/digest.ts";
import { formatBytes, plural } from "../io/format.ts";
import { openRegular } from "../io/safe-open.ts";
import { AHEAD_BYTES, type StreamWindow } from "../io/stream-window.ts";
import { MAX_SIGNATURE_BYTES } from "../sign/sigstore-bundle.ts";
import { MAX_SIGNATURE_FILES } from "../sign/verify-sums.ts";
import { MAX_INVENTORY_BYTES, MAX_LISTING_BYTES, MAX_PIECES_BYTES, MAX_SUMS_BYTES } from "./format-limits.ts";
import type { Inventory } from "./inventory-types.ts";
import { INVENTORY_NAME, PIECES_NAME, SIGNATURES_NAME, SUMS_NAME } from "./media-names.ts";
import { type Anchor, findAnchors, placements } from "./stream-anchors.ts";
import {
  BLOCK_BYTES,
  HEADER_MARK,
  HEADER_MARK_AT,
  isTextInStream,
  isTrustName,
  parseMember,
  partOf,
  type StreamMember,
  streamOrder,
} from "./stream-form.ts";
import { parseSums } from "./sums.ts";
import { paddedSize } from "./tar-layout.ts";
import { volumeIndexOf } from "./volume-layout.ts";

const STEP_BYTES = 1024 * 1024;
/** Versions of a trust root and their signatures: as many as a folder may have. */
const MAX_TRUST_BYTES = 64 * 1024 * 1024;
/** So many refused heads are remembered. */
const MAX_REFUSED = 64;
const MAX_TRUST_FILES = 10_000;
const MAX_TRUST_FILE_BYTES = AHEAD_BYTES / 2;

/** The small files of one bundle, in a folder of their own. */
interface StreamHead {
  /** A folder as that of a medium without volumes. */
  dir: string;
  /** Of SHA256SUMS. */
  digest: Digest;
}

/** A stretch of the tar stream as it came: it may be wrong. */
export interface StreamPart {
  /** In the tar stream. */
  position: number;
  /** Of memory that is used again when 64 MiB more have come. */
  bytes: Uint8Array<SharedArrayBuffer>;
  /** Bytes were lost or added before it, and where is unknown: its place was found by what follows it. */
  isShifted: boolean;
}

/** Bytes of which the place is known before and behind them only: there are gaps among them. */
export interface LooseBytes {
  /** In the tar stream: where the first of them belongs, and what follows the last. */
  from: number;
  to: number;
  /** How many there are. */
  length: number;
  /** A copy of some, until the next part is asked for. */
  read: (offset: number, length: number) => Buffer;
}

/** Completes volumes from the recovery files that follow them. */
export interface VolumeMender {
  /** Bytes of a volume, in their place from `at` on. */
  came(index: number, at: number, part: StreamPart): Promise<void>;
  /** No more of a volume comes; with all that came of it. */
  ended(index: number, bytes: Iterable<Uint8Array>): Promise<void>;
  /** Whether a recovery file is of use: then it is given to `recovery`. */
  wants(name: string, size: number): boolean;
  recovery(bytes: AsyncIterable<Uint8Array>): Promise<void>;
  /** The volume that ended last, if it was not good and is now, in a file that is there until the next call. */
  mend(): Promise<{ index: number; file: string } | undefined>;
}

/** A head, and what is known of it. */
interface TriedHead extends StreamHead {
  folder: string;
  sums: Buffer;
  /** It was here before. */
  isKnown: boolean;
  isTrusted: boolean;
  /** The same for the same bytes. */
  key: string;
}

type Accept = (member: StreamMember) => boolean;

/** One stream with one bundle, or several. */
export class BundleStream {
  readonly #window: StreamWindow;
  readonly #dir: string;
  readonly #notice: (line: string) => void;
  readonly #done = new Set<Digest>();
  #folders = 0;
  /** Of the bundle that is being read. */
  #folder = "";
  /** The next bundle, whose head came already. */
  #pending: TriedHead | undefined;
  #isTrusted: (dir: string) => Promise<boolean> = () => Promise.resolve(false);
  /** Bytes that were skipped. */
  #lost = 0;
  /** Whoever took the content needs no more of it: what is skipped is not lost. */
  #isEnough = false;

  /** @param dir an empty folder for small files, which the caller removes */
  constructor(window: StreamWindow, dir: string, notice: (line: string) => void) {
    this.#window = window;
    this.#dir = dir;
    this.#notice = notice;
  }

  /**
   * The next bundle that was not here before. While `isTrusted` refuses what came, another copy may be good: the first
   * one is returned when the same bytes were refused twice, and at the end, for whoever says what is wrong with it.
   * @param isTrusted whether the signatures in a folder are good; nothing else is in it yet
   * @throws {AirferryError} ERR_IO, ERR_SPACE
   */
  async nextHead(isTrusted: (dir: string) => Promise<boolean>): Promise<StreamHead | undefined> {
    this.#isTrusted = isTrusted;
    let first: StreamHead | undefined;
    /** Of those that were refused. */
    const keys = new Set<string>();
    for (;;) {
      const start = this.#pending === undefined ? await this.#nextMember((it) => isSums(it)) : undefined;
      if (start === undefined && this.#pending === undefined) return first;
      const tried = this.#pending ?? (start && (await this.#try(start)));
      this.#pending = undefined;
      if (tried === undefined) continue;
      if (tried.isKnown) {
        await this.#passBy(tried.folder);
        continue;
      }
      if (tried.isTrusted) {
        if (first !== undefined) await rm(first.dir, { recursive: true, force: true });
        this.#folder = tried.folder;
        this.#isEnough = false;
        this.#done.add(tried.digest);
        await this.#readSmall(tried);
        return tried;
      }
      if (keys.has(tried.key)) return tried;
      // Whoever sends others without end fills no memory.
      if (keys.size === MAX_REFUSED) keys.clear();
      keys.add(tried.key);
      if (first === undefined) {
        this.#notice("the signatures of the stream are not good: waiting for their second copy");
        first = { dir: tried.dir, digest: tried.digest };
      } else await rm(tried.dir, { recursive: true, force: true });
    }
  }

  /**
   * The volumes of the bundle whose head came last, until another bundle begins. Parts may come in any order, several
   * times, and with wrong bytes.
   * @param listed the names in SHA256SUMS
   * @param mender completes volumes; absent: recovery files pass by
   */
  async *content(
    inventory: Inventory,
    listed: readonly string[],
    mender?: VolumeMender,
  ): AsyncGenerator<StreamPart | LooseBytes> {
    const { volumeSize, volumes } = inventory;
    const window = this.#window;
    const folder = this.#folder;
    const { head, content: order } = streamOrder(listed, []);
    const small = new Set(head);
    const places = new Map(order.map((name, index) => [name, index]));
    const sizes = new Map(volumes.map(({ name, size }) => [name, size]));
    const isOwn = (it: StreamMember) => {
      if (it.folder !== folder || it.size > maxOf(it.name)) return false;
      if (small.has(it.name) || it.name.startsWith(`${SIGNATURES_NAME}/`)) return true;
      return places.has(it.name) && (sizes.get(it.name) ?? it.size) === it.size;
    };
    /** Where bytes begin that belong to no header yet. */
    let from = window.position;
    /** The place of the first of them, behind the header of a volume, and how many bytes that has. */
    let start: (Anchor & { size: number }) | undefined;
    for (;;) {
      // Until the next part is asked for, it may have been the last.
      this.#isEnough = false;
      const before = window.position;
      const member = await this.#nextMember((it) => isOwn(it) || isSums(it), from);
      const at = window.position - (member === undefined ? 0 : BLOCK_BYTES);
      const isWhole = start === undefined || before - start.at === start.size;
      if (!isWhole || !this.#isPadding(before, at)) {
        // What lies before a header is the end of what precedes it.
        const previous = order[(places.get(member?.name ?? "") ?? 0) - 1] ?? "";
        const index = volumeIndexOf(previous);
        const end = index === undefined ? undefined : { at, position: index * volumeSize + (sizes.get(previous) ?? 0) };
        for await (const part of this.#salvage({ from, to: at }, { start, end, inventory })) {
          this.#isEnough = true;
          yield part;
        }
        window.seek(at + (member === undefined ? 0 : BLOCK_BYTES));
      }
      if (mender !== undefined) {
        const following = member && volumeIndexOf(order[(places.get(member.name) ?? 0) - 1] ?? "");
        const index = start === undefined ? (at === before ? undefined : following) : start.position / volumeSize;
        if (index !== undefined) {
          const size = volumes[index]?.size ?? 0;
          const range = { from: Math.max(start?.at ?? 0, at - size - AHEAD_BYTES, from), to: at };
          if (start === undefined || window.oldest <= start.at) await mender.ended(index, this.#views(range));
        }
        const isBeside = member !== undefined && mender.wants(member.name, member.size);
        const mended = isBeside ? undefined : await mender.mend();
        if (mended !== undefined) {
          this.#isEnough = true;
          yield* partsOf(mended.file, mended.index * volumeSize);
        }
      }
      if (member === undefined) return;
      start = undefined;
      from = window.position;
      if (isSums(member)) {
        if (await this.#isOther(member)) return;
        continue;
      }
      const volume = sizes.has(member.name) ? volumeIndexOf(member.name) : undefined;
      if (volume === undefined) {
        if (mender?.wants(member.name, member.size) === true) {
          await mender.recovery(this.#bytes(member.size));
          await this.#skip(paddedSize(member.size) - member.size);
        } else await this.#skip(paddedSize(member.size));
        continue;
      }
      start = { at: from, position: volume * volumeSize, size: member.size };
      for (let done = 0; done < member.size; ) {
        const there = await window.available(Math.min(STEP_BYTES, member.size - done));
        if (there === 0) break;
        const bytes = window.view(window.position, there);
        this.#isEnough = true;
        const part = { position: volume * volumeSize + done, bytes, isShifted: false };
        await mender?.came(volume, done, part);
        yield part;
        done += bytes.length;
        window.seek(window.position + bytes.length);
      }
    }
  }

  /**
   * Takes what came with gaps once more, from the places that are known in it.
   * @param range of the stream, as far as it is in memory
   */
  async *#salvage(
    range: { from: number; to: number },
    of: {
      start: (Anchor & { size: number }) | undefined;
      end: Anchor | undefined;
      inventory: Inventory;
    },
  ): AsyncGenerator<StreamPart | LooseBytes> {
    const window = this.#window;
    const { start, end, inventory } = of;
    const from = Math.max(range.from, window.oldest);
    const { to } = range;
    if (from >= to) return;
    // So that it stays in memory.
    window.seek(from);
    const found = findAnchors((at, length) => window.copy(at, length), { from, to }, inventory.entries);
    const isThere = start !== undefined && start.at >= from;
    const anchors = [...(isThere ? [start] : []), ...found, ...(end === undefined ? [] : [end])];
    const { volumeSize, streamSize } = inventory;
    const known = start && { shift: start.position - start.at, end: start.position + start.size };
    const { placed, between } = placements(anchors, { from, to }, { known, volumeSize });
    for (const { at, position, length } of placed) {
      for (let done = 0; done < length; ) {
        const place = position + done;
        const inVolume = Math.min(volumeSize - (place % volumeSize), streamSize - place);
        if (inVolume <= 0) break;
        const bytes = window.view(at + done, Math.min(STEP_BYTES, length - done, inVolume));
        yield { position: place, bytes, isShifted: true };
        done += bytes.length;
      }
    }
    for (const it of between)
      yield {
        from: it.from.position,
        to: it.to.position,
        length: it.to.at - it.from.at,
        read: (offset, length) => window.copy(it.from.at + offset, length),
      };
  }

  /** What is in memory of a range. */
  *#views({ from, to }: { from: number; to: number }): Generator<Uint8Array> {
    for (let at = Math.max(from, this.#window.oldest); at < to; ) {
      const bytes = this.#window.view(at, Math.min(STEP_BYTES, to - at));
      yield bytes;
      at += bytes.length;
    }
  }

  /** The next bytes, as they come. */
  async *#bytes(count: number): AsyncGenerator<Uint8Array> {
    const window = this.#window;
    for (let left = count; left > 0; ) {
      const there = await window.available(Math.min(STEP_BYTES, left));
      if (there === 0) return;
      const bytes = window.view(window.position, there);
      yield bytes;
      window.seek(window.position + bytes.length);
      left -= bytes.length;
    }
  }

  /** Whether there are only zeros, as behind the end of an archive. */
  #isPadding(from: number, to: number): boolean {
    if (to < from) return false;
    for (let at = Math.max(from, this.#window.oldest); at < to; ) {
      const bytes = this.#window.view(at, Math.min(STEP_BYTES, to - at));
      if (bytes.some((it) => it !== 0)) return false;
      at += bytes.length;
    }
    return true;
  }

  /** Says what was skipped, once at the end. */
  tell(): void {
    if (this.#lost > 0)
      this.#notice(`skipped ${formatBytes(this.#lost)} (${plural(this.#lost, "byte")}) of the stream that did not fit`);
  }

  /** What follows a signed root that its trust depends on, in a folder of its own. */
  async #try(start: StreamMember): Promise<TriedHead> {
    const { folder } = start;
    const sums = await this.#take(start);
    const digest = digestOf(sums);
    const dir = join(this.#dir, String(++this.#folders));
    const head = { dir, digest, folder, sums, isKnown: this.#done.has(digest), isTrusted: false, key: "" };
    if (head.isKnown) return head;
    const files = await this.#readSigned(folder);
    files.set(SUMS_NAME, sums);
    try {
      for (const [name, bytes] of files) {
        await mkdir(dirname(join(dir, name)), { recursive: true });
        await writeFile(join(dir, name), bytes);
      }
    } catch (error) {
      throw ioError("write", dir, error);
    }
    const key = hash("sha256", [...files].map(([name, it]) => `${name} ${digestOf(it)}\n`).join(""), "hex");
    return { ...head, key, isTrusted: await this.#isTrusted(dir) };
  }

  /** Whether a signed root is that of another bundle, which then comes next; a damaged copy is none. */
  async #isOther(member: StreamMember): Promise<boolean> {
    const tried = await this.#try(member);
    if (tried.isTrusted) this.#pending = tried;
    else if (!tried.isKnown) await rm(tried.dir, { recursive: true, force: true });
    return tried.isTrusted;
  }

  /** Past the rest of a bundle that is not needed. */
  async #passBy(folder: string): Promise<void> {
    for (;;) {
      const member = await this.#peek();
      if (member?.folder !== folder || isSums(member)) return;
      await this.#skip(BLOCK_BYTES + paddedSize(member.size));
    }
  }

  /** Signatures and versions of a trust root, within limits. */
  async #readSigned(folder: string): Promise<Map<string, Buffer>> {
    const files = new Map<string, Buffer>();
    let signatures = 0;
    let trust = 0;
    for (;;) {
      const member = await this.#peek();
      if (member?.folder !== folder || files.has(member.name) || files.size > MAX_TRUST_FILES) return files;
      if (member.name.startsWith(`${SIGNATURES_NAME}/`)) {
        if (member.size > MAX_SIGNATURE_BYTES || ++signatures > MAX_SIGNATURE_FILES) return files;
      } else {
        trust += member.size;
        if (!isTrustName(member.name) || member.size > MAX_TRUST_FILE_BYTES || trust > MAX_TRUST_BYTES) return files;
      }
      this.#window.seek(this.#window.position + BLOCK_BYTES);
      files.set(member.name, await this.#take(member));
    }
  }

  /** The other small files: of each the first copy that has the signed digest. */
  async #readSmall({ dir, folder, sums }: TriedHead): Promise<void> {
    let lines: ReturnType<typeof parseSums>["lines"];
    try {
      ({ lines } = parseSums(sums));
    } catch {
      // Whoever reads the folder says why.
      return;
    }
    const missing = new Map(lines.filter((it) => partOf(it.name) === "head").map((it) => [it.name, it.digest]));
    const listed = new Set(lines.map((it) => it.name));
    const accept = (it: StreamMember) => {
      if (isSums(it)) return true;
      if (it.folder !== folder || it.size > maxOf(it.name)) return false;
      return listed.has(it.name) || it.name.startsWith(`${SIGNATURES_NAME}/`);
    };
    // A damaged version of the trust root may have a good copy.
    for (const name of missing.keys()) {
      const bytes = isTrustName(name) ? await readFile(join(dir, name)).catch(() => undefined) : undefined;
      if (bytes !== undefined && digestOf(bytes) === missing.get(name)) missing.delete(name);
    }
    let isTold = false;
    let from = this.#window.position;
    while (missing.size > 0) {
      const member = await this.#nextMember(accept, from);
      if (member === undefined) return;
      from = this.#window.position;
      if (isSums(member)) {
        if (await this.#isOther(member)) return;
        continue;
      }
      const expected = missing.get(member.name);
      if (expected !== undefined) {
        if (await this.#spool(member, join(dir, member.name), expected)) missing.delete(member.name);
        continue;
      }
      if (volumeIndexOf(member.name) !== undefined) {
        const names = [...missing.keys()].slice(0, 5).join(", ");
        if ([...missing.keys()].every(isTextInStream)) {
          this.#notice(`${names} did not come whole: going on without`);
          return this.#window.seek(this.#window.position - BLOCK_BYTES);
        }
        if (!isTold) this.#notice(`${names} did not come whole: all else passes by until it comes again`);
        isTold = true;
      }
      await this.#skip(paddedSize(member.size));
    }
  }

  async #spool(member: StreamMember, file: string, expected: Digest): Promise<boolean> {
    const window = this.#window;
    const sum = createHash("sha256");
    const failed = (error: unknown) => Promise.reject(ioError("write", file, error));
    const handle = await open(file, "w", 0o600).catch(failed);
    try {
      for (let done = 0; done < member.size; ) {
        const there = await window.available(Math.min(STEP_BYTES, member.size - done));
        if (there === 0) break;
        const bytes = window.view(window.position, there);
        sum.update(bytes);
        await handle.writeFile(bytes).catch(failed);
        done += bytes.length;
        window.seek(window.position + bytes.length);
      }
    } finally {
      await handle.close();
    }
    const isGood = `sha256:${sum.digest("hex")}` === expected;
    if (!isGood) await rm(file, { force: true });
    window.seek(window.position + paddedSize(member.size) - member.size);
    return isGood;
  }

  /** Bytes of a small file, and past its padding. */
  async #take({ size }: StreamMember): Promise<Buffer> {
    const there = await this.#window.available(size);
    const bytes = this.#window.copy(this.#window.position, there);
    this.#window.seek(this.#window.position + paddedSize(size));
    return bytes;
  }

  async #skip(count: number): Promise<void> {
    for (let left = count; left > 0; ) {
      const there = await this.#window.available(Math.min(STEP_BYTES, left));
      if (there === 0) return;
      this.#window.seek(this.#window.position + there);
      left -= there;
    }
  }

  /** The header that is next, if it is one; stays before it. */
  async #peek(): Promise<StreamMember | undefined> {
    const there = await this.#window.available(BLOCK_BYTES);
    return there < BLOCK_BYTES ? undefined : parseMember(this.#window.copy(this.#window.position, BLOCK_BYTES));
  }

  /**
   * Goes to behind the next header that is accepted. Where none follows in its place, it is searched for byte by byte,
   * from `from` on: it may have come earlier than expected.
   */
  async #nextMember(accept: Accept, from?: number): Promise<StreamMember | undefined> {
    const window = this.#window;
    for (;;) {
      const there = await window.available(BLOCK_BYTES);
      if (there < BLOCK_BYTES) break;
      const block = window.copy(window.position, BLOCK_BYTES);
      const member = parseMember(block);
      if (member !== undefined && accept(member)) {
        window.seek(window.position + BLOCK_BYTES);
        return member;
      }
      if (block.some((it) => it !== 0)) break;
      window.seek(window.position + BLOCK_BYTES);
    }
    const start = window.position;
    window.seek(Math.max(window.oldest, Math.min(start, from ?? start)));
    const found = await this.#search(accept);
    if (!this.#isEnough) this.#lost += Math.max(0, window.position - (found === undefined ? 0 : BLOCK_BYTES) - start);
    return found;
  }

  async #search(accept: Accept): Promise<StreamMember | undefined> {
    const window = this.#window;
    for (;;) {
      const at = window.position;
      const there = await window.available(STEP_BYTES);
      const bytes = window.copy(at, there);
      for (let hit = bytes.indexOf(HEADER_MARK); hit >= 0; hit = bytes.indexOf(HEADER_MARK, hit + 1)) {
        const start = hit - HEADER_MARK_AT;
        if (start < 0 || start + BLOCK_BYTES > there) continue;
        const member = parseMember(bytes.subarray(start, start + BLOCK_BYTES));
        if (member === undefined || !accept(member)) continue;
        window.seek(at + start);
        // Content may have files with such names: a bundle begins where signatures follow.
        if (isSums(member) && member.folder !== this.#folder && !(await this.#isHead(member))) continue;
        window.seek(at + start + BLOCK_BYTES);
        return member;
      }
      if (there < STEP_BYTES) {
        window.seek(at + there);
        return undefined;
      }
      window.seek(at + there - BLOCK_BYTES + 1);
    }
  }

  /** Whether a signature follows. Stays where it is. */
  async #isHead(member: StreamMember): Promise<boolean> {
    const window = this.#window;
    const at = window.position;
    const needed = BLOCK_BYTES + paddedSize(member.size) + BLOCK_BYTES;
    if ((await window.available(needed)) < needed) return false;
    const next = parseMember(window.copy(at + needed - BLOCK_BYTES, BLOCK_BYTES));
    return next?.folder === member.folder && next.name.startsWith(`${SIGNATURES_NAME}/`);
  }
}

/** A volume from a file: it is good, but what of it came before may be wrong. */
async function* partsOf(file: string, position: number): AsyncGenerator<StreamPart> {
  const { handle, size } = await openRegular(file);
  try {
    // Whoever takes the parts may be at the one before.
    const memory = [0, 1].map(() => new Uint8Array(new SharedArrayBuffer(STEP_BYTES)));
    for (let done = 0; done < size; ) {
      const into = memory[(done / STEP_BYTES) % 2] as Uint8Array<SharedArrayBuffer>;
      const length = Math.min(STEP_BYTES, size - done);
      const { bytesRead } = await handle.read(into, 0, length, done);
      if (bytesRead !== length) throw ioError("read", file, new Error("it ends early"));
      yield { position: position + done, bytes: into.subarray(0, length), isShifted: true };
      done += length;
    }
  } finally {
    await handle.close();
  }
}

function isSums({ name, size }: StreamMember): boolean {
  return name === SUMS_NAME && size <= MAX_SUMS_BYTES;
}

function maxOf(name: string): number {
  if (name === SUMS_NAME) return MAX_SUMS_BYTES;
  if (name.startsWith(`${SIGNATURES_NAME}/`)) return MAX_SIGNATURE_BYTES;
  if (name === INVENTORY_NAME) return MAX_INVENTORY_BYTES;
  if (name === PIECES_NAME) return MAX_PIECES_BYTES;
  return partOf(name) === "head" ? MAX_LISTING_BYTES : Number.MAX_SAFE_INTEGER;
}
