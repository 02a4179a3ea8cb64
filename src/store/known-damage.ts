/**
 * What `fsck` found to be damaged and could not repair: `unpack` does not count on these blobs because they exist, but
 * hashes them first, and replaces those that are wrong.
 */
import { readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { syncPath, writeAtomic } from "../io/atomic.ts";
import type { Digest } from "../io/digest.ts";
import { digestSchema, parseNote } from "../io/own-file.ts";

export const DAMAGED_FILE = "damaged.json";

const schema = z.strictObject({ damaged: z.array(digestSchema) });

/** The blobs of a store that were damaged when it was last checked. */
export async function readKnownDamage(dir: string): Promise<Set<Digest>> {
  const text = await readFile(join(dir, DAMAGED_FILE), "utf8").catch(() => undefined);
  return (text === undefined ? undefined : parseKnownDamage(text)) ?? new Set();
}

/** Parses the list; undefined when the text is something else. */
export function parseKnownDamage(text: string): Set<Digest> | undefined {
  const found = parseNote(schema, text);
  return found && new Set(found.damaged);
}

/** Replaces the list, durably; the caller holds the lock of the store. */
export async function writeKnownDamage(dir: string, damaged: Iterable<Digest>): Promise<void> {
  const list = [...damaged].sort();
  if (list.length > 0) return writeAtomic(join(dir, DAMAGED_FILE), `${JSON.stringify({ damaged: list })}\n`);
  await rm(join(dir, DAMAGED_FILE), { force: true });
  await syncPath(dir);
}
