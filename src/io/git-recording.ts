/**
 * The git repositories of a recording: `git.jsonl`, a JSON object a line for each time that one was fetched, and their
 * packs among the bodies. The last line of a URL counts. docs/manifest.md, "web".
 */
import { stat } from "node:fs/promises";
import { join } from "node:path";
import { ifThere } from "./atomic.ts";
import { type Digest, digestOf, isDigest } from "./digest.ts";
import { type GitRepository, isGitRepository, MAX_GIT_INDEX_BYTES } from "./git-index.ts";
import { parseJson } from "./json.ts";
import { readSmall } from "./safe-open.ts";

/** A line of `git.jsonl`. */
export interface RecordedRepository extends Omit<GitRepository, "path"> {
  /** Of the pack; absent if there are no objects. */
  pack?: { digest: Digest; size: number };
  /** RFC 3339: when it was fetched. */
  time: string;
}

interface GitRecording {
  /** Sorted by URL. */
  repositories: RecordedRepository[];
  /** Of the file; undefined when there is none. */
  digest: Digest | undefined;
  /** Lines that are not used. */
  unused: number;
}

/** Path of the file in a recording's folder. */
export function gitFile(folder: string): string {
  return join(folder, "git.jsonl");
}

/** A repository as a line, with its line feed. */
export function gitLine({ url, format, head, refs, pack, time }: RecordedRepository): string {
  return `${JSON.stringify({ url, format, head, refs, pack, time })}\n`;
}

/**
 * Reads the repositories of a recording. A torn last line is ignored.
 * @throws {AirferryError} ERR_SIZE_LIMIT, ERR_PATH_UNSAFE for anything but a regular file, ERR_IO
 */
export async function readGitRecording(folder: string): Promise<GitRecording> {
  const file = gitFile(folder);
  if ((await ifThere(file, stat(file))) === undefined) return { repositories: [], digest: undefined, unused: 0 };
  const bytes = await readSmall(file, MAX_GIT_INDEX_BYTES);
  const lines = bytes.toString("utf8").split("\n").slice(0, -1);
  const found = lines.map(parseLine);
  const known = found.filter((it) => it !== undefined);
  const byUrl = new Map(known.map((it) => [it.url, it]));
  const repositories = [...byUrl.values()].sort((a, b) => (a.url < b.url ? -1 : 1));
  return { repositories, digest: digestOf(bytes), unused: found.length - known.length };
}

function parseLine(line: string): RecordedRepository | undefined {
  try {
    const value = parseJson(line) as Record<string, unknown>;
    if (!isGitRepository(value) || value.path !== undefined) return undefined;
    const { url, format, head, refs } = value;
    const { pack, time } = value as { pack?: unknown; time?: unknown };
    if (typeof time !== "string" || (pack !== undefined && !isPack(pack))) return undefined;
    // Nobody can be given refs without the objects.
    if ((pack === undefined) !== (refs.length === 0)) return undefined;
    return { url, format, ...(head !== undefined && { head }), refs, ...(pack !== undefined && { pack }), time };
  } catch {
    return undefined;
  }
}

function isPack(value: unknown): value is { digest: Digest; size: number } {
  const { digest, size } = (value ?? {}) as Record<string, unknown>;
  return isDigest(digest) && typeof size === "number" && Number.isSafeInteger(size) && size > 0;
}
