/**
 * Checks the catalog of an inventory at least as strictly as those who use it do: the server, render, export and
 * publish turn its strings into names, URLs and paths, and an unusable one must not reach a store. Unknown keys are
 * ignored: the catalog says what entries mean, never what bytes they are. docs/format.md, "Catalog".
 */
import type { Problem } from "../errors.ts";
import { catalogFaults, type Fault, lineFaults } from "./catalog-shape.ts";
import { printableName } from "./entry-paths.ts";
import type { EntryTable } from "./entry-table.ts";
import type { Catalog, Provenance } from "./inventory-types.ts";
import { problem } from "./inventory-values.ts";
import { type ProvenanceTable, ProvenanceWriter } from "./provenance-table.ts";

const MAX_FAULTS = 20;
/** What follows `provenance` in the order of problems. */
const LATER: readonly unknown[] = ["web", "origins"];

/** Takes the items of `provenance` as they are read, then the catalog without them. */
export class CatalogReader {
  readonly #writer: ProvenanceWriter;
  readonly #faults: Fault[] = [];
  #count = 0;

  /** @param bytes of the text that the items are in, if that is known */
  constructor(bytes?: number) {
    this.#writer = new ProvenanceWriter(bytes);
  }

  /** The next items of the list, whatever they are. */
  take(items: readonly unknown[]): void {
    for (const it of items) {
      const faults = lineFaults(it, this.#count++);
      if (faults.length === 0) this.#writer.add(it as Provenance);
      else if (this.#faults.length < MAX_FAULTS) this.#faults.push(...faults);
    }
  }

  /** Returns the problems of a catalog; without any, `provenance` is the table. Yields where the work may pause. */
  *finish(
    value: unknown,
    entries: EntryTable,
  ): Generator<void, { problems: Problem[]; provenance: ProvenanceTable | undefined }> {
    const faults = catalogFaults(value);
    const later = faults.findIndex(({ at }) => LATER.includes(at[0]));
    faults.splice(later < 0 ? faults.length : later, 0, ...this.#faults);
    if (faults.length > 0) return { problems: faults.slice(0, MAX_FAULTS).map(problemOf), provenance: undefined };
    const problems = checkParts(value as Omit<Catalog, "provenance">, entries);
    const strange = (path: string) => problems.push(lacking("provenance", path));
    const provenance = yield* this.#writer.finish(entries, strange);
    for (const { path } of (value as Catalog).origins ?? [])
      if (!isThere(path, entries)) problems.push(lacking("origins", path));
    return { problems, provenance };
  }
}

function problemOf({ at, message }: Fault): Problem {
  const where = printableName(["catalog", ...at].join("."));
  return problem(where, `${where}: ${message}`);
}

function lacking(kind: string, path: string): Problem {
  return problem(`catalog.${kind}`, `catalog.${kind}: ${printableName(`no entry "${path}"`)}`);
}

/** Whether a path is an entry, or a prefix has one below it. */
function isThere(path: string, entries: EntryTable): boolean {
  if (!path.endsWith("/")) return entries.has(path);
  const [first, end] = entries.range(path);
  return first < end;
}

/** All but `provenance` and `origins`. */
function checkParts(it: Omit<Catalog, "provenance">, entries: EntryTable): Problem[] {
  const problems: Problem[] = [];
  const expect = (fine: boolean, kind: string, message: string) => {
    if (!fine) problems.push(problem(`catalog.${kind}`, `catalog.${kind}: ${printableName(message)}`));
  };
  for (const kind of ["isos", "files", "keys"] as const) {
    for (const { path } of it[kind]) expect(entries.has(path), kind, `no entry "${path}"`);
  }
  for (const { name, path } of it.isos)
    expect(path === `isos/${name}.iso`, "isos", `"${path}": expected isos/${name}.iso`);
  expect(it.web === undefined || entries.has("web/index.json"), "web", 'no entry "web/index.json"');
  const hasGit = it.web?.some((one) => one.repositories !== undefined) ?? false;
  expect(!hasGit || entries.has("web/git.json"), "web", 'no entry "web/git.json"');
  for (const { name, path } of it.rpms) expect(path === `rpms/${name}/`, "rpms", `"${path}": expected rpms/${name}/`);
  for (const [kind, list] of [
    ["isos", it.isos.map((one) => one.name)],
    ["rpms", it.rpms.map((one) => one.name)],
    ["images", it.images.map((one) => one.reference)],
    ["web", (it.web ?? []).map((one) => one.name)],
  ] as const) {
    expect(new Set(list).size === list.length, kind, "contains a duplicate");
  }
  for (const { path, keys } of it.rpms) {
    expect(isThere(path, entries), "rpms", `no entry below "${path}"`);
    for (const key of keys) expect(entries.has(`keys/${key}`), "rpms", `no entry "keys/${key}"`);
  }
  return problems;
}
