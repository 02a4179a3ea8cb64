/**
 * The System Use area of a directory record: SUSP entries and the Rock Ridge ones among them (IEEE P1281 and P1282).
 * Pure except for continuation areas, which a callback reads; hops and bytes are limited.
 */
import { byteAt, u32 } from "./bytes.ts";
import { isoFault } from "./fault.ts";

/** Hops from one continuation area to the next, for one record. */
const MAX_CONTINUATIONS = 32;
/** Enough for a name of 255 bytes and a symlink of 4096 many times. */
const MAX_NAME_BYTES = 1024;
const MAX_LINK_BYTES = 16 * 1024;

/** The Rock Ridge fields of one record. */
export interface RockRidge {
  /** Bytes of the alternate name (NM); absent when there is none. */
  name?: Uint8Array;
  /** POSIX mode with its file type bits (PX). */
  mode?: number;
  /** Target of a symbolic link (SL). */
  link?: string;
  /** There are SL entries, but they are truncated. */
  brokenLink?: boolean;
  /** CL: the directory is elsewhere, at this logical block. */
  childBlock?: number;
  /** RE: this directory was relocated and is listed elsewhere. */
  relocated: boolean;
  /** ZF: the content is compressed; the two letters of the algorithm. */
  compressed?: string;
  /** SP was seen, with the bytes to skip in other records. */
  sharing?: { skip: number };
  /** Extension identifiers (ER). */
  extensions: string[];
}

/** Reads `length` bytes of a continuation area at a byte offset of the image, or throws. */
export type ReadContinuation = (offset: number, length: number, from: number) => Promise<Uint8Array>;

const utf8 = new TextDecoder("utf-8", { fatal: true });
const latin1 = new TextDecoder("latin1");
const ASCII = Array.from({ length: 128 }, (_, code) => String.fromCharCode(code));

/** Decodes a name or link: UTF-8 if valid, else Latin-1, so that no byte is lost. */
export function decodeName(bytes: Uint8Array): string {
  // Nearly all names are ASCII, and a directory has thousands of them.
  let ascii = "";
  for (const byte of bytes) {
    if (byte >= 0x80) break;
    ascii += ASCII[byte];
  }
  if (ascii.length === bytes.length) return ascii;
  try {
    return utf8.decode(bytes);
  } catch {
    return latin1.decode(bytes);
  }
}

/**
 * Parses one System Use area. `offset` is its place in the image, for messages. Returns synchronously when there is no
 * continuation area: nearly always, and directories have thousands of records.
 * @throws {AirferryError} ERR_ISO_INVALID: an entry longer than its area, too many continuations, a name out of bounds
 */
export function parseSystemUse(
  area: Uint8Array,
  offset: number,
  label: string,
  blockSize: number,
  readMore: ReadContinuation,
): RockRidge | Promise<RockRidge> {
  const parser = new SystemUse(label);
  const next = parser.take(area, offset);
  return next === undefined ? parser.result() : parser.follow(next, blockSize, readMore);
}

interface Continuation {
  block: number;
  at: number;
  length: number;
  from: number;
}

class SystemUse {
  readonly #label: string;
  readonly #rock: RockRidge = { relocated: false, extensions: [] };
  readonly #name: Uint8Array[] = [];
  #nameBytes = 0;
  #nameEnded = false;
  #link: LinkBuilder | undefined;

  constructor(label: string) {
    this.#label = label;
  }

  /** Processes the entries of one area; returns the continuation area that it points to, if any. */
  take(area: Uint8Array, offset: number): Continuation | undefined {
    let next: Continuation | undefined;
    let at = 0;
    while (at + 4 <= area.length) {
      const length = byteAt(area, at + 2);
      const first = byteAt(area, at);
      const second = byteAt(area, at + 1);
      if (length === 0 || first === 0) break;
      if (length < 4 || at + length > area.length) {
        // Other systems store their own bytes here: only what looks like an entry is checked.
        if (!isUpper(first) || !isUpper(second)) break;
        throw isoFault(this.#label, offset + at, "bad System Use entry", {
          expected: `a length from 4 to ${area.length - at}`,
          actual: String(length),
        });
      }
      if (first === 0x53 && second === 0x54) break; // ST: the end
      if (first === 0x43 && second === 0x45) next = this.#continuation(area.subarray(at, at + length), offset + at);
      // TF is in every record and is ignored.
      else if (first !== 0x54) this.#entry(first, second, area.subarray(at, at + length), offset + at);
      at += length;
    }
    return next;
  }

  async follow(first: Continuation, blockSize: number, readMore: ReadContinuation): Promise<RockRidge> {
    let next: Continuation | undefined = first;
    for (let hops = 0; next !== undefined; hops++) {
      if (hops === MAX_CONTINUATIONS) {
        throw isoFault(this.#label, next.from, "too many continuation areas", {
          expected: `at most ${MAX_CONTINUATIONS}`,
        });
      }
      const at: number = next.block * blockSize + next.at;
      next = this.take(await readMore(at, next.length, next.from), at);
    }
    return this.result();
  }

  result(): RockRidge {
    if (this.#nameBytes > 0) {
      const [only, more] = this.#name;
      this.#rock.name = only !== undefined && more === undefined ? only : Buffer.concat(this.#name);
    }
    if (this.#link?.broken) this.#rock.brokenLink = true;
    else if (this.#link !== undefined) this.#rock.link = this.#link.text();
    return this.#rock;
  }

  #continuation(entry: Uint8Array, from: number): Continuation {
    if (entry.length < 28) throw isoFault(this.#label, from, "bad CE entry", { expected: "28 bytes" });
    return { block: u32(entry, 4), at: u32(entry, 12), length: u32(entry, 20), from };
  }

  #entry(first: number, second: number, entry: Uint8Array, offset: number): void {
    const rock = this.#rock;
    switch ((first << 8) | second) {
      case 0x5350: // SP
        if (entry.length >= 7 && entry[4] === 0xbe && entry[5] === 0xef) rock.sharing = { skip: byteAt(entry, 6) };
        break;
      case 0x4552: // ER
        if (entry.length >= 8) rock.extensions.push(latin1.decode(entry.subarray(8, 8 + byteAt(entry, 4))));
        break;
      case 0x4e4d: // NM
        this.#takeName(entry, offset);
        break;
      case 0x5058: // PX
        if (entry.length >= 8) rock.mode = u32(entry, 4);
        break;
      case 0x534c: // SL
        this.#link ??= new LinkBuilder(this.#label);
        this.#link.take(entry, offset);
        break;
      case 0x434c: // CL
        if (entry.length < 12) throw isoFault(this.#label, offset, "bad CL entry", { expected: "12 bytes" });
        rock.childBlock = u32(entry, 4);
        break;
      case 0x5245: // RE
        rock.relocated = true;
        break;
      case 0x5a46: // ZF
        rock.compressed = latin1.decode(entry.subarray(4, 6));
        break;
    }
  }

  #takeName(entry: Uint8Array, offset: number): void {
    if (entry.length < 5) throw isoFault(this.#label, offset, "bad NM entry", { expected: "5 bytes or more" });
    const flags = byteAt(entry, 4);
    // CURRENT and PARENT are in the records of "." and "..", whose names come from the record itself.
    if (this.#nameEnded || (flags & 0x06) !== 0) return;
    this.#nameBytes += entry.length - 5;
    if (this.#nameBytes > MAX_NAME_BYTES) {
      throw isoFault(this.#label, offset, "name too long", { expected: `at most ${MAX_NAME_BYTES} bytes` });
    }
    this.#name.push(entry.subarray(5));
    this.#nameEnded = (flags & 0x01) === 0;
  }
}

/** Combines the component records of SL entries (RRIP 4.1.3). */
class LinkBuilder {
  readonly #label: string;
  readonly #parts: string[] = [];
  #open: Uint8Array[] = [];
  #bytes = 0;
  /** The target was truncated by the image's creator. */
  broken = false;

  constructor(label: string) {
    this.#label = label;
  }

  take(entry: Uint8Array, offset: number): void {
    let at = 5;
    while (at + 2 <= entry.length) {
      const flags = byteAt(entry, at);
      const length = byteAt(entry, at + 1);
      if (at + 2 + length > entry.length) {
        // genisoimage writes such entries for targets that are too long for it: only this link is lost, not its
        // directory.
        this.broken = true;
        return;
      }
      this.#bytes += length + 1;
      if (this.#bytes > MAX_LINK_BYTES) {
        throw isoFault(this.#label, offset, "symbolic link too long", { expected: `at most ${MAX_LINK_BYTES} bytes` });
      }
      if (flags & 0x02) this.#parts.push(".");
      else if (flags & 0x04) this.#parts.push("..");
      // ROOT also represents an empty component between two slashes.
      else if (flags & 0x08) this.#parts.push("");
      else {
        this.#open.push(entry.subarray(at + 2, at + 2 + length));
        if ((flags & 0x01) === 0) this.#close();
      }
      at += 2 + length;
    }
  }

  text(): string {
    if (this.#open.length > 0) this.#close();
    return this.#parts.join("/") || "/";
  }

  #close(): void {
    this.#parts.push(decodeName(Buffer.concat(this.#open)));
    this.#open = [];
  }
}

function isUpper(byte: number): boolean {
  return byte >= 0x41 && byte <= 0x5a;
}
