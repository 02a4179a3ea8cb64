/**
 * What `stage` wrote into a folder, by digest: a file that is not recorded, or has changed, is somebody's work and is
 * not replaced without --force. The record is in the folder; anyone who can change it can change the files as well.
 */
import type { FileHandle } from "node:fs/promises";
import { z } from "zod";
import { type Digest, hexOf, RunningDigest } from "../io/digest.ts";
import { parseJson } from "../io/json.ts";
import { hexDigestSchema } from "../io/own-file.ts";
import type { StagedFolder } from "./folder.ts";

/** Digest and size of a file's content. */
export interface StagedContent {
  digest: Digest;
  size: number;
}

/** By path: what a run wrote there, or was about to write. */
export type StageRecord = Map<string, StagedContent[]>;

const recordSchema = z.looseObject({
  files: z.record(
    z.string(),
    z.array(
      z
        .looseObject({ sha256: hexDigestSchema, size: z.int().min(0) })
        .transform(({ sha256, size }): StagedContent => ({ digest: sha256, size })),
    ),
  ),
});
const FILE = ".airferry-staged.json";
const MAX_BYTES = 8 * 1024 * 1024;

/** Reads the record; empty if there is none, or it is unreadable. */
export async function readRecord(folder: StagedFolder): Promise<StageRecord> {
  const existing = await folder.look(FILE);
  if (existing.is !== "file") return new Map();
  try {
    if (existing.size > MAX_BYTES || !existing.isOwn) return new Map();
    return new Map(Object.entries(recordSchema.parse(parseJson(await existing.handle.readFile("utf8"))).files));
  } catch {
    return new Map();
  } finally {
    await existing.handle.close();
  }
}

/** Writes the record. */
export async function writeRecord(folder: StagedFolder, record: StageRecord): Promise<void> {
  const files = Object.fromEntries(
    [...record]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([path, contents]) => [path, contents.map(({ digest, size }) => ({ sha256: hexOf(digest), size }))]),
  );
  await folder.writeText(FILE, `${JSON.stringify({ files }, null, 1)}\n`, 0o644, "everybody");
}

/** Returns which of these contents an open file has, if any; it is read only if a size matches. */
export async function contentIn(
  handle: FileHandle,
  size: number,
  contents: readonly StagedContent[],
): Promise<StagedContent | undefined> {
  if (!contents.some((it) => it.size === size)) return undefined;
  const running = new RunningDigest();
  for await (const chunk of handle.createReadStream({ start: 0, autoClose: false, highWaterMark: 1 << 20 }))
    running.update(chunk);
  const digest = running.digest();
  return contents.find((it) => it.size === size && it.digest === digest);
}
