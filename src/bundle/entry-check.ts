/** Checks the entries of an inventory while they are read, and makes their table. docs/format.md, "Inventory". */
import type { Problem } from "../errors.ts";
import { type Digest, EMPTY_DIGEST, hexOf, parseHex } from "../io/digest.ts";
import { compareUtf8 } from "../io/text.ts";
import { checkingTablePaths, printableName } from "./entry-paths.ts";
import { EntryTable, EntryTableWriter } from "./entry-table.ts";
import { MAX_ENTRIES } from "./format-limits.ts";
import type { InventoryEntry } from "./inventory-types.ts";
import { hasExactly, isCount, isHex256, isRecord, MAX_PROBLEMS, problem } from "./inventory-values.ts";

/** Entries checked before the work may pause. */
const STEP_ENTRIES = 1000;
const EMPTY_SHA256 = hexOf(EMPTY_DIGEST);
/** Of an entry as text, with a path of one character. */
const MIN_ENTRY_BYTES = 127;
/** Values of `from`. */
const PLACES: readonly unknown[] = ["store", "bundle", "recipe"];

/** As in the file: the digest is bare hex. */
export type EntryInFile = Omit<InventoryEntry, "digest"> & { sha256: string };

export class EntryReader {
  readonly #writer: EntryTableWriter;
  readonly #problems: Problem[] = [];
  #count = 0;
  #before: string | undefined;

  /** @param bytes of the text that the items are in, if that is known */
  constructor(bytes?: number) {
    const most = bytes === undefined ? [] : [Math.min(MAX_ENTRIES, Math.ceil(bytes / MIN_ENTRY_BYTES)), bytes];
    this.#writer = new EntryTableWriter(...most);
  }

  /** The next items of the list, whatever they are. */
  take(items: readonly unknown[]): void {
    for (const it of items) {
      const where = `entries[${this.#count++}]`;
      if (this.#count > MAX_ENTRIES || this.#problems.length >= MAX_PROBLEMS) continue;
      const fault = entryFault(it);
      if (fault !== undefined) {
        this.#problems.push(problem(where, `${where}: ${fault}`));
        continue;
      }
      const { sha256, ...entry } = it as EntryInFile;
      // What occurs twice is reported with the other faults of paths.
      if (this.#before !== undefined && compareUtf8(this.#before, entry.path) > 0)
        this.#problems.push(problem(where, `${where}: not sorted by path: "${printableName(entry.path)}"`));
      this.#before = entry.path;
      this.#writer.add({ ...entry, digest: parseHex(sha256) as Digest });
    }
  }

  /** The table, if nothing is wrong with it. Yields where the work may pause. */
  *finish(): Generator<void, { table: EntryTable; problems: Problem[] }> {
    const problems = [...this.#problems];
    if (this.#count > MAX_ENTRIES) problems.splice(0, problems.length, tooMany(this.#count));
    if (problems.length > 0) return { table: EntryTable.from([]), problems };
    const table = this.#writer.finish();
    problems.push(...(yield* checkSizes(table)));
    if (problems.length === 0) problems.push(...(yield* checkUncarried(table)));
    if (problems.length === 0) problems.push(...(yield* checkingTablePaths(table)).slice(0, MAX_PROBLEMS));
    return { table, problems };
  }
}

function tooMany(count: number): Problem {
  return problem("entries", `entries: at most ${MAX_ENTRIES}, got ${count}`);
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

/** The same bytes have one size. */
function* checkSizes(table: EntryTable): Generator<void, Problem[]> {
  const problems: Problem[] = [];
  for (let index = 0; index < table.length; index++) {
    if (index % STEP_ENTRIES === 0) yield;
    const [known, size] = [table.sizeAt(table.sameAs(index)), table.sizeAt(index)];
    if (known === size) continue;
    const where = `entries[${index}]`;
    problems.push(problem(where, `${where}: two sizes for one digest: ${known} and ${size}`));
  }
  return problems;
}

/** What is not carried says rightly where its bytes are, and all that have them say the same. */
function* checkUncarried(table: EntryTable): Generator<void, Problem[]> {
  /** By the entry that stands for a digest: a recipe builds it. */
  const isBuilt = new Uint8Array(table.length);
  for (let index = 0; index < table.length; index++)
    if (table.fromAt(index) === "recipe") isBuilt[table.sameAs(index)] = 1;
  const faultOf = (index: number): string | undefined => {
    const from = table.fromAt(index);
    if (from === undefined || table.isCarried(index) === (from === "bundle"))
      return from === "store" && isBuilt[table.sameAs(index)] === 1 ? "another entry builds its bytes" : undefined;
    return from === "bundle" ? "no entry carries its bytes" : "another entry carries its bytes";
  };
  for (let index = 0; index < table.length; index++) {
    if (index % STEP_ENTRIES === 0) yield;
    const fault = faultOf(index);
    if (fault !== undefined) return [problem(`entries[${index}]`, `entries[${index}]: from: ${fault}`)];
  }
  return [];
}
