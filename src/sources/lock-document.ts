/**
 * The lock `x.lock.json`: every artifact of a manifest pinned, so that the plan is a pure function of it. Each kind of
 * source defines its entries; here they are combined, read and written. docs/manifest.md, "The lock".
 *
 * Anything that generated files need a time for uses `time`, so that the same lock always gives the same bytes.
 */
import { readFile, stat } from "node:fs/promises";
import { z } from "zod";
import { AirferryError } from "../errors.ts";
import { ifThere, writeAtomic } from "../io/atomic.ts";
import { type Digest, hexOf, isDigest, RunningDigest } from "../io/digest.ts";
import { hexDigestSchema, parseOwn } from "../io/own-file.ts";
import type { Kind } from "../io/types.ts";
import { canonicalPieces } from "../manifest/canonical-json.ts";
import { lockedFile } from "./file-detail.ts";
import { lockedImage } from "./image/image-detail.ts";
import { lockedIso } from "./iso-detail.ts";
import { lockedArtifactInFile } from "./locked-artifact.ts";
import { readLockInPieces } from "./read-lock.ts";
import { lockedRpm } from "./rpm/rpm-detail.ts";
import { lockedWeb } from "./web-detail.ts";

const MAX_LOCK_BYTES = 512 * 1024 * 1024;
const LOCK_VERSION = 1;
/** A shorter lock is read as a whole. */
const FEW_BYTES = 256 * 1024;

const entriesSchema = z.array(z.discriminatedUnion("kind", [lockedIso, lockedRpm, lockedFile, lockedImage, lockedWeb]));

const lockSchema = z.strictObject({
  lockVersion: z.literal(LOCK_VERSION),
  stream: z.string(),
  /** RFC 3339 UTC, whole seconds: when the lock's content last changed; the mtime of everything generated. */
  time: z.iso.datetime(),
  /**
   * The last release packed from it, so that a fresh clone continues from there. Not content: not part of the lock's
   * digest.
   */
  last: z
    .strictObject({ serial: z.int().min(1), sha256: hexDigestSchema })
    .transform(({ serial, sha256 }) => ({ serial, digest: sha256 }))
    .exactOptional(),
  entries: entriesSchema,
});

export type Lock = z.output<typeof lockSchema>;
/** One manifest entry, resolved. */
export type LockedEntry = Lock["entries"][number];
export type LockedRpm = z.output<typeof lockedRpm>;
export type LockedImageEntry = z.output<typeof lockedImage>;
interface LockedByKind {
  iso: z.output<typeof lockedIso>;
  rpm: LockedRpm;
  file: z.output<typeof lockedFile>;
  image: LockedImageEntry;
  web: z.output<typeof lockedWeb>;
}
/** The same for one kind. */
export type LockedOf<K extends Kind> = LockedByKind[K];

const AGAIN = "restore it, or remove it and lock again: airferry lock MANIFEST";

/**
 * Reads a lock; undefined when there is none.
 * @throws {AirferryError} ERR_LOCK_INVALID for anything else, with the path of each fault; ERR_IO when it cannot be
 *   read
 */
export async function readLock(file: string): Promise<Lock | undefined> {
  const found = await ifThere(file, stat(file));
  if (found === undefined) return undefined;
  if (!found.isFile() || found.size > MAX_LOCK_BYTES) {
    // Whoever reads a pipe waits for its other end.
    const fault = found.isFile() ? `larger than ${MAX_LOCK_BYTES} bytes` : "not a regular file";
    throw new AirferryError("ERR_LOCK_INVALID", `cannot read lock "${file}": ${fault}`, { path: file, hint: AGAIN });
  }
  const read = found.size < FEW_BYTES ? undefined : await readInPieces(file).catch(() => undefined);
  if (read !== undefined) return read;
  const text = await ifThere(file, readFile(file, "utf8"));
  return text === undefined ? undefined : parseLock(text, file);
}

/** Undefined for a lock that is wrong, or that something else wrote. */
async function readInPieces(file: string): Promise<Lock | undefined> {
  const entries: LockedEntry[] = [];
  const rest = await readLockInPieces(file, (some) => {
    // A parsed list has room for more; of 100,000 that shows.
    for (const it of entriesSchema.parse(some)) entries.push(Object.assign(it, { artifacts: [...it.artifacts] }));
  });
  return rest && { ...lockSchema.parse(rest), entries };
}

/**
 * Parses the text of a lock; `file` names it in messages. @throws {AirferryError} ERR_LOCK_INVALID with the path of
 * each fault
 */
export function parseLock(text: string, file: string): Lock {
  const version = { key: "lockVersion", value: LOCK_VERSION };
  return parseOwn(lockSchema, text, { file, what: "lock", code: "ERR_LOCK_INVALID", hint: AGAIN, version });
}

/** Formats a lock: sorted keys, so that the same lock always gives the same bytes and diffs are readable. */
export function formatLock(lock: Lock): string {
  return [...lockPieces(lock)].join("");
}

/** Levels of a lock down to its artifacts, of which there may be 100,000. */
const LEVELS = 4;

/** The same in pieces. */
function* lockPieces({ last, entries, ...lock }: Lock): Generator<string> {
  const written = {
    entries: mapped(entries, (it) => ({ ...it, artifacts: mapped(it.artifacts, lockedArtifactInFile) })),
    ...(last && { last: { serial: last.serial, sha256: hexOf(last.digest) } }),
    ...lock,
  };
  yield* canonicalPieces(written, 1, LEVELS);
  yield "\n";
}

function mapped<T>(items: readonly T[], map: (it: T) => unknown): Iterable<unknown> {
  return {
    *[Symbol.iterator]() {
      for (const it of items) yield map(it);
    },
  };
}

/** Digest of the formatted lock without `last`: the lock that a bundle records. */
export function lockDigest(lock: Lock): Digest {
  const running = new RunningDigest();
  for (const piece of recordedLock(lock)) running.update(Buffer.from(piece));
  return running.digest();
}

/** The text that {@link lockDigest} is of, in pieces. */
export function recordedLock({ last: _, ...lock }: Lock): Generator<string> {
  return lockPieces(lock);
}

/** Now, or SOURCE_DATE_EPOCH, in whole seconds. */
export function lockTime(env: NodeJS.ProcessEnv = process.env): string {
  const epoch = env["SOURCE_DATE_EPOCH"];
  const date = epoch !== undefined && /^\d+$/.test(epoch) ? new Date(Number(epoch) * 1000) : new Date();
  return `${date.toISOString().slice(0, 19)}Z`;
}

/** Writes a lock under its final name once its bytes are on disk. */
export async function writeLock(file: string, lock: Lock): Promise<void> {
  await writeAtomic(file, lockPieces(lock));
}

/** Every digest by which entries of a lock may refer to a kept blob: all but what artifacts are expected to be. */
export function lockedDigests(value: unknown, into: Set<Digest> = new Set()): Set<Digest> {
  if (isDigest(value)) into.add(value);
  else if (Array.isArray(value)) for (const it of value) lockedDigests(it, into);
  else if (value !== null && typeof value === "object") {
    for (const [key, it] of Object.entries(value)) if (key !== "integrity") lockedDigests(it, into);
  }
  return into;
}

/** The entries of one kind, in their order. */
export function entriesOfKind<K extends Kind>(lock: Pick<Lock, "entries"> | undefined, kind: K): LockedOf<K>[] {
  return (lock?.entries ?? []).filter((it): it is LockedEntry & LockedOf<K> => it.kind === kind);
}
