/**
 * Writes large objects: hashed whole and by part in one pass, while some parts are on their way, and compared with
 * their digest before the object exists. S3 itself checks only parts. An upload that an earlier run left unfinished is
 * continued: its parts are compared with what is read now, not sent again.
 */
import { createHash, hash } from "node:crypto";
import { type Digest, EMPTY_DIGEST, parseHex } from "../io/digest.ts";
import { eachLimited, runToEnd } from "../io/limit.ts";
import type { Bucket } from "./bucket.ts";
import { isAbsent } from "./s3-fault.ts";
import type { BegunUpload, ObjectHeaders, StoredPart } from "./sdk-client.ts";

/** Bytes of a part; an object of up to this size is written in one step. */
export const PART_BYTES = 16 * 1024 * 1024;
/** Parts on their way at once. */
const PARTS_AT_ONCE = 4;
/** S3 has no more parts than this in an object. */
const MAX_PARTS = 10_000;
const MEBIBYTE = 1024 * 1024;
/** Pages of unfinished uploads that are dropped in one go. */
const MAX_ROUNDS = 1000;

/** What an upload needs. */
interface UploadSource {
  size: number;
  /** Of all bytes, signed. Undefined: pieces of something that is checked later. */
  digest: Digest | undefined;
  /** What is there under the key is known to be wrong, whatever the storage says of it. */
  isSuspect?: boolean;
  /** Only hashes the bytes, and sends nothing. */
  onlyCompare?: boolean;
  /** What the object says of itself. */
  headers?: ObjectHeaders;
  /** Fills a buffer with the bytes from a position on. Called in order, once for each part. */
  fill(position: number, into: Buffer): Promise<void>;
  /** Called with bytes that are hashed, in order, and whether they were sent. */
  progress?: (bytes: number, sent: boolean) => void;
}

/** How an upload ended: `written` and `there` mean that the bytes are what their digest says. */
type UploadEnd = { is: "written" | "there" } | { is: "differs"; digest: Digest };

/** Memory for parts, used again. Whoever uploads makes one; uploads that share one run one after the other. */
export class PartBuffers {
  readonly #free: Buffer[] = [];

  take(size: number): Buffer {
    const found = this.#free.pop();
    return found !== undefined && found.length >= size ? found : Buffer.allocUnsafeSlow(size);
  }

  give(buffer: Buffer): void {
    if (this.#free.length <= PARTS_AT_ONCE) this.#free.push(buffer);
  }
}

/** Bytes of each part of an object but the last. */
export function partBytesOf(size: number): number {
  const least = Math.ceil(size / MAX_PARTS);
  return Math.max(PART_BYTES, Math.ceil(least / MEBIBYTE) * MEBIBYTE);
}

/**
 * Uploads an object of any size. Nothing exists under its key, or what was there before, until all of it is known to be
 * right.
 * @throws {AirferryError} ERR_SPACE, ERR_OBJECT_STORAGE; what `fill` throws
 */
export async function upload(
  bucket: Bucket,
  key: string,
  source: UploadSource,
  buffers: PartBuffers,
): Promise<UploadEnd> {
  if (source.size <= PART_BYTES) return uploadAtOnce(bucket, key, source, buffers);
  if (source.onlyCompare === true) return (await compare(source, buffers)).end;
  // An earlier run may have finished it: the storage says what its parts were, and the medium what they must be.
  const found = source.isSuspect === true ? undefined : await bucket.head(key);
  if (found?.size === source.size && found.sha256 !== undefined) {
    const { end, composite } = await compare(source, buffers);
    if (end.is === "differs" || composite === found.sha256) return end;
    source.progress?.(-source.size, false);
  }
  const earlier = await unfinished(bucket, key);
  const end = await uploadInParts(bucket, key, source, buffers, earlier).catch((error: unknown) => {
    if (earlier === undefined || !isOthers(error)) throw error;
    source.progress?.(-source.size, false);
    return undefined;
  });
  // A storage drops unfinished uploads at some time, perhaps now: once more from the start.
  return end ?? (await uploadInParts(bucket, key, source, buffers, undefined)) ?? { is: "there" };
}

async function uploadAtOnce(
  bucket: Bucket,
  key: string,
  { size, digest, fill, progress, onlyCompare = false, headers }: UploadSource,
  buffers: PartBuffers,
): Promise<UploadEnd> {
  const memory = buffers.take(size === 0 ? 1 : PART_BYTES);
  try {
    const bytes = memory.subarray(0, size);
    if (size > 0) await fill(0, bytes);
    const actual = size === 0 ? EMPTY_DIGEST : digestOfHex(hash("sha256", bytes, "hex"));
    if (isOther(actual, digest)) return { is: "differs", digest: actual };
    if (!onlyCompare) await bucket.put(key, bytes, headers);
    progress?.(size, !onlyCompare);
    return { is: onlyCompare ? "there" : "written" };
  } finally {
    if (size > 0) buffers.give(memory);
  }
}

/** Hashes all bytes, whole and by part; the composite is as a storage writes it. */
async function compare(
  { size, digest, fill, progress }: UploadSource,
  buffers: PartBuffers,
): Promise<{ end: UploadEnd; composite: string }> {
  const partBytes = partBytesOf(size);
  const memory = buffers.take(partBytes);
  const whole = createHash("sha256");
  const parts = createHash("sha256");
  try {
    for (let position = 0; position < size; position += partBytes) {
      const bytes = memory.subarray(0, Math.min(partBytes, size - position));
      await fill(position, bytes);
      whole.update(bytes);
      parts.update(hash("sha256", bytes, "buffer"));
      progress?.(bytes.length, false);
    }
  } finally {
    buffers.give(memory);
  }
  const actual = digestOfHex(whole.digest("hex"));
  const end: UploadEnd = isOther(actual, digest) ? { is: "differs", digest: actual } : { is: "there" };
  return { end, composite: `${parts.digest("base64")}-${Math.ceil(size / partBytes)}` };
}

/**
 * Drops the unfinished uploads of all keys that begin with `below`.
 * @param isOwn which of these keys, as the storage knows them
 */
export async function dropUploads(bucket: Bucket, below: string, isOwn = (_fullKey: string) => true): Promise<void> {
  for (let round = 0; round < MAX_ROUNDS; round++) {
    const begun = await bucket.attempt("list uploads of", below, (client, signal) =>
      client.listUploads(bucket.fullKey(below), signal),
    );
    const own = begun.filter((it) => isOwn(it.key));
    if (own.length === 0) return;
    await eachLimited(own, PARTS_AT_ONCE, (of) =>
      bucket.attempt("stop uploads of", below, async (client, signal) => {
        await client.abortUpload(of, signal).catch((error: unknown) => {
          if (!isAbsent(error)) throw error;
        });
      }),
    );
  }
}

/** An upload with the parts that it has. */
interface Unfinished {
  of: BegunUpload;
  parts: Map<number, StoredPart>;
}

/** The upload of a key that has the most parts; others are left to the storage's own rules. */
async function unfinished(bucket: Bucket, key: string): Promise<Unfinished | undefined> {
  const begun = await bucket.attempt("list uploads of", key, async (client, signal) => {
    const found = await client.listUploads(bucket.fullKey(key), signal).catch((error: unknown) => {
      if (!isAbsent(error)) throw error;
    });
    return (found ?? []).filter((it) => it.key === bucket.fullKey(key));
  });
  let best: Unfinished | undefined;
  for (const of of begun.sort((a, b) => (a.begun < b.begun ? 1 : -1)).slice(0, 4)) {
    const parts = new Map<number, StoredPart>();
    for (let after = 0, isLast = false; !isLast && parts.size <= MAX_PARTS; ) {
      const page = await bucket
        .attempt("list parts of", key, (client, signal) => client.listParts(of, after, signal))
        .catch(() => undefined);
      if (page === undefined || page.parts.length === 0) break;
      for (const it of page.parts) parts.set(it.number, it);
      after = Math.max(...page.parts.map((it) => it.number));
      isLast = page.isLast;
    }
    if (best === undefined || parts.size > best.parts.size) best = { of, parts };
  }
  return best;
}

/** Undefined: the upload was gone in the middle of it. */
async function uploadInParts(
  bucket: Bucket,
  key: string,
  source: UploadSource,
  buffers: PartBuffers,
  earlier: Unfinished | undefined,
): Promise<UploadEnd | undefined> {
  const { size, digest, fill, progress } = source;
  const partBytes = partBytesOf(size);
  const id =
    earlier?.of.id ??
    (await bucket.attempt("write", key, (client, signal) =>
      client.createUpload(bucket.fullKey(key), signal, source.headers),
    ));
  const of = { key: bucket.fullKey(key), id };
  const whole = createHash("sha256");
  const composite = createHash("sha256");
  const parts: StoredPart[] = [];
  const running = new Set<Promise<void>>();
  let fault: { error: unknown } | undefined;
  try {
    for (let number = 1, position = 0; position < size && fault === undefined; number++) {
      while (running.size >= PARTS_AT_ONCE) await Promise.race(running);
      const memory = buffers.take(partBytes);
      const bytes = memory.subarray(0, Math.min(partBytes, size - position));
      await fill(position, bytes);
      position += bytes.length;
      whole.update(bytes);
      const own = hash("sha256", bytes, "buffer");
      composite.update(own);
      const sha256 = own.toString("base64");
      const known = earlier?.parts.get(number);
      if (known !== undefined && known.size === bytes.length && known.sha256 === sha256) {
        parts[number - 1] = known;
        buffers.give(memory);
        progress?.(bytes.length, false);
        continue;
      }
      const sending = bucket
        .attempt("write", key, (client, signal) => client.putPart(of, number, bytes, sha256, signal))
        .then((part) => {
          parts[number - 1] = part;
          progress?.(bytes.length, true);
        })
        .catch((error: unknown) => {
          fault ??= { error };
        })
        .finally(() => {
          buffers.give(memory);
          running.delete(sending);
        });
      running.add(sending);
    }
    await Promise.all(running);
    if (fault !== undefined) throw fault.error;
  } catch (error) {
    await Promise.all(running);
    // What was sent stays for the next run.
    if (isGone(error)) return undefined;
    throw error;
  }
  const actual = digestOfHex(whole.digest("hex"));
  if (isOther(actual, digest)) {
    await runToEnd(() =>
      bucket.attempt("stop the upload of", key, (client, signal) => client.abortUpload(of, signal)),
    ).catch(() => undefined);
    return { is: "differs", digest: actual };
  }
  return complete(bucket, key, { of, parts, size, composite: `${composite.digest("base64")}-${parts.length}` });
}

async function complete(
  bucket: Bucket,
  key: string,
  {
    of,
    parts,
    size,
    composite,
  }: { of: Pick<BegunUpload, "key" | "id">; parts: StoredPart[]; size: number; composite: string },
): Promise<UploadEnd | undefined> {
  try {
    await bucket.attempt("write", key, (client, signal) => client.completeUpload(of, parts, signal));
    return { is: "written" };
  } catch (error) {
    if (!isGone(error)) throw error;
    // It was completed by an attempt whose answer was lost, or by another process that uploads the same.
    const found = await bucket.head(key);
    return found?.size === size && (found.sha256 === undefined || found.sha256 === composite)
      ? { is: "there" }
      : undefined;
  }
}

/** Whether another program began the upload, without checksums of its parts: it can only be left alone. */
function isOthers(error: unknown): boolean {
  const { name } = ((error as Error).cause ?? error) as Error;
  return name === "InvalidPart" || name === "InvalidRequest";
}

/** Whether the upload does not exist any more. */
function isGone(error: unknown): boolean {
  return isAbsent((error as Error).cause ?? error);
}

function isOther(actual: Digest, expected: Digest | undefined): boolean {
  return expected !== undefined && actual !== expected;
}

function digestOfHex(hex: string): Digest {
  return parseHex(hex) ?? EMPTY_DIGEST;
}
