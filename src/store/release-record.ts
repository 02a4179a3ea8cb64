/**
 * The record of one release in a store: what was signed, by whom, and when it was imported. Written once, never changed.
 */

import { basename, dirname, join } from "node:path";
import { parseInventoryInTurns } from "../bundle/inventory.ts";
import { INVENTORY_NAME, MAX_INVENTORY_BYTES, MAX_SUMS_BYTES, SUMS_NAME } from "../bundle/media-names.ts";
import { parseSums } from "../bundle/sums.ts";
import { AirferryError } from "../errors.ts";
import { digestOf, isDigest } from "../io/digest.ts";
import { parseJson } from "../io/json.ts";
import { readSmall } from "../io/safe-open.ts";
import { IMPORT_FILE, releaseName } from "./layout.ts";
import type { Release } from "./types.ts";

const KEYID = /^[0-9a-f]{64}$/;

const MAX_IMPORT_BYTES = 1024 * 1024;

/** Evidence of an import, as import.json keeps it. */
export interface ImportRecord {
  /** `sha256:` of SHA256SUMS. */
  digest: string;
  /** RFC 3339. */
  importedAt: string;
  /** keyids of the distinct trusted keys that signed. */
  signers: string[];
  threshold: number;
  /** Folders that the media were read from. */
  media: string[];
  host: string;
  tool: string;
  /** Bytes that this import wrote; the rest was in the store already. */
  written: number;
  /** True when an operator allowed a step back. */
  rolledBack?: true;
}

/**
 * Reads a release back from its folder.
 * @throws {AirferryError} ERR_STORE_INVALID when the record is damaged, ERR_NOT_FOUND when it is not there
 */
export async function readRelease(folder: string): Promise<Release> {
  try {
    const sums = await readSmall(join(folder, SUMS_NAME), MAX_SUMS_BYTES);
    const bytes = await readSmall(join(folder, INVENTORY_NAME), MAX_INVENTORY_BYTES);
    const signed = parseSums(sums).find((it) => it.name === INVENTORY_NAME)?.digest;
    const actual = digestOf(bytes);
    if (signed !== actual) throw new Error(`digest mismatch in ${INVENTORY_NAME}: expected ${signed}, got ${actual}`);
    const inventory = await parseInventoryInTurns(bytes);
    const record = await readImport(folder);
    const digest = digestOf(sums);
    if (record.digest !== digest)
      throw new Error(`digest mismatch in ${SUMS_NAME}: expected ${record.digest}, got ${digest}`);
    const place = `${inventory.stream}/${releaseName(inventory.epoch, inventory.serial)}`;
    const actualPlace = `${basename(dirname(folder))}/${basename(folder)}`;
    if (place !== actualPlace)
      throw new Error(`it is the record of another release: expected ${actualPlace}, got ${place}`);
    return {
      stream: inventory.stream,
      serial: inventory.serial,
      digest,
      signers: record.signers,
      importedAt: record.importedAt,
      inventory,
      entries: new Map(inventory.entries.map((it) => [it.path, it])),
    };
  } catch (cause) {
    if (cause instanceof AirferryError && cause.code === "ERR_NOT_FOUND") throw cause;
    throw new AirferryError("ERR_STORE_INVALID", `cannot read release "${folder}": ${(cause as Error).message}`, {
      path: folder,
      hint: "the store is damaged: unpack the release again into a new store",
      cause,
    });
  }
}

/** Reads import.json of a release. Throws when it is missing or not JSON of the right shape. */
export async function readImport(folder: string): Promise<ImportRecord> {
  const text = (await readSmall(join(folder, IMPORT_FILE), MAX_IMPORT_BYTES)).toString();
  const record = parseJson(text) as Partial<ImportRecord> | null;
  const { digest, importedAt, signers } = record ?? {};
  const isWhole =
    isDigest(String(digest)) &&
    !Number.isNaN(Date.parse(String(importedAt))) &&
    Array.isArray(signers) &&
    signers.every((it) => typeof it === "string" && KEYID.test(it));
  if (!isWhole) throw new Error(`${IMPORT_FILE} is broken`);
  return record as ImportRecord;
}
