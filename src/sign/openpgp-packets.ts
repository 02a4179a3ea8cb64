/**
 * OpenPGP framing: armor blocks (a file may hold several), packets, and the fields of a signature packet that its check
 * needs, in versions 3, 4 and 6. The library (openpgp.js) does the parsing, except for version 3 signatures, which RPMs
 * of EL7 still have. See RFC 9580 sections 4.2, 5.2 and 6.2.
 */
import { config as defaults, SignaturePacket, unarmor } from "openpgp";

const TAG_SIGNATURE = 2;

/** One packet: `body` without its header, `bytes` with it. */
export interface Packet {
  tag: number;
  body: Uint8Array;
  bytes: Uint8Array;
}

const ARMOR_BEGIN = /^-----BEGIN PGP ([A-Z ,/0-9]{1,64})-----[ \t]{0,64}\r?\n/gm;
/** Real files hold one; keyrings of distributions a few. */
const MAX_ARMOR_BLOCKS = 1000;

/**
 * Returns the binary content of every armor block of one of these kinds ("PUBLIC KEY BLOCK", "SIGNATURE"), in order;
 * bytes without any armor are returned unchanged. Blocks that do not decode are reported to `skipped`.
 */
export async function dearmorAll(
  bytes: Uint8Array,
  kind: "PUBLIC KEY BLOCK" | "SIGNATURE",
  skipped: (reason: string) => void,
): Promise<Uint8Array[]> {
  const text = Buffer.from(bytes).toString("latin1");
  if (!text.includes("-----BEGIN PGP ")) return [bytes];
  const blocks: Uint8Array[] = [];
  let count = 0;
  for (const { block, kind: found } of armorBlocks(text)) {
    if (++count > MAX_ARMOR_BLOCKS) {
      skipped(`more than ${MAX_ARMOR_BLOCKS} armor blocks`);
      break;
    }
    if (found !== kind) {
      skipped(`an armor block of another kind: ${found}`);
      continue;
    }
    try {
      const { data } = await unarmor(`${block}\n`);
      blocks.push(data instanceof Uint8Array ? data : await collect(data));
    } catch (error) {
      skipped(`an armor block that does not decode: ${(error as Error).message}`);
    }
  }
  return blocks;
}

/** Every block from its BEGIN to the END of the same kind; a BEGIN without END ends the search for that kind. */
function* armorBlocks(text: string): Generator<{ block: string; kind: string }> {
  const endless = new Set<string>();
  const begin = new RegExp(ARMOR_BEGIN);
  for (let match = begin.exec(text); match; match = begin.exec(text)) {
    const kind = match[1] as string;
    if (endless.has(kind)) continue;
    const end = `\n-----END PGP ${kind}-----`;
    const at = text.indexOf(end, begin.lastIndex - 1);
    if (at < 0) {
      endless.add(kind);
      // Every distinct name would otherwise cost one search.
      if (endless.size > 16) return;
      continue;
    }
    yield { block: text.slice(match.index, at + end.length), kind };
    begin.lastIndex = at + end.length;
  }
}

async function collect(stream: AsyncIterable<Uint8Array> | ReadableStream<Uint8Array>): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of stream as AsyncIterable<Uint8Array>) chunks.push(chunk);
  return Buffer.concat(chunks);
}

/** Cuts bytes into packets. @throws {Error} on broken framing, partial and indeterminate lengths */
export function splitPackets(bytes: Uint8Array): Packet[] {
  const packets: Packet[] = [];
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  let at = 0;
  while (at < view.length) {
    const first = view.readUInt8(at);
    if ((first & 0x80) === 0) throw new Error(`byte ${at} does not start an OpenPGP packet`);
    const isNew = (first & 0x40) !== 0;
    const { length, start } = isNew ? newLength(view, at + 1) : oldLength(view, at + 1, first & 3);
    const end = start + length;
    if (!(end <= view.length)) throw new Error(`an OpenPGP packet at byte ${at} is truncated`);
    const tag = isNew ? first & 0x3f : (first >> 2) & 0x0f;
    packets.push({ tag, body: view.subarray(start, end), bytes: view.subarray(at, end) });
    at = end;
  }
  return packets;
}

function newLength(view: Buffer, at: number): { length: number; start: number } {
  const first = view[at] ?? 0;
  if (first < 192) return { length: first, start: at + 1 };
  if (first < 224) return { length: ((first - 192) << 8) + (view[at + 1] ?? 0) + 192, start: at + 2 };
  if (first < 255) throw new Error("partial packet lengths are not used in keys and signatures");
  return { length: at + 5 <= view.length ? view.readUInt32BE(at + 1) : Number.NaN, start: at + 5 };
}

function oldLength(view: Buffer, at: number, type: number): { length: number; start: number } {
  if (type === 3) throw new Error("indeterminate packet lengths are not used in keys and signatures");
  const size = 1 << type;
  return { length: at + size <= view.length ? view.readUIntBE(at, size) : Number.NaN, start: at + size };
}

/** Everything needed to check one signature packet. */
export interface ParsedSignature {
  version: number;
  /** 0: raw bytes; 1: text, line ends as CRLF. */
  type: number;
  algorithm: number;
  hash: number;
  created: Date;
  /** When the signature itself expires, if ever. */
  expires?: Date;
  /** Upper-case hex of the issuer's 8-byte key id; empty when not named. */
  keyid: string;
  /** Hashed before the data (version 6). */
  salt: Uint8Array;
  /** Hashed after the data. */
  trailer: Uint8Array;
  /** Algorithm-specific numbers, as in the packet. */
  material: Uint8Array;
}

/**
 * Reads the signature packets among `bytes`. Those that cannot be read are reported to `skipped`.
 * @throws never: broken framing ends the list with a report
 */
export function readSignatures(bytes: Uint8Array, skipped: (reason: string) => void): ParsedSignature[] {
  let packets: Packet[];
  try {
    packets = splitPackets(bytes);
  } catch (error) {
    skipped((error as Error).message);
    return [];
  }
  const signatures: ParsedSignature[] = [];
  for (const { tag, body } of packets) {
    if (tag !== TAG_SIGNATURE) {
      skipped(`a packet that is not a signature: tag ${tag}`);
      continue;
    }
    try {
      signatures.push(body[0] === 3 || body[0] === 2 ? readVersion3(body) : readVersion4(body));
    } catch (error) {
      skipped((error as Error).message);
    }
  }
  return signatures;
}

/** RFC 9580 section 5.2.2. */
function readVersion3(body: Uint8Array): ParsedSignature {
  const view = Buffer.from(body.buffer, body.byteOffset, body.length);
  if (view.length < 22 || view[1] !== 5) throw new Error("a truncated version 3 signature");
  return {
    version: 3,
    type: view.readUInt8(2),
    created: new Date(view.readUInt32BE(3) * 1000),
    keyid: view.toString("hex", 7, 15).toUpperCase(),
    algorithm: view.readUInt8(15),
    hash: view.readUInt8(16),
    salt: new Uint8Array(0),
    trailer: view.subarray(2, 7),
    material: view.subarray(19),
  };
}

/** RFC 9580 sections 5.2.3 and 5.2.4; the library reads the subpackets and refuses unknown critical ones. */
function readVersion4(body: Uint8Array): ParsedSignature {
  const view = Buffer.from(body.buffer, body.byteOffset, body.length);
  const [version] = view;
  if (version !== 4 && version !== 6) throw new Error(`a signature of unknown version ${version}`);
  const width = version === 6 ? 4 : 2;
  const packet = new SignaturePacket();
  packet.read(body, defaults);
  const critical = packet.unknownSubpackets.find((it) => it.critical)?.type;
  if (critical !== undefined) throw new Error(`a signature with an unknown critical subpacket ${critical}`);
  const notation = packet.rawNotations.find((it) => it.critical)?.name;
  if (notation !== undefined) throw new Error(`a signature with an unknown critical notation "${notation}"`);
  const hashedEnd = 4 + width + view.readUIntBE(4, width);
  const unhashedEnd = hashedEnd + width + view.readUIntBE(hashedEnd, width);
  let at = unhashedEnd + 2;
  let salt: Uint8Array = new Uint8Array(0);
  if (version === 6) {
    salt = view.subarray(at + 1, at + 1 + view.readUInt8(at));
    at += 1 + salt.length;
  }
  const end = Buffer.alloc(6);
  end.writeUInt8(version, 0);
  end.writeUInt8(0xff, 1);
  end.writeUInt32BE(hashedEnd, 2);
  const { created } = packet;
  if (created === null) throw new Error("a signature without the time when it was made");
  const expires = packet.getExpirationTime();
  return {
    version,
    type: view.readUInt8(1),
    algorithm: view.readUInt8(2),
    hash: view.readUInt8(3),
    created,
    ...(expires instanceof Date ? { expires } : {}),
    keyid: packet.issuerKeyID
      .toHex()
      .toUpperCase()
      .replace(/^0{16}$/, ""),
    salt,
    trailer: Buffer.concat([view.subarray(0, hashedEnd), end]),
    material: view.subarray(at),
  };
}
