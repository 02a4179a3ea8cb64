/**
 * `data.files`: which files are inside of ISOs, and where, so that a later pack finds them there when the ISO itself is
 * gone from the packing host. docs/format.md, "Files of ISOs".
 */
import { type Digest, hexOf, parseHex } from "../io/digest.ts";

const DIGEST_BYTES = 32;
const HEAD_BYTES = DIGEST_BYTES + 8 + 4;
const FILE_BYTES = DIGEST_BYTES + 8 + 8;

/** A file whose bytes are in one piece. */
export interface FileInside {
  digest: Digest;
  /** Bytes, and where they begin. */
  size: number;
  offset: number;
}

/** The files of one ISO. */
export interface ListedIso {
  digest: Digest;
  size: number;
  files: readonly FileInside[];
}

const byPlace = (a: FileInside, b: FileInside) =>
  a.offset - b.offset || a.size - b.size || (a.digest < b.digest ? -1 : 1);

/** The bytes of the list. */
export function formatFileList(isos: readonly ListedIso[]): Buffer {
  const records = isos.toSorted((a, b) => (a.digest < b.digest ? -1 : 1)).map(formatIso);
  return Buffer.concat(records);
}

function formatIso({ digest, size, files }: ListedIso): Buffer {
  const bytes = Buffer.alloc(HEAD_BYTES + files.length * FILE_BYTES);
  bytes.write(hexOf(digest), 0, "hex");
  let at = bytes.writeBigUInt64BE(BigInt(size), DIGEST_BYTES);
  at = bytes.writeUInt32BE(files.length, at);
  for (const it of files.toSorted(byPlace)) {
    at += bytes.write(hexOf(it.digest), at, "hex");
    at = bytes.writeBigUInt64BE(BigInt(it.size), at);
    at = bytes.writeBigUInt64BE(BigInt(it.offset), at);
  }
  return bytes;
}

/**
 * Reads the ISOs of a list that are wanted.
 * @throws {Error} for anything that docs/format.md does not allow
 */
export function parseFileList(bytes: Buffer, isWanted: (digest: Digest, size: number) => boolean): ListedIso[] {
  const found: ListedIso[] = [];
  let before = "";
  for (let at = 0; at < bytes.length; ) {
    if (at + HEAD_BYTES > bytes.length) throw new Error("it ends within a record");
    const digest = digestAt(bytes, at);
    const size = numberAt(bytes, at + DIGEST_BYTES);
    const count = bytes.readUInt32BE(at + DIGEST_BYTES + 8);
    const start = at + HEAD_BYTES;
    at = start + count * FILE_BYTES;
    if (at > bytes.length) throw new Error("it ends within a record");
    if (digest <= before) throw new Error("its records are not sorted");
    before = digest;
    const files: FileInside[] = [];
    const isKept = isWanted(digest, size);
    let last: FileInside | undefined;
    for (let place = start; place < at; place += FILE_BYTES) {
      const file = {
        digest: digestAt(bytes, place),
        size: numberAt(bytes, place + DIGEST_BYTES),
        offset: numberAt(bytes, place + DIGEST_BYTES + 8),
      };
      if (file.size > size - file.offset) throw new Error(`a file is outside of ${digest}`);
      if (last !== undefined && byPlace(last, file) >= 0) throw new Error(`files of ${digest} are not sorted`);
      last = file;
      if (isKept) files.push(file);
    }
    if (isKept) found.push({ digest, size, files });
  }
  return found;
}

function digestAt(bytes: Buffer, at: number): Digest {
  return parseHex(bytes.toString("hex", at, at + DIGEST_BYTES)) as Digest;
}

function numberAt(bytes: Buffer, at: number): number {
  const number = bytes.readUInt32BE(at) * 2 ** 32 + bytes.readUInt32BE(at + 4);
  if (!Number.isSafeInteger(number)) throw new Error("a number is above 2^53-1");
  return number;
}
