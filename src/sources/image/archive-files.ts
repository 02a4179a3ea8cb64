/**
 * Files of an image archive by their names in it: in a tar file (read in place), in a compressed one (read once from
 * front to back), or in a folder.
 */
import { createHash } from "node:crypto";
import { type FileHandle, open, realpath, stat } from "node:fs/promises";
import { join, relative } from "node:path";
import { AirferryError } from "../../errors.ts";
import { checkPath } from "../../io/path-grammar.ts";
import { MAX_IMAGE_MANIFEST_BYTES } from "../../oci/image-manifest.ts";
import type { OciDigest } from "../../oci/oci-digest.ts";
import { type Codec, type Compression, compressionOf, MAGIC_BYTES } from "../archive/inflate.ts";
import { InflatedFile } from "../archive/inflated-file.ts";
import { findMember, indexTar } from "./tar-index.ts";

/** Where a file of an archive is. */
export interface MemberPlace {
  file: string;
  /** In decompressed bytes. */
  offset: number;
  size: number;
  /** How `file` is compressed as a whole. */
  codec?: Codec;
}

/** The caller closes it. */
export interface Files extends AsyncDisposable {
  readonly name: string;
  /** Members that look like archives themselves. */
  readonly archives: readonly string[];
  find(path: string): Promise<MemberPlace | undefined>;
  /** All bytes of a file no larger than an image manifest may be. */
  small(place: MemberPlace): Promise<Buffer>;
  /** The first four bytes. */
  head(place: MemberPlace): Promise<Buffer>;
  digest(place: MemberPlace): Promise<OciDigest>;
}

/** Hint for a malformed archive. */
export const HINT = "copy the file again, or save the image again";
const HASH_CHUNK_BYTES = 1024 * 1024;
const HEAD_BYTES = 4;
/** Files of a compressed archive up to this size, and JSON up to the size of an image manifest, are held in memory. */
const MAX_TINY_BYTES = 64 * 1024;
/** Most bytes of one archive held in memory. */
const MAX_HELD_BYTES = 128 * 1024 * 1024;

/** Distinguishes archives that a vendor packs from the layers of an older image archive, `ID/layer.tar`. */
function isArchiveName(path: string): boolean {
  return /^(?:[^/]+\/)?[^/]+\.tar$/.test(path) && !path.endsWith("/layer.tar");
}

/** A tar file, compressed or not. @throws {AirferryError} ERR_UPSTREAM_INVALID, ERR_UPSTREAM_SIZE, ERR_PATH_UNSAFE */
export async function openTar(file: string, shown: string): Promise<Files> {
  const handle = await open(file, "r");
  try {
    const { size } = await handle.stat();
    const head = Buffer.alloc(MAGIC_BYTES);
    await handle.read(head, 0, MAGIC_BYTES, 0);
    const compression = compressionOf(head);
    if (compression) {
      await handle.close();
      return await openCompressed(file, shown, compression);
    }
    const members = await indexTar(handle, size, shown);
    return {
      name: shown,
      archives: [...members.keys()].filter(isArchiveName),
      async find(path) {
        const member = findMember(members, path, shown);
        return member && { file: shown, ...member };
      },
      ...readersOf(shown, (place, position, length) => readAt(handle, place.offset + position, length)),
      [Symbol.asyncDispose]: () => handle.close(),
    };
  } catch (error) {
    await handle.close();
    throw error;
  }
}

/** An OCI layout in a folder. */
export async function openFolder(folder: string, shown: string): Promise<Files> {
  const root = await realpath(folder);
  return {
    name: shown,
    archives: [],
    async find(path) {
      if (checkPath(path) !== undefined) return undefined;
      const full = join(root, path);
      const real = await realpath(full).catch(() => undefined);
      if (real === undefined) return undefined;
      // Links are refused, whatever their target holds.
      if (real !== full) {
        throw new AirferryError("ERR_PATH_UNSAFE", `cannot read layout "${shown}": "${path}" is a link`, {
          path: shown,
        });
      }
      const found = await stat(real);
      return found.isFile() ? { file: join(shown, path), offset: 0, size: found.size } : undefined;
    },
    ...readersOf(shown, async (place, position, length) => {
      // `shown` may be written in many ways; the file's path is `shown` joined with what is below it.
      const handle = await open(join(root, relative(shown, place.file)), "r");
      try {
        return await readAt(handle, position, length);
      } finally {
        await handle.close();
      }
    }),
    [Symbol.asyncDispose]: async () => {},
  };
}

async function readAt(handle: FileHandle, position: number, length: number): Promise<Buffer> {
  const buffer = Buffer.allocUnsafe(Math.max(0, length));
  const { bytesRead } = await handle.read(buffer, 0, buffer.length, position);
  return buffer.subarray(0, bytesRead);
}

type ReadAt = (place: MemberPlace, position: number, length: number) => Promise<Buffer>;

/** Operations on files with random access. */
function readersOf(name: string, read: ReadAt): Pick<Files, "small" | "head" | "digest"> {
  return {
    small: (place) => read(place, 0, place.size),
    head: (place) => read(place, 0, Math.min(HEAD_BYTES, place.size)),
    async digest(place) {
      const hash = createHash("sha256");
      for (let position = 0; position < place.size; ) {
        const chunk = await read(place, position, Math.min(HASH_CHUNK_BYTES, place.size - position));
        if (chunk.length === 0) throw invalid(name, "it was truncated while being read");
        hash.update(chunk);
        position += chunk.length;
      }
      return `sha256:${hash.digest("hex")}`;
    },
  };
}

/** What is known about a file that was passed. */
interface Seen {
  head: Buffer;
  digest: OciDigest;
  /** Set if it may be requested later. */
  bytes?: Buffer;
}

/** One pass: nothing is written to disk, and only the digest of large files is stored. */
async function openCompressed(file: string, shown: string, compression: Compression): Promise<Files> {
  const seen = new Map<number, Seen>();
  let held = 0;
  await using reader = await InflatedFile.open(file, compression, shown);
  const members = await indexTar(reader, Number.POSITIVE_INFINITY, shown, async (offset, size) => {
    const hash = createHash("sha256");
    let chunks: Buffer[] | undefined = size <= MAX_IMAGE_MANIFEST_BYTES ? [] : undefined;
    let head: Buffer = Buffer.alloc(0);
    for await (const chunk of reader.take(offset, size)) {
      hash.update(chunk);
      if (head.length < HEAD_BYTES) head = Buffer.concat([head, chunk.subarray(0, HEAD_BYTES - head.length)]);
      if (size > MAX_TINY_BYTES && head.length === HEAD_BYTES && !/^\s*[{[]/.test(head.toString("latin1")))
        chunks = undefined;
      chunks?.push(chunk);
    }
    held += chunks === undefined ? 0 : size;
    if (held > MAX_HELD_BYTES) throw invalid(shown, `its small files are more than ${MAX_HELD_BYTES} bytes together`);
    const digest: OciDigest = `sha256:${hash.digest("hex")}`;
    seen.set(offset, { head, digest, ...(chunks && { bytes: Buffer.concat(chunks) }) });
  });
  const seenAt = ({ offset }: MemberPlace) => seen.get(offset) as Seen;
  return {
    name: shown,
    archives: [...members.keys()].filter(isArchiveName),
    async find(path) {
      const member = findMember(members, path, shown);
      return member && { file: shown, ...member, codec: compression.name as Codec };
    },
    async small(place) {
      const { bytes, digest } = seenAt(place);
      if (bytes === undefined) throw invalid(shown, `a file of ${place.size} bytes in it (${digest}) is not JSON`);
      return bytes;
    },
    head: async (place) => seenAt(place).head,
    digest: async (place) => seenAt(place).digest,
    [Symbol.asyncDispose]: async () => {},
  };
}

/** A malformed archive. */
export function invalid(name: string, fault: string): AirferryError {
  return new AirferryError("ERR_UPSTREAM_INVALID", `cannot read archive "${name}": ${fault}`, {
    path: name,
    hint: HINT,
  });
}
