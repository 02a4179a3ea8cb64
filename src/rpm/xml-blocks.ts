/**
 * Cuts a big repository document (primary, filelists, other, updateinfo) into the blocks of its elements, byte for byte
 * as upstream wrote them, while it streams by. What createrepo_c and similar tools write is cut by searching; anything
 * unusual (prefixes, comments, CDATA) goes through a real XML parser, which finds the same byte ranges.
 */
import { SaxesParser } from "saxes";
import { Pace } from "../io/pace.ts";
import { localName } from "./xml.ts";
import { Utf8Converter } from "./xml-encoding.ts";
import { invalidXml } from "./xml-error.ts";

/** Largest block: the longest real one (kernel debuginfo in filelists) has 8 MB. */
const MAX_BLOCK_BYTES = 128 * 1024 * 1024;
/** Everything before the first block: XML declaration and root start tag. */
const MAX_HEAD_BYTES = 64 * 1024;
/** A pause may be due after this much. */
const STEP_BYTES = 1024 * 1024;
/** The XML parser is slower. */
const TOKENIZER_STEP_BYTES = 256 * 1024;

/** The text around the blocks. */
export interface XmlFrame {
  /** XML declaration and root start tag, verbatim. */
  head: string;
  /** Local name of the root element. */
  root: string;
  /** The root's end tag, `</metadata>`. */
  tail: string;
  /** True when blocks need no namespace processing: plain `<element …>` under the usual default namespace. */
  bare: boolean;
}

/**
 * Feeds every `<element>` block to `onBlock`, in order, with pauses in between. The bytes of a block are valid only
 * during the call, `offset` counts from the start of the document; both in UTF-8, whatever the document is in
 * (xml-encoding.ts; there is `isStrict` too).
 * @throws {AirferryError} ERR_UPSTREAM_INVALID naming `name`
 */
export async function sliceBlocks(
  chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  element: string,
  name: string,
  onBlock: (block: Buffer, offset: number, frame: XmlFrame) => void,
  { isStrict = false } = {},
): Promise<XmlFrame> {
  const slicer = new BlockSlicer(element, name, onBlock);
  const converter = new Utf8Converter(name, isStrict);
  const pace = new Pace((fault) => invalidXml(name, fault));
  const run = async (pieces: Iterable<Buffer>) => {
    for (const piece of pieces) for (const _ of slicer.push(piece)) if (pace.isDue) await pace.rest();
  };
  const source = Symbol.asyncIterator in chunks ? chunks[Symbol.asyncIterator]() : chunks[Symbol.iterator]();
  try {
    for (;;) {
      const { done, value } = await pace.wait(Promise.resolve(source.next()));
      if (done) break;
      await run(converter.push(Buffer.from(value.buffer, value.byteOffset, value.byteLength)));
      if (pace.isDue) await pace.rest();
    }
    await run(converter.end());
    for (const _ of slicer.end()) if (pace.isDue) await pace.rest();
  } finally {
    await source.return?.();
  }
  return slicer.frame();
}

class BlockSlicer {
  readonly #name: string;
  readonly #onBlock: (block: Buffer, offset: number, frame: XmlFrame) => void;
  readonly #open: Buffer;
  readonly #close: Buffer;
  readonly #element: string;
  /** Pieces not yet processed, and their total length. */
  #waiting: Buffer[] = [];
  #waitingBytes = 0;
  #enough = 0;
  /** Document offset of the first of them. */
  #offset = 0;
  #frame: XmlFrame | undefined;
  #tokens: Tokenizer | undefined;
  #ended = false;
  #blocks = 0;

  constructor(element: string, name: string, onBlock: (block: Buffer, offset: number, frame: XmlFrame) => void) {
    this.#element = element;
    this.#name = name;
    this.#onBlock = onBlock;
    this.#open = Buffer.from(`<${element}`);
    this.#close = Buffer.from(`</${element}>`);
  }

  /** Processes a piece of the document; yields where a pause is possible. */
  *push(chunk: Buffer): Generator<void> {
    if (this.#tokens) {
      yield* this.#tokens.push(chunk);
      return;
    }
    this.#waiting.push(chunk);
    this.#waitingBytes += chunk.length;
    // A long block is searched again only once its buffered part has doubled.
    if (this.#waitingBytes >= this.#enough) yield* this.#take();
  }

  *#take(): Generator<void> {
    if (this.#waiting.length === 2 && (yield* this.#finishBlock())) return;
    const [only] = this.#waiting;
    const bytes = this.#waiting.length === 1 ? (only as Buffer) : Buffer.concat(this.#waiting);
    let used = 0;
    for (;;) {
      const done = this.#scan(bytes.subarray(used));
      if (this.#tokens) {
        yield* this.#tokens.push(bytes.subarray(used + done));
        this.#waiting = [];
        return;
      }
      this.#offset += done;
      used += done;
      if (done < STEP_BYTES) break;
      yield;
    }
    this.#waitingBytes = bytes.length - used;
    this.#waiting = this.#waitingBytes === 0 ? [] : [Buffer.from(bytes.subarray(used))];
    this.#enough = this.#waitingBytes > STEP_BYTES ? 2 * this.#waitingBytes : 0;
    if (this.#waitingBytes > MAX_BLOCK_BYTES) throw this.#tooLong();
  }

  /**
   * Processes the block that began in the piece before, so that this one need not be copied to follow it. Returns
   * whether everything is processed, by the tokenizer.
   */
  *#finishBlock(): Generator<void, boolean> {
    const [begun, piece] = this.#waiting as [Buffer, Buffer];
    const close = piece.indexOf(this.#close);
    if (close < 0) return false;
    const end = close + this.#close.length;
    const block = Buffer.concat([begun, piece.subarray(0, end)]);
    const done = this.#scan(block);
    const [left, rest] = [block.subarray(done), piece.subarray(end)];
    if (this.#tokens) {
      yield* this.#tokens.push(left);
      yield* this.#tokens.push(rest);
      this.#waiting = [];
      return true;
    }
    this.#offset += done;
    this.#waiting = left.length === 0 ? [rest] : [left, rest];
    return false;
  }

  /** Processes the rest at the end of the document. */
  *end(): Generator<void> {
    if (!this.#tokens && this.#waitingBytes > 0) yield* this.#take();
    const rest = this.#waiting[0] ?? Buffer.alloc(0);
    if (this.#tokens || (this.#frame && this.#ended && isBlank(rest))) return;
    // An unusual document without blocks ends up here too.
    if (this.#blocks > 0 || rest.length === 0) {
      throw invalidXml(this.#name, `it ends early, after ${this.#blocks} <${this.#element}> blocks`);
    }
    this.#tokens = new Tokenizer(this.#element, this.#name, this.#onBlock);
    yield* this.#tokens.push(rest);
  }

  /** Valid after the end. */
  frame(): XmlFrame {
    return this.#tokens ? this.#tokens.finish() : (this.#frame as XmlFrame);
  }

  #tooLong(): Error {
    return invalidXml(this.#name, `a block over ${MAX_BLOCK_BYTES} bytes`);
  }

  /**
   * Returns how many bytes are processed, at least {@link STEP_BYTES} while there is more to do. May switch to the
   * tokenizer, which then gets all the others.
   */
  #scan(bytes: Buffer): number {
    let at = 0;
    if (!this.#frame) {
      const first = bytes.indexOf(this.#open);
      const headEnd = first < 0 ? bytes.lastIndexOf("</") : first;
      if (headEnd < 0 || (first < 0 && !/<\/\w+>\s*$/.test(bytes.toString("latin1", headEnd, headEnd + 200)))) {
        if (bytes.length > MAX_HEAD_BYTES) this.#useTokenizer();
        return 0;
      }
      const frame = headEnd <= MAX_HEAD_BYTES ? bareFrame(bytes.toString("latin1", 0, headEnd)) : undefined;
      if (!frame) {
        this.#useTokenizer();
        return 0;
      }
      this.#frame = frame;
      at = headEnd;
    }
    for (;;) {
      while (at < bytes.length && isBlankByte(bytes[at] as number)) at++;
      if (at >= bytes.length) return at;
      if (this.#ended) throw invalidXml(this.#name, "data after the end of the document");
      const { tail } = this.#frame;
      if (bytes.length - at >= tail.length && bytes.toString("latin1", at, at + tail.length) === tail) {
        this.#ended = true;
        at += tail.length;
        continue;
      }
      if (bytes.length - at <= Math.max(this.#open.length, tail.length)) return at;
      if (!startsWith(bytes, this.#open, at) || !isTagEnd(bytes[at + this.#open.length] as number)) {
        return this.#unusual(at);
      }
      const close = bytes.indexOf(this.#close, at);
      if (close < 0) return at;
      const end = close + this.#close.length;
      const block = bytes.subarray(at, end);
      if (block.length > MAX_BLOCK_BYTES) throw this.#tooLong();
      // Comments, CDATA and a self-closed element could hide an end tag.
      const second = block.indexOf(this.#open, this.#open.length);
      if (block.includes("<!") || (second >= 0 && isTagEnd(block[second + this.#open.length] as number))) {
        return this.#unusual(at);
      }
      this.#onBlock(block, this.#offset + at, this.#frame);
      this.#blocks++;
      at = end;
      if (at >= STEP_BYTES) return at;
    }
  }

  /** Something other than a plain block: the tokenizer reads from here, or from the start if that is possible. */
  #unusual(at: number): number {
    if (this.#blocks === 0 && this.#offset === 0) {
      this.#useTokenizer();
      return 0;
    }
    const offset = this.#offset + at;
    this.#tokens = new Tokenizer(this.#element, this.#name, this.#onBlock, { offset, frame: this.#frame as XmlFrame });
    return at;
  }

  #useTokenizer(): void {
    this.#tokens = new Tokenizer(this.#element, this.#name, this.#onBlock);
  }
}

/** Frame of a document whose root is `<word xmlns="…" …>` with double-quoted attributes and nothing odd before it. */
function bareFrame(head: string): XmlFrame | undefined {
  const match = /^(?:<\?xml [^<>?]*\?>)?\s*<([A-Za-z]+)((?:\s+[\w:.-]+="[^"<]*")*)\s*>\s*$/.exec(head);
  if (!match) return undefined;
  const root = match[1] as string;
  const attributes = match[2] as string;
  const encoding = /^[^>]*encoding="([^"]*)"/.exec(head)?.[1];
  if (encoding !== undefined && !/^(utf-8|us-ascii)$/i.test(encoding)) return undefined;
  const rpm = /\sxmlns:rpm="([^"]*)"/.exec(attributes)?.[1];
  if (rpm !== undefined && rpm !== "http://linux.duke.edu/metadata/rpm") return undefined;
  return { head: head.trimEnd(), root, tail: `</${root}>`, bare: true };
}

/** Finds the same blocks with a strict XML parser; positions are bytes because the text is read as latin1. */
class Tokenizer {
  readonly #parser = new SaxesParser({ xmlns: true, position: true });
  readonly #name: string;
  #buffer = Buffer.alloc(0);
  /** How much of the buffer is filled. */
  #used = 0;
  /** Document offset of `#buffer[0]`. */
  #base: number;
  /** Document offset of the parser's position 0. */
  readonly #zero: number;
  #depth = 0;
  #start = -1;
  #tagStart = 0;
  #head = "";
  #frame: XmlFrame | undefined;

  constructor(
    element: string,
    name: string,
    onBlock: (block: Buffer, offset: number, frame: XmlFrame) => void,
    resume?: { offset: number; frame: XmlFrame },
  ) {
    this.#name = name;
    this.#base = resume?.offset ?? 0;
    const parser = this.#parser;
    parser.on("error", (error) => {
      throw invalidXml(name, error.message.replace(/^(undefined:)?\d+:\d+: /, `line ${parser.line}: `));
    });
    parser.on("doctype", () => {
      throw invalidXml(name, "a DOCTYPE");
    });
    parser.on("opentagstart", () => {
      this.#tagStart = this.#lastOpen();
    });
    parser.on("opentag", (tag) => {
      if (this.#depth++ === 0 && !this.#frame) {
        const end = this.#position();
        this.#head = this.#text(0, end);
        this.#frame = { head: this.#head, root: localName(tag.name), tail: `</${tag.name}>`, bare: false };
      } else if (this.#depth === 2 && localName(tag.name) === element) this.#start = this.#tagStart;
      if (this.#depth > 64) throw invalidXml(name, "more than 64 levels");
    });
    parser.on("closetag", (tag) => {
      if (--this.#depth === 1 && this.#start >= 0 && localName(tag.name) === element) {
        const end = this.#position();
        const block = this.#buffer.subarray(this.#start - this.#base, end - this.#base);
        onBlock(block, this.#start, this.#frame as XmlFrame);
        this.#start = -1;
      }
    });
    if (resume) {
      // The parser has to see the root element again to know the prefixes.
      this.#frame = resume.frame;
      parser.write(resume.frame.head);
      this.#zero = resume.offset - parser.position;
    } else this.#zero = 0;
  }

  *push(chunk: Buffer): Generator<void> {
    for (let at = 0; at < chunk.length; at += TOKENIZER_STEP_BYTES) {
      const step = chunk.subarray(at, at + TOKENIZER_STEP_BYTES);
      this.#keep(step);
      this.#parser.write(step.toString("latin1"));
      yield;
    }
  }

  /** Appends to the buffer, whose older part is dropped when there is no room left. */
  #keep(step: Buffer): void {
    if (this.#used + step.length > this.#buffer.length) {
      const keepFrom = this.#start >= 0 ? this.#start : Math.max(this.#base, this.#position() - MAX_HEAD_BYTES);
      const kept = this.#buffer.subarray(keepFrom - this.#base, this.#used);
      if (kept.length > MAX_BLOCK_BYTES + MAX_HEAD_BYTES) {
        throw invalidXml(this.#name, `a block over ${MAX_BLOCK_BYTES} bytes`);
      }
      this.#buffer = Buffer.concat([kept], 2 * (kept.length + TOKENIZER_STEP_BYTES));
      this.#base = keepFrom;
      this.#used = kept.length;
    }
    step.copy(this.#buffer, this.#used);
    this.#used += step.length;
  }

  finish(): XmlFrame {
    this.#parser.close();
    if (!this.#frame) throw invalidXml(this.#name, "no element");
    return this.#frame;
  }

  #position(): number {
    return this.#zero + this.#parser.position;
  }

  /** The `<` of the tag being opened. */
  #lastOpen(): number {
    const here = Math.min(this.#position() - this.#base, this.#used) - 1;
    return this.#base + this.#buffer.lastIndexOf("<", here);
  }

  #text(start: number, end: number): string {
    return this.#buffer.toString("latin1", start - this.#base, end - this.#base);
  }
}

function startsWith(bytes: Buffer, text: Buffer, at: number): boolean {
  for (let i = 0; i < text.length; i++) if (bytes[at + i] !== text[i]) return false;
  return true;
}

/** Space, line end, `>`: the end of an element's name. A `/` would be a self-closed element. */
function isTagEnd(byte: number): boolean {
  return isBlankByte(byte) || byte === 0x3e;
}

function isBlankByte(byte: number): boolean {
  return byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09;
}

function isBlank(bytes: Buffer): boolean {
  return bytes.every(isBlankByte);
}
