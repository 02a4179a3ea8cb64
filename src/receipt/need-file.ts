/**
 * A need file: content that a store lacks of releases, for `pack --need`. Digests, sizes and numbers of pieces only;
 * its form leaves no choice, as that of a receipt. docs/deltas.md, "Need files".
 */
import { access, constants } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { AirferryError } from "../errors.ts";
import { ioError, writeAtomic } from "../io/atomic.ts";
import { type Digest, isDigest } from "../io/digest.ts";
import { parseJson } from "../io/json.ts";
import { isStreamName } from "../io/path-grammar.ts";
import { hasPieces, type PieceRun, pieceCount, runsOf } from "../io/piece-digests.ts";
import { refuseOther } from "../io/replaceable.ts";
import { readSmall } from "../io/safe-open.ts";
import { byReleaseId, type ReleaseId } from "./receipt-text.ts";

/** Content that is needed. */
interface NeededBlob {
  digest: Digest;
  size: number;
  /** Only these pieces of it are wrong, in order; absent: all of it is needed. */
  pieces?: readonly PieceRun[];
}

/** What is needed. */
export interface Need {
  /** Releases that will be whole with it: everything else of them is there. Sorted, none twice, at least one. */
  releases: readonly ReleaseId[];
  /** Sorted by digest, none twice, at least one. */
  blobs: readonly NeededBlob[];
}

const MEDIA_TYPE = "application/vnd.airferry.need.v1+json";
/** What every need file begins with. */
const START = `{"mediaType":"${MEDIA_TYPE}",`;
const MAX_NEED_BYTES = 64 * 1024 * 1024;
const MAX_BLOBS = 500_000;
const MAX_RELEASES = 1000;
const MAX_RUNS = 100_000;
const MAX_SERIAL = 999_999_999;

/** The bytes of a need file: JSON with a line for each release and each file. Sorted here. */
export function formatNeed({ releases, blobs }: Need): string {
  const list = (lines: string[]) => `[\n${lines.join(",\n")}\n]`;
  const ids = [...releases].sort(byReleaseId);
  const files = [...blobs].sort((a, b) => (a.digest < b.digest ? -1 : 1));
  return `${START}"releases":${list(
    ids.map(({ stream, epoch, serial, digest }) => JSON.stringify({ stream, epoch, serial, digest })),
  )},"blobs":${list(
    files.map(({ digest, size, pieces }) => {
      const runs = pieces?.map(({ first, count }) => [first, count]);
      return JSON.stringify({ digest, size, ...(runs && { pieces: runs }) });
    }),
  )}}\n`;
}

/**
 * Writes a need file, over an earlier one at most.
 * @throws {AirferryError} ERR_USAGE when something else has its name; ERR_IO
 */
export async function writeNeed(file: string, need: Need): Promise<void> {
  await refuseNeed(file);
  await writeAtomic(file, formatNeed(need));
}

/** What two lists need together, of releases that may have content in common. */
export function mergeNeeds(one: Need, other: Need): Need {
  const releases = new Map([...one.releases, ...other.releases].map((it) => [it.digest, it]));
  const blobs = new Map(one.blobs.map((it) => [it.digest, it]));
  for (const it of other.blobs) blobs.set(it.digest, mergeBlobs(blobs.get(it.digest) ?? it, it));
  return { releases: [...releases.values()], blobs: [...blobs.values()] };
}

function mergeBlobs({ digest, size, pieces }: NeededBlob, { pieces: more }: NeededBlob): NeededBlob {
  if (pieces === undefined || more === undefined) return { digest, size };
  const indexes = [...pieces, ...more].flatMap(({ first, count }) =>
    Array.from({ length: count }, (_, at) => first + at),
  );
  return { digest, size, pieces: runsOf([...new Set(indexes)].sort((a, b) => a - b)) };
}

/** Refuses a name that {@link writeNeed} would refuse, before the work. @throws {AirferryError} ERR_USAGE, ERR_IO */
export async function refuseNeed(file: string): Promise<void> {
  await refuseOther(file, START, "need file");
  await access(dirname(resolve(file)), constants.W_OK).catch((error: unknown) =>
    Promise.reject(ioError("write", file, error)),
  );
}

/**
 * Reads a need file.
 * @throws {AirferryError} ERR_NEED_INVALID for anything that {@link formatNeed} would not write; ERR_NOT_FOUND,
 *   ERR_PATH_UNSAFE, ERR_SIZE_LIMIT
 */
export async function readNeed(file: string): Promise<Need> {
  return parseNeed((await readSmall(file, MAX_NEED_BYTES)).toString("latin1"), file);
}

/** Parses the text of a need file: as {@link readNeed}. */
export function parseNeed(text: string, file: string): Need {
  const invalid = (fault: string, cause?: unknown) =>
    new AirferryError("ERR_NEED_INVALID", `cannot use need file "${file}": ${fault}`, {
      path: file,
      cause,
      hint: "have the far side write it again: airferry unpack BUNDLE --trust KEY --store DIR --need FILE",
    });
  let value: unknown;
  try {
    value = parseJson(text);
  } catch (cause) {
    throw invalid("not JSON", cause);
  }
  const { mediaType, releases, blobs } = membersOf(value);
  if (mediaType !== MEDIA_TYPE) throw invalid(`expected ${MEDIA_TYPE}`);
  if (!Array.isArray(releases) || !Array.isArray(blobs) || releases.length === 0 || blobs.length === 0)
    throw invalid("expected at least one release and one file");
  if (releases.length > MAX_RELEASES) throw invalid(`more than ${MAX_RELEASES} releases`);
  if (blobs.length > MAX_BLOBS) throw invalid(`more than ${MAX_BLOBS} files`);
  const need: Need = {
    releases: releases.map((it: unknown, index) => {
      const { stream, epoch, serial, digest } = membersOf(it);
      if (typeof stream !== "string" || !isStreamName(stream) || !isDigest(digest))
        throw invalid(`releases[${index}]: expected the stream and the digest of a release`);
      if (!isNumber(epoch, 1, MAX_SERIAL) || !isNumber(serial, 1, MAX_SERIAL))
        throw invalid(`releases[${index}]: expected an epoch and a serial`);
      return { stream, epoch, serial, digest };
    }),
    blobs: blobs.map((it: unknown, index) => {
      const { digest, size, pieces } = membersOf(it);
      if (!isDigest(digest) || !isNumber(size, 0, Number.MAX_SAFE_INTEGER))
        throw invalid(`blobs[${index}]: expected a digest and a size`);
      if (pieces === undefined) return { digest, size };
      const runs = runsIn(pieces, size);
      if (runs === undefined) throw invalid(`blobs[${index}]: expected numbers of pieces and how many, in order`);
      return { digest, size, pieces: runs };
    }),
  };
  const isTwice =
    need.releases.some((it, index) => index > 0 && byReleaseId(need.releases[index - 1] ?? it, it) >= 0) ||
    need.blobs.some((it, index) => index > 0 && (need.blobs[index - 1]?.digest ?? "") >= it.digest);
  // Also for unknown and repeated members, escapes and white space.
  if (isTwice || formatNeed(need) !== text) throw invalid("not in the form that airferry writes");
  return need;
}

/** Runs of pieces with at least one other piece between them; undefined if they are anything else. */
function runsIn(value: unknown, size: number): PieceRun[] | undefined {
  if (!Array.isArray(value) || value.length === 0 || value.length > MAX_RUNS || !hasPieces(size)) return undefined;
  const runs: PieceRun[] = [];
  let from = 0;
  for (const it of value as unknown[]) {
    const [first, count] = Array.isArray(it) ? (it as unknown[]) : [];
    if (!isNumber(first, from, pieceCount(size) - 1) || !isNumber(count, 1, pieceCount(size) - first)) return undefined;
    runs.push({ first, count });
    from = first + count + 1;
  }
  return runs;
}

function membersOf(value: unknown): Record<string, unknown> {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
}

function isNumber(value: unknown, from: number, to: number): value is number {
  return Number.isSafeInteger(value) && (value as number) >= from && (value as number) <= to;
}
