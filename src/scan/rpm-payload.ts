/**
 * The payload of an RPM as a plain cpio archive, which a scanner can read: ClamAV does not look into packages, and
 * their payload is compressed.
 */
import { spawn } from "node:child_process";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { createGunzip, createZstdDecompress } from "node:zlib";
import { AirferryError } from "../errors.ts";
import type { RandomAccess } from "../io/types.ts";
import { archiveSizeOf, readRpmFile } from "../rpm/header.ts";
import type { ScanFile } from "./scan-folder.ts";

const CHUNK_BYTES = 1024 * 1024;
/** Real payloads stay below; a package that claims more is not unpacked. */
const MAX_RATIO = 300;
const SLACK_BYTES = 32 * 1024 * 1024;
const CODECS: readonly [magic: string, open: (bytes: AsyncIterable<Uint8Array>) => AsyncIterable<Uint8Array>][] = [
  ["1f8b", (bytes) => through(bytes, createGunzip())],
  ["28b52ffd", (bytes) => through(bytes, createZstdDecompress())],
  ["fd377a585a00", xz],
  ["5d0000", xz],
  ["303730373031", (bytes) => bytes],
];

/**
 * The payload beside its package, `X.rpm.cpio`; its bytes come as they are decompressed, once.
 * Or the reason why it is unavailable.
 */
export async function payloadOf(path: string, bytes: RandomAccess): Promise<ScanFile | string> {
  try {
    const file = await readRpmFile(bytes, path);
    const head = Buffer.from(await bytes.read(file.headerEnd, 6)).toString("hex");
    const open = CODECS.find(([magic]) => head.startsWith(magic))?.[1];
    if (open === undefined) return head === "" ? "it has no payload" : "its payload is compressed in another way";
    const size = archiveSizeOf(file);
    if (size > bytes.size * MAX_RATIO + SLACK_BYTES) return `its payload claims ${size} bytes`;
    return { path: `${path}.cpio`, size, from: untilDamage(open(chunks(bytes, file.headerEnd))) };
  } catch (error) {
    if (error instanceof AirferryError && error.code === "ERR_UPSTREAM_INVALID") return error.message;
    throw error;
  }
}

/** Ends early where the data is damaged: the file is then shorter than it should be, which is reported. */
async function* untilDamage(bytes: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  try {
    yield* bytes;
  } catch (error) {
    // Anything else comes from the reading of the volumes.
    if (error instanceof AirferryError || (error as NodeJS.ErrnoException).syscall !== undefined) throw error;
  }
}

async function* chunks(bytes: RandomAccess, start: number): AsyncGenerator<Uint8Array> {
  for (let at = start; at < bytes.size; ) {
    const chunk = await bytes.read(at, CHUNK_BYTES);
    if (chunk.length === 0) return;
    yield chunk;
    at += chunk.length;
  }
}

/**
 * By the program of that name: what rpm writes has a SHA-256 in each block, which the decoder of repository metadata
 * does not know.
 */
async function* xz(bytes: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const child = spawn("xz", ["--decompress", "--stdout"], { stdio: ["pipe", "pipe", "ignore"], env: ownPath() });
  const ended = new Promise<void>((resolve, reject) => {
    child.on("error", (cause) =>
      reject(
        new AirferryError("ERR_SCANNER", `cannot unpack packages for the scanner: no program xz: ${cause.message}`, {
          hint: "install xz (package xz, or xz-utils), and run the same command again",
          cause,
        }),
      ),
    );
    child.on("close", () => resolve());
  });
  ended.catch(() => {});
  // A decoder that ends early shows in the size.
  const sent = pipeline(Readable.from(bytes, { objectMode: false }), child.stdin).catch((error: unknown) => error);
  try {
    yield* child.stdout as AsyncIterable<Buffer>;
    await ended;
    const fault = await sent;
    if (fault instanceof AirferryError) throw fault;
  } finally {
    child.kill();
  }
}

function ownPath(): NodeJS.ProcessEnv {
  // Not the environment: XZ_DEFAULTS and XZ_OPT change what it does.
  return process.env.PATH === undefined ? {} : { PATH: process.env.PATH };
}

async function* through(
  bytes: AsyncIterable<Uint8Array>,
  engine: ReturnType<typeof createGunzip> | ReturnType<typeof createZstdDecompress>,
): AsyncGenerator<Uint8Array> {
  const source = Readable.from(bytes, { objectMode: false });
  // A failed source ends the engine with its error.
  source.on("error", (error) => engine.destroy(error));
  try {
    yield* source.pipe(engine) as AsyncIterable<Buffer>;
  } finally {
    source.destroy();
    engine.destroy();
  }
}
