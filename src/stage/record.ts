/**
 * What `stage` wrote into a folder, by digest: a file that is not in it, or not as it was written, is somebody's work and is not
 * replaced unasked. The record stands in the folder; whoever can change it can change the files as well.
 */
import { createHash } from "node:crypto";
import type { FileHandle } from "node:fs/promises";
import type { StagedFolder } from "./folder.ts";

/** Digest and size of a file's content. */
export interface Content {
  /** Hex. */
  sha256: string;
  size: number;
}

/** By path: what a run wrote there, or was about to write. */
export type StageRecord = Map<string, Content[]>;

const FILE = ".airferry-staged.json";
const MAX_BYTES = 8 * 1024 * 1024;

/** Reads the record; empty where there is none, or none that can be read. */
export async function readRecord(folder: StagedFolder): Promise<StageRecord> {
  const existing = await folder.look(FILE);
  if (existing.is !== "file") return new Map();
  try {
    if (existing.size > MAX_BYTES || !existing.isOwn) return new Map();
    const { files } = JSON.parse(await existing.handle.readFile("utf8")) as { files: Record<string, Content[]> };
    return new Map(
      Object.entries(files).map(([path, contents]) => [
        path,
        contents.filter((it) => typeof it.sha256 === "string" && Number.isSafeInteger(it.size)),
      ]),
    );
  } catch {
    return new Map();
  } finally {
    await existing.handle.close();
  }
}

/** Writes the record. */
export async function writeRecord(folder: StagedFolder, record: StageRecord): Promise<void> {
  const files = Object.fromEntries([...record].sort(([a], [b]) => (a < b ? -1 : 1)));
  await folder.writeText(FILE, `${JSON.stringify({ files }, null, 1)}\n`, 0o644, "everybody");
}

/** Whether an open file holds one of these contents; it is read only when a size fits. Returns the one that it holds. */
export async function contentIn(
  handle: FileHandle,
  size: number,
  contents: readonly Content[],
): Promise<Content | undefined> {
  if (!contents.some((it) => it.size === size)) return undefined;
  const hash = createHash("sha256");
  for await (const chunk of handle.createReadStream({ start: 0, autoClose: false, highWaterMark: 1 << 20 }))
    hash.update(chunk);
  const sha256 = hash.digest("hex");
  return contents.find((it) => it.size === size && it.sha256 === sha256);
}
