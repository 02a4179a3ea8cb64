/**
 * Compressed archives as a stream of plain bytes, with a limit on what they may grow to. Which compression it is, the first
 * bytes say, never the name.
 */
import { Duplex, Transform } from "node:stream";
import { createGunzip, createZstdDecompress } from "node:zlib";
import { AirferryError } from "../../errors.ts";
import { decodeXzStream } from "../../rpm/xz.ts";

/** The compressions that can be read here, as a lock names them. */
export type Codec = "gzip" | "zstd" | "xz";

/** A compression by its magic number, the command that takes it off, and the stream that does so here, where there is one. */
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

/** Faults of the source stay what they are; those of the decoder get a code like those of zlib. */
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
    yield* decodeXzStream(watched());
  } catch (error) {
    throw failed ?? Object.assign(new Error((error as Error).message), { code: "Z_XZ" });
  }
}

/** Bytes that tell a compression from another. */
export const MAGIC_BYTES = 6;
/** Real archives grow to a few times their size; layers full of zeros somewhat more. */
const MAX_RATIO = 100;
const SLACK_BYTES = 64 * 1024 * 1024;

/** The compression that a file's first bytes say; undefined for none that is known. */
export function compressionOf(head: Uint8Array): Compression | undefined {
  const hex = Buffer.from(head).toString("hex");
  return COMPRESSIONS.find(({ magic }) => hex.startsWith(magic));
}

/** What a failure of the decompression means; any other error as it is. */
export function inflateFault(cause: unknown, name: string): unknown {
  if (!/^Z_|^ZSTD_/.test(String((cause as NodeJS.ErrnoException | undefined)?.code))) return cause;
  const fault = `it is damaged or cut off: ${(cause as Error).message}`;
  return new AirferryError("ERR_UPSTREAM_INVALID", `cannot read archive "${name}": ${fault}`, {
    path: name,
    cause,
    hint: "download it again",
  });
}

/**
 * Makes the streams that turn a compressed file of `size` bytes into plain bytes, to be piped one into the other. They end in
 * ERR_UPSTREAM_INVALID for more than 100 times the size and 64 MiB, a decompression bomb.
 * @throws {AirferryError} ERR_UPSTREAM_INVALID for a compression that cannot be read here
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
