/**
 * What a bundle claims to hold, once its signed root is trusted: compares the media with SHA256SUMS name by name,
 * checks the small files, parses the inventory and finds the volumes. docs/format.md, "Reading".
 */
import { join } from "node:path";
import { AirferryError, type Problem } from "../errors.ts";
import { type Digest, digestOf } from "../io/digest.ts";
import { plural } from "../io/format.ts";
import { readSmall } from "../io/safe-open.ts";
import { affectedEntries } from "./affected-entries.ts";
import type { Attestation } from "./attestations.ts";
import { type BundleIdentity, checkIdentity } from "./bundle-identity.ts";
import { printableName } from "./entry-paths.ts";
import { MAX_LISTING_BYTES, MAX_NOTE_BYTES, MAX_RECIPES_BYTES } from "./format-limits.ts";
import type { Inventory } from "./inventory-types.ts";
import { checkListings } from "./listings.ts";
import type { Media } from "./media.ts";
import {
  ATTESTATION_KINDS,
  type AttestationKind,
  attestationKindOf,
  attestationName,
  BIN_NAME,
  BOM_NAMES,
  INVENTORY_NAME,
  isSpareName,
  isSpreadName,
  LOCK_NAME,
  MANIFEST_NAME,
  PIECES_NAME,
  RECIPES_NAME,
  SCAN_NAME,
} from "./media-names.ts";
import { checkPieceList, needsPieceList, PieceList, readingFile } from "./piece-list.ts";
import { digestOfInventory, readInventory } from "./read-inventory.ts";
import { parseRecipes, type Recipe } from "./recipe-list.ts";
import { parseScanReport, type ScanReport } from "./scan-report.ts";
import { parseSums, type SumLine } from "./sums.ts";
import { VOLUME_PREFIX, volumeIndexOf, volumeName } from "./volume-layout.ts";

/** What is interpreted, and read within its own limit. */
const INTERPRETED = [INVENTORY_NAME, SCAN_NAME, ...ATTESTATION_KINDS.map(attestationName)];

/** A bundle's parts. */
export interface Contents {
  inventory: Inventory;
  /** On one of the media. */
  inventoryFile: string;
  /** Of its file. */
  inventoryDigest: Digest;
  /** The listed files that explain where it came from, with their digests. */
  documents: SumLine[];
  /** What a scanner said before it was signed, as far as it can be read. */
  scan?: ScanReport;
  /** What it carries of attestations: of the right form, and about this inventory. Nobody's signature was checked. */
  attestations: Attestation[];
  /** Their files. */
  attested: { name: string; file: string; digest: Digest }[];
  /** For each volume every copy of the right size on the media, the preferred one first; empty if it is missing. */
  copies: string[][];
  /** Small files that may be too large for memory (bin/…, BOM.html) and have to be hashed by the caller. */
  large: { file: string; name: string; size: number; digest: Digest }[];
  /** The pieces of the entries above 1 MiB; absent if there is none. */
  pieces?: PieceListFile;
  /** By the digest of what they build; empty if the bundle has none. */
  recipes: ReadonlyMap<Digest, Recipe>;
  /** Listed files that the bundle does without, such as parity, with what lies under their names. Not hashed. */
  spare: { name: string; digest: Digest; files: { file: string; size: number }[] }[];
  /** Programs in bin/; `size` is absent if a program is on none of the media. */
  programs: { name: string; digest: Digest; size?: number }[];
}

/** The file of the digests of pieces, as signed, on one of the media. */
interface PieceListFile {
  file: string;
  digest: Digest;
  list: PieceList;
}

/**
 * Reads the files next to the volumes. Call it only when the signatures over `media.sums` are good, or trust is not
 * required. Every fault is added to `problems`; `contents` is absent when the inventory is unavailable.
 */
export async function readContents(media: Media): Promise<{ contents?: Contents; problems: Problem[] }> {
  const problems: Problem[] = [];
  const note = (error: unknown, path: string) => {
    if (!(error instanceof AirferryError)) throw error;
    if (error.problems.length > 0) problems.push(...error.problems);
    else problems.push({ code: error.code, path, message: error.message });
  };
  let lines: SumLine[];
  let identity: BundleIdentity;
  try {
    ({ lines, identity } = parseSums(media.sums));
  } catch (error) {
    note(error, "SHA256SUMS");
    return { problems };
  }
  problems.push(...checkNames(media, lines));
  let scan: ScanReport | undefined;
  let inventory: { file: string; digest: Digest; value: Inventory } | undefined;
  const attested = new Map<AttestationKind, Contents["attested"][number] & { bytes: Buffer }>();
  const large: Contents["large"] = [];
  for (const { name, digest } of lines) {
    if (isSpreadName(name) || name === PIECES_NAME || name === RECIPES_NAME) continue;
    for (const { dir, files } of media.folders) {
      const size = files.get(name);
      if (size === undefined) continue;
      const file = join(dir, name);
      if (!isProgram(name) && size > MAX_LISTING_BYTES) {
        const message = `"${file}" is too large: expected at most ${MAX_LISTING_BYTES} bytes, got ${size}`;
        problems.push({ code: "ERR_SIZE_LIMIT", path: name, message });
        continue;
      }
      if (BOM_NAMES.includes(name) || isProgram(name) || (size > MAX_NOTE_BYTES && !INTERPRETED.includes(name))) {
        large.push({ file, name, size, digest });
        continue;
      }
      try {
        if (name === INVENTORY_NAME) {
          const actual = await digestOfInventory(file);
          if (actual !== digest) problems.push(mismatch(file, name, digest, actual));
          else inventory ??= { file, digest, value: await readInventory(file, digest) };
          continue;
        }
        const bytes = await readSmall(file, MAX_NOTE_BYTES);
        const actual = digestOf(bytes);
        if (actual !== digest) problems.push(mismatch(file, name, digest, actual));
        else if (name === SCAN_NAME) scan ??= parseScanReport(bytes);
        const kind = actual === digest ? attestationKindOf(name) : undefined;
        if (kind !== undefined) attested.set(kind, { name, file, digest, bytes });
      } catch (error) {
        note(error, name);
      }
    }
  }
  if (inventory === undefined) return { problems };
  problems.push(...checkIdentity(identity, inventory.value), ...checkVolumeLines(inventory.value, lines));
  problems.push(...(await checkListings(inventory.value, lines)));
  const { volumeSize } = inventory.value;
  const copies = inventory.value.volumes.map(({ name, size }, index) =>
    media.folders.flatMap(({ dir, files }) => {
      const actual = files.get(name);
      if (actual === undefined) return [];
      if (actual === size) return [join(dir, name)];
      const whole = { position: index * volumeSize, length: size };
      const lost = { position: whole.position + actual, length: size - actual };
      const touched = actual < size ? `; touches ${affectedEntries(inventory.value, whole, [lost])}` : "";
      const message = `"${name}" in "${dir}" has the wrong size: expected ${size} bytes, got ${actual}${touched}`;
      problems.push({ code: "ERR_SIZE_MISMATCH", path: name, message });
      return [];
    }),
  );
  const programs = programsIn(media, lines);
  // They are on the first medium of a set: who has all volumes has that one too.
  for (const { name, size } of copies.every((it) => it.length > 0) ? programs : []) {
    if (size === undefined) problems.push(missing(name));
  }
  const attestations = await readAttested(attested, inventory.digest, note);
  const pieces = await readPieces(media, lines, inventory.value, problems);
  const recipes = await readRecipes(media, lines, inventory.value, problems);
  const documents = lines.filter((it) => it.name === MANIFEST_NAME || it.name === LOCK_NAME);
  const parts = {
    inventory: inventory.value,
    inventoryFile: inventory.file,
    inventoryDigest: inventory.digest,
    documents,
    attestations,
    attested: [...attested.values()].map(({ name, file, digest }) => ({ name, file, digest })),
    copies,
    large,
    programs,
    recipes,
    spare: spareIn(media, lines),
  };
  const contents = { ...parts, ...(scan !== undefined && { scan }), ...(pieces !== undefined && { pieces }) };
  return { contents, problems };
}

/** Parses carried attestations. They exist before SHA256SUMS, so they are about the inventory. */
async function readAttested(
  attested: ReadonlyMap<AttestationKind, { bytes: Buffer }>,
  inventory: Digest,
  note: (error: unknown, path: string) => void,
): Promise<Attestation[]> {
  if (attested.size === 0) return [];
  const { parseAttestation, refuseOtherSubject } = await import("./attestations.ts");
  const found: Attestation[] = [];
  for (const [kind, { bytes }] of attested) {
    const path = attestationName(kind);
    try {
      const one = parseAttestation(bytes, { kind, path, most: MAX_NOTE_BYTES });
      refuseOtherSubject(one, [inventory]);
      found.push(one);
    } catch (error) {
      note(error, path);
    }
  }
  return found;
}

/** Checks every copy of the digests of pieces, and whether the bundle has them exactly if an entry needs them. */
async function readPieces(
  media: Media,
  lines: readonly SumLine[],
  { entries }: Inventory,
  problems: Problem[],
): Promise<PieceListFile | undefined> {
  const digest = lines.find((it) => it.name === PIECES_NAME)?.digest;
  const isNeeded = needsPieceList(entries);
  if ((digest !== undefined) !== isNeeded) {
    const fault = isNeeded ? "does not list it, but entries are above 1 MiB" : "lists it, but no entry is above 1 MiB";
    problems.push({ code: "ERR_BUNDLE_INVALID", path: PIECES_NAME, message: `"${PIECES_NAME}": SHA256SUMS ${fault}` });
  }
  if (digest === undefined || !isNeeded) return undefined;
  let found: PieceListFile | undefined;
  for (const { dir, files } of media.folders) {
    if (!files.has(PIECES_NAME)) continue;
    const file = join(dir, PIECES_NAME);
    try {
      await checkPieceList(file, digest, entries);
      found ??= { file, digest, list: new PieceList(entries, readingFile(file)) };
    } catch (error) {
      if (!(error instanceof AirferryError)) throw error;
      problems.push({ code: error.code, path: PIECES_NAME, message: error.message });
    }
  }
  return found;
}

/** Checks every copy of the recipes, and whether the bundle has them exactly if an entry is built by one. */
async function readRecipes(
  media: Media,
  lines: readonly SumLine[],
  { entries }: Inventory,
  problems: Problem[],
): Promise<Contents["recipes"]> {
  const digest = lines.find((it) => it.name === RECIPES_NAME)?.digest;
  const isNeeded = entries.some((it) => it.from === "recipe");
  const refuse = (message: string) => problems.push({ code: "ERR_BUNDLE_INVALID", path: RECIPES_NAME, message });
  if (isNeeded && digest === undefined)
    refuse(`SHA256SUMS lists no "${RECIPES_NAME}", but entries are built by recipes`);
  if (!isNeeded && digest !== undefined) refuse(`SHA256SUMS lists "${RECIPES_NAME}", but no entry is built by one`);
  let found: Contents["recipes"] | undefined;
  for (const { dir, files } of digest === undefined ? [] : media.folders) {
    if (!files.has(RECIPES_NAME)) continue;
    const file = join(dir, RECIPES_NAME);
    try {
      const bytes = await readSmall(file, MAX_RECIPES_BYTES);
      const actual = digestOf(bytes);
      if (digest !== actual) problems.push(mismatch(file, RECIPES_NAME, digest as Digest, actual));
      else if (isNeeded) found ??= await parseRecipes(bytes, entries);
    } catch (error) {
      if (!(error instanceof AirferryError)) throw error;
      problems.push({ code: error.code, path: RECIPES_NAME, message: error.message });
    }
  }
  return found ?? new Map();
}

function missing(name: string): Problem {
  return { code: "ERR_BUNDLE_INCOMPLETE", path: name, message: `"${name}" is missing` };
}

function isProgram(name: string): boolean {
  return name.startsWith(`${BIN_NAME}/`);
}

function programsIn(media: Media, lines: SumLine[]): Contents["programs"] {
  return lines
    .filter((it) => isProgram(it.name))
    .map(({ name, digest }) => {
      const size = media.folders.map(({ files }) => files.get(name)).find((it) => it !== undefined);
      return { name, digest, ...(size !== undefined && { size }) };
    });
}

function spareIn({ folders }: Media, lines: SumLine[]): Contents["spare"] {
  return lines
    .filter((it) => isSpareName(it.name))
    .map(({ name, digest }) => ({
      name,
      digest,
      files: folders.flatMap(({ dir, files }) => {
        const size = files.get(name);
        return size === undefined ? [] : [{ file: join(dir, name), size }];
      }),
    }));
}

/** A finding about a small file whose digest is not the signed one. */
export function mismatch(file: string, name: string, expected: Digest, actual: Digest): Problem {
  return {
    code: "ERR_DIGEST_MISMATCH",
    path: name,
    message: `digest mismatch in "${file}": expected ${expected}, got ${actual}`,
  };
}

/** Unsigned names on the media, and signed small files but programs that are missing from all of them. */
function checkNames(media: Media, lines: SumLine[]): Problem[] {
  const problems: Problem[] = [];
  const signed = new Set(lines.map((it) => it.name));
  const present = new Set<string>();
  for (const { dir, files } of media.folders) {
    for (const name of files.keys()) {
      present.add(name);
      if (signed.has(name)) continue;
      const shown = printableName(name);
      problems.push({
        code: "ERR_BUNDLE_EXTRA",
        path: shown,
        message: `"${shown}" in "${dir}" is not part of the bundle: SHA256SUMS does not list it`,
      });
    }
  }
  for (const { name } of lines) {
    if (!present.has(name) && !isSpreadName(name) && !isProgram(name)) {
      problems.push(missing(name));
    }
  }
  return problems;
}

/** SHA256SUMS and the inventory must agree about every volume. */
function checkVolumeLines(inventory: Inventory, lines: SumLine[]): Problem[] {
  const listed = new Map(lines.filter((it) => volumeIndexOf(it.name) !== undefined).map((it) => [it.name, it.digest]));
  const wrong = inventory.volumes.find((it) => listed.get(it.name) !== it.digest);
  // Stock tools read data.tar.*, whatever follows.
  const stray = lines.find((it) => it.name.startsWith(VOLUME_PREFIX) && volumeIndexOf(it.name) === undefined);
  const fault =
    stray !== undefined
      ? `${stray.name} is not the name of a volume`
      : wrong !== undefined
        ? `they differ about ${wrong.name}`
        : listed.size !== inventory.volumes.length
          ? `expected ${plural(inventory.volumes.length, "volume")}, got ${listed.size}, up to ${volumeName(listed.size - 1)}`
          : undefined;
  if (fault === undefined) return [];
  const message = `SHA256SUMS and ${INVENTORY_NAME} do not belong together: ${fault}`;
  return [{ code: "ERR_BUNDLE_INVALID", path: INVENTORY_NAME, message }];
}
