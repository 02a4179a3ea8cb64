/**
 * Decompresses archives as streams, with a limit on how far they may grow. The compression is detected by the first
 * bytes, never by the name.
 */
import { Duplex, Transform } from "node:stream";
import { createGunzip, createZstdDecompress } from "node:zlib";
import { AirferryError } from "../../errors.ts";

/** The supported compressions, as a lock names them. */
export type Codec = "gzip" | "zstd" | "xz";

/** A compression: its magic number, the command that decompresses it, and the decompressing stream, if supported. */
export interface Compression {
  name: string;
  magic: string;
  command: string;
  open?: () => Duplex;
}

const CHUNK_BYTES = 256 * 1024;

export const COMPRESSIONS: readonly Compression[] = [
  { name: "gzip", magic: "1f8b", command: "gzip -d", open: () => createGunzip({ chunkSize: CHUNK_BYTES }) },
  { name: "zstd", magic: "28b52ffd", command: "zstd -d", open: () => createZstdDecompress({ chunkSize: CHUNK_BYTES }) },
  { name: "xz", magic: "fd377a585a00", command: "xz -d", open: () => Duplex.from(inflateXz) },
  { name: "bzip2", magic: "425a68", command: "bzip2 -d" },
];

/** Errors of the source pass unchanged; those of the decoder get a code like zlib's. */
async function* inflateXz(source: AsyncIterable<Uint8Array>): AsyncGenerator<Buffer> {
  let failed: unknown;
  async function* watched(): AsyncGenerator<Uint8Array> {
    try {
      yield* source;
    } catch (error) {
      failed = error;
      throw error;
    }
  }
  try {
    const { decodeXzStream } = await import("../../rpm/xz.ts");
    yield* decodeXzStream(watched());
  } catch (error) {
    throw failed ?? Object.assign(new Error((error as Error).message), { code: "Z_XZ" });
  }
}

/** Bytes that are enough to detect a compression. */
export const MAGIC_BYTES = 6;
/** Real archives grow to a few times their size; layers full of zeros somewhat more. */
const MAX_RATIO = 100;
const SLACK_BYTES = 64 * 1024 * 1024;

/** The compression that a file's first bytes show; undefined if unknown. */
export function compressionOf(head: Uint8Array): Compression | undefined {
  const hex = Buffer.from(head).toString("hex");
  return COMPRESSIONS.find(({ magic }) => hex.startsWith(magic));
}

/** Converts a decompression failure; returns any other error unchanged. */
export function inflateFault(cause: unknown, name: string): unknown {
  if (!/^Z_|^ZSTD_/.test(String((cause as NodeJS.ErrnoException | undefined)?.code))) return cause;
  const fault = `it is damaged or truncated: ${(cause as Error).message}`;
  return new AirferryError("ERR_UPSTREAM_INVALID", `cannot read archive "${name}": ${fault}`, {
    path: name,
    cause,
    hint: "download it again",
  });
}

/**
 * Creates the streams that decompress a file of `size` bytes, to be piped into each other. They fail with
 * ERR_UPSTREAM_INVALID beyond 100 times the size and 64 MiB (a decompression bomb).
 * @throws {AirferryError} ERR_UPSTREAM_INVALID for an unsupported compression
 */
export function inflaters(compression: Compression, size: number, name: string): [Duplex, Transform] {
  if (compression.open === undefined) {
    throw new AirferryError(
      "ERR_UPSTREAM_INVALID",
      `cannot read archive "${name}": it is compressed with ${compression.name}: expected gzip, zstd or xz`,
      { path: name, hint: `unpack and compress it again: ${compression.command} -c ${name} | gzip > archive.tgz` },
    );
  }
  const limit = size * MAX_RATIO + SLACK_BYTES;
  let grown = 0;
  const limiter = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      grown += chunk.length;
      if (grown <= limit) done(null, chunk);
      else {
        const fault = `it grows to more than ${limit} bytes out of ${size}`;
        done(
          new AirferryError("ERR_UPSTREAM_INVALID", `cannot read archive "${name}": ${fault}`, {
            path: name,
            hint: "this is a decompression bomb: do not use this file",
          }),
        );
      }
    },
  });
  return [compression.open(), limiter];
}
