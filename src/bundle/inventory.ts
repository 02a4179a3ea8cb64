/**
 * The inventory airferry.json: formats and strictly parses it. The parser accepts exactly what the formatter writes:
 * canonical JSON, sorted entries, offsets and volumes derived from sizes alone. docs/format.md, "Inventory".
 */

import { checkBuilderPaths } from "../builder/builder-paths.ts";
import { AirferryError, type Problem } from "../errors.ts";
import { type Digest, EMPTY_DIGEST, hexOf, parseHex } from "../io/digest.ts";
import { atOnce, inTurns, Pace } from "../io/pace.ts";
import { isStreamName } from "../io/path-grammar.ts";
import { compareUtf8 } from "../io/text.ts";
import { isUtcTime } from "../io/utc-time.ts";
import { isSerial } from "./bundle-identity.ts";
import { checkCatalog } from "./catalog-check.ts";
import { checkingEntryPaths, printableName } from "./entry-paths.ts";
import {
  MAX_AUDIENCE,
  MAX_BASES,
  MAX_ENTRIES,
  MAX_FREE_BYTES,
  MAX_REQUIRES,
  MAX_SERIAL,
  MAX_TOOL_CHARS,
  MAX_VOLUMES,
  MIN_VOLUME_BYTES,
  VOLUME_UNIT_BYTES,
} from "./format-limits.ts";
import { parseCanonical } from "./inventory-text.ts";
import {
  INVENTORY_MEDIA_TYPE,
  type Inventory,
  type InventoryEntry,
  type InventoryVolume,
  NEWER_AIRFERRY,
  REQUIRES_RECIPES,
  type ReleaseName,
  type WrittenInventory,
} from "./inventory-types.ts";
import { INVENTORY_NAME } from "./media-names.ts";
import { END_BYTES, headerSize, paddedSize } from "./tar-layout.ts";
import { volumeName, volumeSizes } from "./volume-layout.ts";

const MAX_PROBLEMS = 50;
/** Entries checked before the work may pause. */
const STEP_ENTRIES = 1000;

const EMPTY_SHA256 = hexOf(EMPTY_DIGEST);
/** A name in `requires`. */
const REQUIRED = /^[a-z0-9][a-z0-9.-]{0,63}$/;
/** Values of `from`. */
const PLACES: readonly unknown[] = ["store", "bundle", "recipe"];

const KEYS: (keyof Inventory)[] = [
  "mediaType",
  "requires",
  "stream",
  "epoch",
  "serial",
  "created",
  "notAfter",
  "audience",
  "previous",
  "bases",
  "lock",
  "tool",
  "streamSize",
  "volumeSize",
  "volumes",
  "entries",
  "catalog",
  "builder",
  "ext",
];
const OPTIONAL = new Set(["notAfter", "audience", "previous", "bases", "builder"]);

/**
 * Formats an inventory as canonical JSON without a newline: keys in the order of the specification, entries sorted by
 * path, undefined values omitted.
 */
export function formatInventory(inventory: WrittenInventory): Buffer {
  return Buffer.from([...inventoryPieces(inventory)].join(""));
}

/** The same in pieces of text: of 64,000 files it has 50 MB. */
export function* inventoryPieces(inventory: WrittenInventory): Generator<string> {
  let waiting = "";
  for (const part of partsOf(inventory)) {
    waiting += part;
    if (waiting.length < PIECE_CHARS) continue;
    yield waiting;
    waiting = "";
  }
  yield waiting;
}

const PIECE_CHARS = 8 * 1024;

function* partsOf(inventory: WrittenInventory): Generator<string> {
  const { previous, bases, lock, entries, volumes, catalog } = inventory;
  const ordered = Object.fromEntries(KEYS.map((key) => [key, inventory[key]]));
  const inFile: Partial<Record<keyof Inventory, unknown>> = {
    ...ordered,
    previous: previous && releaseInFile(previous),
    bases: bases?.map(releaseInFile),
    lock: hexOf(lock),
    volumes: volumes.map(({ name, size, digest }) => ({ name, size, sha256: hexOf(digest) })),
  };
  let before = "{";
  for (const key of KEYS) {
    if (inFile[key] === undefined) continue;
    yield `${before}"${key}":`;
    before = ",";
    if (key === "entries")
      yield* listOf(
        entries.toSorted((a, b) => compareUtf8(a.path, b.path)),
        entryInFile,
      );
    else if (key === "catalog") {
      let beforeList = "{";
      for (const [name, list] of Object.entries(catalog)) {
        yield `${beforeList}${JSON.stringify(name)}:`;
        beforeList = ",";
        yield* listOf(list as Iterable<unknown>, (it) => it);
      }
      yield "}";
    } else yield JSON.stringify(inFile[key]);
  }
  yield "}";
}

function* listOf<T>(items: Iterable<T>, inFile: (it: T) => unknown): Generator<string> {
  let before = "[";
  for (const it of items) {
    yield before + JSON.stringify(inFile(it));
    before = ",";
  }
  if (before === "[") yield "[";
  yield "]";
}

function releaseInFile({ epoch, serial, digest }: ReleaseName): ReleaseInFile {
  return { epoch, serial, sha256: hexOf(digest) };
}

function entryInFile({ path, size, mode, digest, offset, from }: InventoryEntry): EntryInFile {
  const entry = { path, size, mode, sha256: hexOf(digest) };
  return offset !== undefined ? { ...entry, offset } : from !== undefined ? { ...entry, from } : entry;
}

/** An inventory as in its file: digests are bare hex there. */
interface InventoryFile extends Omit<Inventory, "previous" | "bases" | "lock" | "volumes" | "entries"> {
  previous?: ReleaseInFile;
  bases?: ReleaseInFile[];
  lock: string;
  volumes: VolumeInFile[];
  entries: EntryInFile[];
}
type ReleaseInFile = Omit<ReleaseName, "digest"> & { sha256: string };
type VolumeInFile = Omit<InventoryVolume, "digest"> & { sha256: string };
type EntryInFile = Omit<InventoryEntry, "digest"> & { sha256: string };

/** Converts a checked file to an inventory. */
function* fromFile({ previous, bases, lock, volumes, entries, ...rest }: InventoryFile): Generator<void, Inventory> {
  const digestIn = (hex: string) => parseHex(hex) as Digest;
  const releaseIn = ({ epoch, serial, sha256 }: ReleaseInFile) => ({ epoch, serial, digest: digestIn(sha256) });
  const read: InventoryEntry[] = [];
  // Taken from its end: of 200,000 there need not be both forms.
  entries.reverse();
  for (let it = entries.pop(); it !== undefined; it = entries.pop()) {
    if (read.length % STEP_ENTRIES === 0) yield;
    const { path, size, mode, sha256, offset, from } = it;
    const entry = { path, size, mode, digest: digestIn(sha256) };
    read.push(offset !== undefined ? { ...entry, offset } : from !== undefined ? { ...entry, from } : entry);
  }
  return {
    ...rest,
    ...(previous && { previous: releaseIn(previous) }),
    ...(bases && { bases: bases.map(releaseIn) }),
    lock: digestIn(lock),
    volumes: volumes.map(({ name, size, sha256 }) => ({ name, size, digest: digestIn(sha256) })),
    entries: read,
  };
}

/**
 * Where the bytes of entries are in the tar stream, also of those that another entry carries; undefined for what the
 * bundle does not have.
 */
export function placesOf(
  entries: readonly Pick<InventoryEntry, "digest" | "offset">[],
): (entry: Pick<InventoryEntry, "digest" | "offset">) => number | undefined {
  const carried = new Map<Digest, number>();
  if (entries.some((it) => it.offset === undefined))
    for (const { digest, offset } of entries) if (offset !== undefined) carried.set(digest, offset);
  return ({ digest, offset }) => offset ?? carried.get(digest);
}

/** Entries whose bytes are in the tar stream, in the order of the stream. */
export function streamEntries<E extends { offset?: number }>(inventory: {
  entries: readonly E[];
}): (E & { offset: number })[] {
  return inventory.entries
    .filter((it): it is E & { offset: number } => it.offset !== undefined)
    .sort((a, b) => a.offset - b.offset);
}

/**
 * Parses an inventory whose digest is in a signed SHA256SUMS. A large one takes seconds: {@link parseInventoryInSteps}.
 * @throws {AirferryError} ERR_BUNDLE_VERSION for another format version; ERR_PATH_UNSAFE, ERR_BUNDLE_INVALID with
 *   `problems`
 */
export function parseInventory(bytes: Buffer): Inventory {
  return atOnce(parsing(bytes));
}

/** The same with pauses, so that signals are handled. @throws {AirferryError} as {@link parseInventory} */
export async function parseInventoryInSteps(bytes: Buffer): Promise<Inventory> {
  return inTurns(parsing(bytes), new Pace((fault) => invalid([problem("", fault)])));
}

function* parsing(bytes: Buffer): Generator<void, Inventory> {
  let value: unknown;
  try {
    value = yield* parseCanonical(bytes);
  } catch (cause) {
    throw invalid([problem("", `${(cause as Error).message.slice(0, 200)}`)], cause);
  }
  const members = value;
  if (!isRecord(members)) throw invalid([problem("", "expected an object")]);
  const { mediaType } = members;
  if (mediaType !== INVENTORY_MEDIA_TYPE) {
    throw new AirferryError(
      "ERR_BUNDLE_VERSION",
      `cannot read "${INVENTORY_NAME}": unknown format: expected ${INVENTORY_MEDIA_TYPE}, got ${printableName(String(mediaType), 100)}`,
      {
        path: INVENTORY_NAME,
        expected: INVENTORY_MEDIA_TYPE,
        actual: printableName(String(mediaType), 100),
        hint: NEWER_AIRFERRY,
      },
    );
  }
  checkRequires(members.requires);
  const problems = yield* checkInventory(members);
  if (problems.length > 0) throw invalid(problems);
  return yield* fromFile(value as InventoryFile);
}

function invalid(problems: Problem[], cause?: unknown): AirferryError {
  const first = problems[0];
  const more = problems.length > 1 ? ` (and ${problems.length - 1} more)` : "";
  return new AirferryError(
    first?.code ?? "ERR_BUNDLE_INVALID",
    `cannot read "${INVENTORY_NAME}": ${first?.message}${more}`,
    { path: INVENTORY_NAME, problems: problems.slice(0, MAX_PROBLEMS), cause },
  );
}

function problem(where: string, message: string): Problem {
  return { code: "ERR_BUNDLE_INVALID", path: where === "" ? INVENTORY_NAME : `${INVENTORY_NAME} ${where}`, message };
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isCount(value: unknown, max = Number.MAX_SAFE_INTEGER): value is number {
  return (
    typeof value === "number" && Number.isSafeInteger(value) && value >= 0 && value <= max && !Object.is(value, -0)
  );
}

/** Names of sites: the same grammar as for streams; no name twice. */
function isAudience(value: unknown): boolean {
  if (!Array.isArray(value) || value.length === 0 || value.length > MAX_AUDIENCE) return false;
  const isName = (it: unknown) => typeof it === "string" && isStreamName(it);
  return value.every((it, at) => isName(it) && (at === 0 || compareUtf8(value[at - 1], it) < 0));
}

function isHex256(value: unknown): value is string {
  return typeof value === "string" && parseHex(value) !== undefined;
}

/** Every problem of a parsed value, cheapest and most basic first; later checks run only when the earlier ones pass. */
function* checkInventory(value: Record<string, unknown>): Generator<void, Problem[]> {
  const problems: Problem[] = [];
  const expect = (fine: boolean, where: string, message: string) => {
    if (!fine) problems.push(problem(where, `${where}: ${message}`));
  };
  for (const key of Object.keys(value))
    expect(KEYS.includes(key as keyof Inventory), printableName(key, 50), "unknown key");
  for (const key of KEYS) if (!OPTIONAL.has(key)) expect(key in value, key, "missing");
  const { stream, epoch, serial, created, notAfter, audience, previous, bases, lock, tool } = value;
  expect(typeof stream === "string" && isStreamName(stream), "stream", "not a name");
  expect(isSerial(epoch), "epoch", `expected an integer from 1 to ${MAX_SERIAL}`);
  expect(isSerial(serial), "serial", `expected an integer from 1 to ${MAX_SERIAL}`);
  expect(isUtcTime(created), "created", "expected a time as YYYY-MM-DDTHH:MM:SSZ");
  expect(notAfter === undefined || isUtcTime(notAfter), "notAfter", "expected a time as YYYY-MM-DDTHH:MM:SSZ");
  expect(audience === undefined || isAudience(audience), "audience", `expected 1 to ${MAX_AUDIENCE} names, sorted`);
  expect(previous === undefined || isRelease(previous), "previous", "expected epoch, serial and sha256");
  expect(bases === undefined || areBases(bases), "bases", "expected epoch, serial and sha256 of each, sorted");
  expect(isHex256(lock), "lock", "expected 64 lower-case hex digits");
  expect(
    typeof tool === "string" && tool.length <= MAX_TOOL_CHARS && printableName(tool) === tool,
    "tool",
    "expected a short text",
  );
  if (!Array.isArray(value.entries) || !Array.isArray(value.volumes)) {
    problems.push(problem("entries", "entries and volumes: expected lists"));
    return problems;
  }
  expect(value.builder === undefined || isRecord(value.builder), "builder", "expected an object");
  expect(isRecord(value.ext), "ext", "expected an object");
  for (const key of ["builder", "ext"]) {
    const bytes = value[key] === undefined ? 0 : Buffer.byteLength(JSON.stringify(value[key]));
    expect(bytes <= MAX_FREE_BYTES, key, `expected at most ${MAX_FREE_BYTES} bytes, got ${bytes}`);
  }
  for (const { at, fault } of checkBuilderPaths(value.builder)) {
    const where = ["builder", ...at].join(".");
    problems.push({ code: "ERR_PATH_UNSAFE", path: `${INVENTORY_NAME} ${where}`, message: `${where}: ${fault}` });
  }
  problems.push(...(yield* checkEntries(value.entries)));
  if (problems.length > 0) return problems;
  const entries = value.entries as EntryInFile[];
  const isBuilt = entries.some((it) => it.from === "recipe");
  expect(
    isBuilt === (value.requires as unknown[]).includes(REQUIRES_RECIPES),
    "requires",
    "recipes: not as the entries",
  );
  problems.push(...(yield* checkLayout(entries, value)));
  problems.push(...checkCatalog(value.catalog, entries, problem));
  return problems;
}

/** A reader must know everything in it. @throws {AirferryError} ERR_BUNDLE_REQUIRES; ERR_BUNDLE_INVALID */
function checkRequires(value: unknown): void {
  const isName = (it: unknown) => typeof it === "string" && REQUIRED.test(it);
  const isFine = Array.isArray(value) && value.length <= MAX_REQUIRES && value.every(isName);
  if (!isFine || value.some((it, index) => index > 0 && it <= value[index - 1])) {
    throw invalid([problem("requires", `requires: expected at most ${MAX_REQUIRES} names, sorted, none twice`)]);
  }
  const unknown = value.filter((it) => it !== REQUIRES_RECIPES);
  if (unknown.length === 0) return;
  const names = unknown.join(", ");
  throw new AirferryError("ERR_BUNDLE_REQUIRES", `cannot read "${INVENTORY_NAME}": it requires ${names}`, {
    path: INVENTORY_NAME,
    expected: "nothing that this version does not know",
    actual: names,
    hint: NEWER_AIRFERRY,
  });
}

function isRelease(value: unknown): value is ReleaseInFile {
  return (
    isRecord(value) &&
    hasExactly(value, ["epoch", "serial", "sha256"]) &&
    isSerial(value.epoch) &&
    isSerial(value.serial) &&
    isHex256(value.sha256)
  );
}

function areBases(value: unknown): boolean {
  if (!Array.isArray(value) || value.length === 0 || value.length > MAX_BASES || !value.every(isRelease)) return false;
  return value.every((it, index) => {
    const before: ReleaseInFile | undefined = value[index - 1];
    return before === undefined || before.epoch < it.epoch || (before.epoch === it.epoch && before.serial < it.serial);
  });
}

function hasExactly(value: Record<string, unknown>, keys: string[]): boolean {
  const own = Object.keys(value);
  return own.length === keys.length && keys.every((it) => own.includes(it));
}

function* checkEntries(entries: unknown[]): Generator<void, Problem[]> {
  const problems: Problem[] = [];
  if (entries.length > MAX_ENTRIES)
    return [problem("entries", `entries: at most ${MAX_ENTRIES}, got ${entries.length}`)];
  const sizes = new Map<string, number>();
  let before: string | undefined;
  for (const [index, it] of entries.entries()) {
    if (index % STEP_ENTRIES === 0) yield;
    const where = `entries[${index}]`;
    const fault = entryFault(it);
    if (fault !== undefined) {
      problems.push(problem(where, `${where}: ${fault}`));
      if (problems.length >= MAX_PROBLEMS) break;
      continue;
    }
    const { path, size, sha256 } = it as EntryInFile;
    // checkingEntryPaths reports equal paths.
    if (before !== undefined && compareUtf8(before, path) > 0) {
      problems.push(problem(where, `${where}: not sorted by path: "${printableName(path)}"`));
    }
    before = path;
    const known = sizes.get(sha256);
    if (known !== undefined && known !== size) {
      problems.push(problem(where, `${where}: two sizes for one digest: ${known} and ${size}`));
    }
    sizes.set(sha256, size);
  }
  if (problems.length === 0) problems.push(...checkUncarried(entries as EntryInFile[]));
  if (problems.length > 0) return problems;
  const checked = yield* checkingEntryPaths(pathsOf(entries as EntryInFile[]), { twins: false });
  return checked.problems.slice(0, MAX_PROBLEMS);
}

/** What is not carried says rightly where its bytes are, and all that have them say the same. */
function checkUncarried(entries: readonly EntryInFile[]): Problem[] {
  if (entries.every((it) => it.from === undefined)) return [];
  const carried = new Set(entries.filter((it) => it.from === undefined).map((it) => it.sha256));
  const built = new Set(entries.filter((it) => it.from === "recipe").map((it) => it.sha256));
  const faultOf = ({ from, sha256 }: EntryInFile): string | undefined => {
    if (from === undefined || carried.has(sha256) === (from === "bundle"))
      return from === "store" && built.has(sha256) ? "another entry builds its bytes" : undefined;
    return from === "bundle" ? "no entry carries its bytes" : "another entry carries its bytes";
  };
  const wrong = entries.findIndex((it) => faultOf(it) !== undefined);
  if (wrong < 0) return [];
  return [problem(`entries[${wrong}]`, `entries[${wrong}]: from: ${faultOf(entries[wrong] as EntryInFile)}`)];
}

function* pathsOf(entries: EntryInFile[]): Generator<string> {
  for (const it of entries) yield it.path;
}

function entryFault(it: unknown): string | undefined {
  if (!isRecord(it)) return "expected an object";
  const place = "from" in it ? "from" : "offset";
  if (!hasExactly(it, ["path", "size", "mode", "sha256", place])) {
    return "expected exactly path, size, mode, sha256 and either offset or from";
  }
  if (typeof it.path !== "string") return "path: expected text";
  if (!isCount(it.size)) return "size: expected bytes";
  if (it.mode !== "0644" && it.mode !== "0755") return "mode: expected 0644 or 0755";
  if (!isHex256(it.sha256)) return "sha256: expected 64 lower-case hex digits";
  if ((it.size === 0) !== (it.sha256 === EMPTY_SHA256)) return "sha256: no bytes have this digest and this size";
  if (place === "from" ? !PLACES.includes(it.from) : !isCount(it.offset)) return `${place}: not valid`;
  return undefined;
}

/** Recomputes every offset and volume: any difference means an overlap, a gap or a wrong offset. */
function* checkLayout(entries: EntryInFile[], value: Record<string, unknown>): Generator<void, Problem[]> {
  const { streamSize, volumeSize } = value;
  const placed = streamEntries({ entries });
  let position = 0;
  for (const [index, { path, size, offset }] of placed.entries()) {
    if (index % STEP_ENTRIES === 0) yield;
    const expected = position + headerSize(path);
    if (offset !== expected) {
      const at = `"${printableName(path)}"`;
      return [problem("entries", `offset of ${at}: expected ${expected}, got ${offset}`)];
    }
    position = expected + paddedSize(size);
    if (!Number.isSafeInteger(position)) return [problem("entries", "sizes add up to more than 2^53 bytes")];
  }
  if (streamSize !== position + END_BYTES) {
    return [problem("streamSize", `streamSize: expected ${position + END_BYTES}, got ${Number(streamSize)}`)];
  }
  const isSize = isCount(volumeSize) && volumeSize >= MIN_VOLUME_BYTES && volumeSize % VOLUME_UNIT_BYTES === 0;
  if (!isSize || streamSize / volumeSize > MAX_VOLUMES) {
    return [
      problem(
        "volumeSize",
        `volumeSize: expected a multiple of ${VOLUME_UNIT_BYTES}, at least ${MIN_VOLUME_BYTES}, and at most ${MAX_VOLUMES} volumes`,
      ),
    ];
  }
  const volumes = value.volumes as unknown[];
  const lengths = volumeSizes(streamSize, volumeSize);
  if (volumes.length !== lengths.length) {
    return [problem("volumes", `volumes: expected ${lengths.length}, got ${volumes.length}`)];
  }
  const wrong = volumes.findIndex((it, index) => {
    if (!isRecord(it) || !hasExactly(it, ["name", "size", "sha256"])) return true;
    return it.name !== volumeName(index) || it.size !== lengths[index] || !isHex256(it.sha256);
  });
  if (wrong < 0) return [];
  return [
    problem(
      `volumes[${wrong}]`,
      `volumes[${wrong}]: expected ${volumeName(wrong)}, ${lengths[wrong]} bytes, and a digest`,
    ),
  ];
}
