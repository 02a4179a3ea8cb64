/**
 * The inventory airferry.json: formats and strictly parses it. The parser accepts exactly what the formatter writes:
 * canonical JSON, sorted entries, offsets and volumes derived from sizes alone. docs/format.md, "Inventory".
 */

import { checkBuilderPaths } from "../builder/builder-paths.ts";
import { AirferryError, bug, type Problem } from "../errors.ts";
import { type Digest, hexOf, parseHex } from "../io/digest.ts";
import { atOnce, Pace } from "../io/pace.ts";
import { isStreamName } from "../io/path-grammar.ts";
import { compareUtf8 } from "../io/text.ts";
import { isUtcTime } from "../io/utc-time.ts";
import { isSerial } from "./bundle-identity.ts";
import { CatalogReader } from "./catalog-check.ts";
import { type EntryInFile, EntryReader } from "./entry-check.ts";
import { printableName } from "./entry-paths.ts";
import { EntryTable } from "./entry-table.ts";
import {
  MAX_AUDIENCE,
  MAX_BASES,
  MAX_FREE_BYTES,
  MAX_REQUIRES,
  MAX_SERIAL,
  MAX_TOOL_CHARS,
  MAX_VOLUMES,
  MIN_VOLUME_BYTES,
  VOLUME_UNIT_BYTES,
} from "./format-limits.ts";
import { CanonicalReader } from "./inventory-text.ts";
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
import { hasExactly, isCount, isHex256, isRecord, MAX_PROBLEMS, problem } from "./inventory-values.ts";
import { INVENTORY_NAME } from "./media-names.ts";
import type { PlacedEntry } from "./steps.ts";
import { END_BYTES, headerSize, paddedSize } from "./tar-layout.ts";
import { volumeName, volumeSizes } from "./volume-layout.ts";

/** Entries checked before the work may pause. */
const STEP_ENTRIES = 1000;
/** Bytes parsed before the work may pause. */
const STEP_BYTES = 1024 * 1024;
/** A name in `requires`. */
const REQUIRED = /^[a-z0-9][a-z0-9.-]{0,63}$/;

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

/** An inventory whose entries come in any order. */
type FormattedInventory = Omit<WrittenInventory, "entries"> & { entries: Iterable<InventoryEntry> };

/**
 * Formats an inventory as canonical JSON without a newline: keys in the order of the specification, entries sorted by
 * path, undefined values omitted.
 */
export function formatInventory(inventory: FormattedInventory): Buffer {
  return Buffer.from([...inventoryPieces(inventory)].join(""));
}

/** The same in pieces of text: of 64,000 files it has 50 MB. */
export function* inventoryPieces(inventory: FormattedInventory): Generator<string> {
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

function* partsOf(inventory: FormattedInventory): Generator<string> {
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
      yield* listOf(entries instanceof EntryTable ? entries : EntryTable.from(entries), entryInFile);
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

/** An inventory as in its file, without its long lists: digests are bare hex there. */
interface InventoryFile extends Omit<Inventory, "previous" | "bases" | "lock" | "volumes" | "entries"> {
  previous?: ReleaseInFile;
  bases?: ReleaseInFile[];
  lock: string;
  volumes: VolumeInFile[];
}
type ReleaseInFile = Omit<ReleaseName, "digest"> & { sha256: string };
type VolumeInFile = Omit<InventoryVolume, "digest"> & { sha256: string };

/** Converts a checked file to an inventory. */
function fromFile(
  { previous, bases, lock, volumes, catalog, ...rest }: InventoryFile,
  entries: EntryTable,
  provenance: Inventory["catalog"]["provenance"],
): Inventory {
  const digestIn = (hex: string) => parseHex(hex) as Digest;
  const releaseIn = ({ epoch, serial, sha256 }: ReleaseInFile) => ({ epoch, serial, digest: digestIn(sha256) });
  return {
    ...rest,
    ...(previous && { previous: releaseIn(previous) }),
    ...(bases && { bases: bases.map(releaseIn) }),
    lock: digestIn(lock),
    volumes: volumes.map(({ name, size, sha256 }) => ({ name, size, digest: digestIn(sha256) })),
    entries,
    catalog: { ...catalog, provenance },
  };
}

/**
 * Where the bytes of entries are in the tar stream, also of those that another entry carries; undefined for what the
 * bundle does not have.
 */
export function placesOf(
  entries: EntryTable,
): (entry: Pick<InventoryEntry, "digest"> & { offset?: number }) => number | undefined {
  return ({ digest, offset }) => {
    if (offset !== undefined) return offset;
    const index = entries.findDigest(digest);
    return index < 0 ? undefined : entries.offsetAt(index);
  };
}

/** Entries whose bytes are in the tar stream, in the order of the stream. */
export function* streamEntries({ entries }: Pick<Inventory, "entries">): Generator<PlacedEntry, void> {
  for (const index of entries.streamOrder) yield entries.placedAt(index);
}

/** Those of a checked inventory that end, with their padding, behind a position: what is before is not looked at. */
export function* streamEntriesBehind(
  { entries }: Pick<Inventory, "entries">,
  position: number,
): Generator<PlacedEntry, void> {
  const order = entries.streamOrder;
  const at = (place: number) => order[place] ?? bug(`no place ${place}`);
  let [low, high] = [0, order.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    const index = at(middle);
    if ((entries.offsetAt(index) ?? 0) + paddedSize(entries.sizeAt(index)) > position) high = middle;
    else low = middle + 1;
  }
  for (; low < order.length; low++) yield entries.placedAt(at(low));
}

/**
 * Parses an inventory whose digest is in a signed SHA256SUMS. A large one takes seconds: read-inventory.ts.
 * @throws {AirferryError} ERR_BUNDLE_VERSION for another format version; ERR_PATH_UNSAFE, ERR_BUNDLE_INVALID with
 *   `problems`
 */
export function parseInventory(bytes: Uint8Array): Inventory {
  return atOnce(parsing(bytes));
}

/** The time that reading an inventory may take. */
export function inventoryPace(): Pace {
  return new Pace((fault) => invalid([problem("", fault)]));
}

function* parsing(bytes: Uint8Array): Generator<void, Inventory> {
  const reader = new InventoryReader(bytes.length);
  for (let at = 0; at < bytes.length; at += STEP_BYTES) {
    reader.push(bytes.subarray(at, at + STEP_BYTES));
    yield;
  }
  return yield* reader.finish();
}

/** Parses an inventory as it comes. Both methods throw as {@link parseInventory}. */
export class InventoryReader {
  readonly #entries: EntryReader;
  readonly #catalog: CatalogReader;
  readonly #text: CanonicalReader;

  /**
   * @param bytes that will come, if that is known
   * @param skips `provenance`: its lines are not looked at, and the inventory has none
   */
  constructor(bytes?: number, skips?: "provenance") {
    this.#entries = new EntryReader(bytes);
    this.#catalog = new CatalogReader(skips === undefined ? bytes : 0);
    this.#text = new CanonicalReader([
      (items) => this.#entries.take(items),
      skips === undefined ? (items) => this.#catalog.take(items) : () => {},
    ]);
  }

  /** The next bytes, which are copied. */
  push(bytes: Uint8Array): void {
    readable(() => this.#text.push(bytes));
  }

  /** After all bytes: the inventory. Yields where the work may pause. */
  *finish(): Generator<void, Inventory> {
    const read = readable(() => this.#text.finish());
    const value = read;
    if (!isRecord(value)) throw invalid([problem("", "expected an object")]);
    checkVersion(value.mediaType);
    checkRequires(value.requires);
    const problems = checkValues(value);
    if (!Array.isArray(value.entries) || !Array.isArray(value.volumes))
      throw invalid([...problems, problem("entries", "entries and volumes: expected lists")]);
    const entries = yield* this.#entries.finish();
    problems.push(...entries.problems);
    if (problems.length > 0) throw invalid(problems);
    const { table } = entries;
    const isBuilt = table.some((it) => it.from === "recipe");
    if (isBuilt !== (value.requires as unknown[]).includes(REQUIRES_RECIPES))
      problems.push(problem("requires", "requires: recipes: not as the entries"));
    problems.push(...(yield* checkLayout(table, value)));
    const catalog = yield* this.#catalog.finish(value.catalog, table);
    problems.push(...catalog.problems);
    if (problems.length > 0 || catalog.provenance === undefined) throw invalid(problems);
    return fromFile(read as InventoryFile, table, catalog.provenance);
  }
}

/** Turns faults of the text into a refusal. */
function readable<T>(work: () => T): T {
  try {
    return work();
  } catch (cause) {
    throw invalid([problem("", `${(cause as Error).message.slice(0, 200)}`)], cause);
  }
}

function checkVersion(mediaType: unknown): void {
  if (mediaType === INVENTORY_MEDIA_TYPE) return;
  const actual = printableName(String(mediaType), 100);
  throw new AirferryError(
    "ERR_BUNDLE_VERSION",
    `cannot read "${INVENTORY_NAME}": unknown format: expected ${INVENTORY_MEDIA_TYPE}, got ${actual}`,
    { path: INVENTORY_NAME, expected: INVENTORY_MEDIA_TYPE, actual, hint: NEWER_AIRFERRY },
  );
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

/** Names of sites: the same grammar as for streams; no name twice. */
function isAudience(value: unknown): boolean {
  if (!Array.isArray(value) || value.length === 0 || value.length > MAX_AUDIENCE) return false;
  const isName = (it: unknown) => typeof it === "string" && isStreamName(it);
  return value.every((it, at) => isName(it) && (at === 0 || compareUtf8(value[at - 1], it) < 0));
}

/** Problems of the single values, which are reported before those of the lists. */
function checkValues(value: Record<string, unknown>): Problem[] {
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
  if (!Array.isArray(value.entries) || !Array.isArray(value.volumes)) return problems;
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

/** Recomputes every offset and volume: any difference means an overlap, a gap or a wrong offset. */
function* checkLayout(entries: EntryTable, value: Record<string, unknown>): Generator<void, Problem[]> {
  const { streamSize, volumeSize } = value;
  let position = 0;
  let count = 0;
  for (const { path, size, offset } of streamEntries({ entries })) {
    if (count++ % STEP_ENTRIES === 0) yield;
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
