/**
 * The record of one release in a store: what was signed, by whom, and when it was imported. Written once, never
 * changed.
 */

import { basename, dirname, join } from "node:path";
import { z } from "zod";
import { type BundleIdentity, checkIdentity } from "../bundle/bundle-identity.ts";
import { MAX_SUMS_BYTES } from "../bundle/format-limits.ts";
import { attestationKindOf, BOM_NAMES, INVENTORY_NAME, PIECES_NAME, SUMS_NAME } from "../bundle/media-names.ts";
import { digestOfInventory, readInventory } from "../bundle/read-inventory.ts";
import { scanReportSchema } from "../bundle/scan-report.ts";
import { parseSums, type SumLine } from "../bundle/sums.ts";
import { AirferryError } from "../errors.ts";
import { type Digest, digestOf } from "../io/digest.ts";
import { digestSchema, parseOwn } from "../io/own-file.ts";
import { readSmall } from "../io/safe-open.ts";
import { IMPORT_FILE, releaseName } from "./layout.ts";
import { documentsIn } from "./release-documents.ts";
import type { Release } from "./types.ts";

const DAMAGED =
  "check the disk, then unpack its bundle again into the same store: airferry unpack BUNDLE --trust KEY --store DIR";
const KEYID = /^[0-9a-f]{64}$/;
const MAX_IMPORT_BYTES = 1024 * 1024;

const attestationSchema = z.object({
  kind: z.enum(["provenance", "scan"]),
  path: z.string(),
  keyid: z.string().regex(KEYID).nullable(),
  signer: z.string().nullable(),
  scan: z.object({ result: z.enum(["clean", "found"]), finished: z.string(), scanner: z.string() }).nullable(),
  builder: z.string().nullable(),
  fault: z.string().nullable(),
});

const importSchema = z.object({
  /** Of SHA256SUMS. */
  digest: digestSchema,
  /** RFC 3339. */
  importedAt: z.iso.datetime(),
  /** keyids of the distinct trusted keys that signed. */
  signers: z.array(z.string().regex(KEYID)),
  /** Names of their files, by which the operator knows them, by keyid. */
  names: z.record(z.string().regex(KEYID), z.string()).exactOptional(),
  threshold: z.int(),
  /** Folders that the media were read from. */
  media: z.array(z.string()),
  host: z.string(),
  tool: z.string(),
  /** Bytes that this import wrote; the rest was in the store already. */
  written: z.number(),
  /** True when an operator allowed a rollback. */
  rolledBack: z.literal(true).exactOptional(),
  /** Version and fingerprint of the trust root that let it in; absent: public keys did. */
  trustRoot: z.object({ version: z.int(), digest: digestSchema }).exactOptional(),
  /** What a scanner said before it was served. */
  scan: scanReportSchema.exactOptional(),
  /** Timestamps of its signatures that counted. */
  timestamps: z
    .array(z.object({ keyid: z.string().regex(KEYID), time: z.iso.datetime(), by: z.string() }))
    .exactOptional(),
  /** What was attested about it, by whom, and what that was worth here. */
  attestations: z.array(attestationSchema).exactOptional(),
});

/** Evidence of an import, as in import.json. */
export type ImportRecord = z.output<typeof importSchema>;

/** What a release is, without its inventory. */
interface ReleaseIdentity {
  /** SHA-256 of its SHA256SUMS. */
  digest: Digest;
  /** What its signed root lists. */
  lines: SumLine[];
  identity: BundleIdentity;
  record: ImportRecord;
  /** Digest of the inventory, whose bytes have it. */
  inventory: Digest;
}

/** Reads everything of a record but what its inventory says. @throws {Error} when it is damaged */
async function readParts(folder: string): Promise<ReleaseIdentity> {
  const sums = await readSmall(join(folder, SUMS_NAME), MAX_SUMS_BYTES);
  const { lines, identity } = parseSums(sums);
  const signed = lines.find((it) => it.name === INVENTORY_NAME)?.digest;
  const actual = await digestOfInventory(join(folder, INVENTORY_NAME));
  if (signed !== actual) throw new Error(`digest mismatch in ${INVENTORY_NAME}: expected ${signed}, got ${actual}`);
  const record = await readImport(folder);
  const digest = digestOf(sums);
  if (record.digest !== digest)
    throw new Error(`digest mismatch in ${SUMS_NAME}: expected ${record.digest}, got ${digest}`);
  const place = `${identity.stream}/${releaseName(identity.epoch, identity.serial)}`;
  const actualPlace = `${basename(dirname(folder))}/${basename(folder)}`;
  if (place !== actualPlace)
    throw new Error(`it is the record of another release: expected ${actualPlace}, got ${place}`);
  return { digest, lines, identity, record, inventory: actual };
}

/**
 * Reads what a release is: its inventory, which was parsed when it was imported, is only hashed.
 * @throws {AirferryError} as {@link readRelease}
 */
export async function readIdentity(folder: string): Promise<ReleaseIdentity> {
  return readParts(folder).catch((cause: unknown) => Promise.reject(damaged(folder, cause)));
}

/**
 * Reads a release back from its folder.
 * @param skips `provenance`: for those who only look at the entries; it has no lines then
 * @throws {AirferryError} ERR_STORE_INVALID when the record is damaged, ERR_NOT_FOUND when it is missing
 */
export async function readRelease(folder: string, skips?: "provenance"): Promise<Release> {
  try {
    const { digest, lines, identity, record, inventory: inventoryDigest } = await readParts(folder);
    const inventory = await readInventory(join(folder, INVENTORY_NAME), inventoryDigest, skips);
    const [other] = checkIdentity(identity, inventory);
    if (other !== undefined) throw new Error(other.message);
    const documents = await documentsIn(folder, lines);
    const bom = documents.filter((it) => BOM_NAMES.includes(it.name));
    const attested = documents.filter((it) => attestationKindOf(it.name) !== undefined);
    const pieces = documents.find((it) => it.name === PIECES_NAME);
    return {
      stream: inventory.stream,
      serial: inventory.serial,
      digest,
      signers: record.signers,
      importedAt: record.importedAt,
      inventory,
      entries: inventory.entries,
      ...(bom.length > 0 && { bom }),
      ...(attested.length > 0 && { attested }),
      ...(record.timestamps && { timestamps: record.timestamps }),
      ...(record.attestations && { attestations: record.attestations }),
      ...(pieces !== undefined && { pieces }),
    };
  } catch (cause) {
    throw damaged(folder, cause);
  }
}

/** Whatever is wrong with a record; one that is missing is just that. */
function damaged(folder: string, cause: unknown): AirferryError {
  if (cause instanceof AirferryError && cause.code === "ERR_NOT_FOUND") return cause;
  return new AirferryError("ERR_STORE_INVALID", `cannot read release "${folder}": ${(cause as Error).message}`, {
    path: folder,
    hint: DAMAGED,
    cause,
  });
}

/**
 * Reads import.json of a release.
 * @throws {AirferryError} ERR_STORE_INVALID when it is malformed; system errors when it is unreadable
 */
export async function readImport(folder: string): Promise<ImportRecord> {
  const file = join(folder, IMPORT_FILE);
  const text = (await readSmall(file, MAX_IMPORT_BYTES)).toString();
  return parseOwn(importSchema, text, { file, what: "record", code: "ERR_STORE_INVALID", hint: DAMAGED });
}
