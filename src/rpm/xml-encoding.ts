/**
 * Converts XML documents in encodings other than UTF-8 to UTF-8 while they stream by: UTF-16, ISO-8859, Windows' code
 * pages and the other encodings that both libxml2 (which dnf reads with) and the Encoding Standard know. See XML 1.0,
 * appendix F.
 */
import { isUtf8 } from "node:buffer";
import { invalidXml } from "./xml-error.ts";

/** How many bytes are searched for an XML declaration. */
const HEAD_BYTES = 1024;
/** How much is decoded at once. */
const STEP_BYTES = 256 * 1024;

const LESS_THAN = 0x3c;
const QUESTION_MARK = 0x3f;
const DECLARATION = /^<\?xml(?=\s)[^>]*?\sencoding\s*=\s*(?:"([\w.:-]{1,40})"|'([\w.:-]{1,40})')/;
/** Labels of the Encoding Standard that iconv does not know, or that mean another encoding there. */
const NOT_SHARED = /^(x-user-defined|replacement|x-cp\d+|utf-?8|unicode.*|ucs-?2|iso-10646.*)$/i;

/** Decodes some bytes; without argument at the end. */
type Decode = (bytes?: Uint8Array) => string;

interface Encoding {
  /** Bytes of a byte order mark. */
  skip: number;
  /** Undefined: UTF-8, unchanged. */
  decode?: Decode;
}

/** Converts the pieces of one document to UTF-8. A document in UTF-8 passes unchanged except for a byte order mark. */
export class Utf8Converter {
  readonly #name: string;
  readonly #isStrict: boolean;
  #encoding: Encoding | undefined;
  #head: Buffer = Buffer.alloc(0);
  #isFirst = true;
  /** The begun character at the end of what was checked. */
  #begun: Buffer = Buffer.alloc(0);

  /**
   * @param name of the document, for messages
   * @param isStrict refuses a document that says it is in UTF-8 and is not, as clients do
   */
  constructor(name: string, isStrict = false) {
    this.#name = name;
    this.#isStrict = isStrict;
  }

  /** @throws {AirferryError} ERR_UPSTREAM_INVALID for an unknown encoding, or bytes that are invalid in it */
  *push(chunk: Buffer): Generator<Buffer> {
    let bytes = chunk;
    if (this.#encoding === undefined) {
      if (this.#head.length > 0) bytes = Buffer.concat([this.#head, chunk]);
      if (bytes.length < HEAD_BYTES) {
        this.#head = Buffer.from(bytes);
        return;
      }
      bytes = this.#begin(bytes);
    }
    yield* this.#convert(bytes);
  }

  /** The rest at the end of the document. */
  *end(): Generator<Buffer> {
    if (this.#encoding === undefined) yield* this.#convert(this.#begin(this.#head));
    if (this.#begun.length > 0) throw this.#notUtf8();
    const rest = this.#decoded();
    if (rest.length > 0) yield rest;
  }

  #begin(bytes: Buffer): Buffer {
    this.#head = Buffer.alloc(0);
    this.#encoding = encodingOf(bytes.subarray(0, HEAD_BYTES), this.#name);
    return bytes.subarray(this.#encoding.skip);
  }

  *#convert(bytes: Buffer): Generator<Buffer> {
    if (this.#encoding?.decode === undefined) {
      yield* this.#asItIs(bytes);
      return;
    }
    for (let at = 0; at < bytes.length; at += STEP_BYTES) yield this.#decoded(bytes.subarray(at, at + STEP_BYTES));
  }

  *#asItIs(bytes: Buffer): Generator<Buffer> {
    if (this.#isStrict) this.#check(bytes);
    let rest = bytes;
    if (this.#isFirst) {
      this.#isFirst = false;
      const head = bytes.toString("latin1", 0, HEAD_BYTES);
      const declared = inUtf8(head);
      if (declared !== head) {
        yield Buffer.from(declared, "latin1");
        rest = bytes.subarray(HEAD_BYTES);
      }
    }
    if (rest.length > 0) yield rest;
  }

  /** Pieces are cut anywhere: what a character begins with is checked together with the next piece. */
  #check(piece: Buffer): void {
    const bytes = this.#begun.length === 0 ? piece : Buffer.concat([this.#begun, piece]);
    const whole = bytes.length - begunBytes(bytes);
    if (!isUtf8(bytes.subarray(0, whole))) throw this.#notUtf8();
    this.#begun = Buffer.from(bytes.subarray(whole));
  }

  #notUtf8(): Error {
    return invalidXml(this.#name, "bytes that are not UTF-8, and no other encoding is declared");
  }

  #decoded(bytes?: Buffer): Buffer {
    let text: string;
    try {
      text = this.#encoding?.decode?.(bytes) ?? "";
    } catch {
      throw invalidXml(this.#name, "bytes that are invalid in its encoding");
    }
    if (this.#isFirst && text !== "") {
      this.#isFirst = false;
      text = inUtf8(text);
    }
    return Buffer.from(text, "utf8");
  }
}

/** How many bytes at the end begin a character that needs more of them. */
function begunBytes(bytes: Buffer): number {
  for (let back = 1; back <= Math.min(3, bytes.length); back++) {
    const byte = bytes[bytes.length - back] as number;
    if (byte < 0x80) return 0;
    if (byte >= 0xc0) return (byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : 2) > back ? back : 0;
  }
  return 0;
}

/** Text whose XML declaration says UTF-8, whatever it said before. */
function inUtf8(text: string): string {
  return text.replace(DECLARATION, (all, label: string | undefined, other: string | undefined) =>
    /^utf-?8$/i.test(label ?? other ?? "") ? all : all.replace(/(["'])[^"']*\1$/, '"UTF-8"'),
  );
}

/** A whole document in UTF-8; the same memory if it already is. No pauses: for small documents. */
export function toUtf8(bytes: Uint8Array, name: string): Buffer {
  // A part of a document has no declaration.
  if (bytes[0] === LESS_THAN && bytes[1] !== QUESTION_MARK && bytes[1] !== 0) return bufferOf(bytes);
  const converter = new Utf8Converter(name);
  return joined([...converter.push(bufferOf(bytes)), ...converter.end()]);
}

function joined(pieces: readonly Buffer[]): Buffer {
  return pieces.length === 1 ? (pieces[0] as Buffer) : Buffer.concat(pieces);
}

function bufferOf(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** Detects the encoding by the first bytes: a byte order mark, the pattern of `<?`, what the declaration says. */
function encodingOf(head: Buffer, name: string): Encoding {
  const hex = head.toString("hex", 0, 4);
  if (hex.startsWith("efbbbf")) return { skip: 3 };
  if (/^(fffe0000|0000feff|0000003c|3c000000)/.test(hex)) throw unknown(name, "UTF-32");
  if (hex.startsWith("fffe")) return { skip: 2, decode: decoderOf("utf-16le") };
  if (hex.startsWith("feff")) return { skip: 2, decode: decoderOf("utf-16be") };
  if (/^3c00..00/.test(hex)) return { skip: 0, decode: decoderOf("utf-16le") };
  if (/^003c00/.test(hex)) return { skip: 0, decode: decoderOf("utf-16be") };
  if (hex === "4c6fa794") throw unknown(name, "EBCDIC");
  const match = DECLARATION.exec(head.toString("latin1"));
  const label = match?.[1] ?? match?.[2] ?? "utf-8";
  // UTF-16 declared in single bytes: a bug of some writers (.NET), which libxml2 ignores.
  if (/^(utf-?8|utf-?16([bl]e)?)$/i.test(label)) return { skip: 0 };
  // The Encoding Standard treats these three as windows-1252.
  if (/^(us-)?ascii$/i.test(label)) return { skip: 0, decode: ascii };
  if (/^(iso[-_]8859-1|latin-?1|l1)$/i.test(label)) return { skip: 0, decode: latin1 };
  try {
    if (!NOT_SHARED.test(label)) return { skip: 0, decode: decoderOf(label) };
  } catch {
    // Detected below.
  }
  throw unknown(name, label);
}

function decoderOf(label: string): Decode {
  const decoder = new TextDecoder(label, { fatal: true, ignoreBOM: true });
  return (bytes) => (bytes === undefined ? decoder.decode() : decoder.decode(bytes, { stream: true }));
}

function latin1(bytes?: Uint8Array): string {
  return bytes === undefined ? "" : bufferOf(bytes).toString("latin1");
}

function ascii(bytes?: Uint8Array): string {
  const text = latin1(bytes);
  if (/[^\x00-\x7f]/.test(text)) throw new RangeError("over 0x7F");
  return text;
}

function unknown(name: string, label: string): Error {
  return invalidXml(name, `it is in ${label}: expected UTF-8, UTF-16, ISO-8859-1 or another known encoding`);
}
