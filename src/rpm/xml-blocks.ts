/**
 * Cuts a big repository document (primary, filelists, other, updateinfo) into the blocks of its elements, byte for byte as
 * upstream wrote them, while it streams by. What createrepo_c and its kin write is cut by searching; anything unusual
 * (prefixes, comments, CDATA) goes through a real XML parser, which finds the same byte ranges.
 */
import { SaxesParser } from "saxes";
import { invalidXml, localName } from "./xml.ts";

/** One block may not be larger: the longest real one (kernel debuginfo in filelists) has 8 MB. */
const MAX_BLOCK_BYTES = 128 * 1024 * 1024;
/** Everything before the first block: XML declaration and root start tag. */
const MAX_HEAD_BYTES = 64 * 1024;

/** What stands around the blocks. */
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
 * Feeds every `<element>` block to `onBlock`, in order. The bytes of a block are valid only during the call, `offset` counts
 * from the start of the document.
 * @throws {AirferryError} ERR_UPSTREAM_INVALID naming `name`
 */
export async function sliceBlocks(
  chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  element: string,
  name: string,
  onBlock: (block: Buffer, offset: number, frame: XmlFrame) => void,
): Promise<XmlFrame> {
  const slicer = new BlockSlicer(element, name, onBlock);
  for await (const chunk of chunks) slicer.push(Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength));
  return slicer.finish();
}

/** The same for a document in memory. */
export function sliceBlocksIn(
  bytes: Buffer,
  element: string,
  name: string,
  onBlock: (block: Buffer, offset: number, frame: XmlFrame) => void,
): XmlFrame {
  const slicer = new BlockSlicer(element, name, onBlock);
  slicer.push(bytes);
  return slicer.finish();
}

class BlockSlicer {
  readonly #name: string;
  readonly #onBlock: (block: Buffer, offset: number, frame: XmlFrame) => void;
  readonly #open: Buffer;
  readonly #close: Buffer;
  readonly #element: string;
  #carry = Buffer.alloc(0);
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

  push(chunk: Buffer): void {
    if (this.#tokens) {
      this.#tokens.push(chunk);
      return;
    }
    const bytes = this.#carry.length === 0 ? chunk : Buffer.concat([this.#carry, chunk]);
    const used = this.#scan(bytes);
    if (this.#tokens) return;
    this.#offset += used;
    this.#carry = used === bytes.length ? Buffer.alloc(0) : Buffer.from(bytes.subarray(used));
    if (this.#carry.length > MAX_BLOCK_BYTES) throw invalidXml(this.#name, `a block over ${MAX_BLOCK_BYTES} bytes`);
  }

  finish(): XmlFrame {
    if (this.#tokens) return this.#tokens.finish();
    if (!this.#frame || !this.#ended || !isBlank(this.#carry)) {
      // An unusual document without blocks ends up here too.
      if (this.#blocks === 0 && this.#carry.length > 0) {
        this.#useTokenizer(this.#carry);
        return (this.#tokens as unknown as Tokenizer).finish();
      }
      throw invalidXml(this.#name, `it ends early, after ${this.#blocks} <${this.#element}> blocks`);
    }
    return this.#frame;
  }

  /** Returns how many bytes are dealt with. */
  #scan(bytes: Buffer): number {
    let at = 0;
    if (!this.#frame) {
      const first = bytes.indexOf(this.#open);
      const headEnd = first < 0 ? bytes.lastIndexOf("</") : first;
      if (headEnd < 0 || (first < 0 && !/<\/\w+>\s*$/.test(bytes.toString("latin1", headEnd, headEnd + 200)))) {
        if (bytes.length > MAX_HEAD_BYTES) this.#useTokenizer(bytes);
        return 0;
      }
      const frame = headEnd <= MAX_HEAD_BYTES ? bareFrame(bytes.toString("latin1", 0, headEnd)) : undefined;
      if (!frame) {
        this.#useTokenizer(bytes);
        return 0;
      }
      this.#frame = frame;
      at = headEnd;
    }
    for (;;) {
      while (at < bytes.length && isBlankByte(bytes[at] as number)) at++;
      if (at >= bytes.length) return at;
      if (this.#ended) throw invalidXml(this.#name, "something after the end of the document");
      const { tail } = this.#frame;
      if (bytes.length - at >= tail.length && bytes.toString("latin1", at, at + tail.length) === tail) {
        this.#ended = true;
        at += tail.length;
        continue;
      }
      if (bytes.length - at <= Math.max(this.#open.length, tail.length)) return at;
      if (!startsWith(bytes, this.#open, at) || !isTagEnd(bytes[at + this.#open.length] as number)) {
        this.#unusual(bytes, at);
        return 0;
      }
      const close = bytes.indexOf(this.#close, at);
      if (close < 0) return at;
      const end = close + this.#close.length;
      const block = bytes.subarray(at, end);
      // Comments, CDATA and a self-closed element could hide an end tag.
      const second = block.indexOf(this.#open, this.#open.length);
      if (block.includes("<!") || (second >= 0 && isTagEnd(block[second + this.#open.length] as number))) {
        this.#unusual(bytes, at);
        return 0;
      }
      this.#onBlock(block, this.#offset + at, this.#frame);
      this.#blocks++;
      at = end;
    }
  }

  /** Only possible before any block was handed out; later it is simply malformed. */
  #unusual(bytes: Buffer, at: number): void {
    if (this.#blocks === 0 && this.#offset === 0) {
      this.#useTokenizer(bytes);
      return;
    }
    this.#tokens = new Tokenizer(this.#element, this.#name, this.#onBlock, {
      offset: this.#offset + at,
      frame: this.#frame as XmlFrame,
    });
    this.#tokens.push(bytes.subarray(at));
  }

  #useTokenizer(bytes: Buffer): void {
    this.#tokens = new Tokenizer(this.#element, this.#name, this.#onBlock);
    this.#tokens.push(bytes);
    this.#carry = Buffer.alloc(0);
  }
}

/** Frame of a document whose root is `<word xmlns="…" …>` with double-quoted attributes and nothing odd before it. */
function bareFrame(head: string): XmlFrame | undefined {
  const match = /^(?:\u00ef\u00bb\u00bf)?(?:<\?xml [^<>?]*\?>)?\s*<([A-Za-z]+)((?:\s+[\w:.-]+="[^"<]*")*)\s*>\s*$/.exec(
    head,
  );
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
  /** Document offset of `#buffer[0]`. */
  #base: number;
  /** What the parser's own position 0 is in the document. */
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
      parser.write(resume.frame.head.replace(/^\u00ef\u00bb\u00bf/, ""));
      this.#zero = resume.offset - parser.position;
    } else this.#zero = 0;
  }

  push(chunk: Buffer): void {
    if (this.#base + this.#buffer.length === 0 && chunk.subarray(0, 3).equals(Buffer.from([0xef, 0xbb, 0xbf]))) {
      throw invalidXml(this.#name, "a byte order mark before unusual XML");
    }
    const keepFrom = this.#start >= 0 ? this.#start : Math.max(this.#base, this.#position() - MAX_HEAD_BYTES);
    this.#buffer = Buffer.concat([this.#buffer.subarray(keepFrom - this.#base), chunk]);
    this.#base = keepFrom;
    if (this.#buffer.length > MAX_BLOCK_BYTES + MAX_HEAD_BYTES + chunk.length) {
      throw invalidXml(this.#name, `a block over ${MAX_BLOCK_BYTES} bytes`);
    }
    this.#parser.write(chunk.toString("latin1"));
  }

  finish(): XmlFrame {
    this.#parser.close();
    if (!this.#frame) throw invalidXml(this.#name, "no element");
    return this.#frame;
  }

  #position(): number {
    return this.#zero + this.#parser.position;
  }

  /** The `<` that the tag being opened began with. */
  #lastOpen(): number {
    const here = Math.min(this.#position() - this.#base, this.#buffer.length) - 1;
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
