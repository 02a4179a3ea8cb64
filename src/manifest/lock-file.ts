/**
 * The lock on disk: `x.lock.json` and the folder `x.lock.d/` of small blobs that it depends on. docs/manifest.md, "The lock".
 */

import { createHash } from "node:crypto";
import { readdir, readFile, rm, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { z } from "zod";
import { AirferryError } from "../errors.ts";
import { makeFolder, writeAtomic } from "../io/atomic.ts";
import { type Digest, digestOf, hexOf, isDigest, parseHex } from "../io/digest.ts";
import { parseJson } from "../io/json.ts";
import { canonicalJson } from "./load.ts";
import type { Lock } from "./lock-types.ts";

const MAX_LOCK_BYTES = 512 * 1024 * 1024;

/** Paths that belong to a manifest: lock, blobs of the lock, state of its stream. */
export function pathsOf(manifestFile: string): { baseDir: string; lock: string; kept: string; state: string } {
  const baseDir = dirname(manifestFile);
  const stem = join(baseDir, basename(manifestFile).replace(/\.(ya?ml|json)$/, ""));
  return { baseDir, lock: `${stem}.lock.json`, kept: `${stem}.lock.d`, state: `${stem}.state.json` };
}

const artifact = z
  .strictObject({
    path: z.string().min(1),
    urls: z.array(z.string().min(1)).optional(),
    file: z.string().optional(),
    offset: z.int().min(0).optional(),
    codec: z.enum(["gzip", "zstd"]).optional(),
    kept: z.custom<Digest>(isDigest).optional(),
    size: z.int().min(0).optional(),
    integrity: z.string().optional(),
    established: z.enum(["manifest", "upstream-signed", "upstream-checksum", "first-sight", "generated"]),
    signedBy: z.array(z.string()).optional(),
    etag: z.string().optional(),
    mode: z.enum(["0644", "0755"]).optional(),
  })
  .passthrough();
const lockSchema = z.strictObject({
  lockVersion: z.literal(1),
  stream: z.string(),
  time: z.iso.datetime(),
  last: z.strictObject({ serial: z.int().min(1), sha256: z.string().regex(/^[0-9a-f]{64}$/) }).optional(),
  entries: z.array(
    z.strictObject({
      kind: z.enum(["iso", "rpm", "file", "image"]),
      name: z.string(),
      request: z.string(),
      artifacts: z.array(artifact),
      detail: z.unknown().optional(),
    }),
  ),
});

const AGAIN = "restore it, or remove it and lock what upstream has now: airferry lock MANIFEST";

/**
 * Reads a lock; undefined when there is none.
 * @throws {AirferryError} ERR_LOCK_INVALID when it is not one
 */
export async function readLock(file: string): Promise<Lock | undefined> {
  let text: string;
  try {
    if ((await stat(file)).size > MAX_LOCK_BYTES) throw new Error(`larger than ${MAX_LOCK_BYTES} bytes`);
    text = await readFile(file, "utf8");
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw new AirferryError("ERR_LOCK_INVALID", `cannot read lock "${file}": ${(cause as Error).message}`, {
      path: file,
      hint: AGAIN,
      cause,
    });
  }
  try {
    return lockSchema.parse(parseJson(text)) as Lock;
  } catch (cause) {
    const issue = cause instanceof z.ZodError ? cause.issues[0] : undefined;
    throw new AirferryError(
      "ERR_LOCK_INVALID",
      `cannot read lock "${file}": ${issue ? `"${issue.path.join(".")}" is not what airferry writes` : `not JSON: ${(cause as Error).message}`}`,
      { path: file, hint: AGAIN, cause },
    );
  }
}

/** Formats a lock: sorted keys, so that the same lock always gives the same bytes and differences read well. */
export function formatLock(lock: Lock): string {
  return `${canonicalJson(lock, 1)}\n`;
}

/** SHA-256 (hex) of the formatted lock without `last`: what a bundle says it was packed from. */
export function lockDigest({ last: _, ...lock }: Lock): string {
  return createHash("sha256").update(formatLock(lock)).digest("hex");
}

/** Writes a lock under its final name once its bytes are on disk. */
export async function writeLock(file: string, lock: Lock): Promise<void> {
  await writeAtomic(file, formatLock(lock));
}

/** The blobs of `x.lock.d/`, each in a file named by its 64 hex digits. */
export class KeptFolder {
  readonly #dir: string;

  constructor(dir: string) {
    this.#dir = dir;
  }

  /** Path of a blob's file, whether it exists or not. */
  fileOf(digest: Digest): string {
    return join(this.#dir, hexOf(digest));
  }

  async put(bytes: Uint8Array): Promise<Digest> {
    const digest = digestOf(bytes);
    if (!(await this.has(digest))) {
      await makeFolder(this.#dir);
      await writeAtomic(this.fileOf(digest), bytes);
    }
    return digest;
  }

  async has(digest: Digest): Promise<boolean> {
    return stat(this.fileOf(digest)).then(
      () => true,
      () => false,
    );
  }

  /** @throws {AirferryError} ERR_LOCK_INVALID when it is missing or its bytes are not the digest's */
  async get(digest: Digest): Promise<Buffer> {
    const file = this.fileOf(digest);
    const bytes = await readFile(file).catch(() => undefined);
    const actual = bytes && digestOf(bytes);
    if (bytes === undefined || actual !== digest) {
      throw new AirferryError(
        "ERR_LOCK_INVALID",
        `cannot read "${basename(file)}" of the lock: ${bytes ? `expected ${digest}, got ${actual}` : "missing"}`,
        { path: file, hint: "restore the folder beside the lock, or run airferry lock MANIFEST --update" },
      );
    }
    return bytes;
  }

  /** Removes blobs that no lock entry refers to any more. */
  async retain(used: ReadonlySet<string>): Promise<void> {
    for (const name of await readdir(this.#dir).catch(() => [])) {
      const digest = parseHex(name);
      if (digest !== undefined && !used.has(digest)) await rm(join(this.#dir, name), { force: true });
    }
  }
}

/** Every digest that occurs as a string value anywhere in the lock's entries. */
export function digestsIn(value: unknown, into: Set<string> = new Set()): Set<string> {
  if (typeof value === "string") {
    if (isDigest(value)) into.add(value);
  } else if (Array.isArray(value)) for (const it of value) digestsIn(it, into);
  else if (value !== null && typeof value === "object") for (const it of Object.values(value)) digestsIn(it, into);
  return into;
}
