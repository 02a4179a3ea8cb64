/** Lists of a tree's objects, as airferry keeps them in the bucket for itself: a line of JSON for each object. */
import { createHash } from "node:crypto";
import { z } from "zod";
import { type Digest, hexOf } from "../io/digest.ts";
import { hexDigestSchema } from "../io/own-file.ts";
import type { PlannedObject } from "./object-plan.ts";

/** An object as it was written. */
export interface ObjectRecord extends PlannedObject {
  /** What the storage calls this state of it; undefined for one that is only planned. */
  etag?: string | undefined;
  /** The checksum that the storage says, where it is not the digest: of an object in parts. */
  sha256?: string | undefined;
}

const text = z.string().max(4096);
const lineSchema = z.tuple([
  text,
  z.int().min(0),
  hexDigestSchema,
  z.int().min(0).max(9),
  z.strictObject({
    contentType: text.optional(),
    cacheControl: text.optional(),
    metadata: z.record(z.string(), text).optional(),
    redirect: text.optional(),
  }),
  text.nullable(),
  text.nullable(),
]);

/** What the ETag and the checksum of an object add to its line at most, in bytes: longer ones are not noted. */
export const STATE_BYTES = 120;

/** Bytes of a list; undefined when it would have more than `most`. */
export function formatRecords(records: Iterable<ObjectRecord>, most: number): Buffer | undefined {
  const lines: string[] = [];
  let bytes = 0;
  for (const { key, size, digest, step, headers, etag = null, sha256 = null } of records) {
    const isNoted = Buffer.byteLength(JSON.stringify([etag, sha256])) <= STATE_BYTES;
    const line = `${JSON.stringify([key, size, hexOf(digest), step, headers, ...(isNoted ? [etag, sha256] : [null, null])])}\n`;
    bytes += Buffer.byteLength(line);
    if (bytes > most) return undefined;
    lines.push(line);
  }
  return Buffer.from(lines.join(""));
}

/** The records of a list by their keys; undefined when a line is something else. */
export function parseRecords(bytes: Buffer): Map<string, ObjectRecord> | undefined {
  const records = new Map<string, ObjectRecord>();
  for (let at = 0; at < bytes.length; ) {
    const end = bytes.indexOf(0x0a, at);
    if (end < 0) return undefined;
    let value: unknown;
    try {
      value = JSON.parse(bytes.toString("utf8", at, end));
    } catch {
      return undefined;
    }
    const line = lineSchema.safeParse(value).data;
    if (line === undefined) return undefined;
    const [key, size, digest, step, headers, etag, sha256] = line;
    records.set(key, { key, size, digest, step, headers, etag: etag ?? undefined, sha256: sha256 ?? undefined });
    at = end + 1;
  }
  return records;
}

/** Identifies all objects of a plan. */
export function digestOfPlan(objects: readonly PlannedObject[]): Digest {
  const hash = createHash("sha256");
  for (const { key, digest, headers } of [...objects].sort((a, b) => (a.key < b.key ? -1 : 1)))
    hash.update(`${JSON.stringify([key, digest, headersKey({ headers })])}\n`);
  return `sha256:${hash.digest("hex")}`;
}

/** What an object says of itself, in a form that is compared. */
export function headersKey({ headers }: Pick<PlannedObject, "headers">): string {
  const { contentType = "", cacheControl = "", metadata = {}, redirect = "" } = headers;
  return JSON.stringify([contentType, cacheControl, Object.entries(metadata).sort(), redirect]);
}
