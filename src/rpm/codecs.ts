/**
 * Compression of repository metadata: reads gz, zstd, xz and bz2, detected by magic bytes and never by file name;
 * writes gz, the one codec that every client from EL7 to EL10 and zypper reads. Output is counted as it is produced, so
 * a bomb is refused a few megabytes past the limit. No I/O.
 */
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { createGunzip, createGzip, createZstdDecompress, constants as zlib } from "node:zlib";
import { AirferryError } from "../errors.ts";
import { buffersUsed } from "../io/flat-memory.ts";
import { openBzip2 } from "./bzip2.ts";
import { decodeXz } from "./xz.ts";

type Codec = "gz" | "zstd" | "xz" | "bz2" | "zck" | "plain";

/** Real metadata stays below 60 to 1. */
const MAX_RATIO = 300;
/** The ratio is checked only beyond this. */
const RATIO_FLOOR_BYTES = 32 * 1024 * 1024;
const CHUNK_BYTES = 256 * 1024;
/** Windows up to 128 MiB: what `zstd --ultra` produces without `--long`. */
const ZSTD_WINDOW_LOG = 27;

const MAGICS: [Codec, number[]][] = [
  ["gz", [0x1f, 0x8b]],
  ["zstd", [0x28, 0xb5, 0x2f, 0xfd]],
  ["xz", [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00]],
  ["bz2", [0x42, 0x5a, 0x68]],
  ["zck", [0x00, 0x5a, 0x43, 0x4b, 0x31]],
];

/** Limits on the output. */
interface DecompressOptions {
  /** Named in messages. */
  name: string;
  /** Maximum output in bytes. */
  maxBytes: number;
  /** `open-size` of repomd.xml: the exact size of the output. */
  openSize?: number | undefined;
}

/** Detects the codec by the first six bytes; "plain" when none of them fits. */
export function detectCodec(head: Uint8Array): Codec {
  return MAGICS.find(([, magic]) => magic.every((byte, at) => head[at] === byte))?.[0] ?? "plain";
}

/**
 * Decompresses a file that is in memory, piece by piece. Pieces are never reused.
 * @throws {AirferryError} ERR_UPSTREAM_INVALID for damaged data, a bomb, more than `maxBytes`, zchunk;
 *   ERR_UPSTREAM_SIZE when the output is not `openSize` bytes
 */
export async function* decompressChunks(bytes: Uint8Array, options: DecompressOptions): AsyncGenerator<Buffer> {
  const codec = detectCodec(bytes);
  const limit = limitOf(bytes.length, options);
  let total = 0;
  try {
    for await (const chunk of opened(bytes, codec, limit, options)) {
      total += chunk.length;
      if (total > limit.bytes) throw tooLarge(options, limit);
      buffersUsed(chunk.length);
      yield chunk;
    }
  } catch (error) {
    throw error instanceof AirferryError ? error : invalid(options.name, `damaged ${codec} data`, error);
  }
  if (options.openSize !== undefined && total !== options.openSize) throw wrongSize(options, String(total));
}

/**
 * Decompresses a whole file into one buffer. Of plain data that is the same memory.
 * @throws {AirferryError} as {@link decompressChunks}
 */
export async function decompress(bytes: Uint8Array, options: DecompressOptions): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of decompressChunks(bytes, options)) chunks.push(chunk);
  return chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks);
}

function opened(
  bytes: Uint8Array,
  codec: Codec,
  limit: Limit,
  { name }: DecompressOptions,
): AsyncIterable<Buffer> | Iterable<Buffer> {
  switch (codec) {
    case "gz":
      return pipeThrough(bytes, createGunzip({ chunkSize: CHUNK_BYTES }));
    case "zstd":
      return pipeThrough(
        bytes,
        createZstdDecompress({
          chunkSize: CHUNK_BYTES,
          params: { [zlib.ZSTD_d_windowLogMax]: ZSTD_WINDOW_LOG },
        }),
      );
    case "xz":
      return decodeXz(bytes);
    case "bz2":
      return decompressInThread(bytes, limit, name);
    case "zck":
      throw new Error("zchunk is not read; use the plain twin of this file");
    case "plain":
      return [Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)];
  }
}

/** In a thread, and never beyond the limit. */
async function* decompressInThread(bytes: Uint8Array, limit: Limit, name: string): AsyncGenerator<Buffer> {
  yield await openBzip2(bytes, { maxBytes: limit.bytes, tooMuch: (fault) => invalid(name, fault) });
}

async function* pipeThrough(bytes: Uint8Array, engine: NodeJS.ReadWriteStream & Readable): AsyncGenerator<Buffer> {
  engine.end(bytes);
  try {
    yield* engine as AsyncIterable<Buffer>;
  } finally {
    engine.destroy();
  }
}

interface Limit {
  bytes: number;
  why: "maxBytes" | "openSize" | "ratio";
}

function limitOf(size: number, { maxBytes, openSize }: DecompressOptions): Limit {
  const ratio = Math.max(RATIO_FLOOR_BYTES, size * MAX_RATIO);
  const all: Limit[] = [
    { bytes: maxBytes, why: "maxBytes" },
    { bytes: ratio, why: "ratio" },
    { bytes: openSize ?? Number.POSITIVE_INFINITY, why: "openSize" },
  ];
  return all.reduce((least, it) => (it.bytes < least.bytes ? it : least));
}

function tooLarge(options: DecompressOptions, limit: Limit): AirferryError {
  if (limit.why === "openSize") return wrongSize(options, "more");
  const why = limit.why === "ratio" ? `over ${MAX_RATIO} times its compressed size` : "too large";
  return invalid(options.name, `${why} when decompressed: expected at most ${limit.bytes} bytes, got more`);
}

function wrongSize({ name, openSize }: DecompressOptions, got: string): AirferryError {
  return new AirferryError(
    "ERR_UPSTREAM_SIZE",
    `cannot decompress "${name}": wrong decompressed size: expected ${openSize} bytes, got ${got}`,
    { path: name, expected: String(openSize), actual: got, hint: "upstream's metadata is wrong; try another mirror" },
  );
}

function invalid(name: string, fault: string, cause?: unknown): AirferryError {
  const detail = cause instanceof Error ? `: ${cause.message}` : "";
  return new AirferryError("ERR_UPSTREAM_INVALID", `cannot decompress "${name}": ${fault}${detail}`, {
    path: name,
    cause,
    hint: "upstream's metadata is damaged; try another mirror, or report it upstream",
  });
}

/**
 * Compresses pieces with gzip: no time, no name, one fixed level, so that the same bytes always give the same file. How
 * the input is cut into pieces makes no difference.
 */
export async function gzip(pieces: Iterable<Uint8Array> | AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Buffer[] = [];
  const engine = createGzip({ level: 6, memLevel: 8, chunkSize: CHUNK_BYTES });
  await pipeline(Readable.from(joined(pieces), { objectMode: false }), engine, async (output) => {
    for await (const chunk of output as AsyncIterable<Buffer>) chunks.push(chunk);
  });
  const file = Buffer.concat(chunks);
  // The operating-system byte differs by platform and build.
  file[9] = 0xff;
  return file;
}

/** Joins small pieces: a stream's step costs more than compressing a package block. */
async function* joined(pieces: Iterable<Uint8Array> | AsyncIterable<Uint8Array>): AsyncGenerator<Buffer> {
  let waiting: Uint8Array[] = [];
  let size = 0;
  for await (const piece of pieces) {
    waiting.push(piece);
    size += piece.length;
    if (size < CHUNK_BYTES) continue;
    yield Buffer.concat(waiting);
    waiting = [];
    size = 0;
  }
  if (size > 0) yield Buffer.concat(waiting);
}
