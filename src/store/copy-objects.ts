/**
 * Copies entries from volumes into object storage in one pass, without a local copy: headers, padding and content are
 * compared before an object exists. Small entries are read in runs and written one by one, several at a time; large
 * ones go up in parts, one entry at a time.
 */
import { hash } from "node:crypto";
import type { PlacedEntries } from "../bundle/placed-entries.ts";
import { checkEnd, checkFrame, frameEnd, frameStart, type PlacedEntry, planSteps } from "../bundle/steps.ts";
import { headerBytes } from "../bundle/tar-layout.ts";
import type { VolumeSet } from "../bundle/volumes.ts";
import { type Digest, parseHex } from "../io/digest.ts";
import { eachLimited } from "../io/limit.ts";
import type { Bucket } from "../s3/bucket.ts";
import { PART_BYTES, PartBuffers, upload } from "../s3/s3-upload.ts";
import { ContentDamage } from "./damage.ts";
import { blobKey } from "./layout.ts";

/** Steps at once: a run is up to 4 MiB, an entry of one part up to 16 MiB. */
const STEPS_AT_ONCE = 4;
/** Objects of a run at once. */
const PUTS_AT_ONCE = 8;

/** Context of a copy. */
export interface ObjectCopyContext {
  bucket: Bucket;
  volumes: VolumeSet;
  /** Whether the end of the archive is in these volumes. */
  hasEnd: boolean;
  /** Whether a blob exists and needs no copy. */
  has(digest: Digest, size: number): boolean;
  /** Whether a blob was found to be damaged: all of it is written, whatever the storage says of what it has. */
  isSuspect(digest: Digest): boolean;
  /** Called with a blob that exists from now on. */
  added(digest: Digest, size: number): void;
  /** Called with bytes of entries as they are checked. */
  progress(bytes: number): void;
  /** Called with bytes as they are sent. */
  written(bytes: number): void;
}

/**
 * Copies entries, given in stream order. Of several with one digest the first is written, the others are compared.
 * @throws {ContentDamage} at the first byte that differs from what was signed; {AirferryError} ERR_SPACE,
 *   ERR_OBJECT_STORAGE, ERR_IO
 */
export async function copyToObjects(entries: PlacedEntries, context: ObjectCopyContext): Promise<void> {
  const { repeats } = entries;
  const writes = (it: PlacedEntry) => !repeats.has(it.offset);
  const buffers = new PartBuffers();
  let large: Promise<unknown> = Promise.resolve();
  await eachLimited(planSteps(entries), STEPS_AT_ONCE, async ({ entries: some, large: isLarge }) => {
    const [first] = some;
    if (first === undefined) return;
    if (!isLarge) return copyRunOfObjects(some, writes, context);
    if (first.size <= PART_BYTES) return copyOne(first, writes(first), buffers, context);
    // Its parts are sent several at a time, from memory that the next one uses again.
    const turn = large.catch(() => undefined).then(() => copyOne(first, writes(first), buffers, context));
    large = turn;
    await turn;
  });
  const stray = context.hasEnd ? await checkEnd(context.volumes) : undefined;
  if (stray !== undefined) throw new ContentDamage(stray.position, 1);
}

async function copyRunOfObjects(
  entries: readonly PlacedEntry[],
  writes: (entry: PlacedEntry) => boolean,
  { bucket, volumes, has, added, progress, written }: ObjectCopyContext,
): Promise<void> {
  const [first] = entries;
  const last = entries.at(-1);
  if (first === undefined || last === undefined) return;
  const start = frameStart(first);
  const bytes = await volumes.read(start, frameEnd(last) - start);
  await eachLimited(entries, PUTS_AT_ONCE, async (entry) => {
    const header = headerBytes(entry);
    const at = frameStart(entry) - start;
    const stray = firstOther(bytes.subarray(at, at + header.length), header);
    if (stray >= 0) throw new ContentDamage(start + at + stray, 1, entry);
    const content = bytes.subarray(entry.offset - start, entry.offset - start + entry.size);
    const padding = bytes.subarray(entry.offset - start + entry.size, frameEnd(entry) - start);
    const dirt = padding.findIndex((byte) => byte !== 0);
    if (dirt >= 0) throw new ContentDamage(entry.offset + entry.size + dirt, 1, entry);
    const actual = parseHex(hash("sha256", content, "hex"));
    if (actual !== entry.digest) throw new ContentDamage(entry.offset, entry.size, entry, actual);
    if (writes(entry) && !has(entry.digest, entry.size)) {
      await bucket.put(blobKey(entry.digest), content);
      added(entry.digest, entry.size);
      written(entry.size);
    }
    progress(entry.size);
  });
}

function firstOther(actual: Uint8Array, expected: Uint8Array): number {
  return Buffer.compare(actual, expected) === 0 ? -1 : actual.findIndex((byte, index) => byte !== expected[index]);
}

/** What an upload calls with bytes of an entry: each is checked, and some are sent. */
export function sending({ progress, written }: Pick<ObjectCopyContext, "progress" | "written">) {
  return (bytes: number, sent: boolean): void => {
    progress(bytes);
    if (sent) written(bytes);
  };
}

async function copyOne(
  entry: PlacedEntry,
  writes: boolean,
  buffers: PartBuffers,
  context: ObjectCopyContext,
): Promise<void> {
  const { bucket, volumes, has, isSuspect, added } = context;
  const stray = await checkFrame(volumes, entry);
  if (stray !== undefined) throw new ContentDamage(stray.position, 1, entry);
  const { size, digest } = entry;
  const end = await upload(
    bucket,
    blobKey(digest),
    {
      size,
      digest,
      onlyCompare: !writes || has(digest, size),
      isSuspect: isSuspect(digest),
      fill: (position, into) => volumes.fill(entry.offset + position, into),
      progress: sending(context),
    },
    buffers,
  );
  if (end.is === "differs") throw new ContentDamage(entry.offset, size, entry, end.digest);
  if (writes) added(digest, size);
}
