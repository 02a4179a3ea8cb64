/** The identity of a bill of materials as a document. */
import { createHash } from "node:crypto";
import type { Bill } from "./types.ts";

/** A UUID (RFC 9562, version 8) that is the same for the same lock and release. */
export function documentId({ stream, epoch, serial, lock }: Bill): string {
  const hash = createHash("sha256").update(`airferry bill of materials\n${stream}\n${epoch}\n${serial}\n${lock}\n`);
  const bytes = hash.digest().subarray(0, 16);
  bytes[6] = ((bytes[6] as number) & 0x0f) | 0x80;
  bytes[8] = ((bytes[8] as number) & 0x3f) | 0x80;
  return bytes.toString("hex").replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}
