/**
 * Checks the catalog of an inventory at least as strictly as those who use it do: the server, render, export and
 * publish turn its strings into names, URLs and paths, and an unusable one must not reach a store. Unknown keys are
 * ignored: the catalog says what entries mean, never what bytes they are. docs/format.md, "Catalog".
 */
import type { Problem } from "../errors.ts";
import { catalogFaults } from "./catalog-shape.ts";
import { printableName } from "./entry-paths.ts";
import type { Catalog, InventoryEntry } from "./inventory-types.ts";

const MAX_FAULTS = 20;

/** Returns the problems of a catalog; `problem` makes one from its place and message. */
export function checkCatalog(
  value: unknown,
  entries: readonly Pick<InventoryEntry, "path">[],
  problem: (where: string, message: string) => Problem,
): Problem[] {
  const faults = catalogFaults(value);
  if (faults.length > 0) {
    return faults.slice(0, MAX_FAULTS).map(({ at, message }) => {
      const where = printableName(["catalog", ...at].join("."));
      return problem(where, `${where}: ${message}`);
    });
  }
  const it = value as Catalog;
  const paths = new Set(entries.map((entry) => entry.path));
  const problems: Problem[] = [];
  const expect = (fine: boolean, kind: string, message: string) => {
    if (!fine) problems.push(problem(`catalog.${kind}`, `catalog.${kind}: ${printableName(message)}`));
  };
  for (const kind of ["isos", "files", "keys"] as const) {
    for (const { path } of it[kind]) expect(paths.has(path), kind, `no entry "${path}"`);
  }
  for (const { name, path } of it.isos)
    expect(path === `isos/${name}.iso`, "isos", `"${path}": expected isos/${name}.iso`);
  expect(it.web === undefined || paths.has("web/index.json"), "web", 'no entry "web/index.json"');
  const hasGit = it.web?.some((one) => one.repositories !== undefined) ?? false;
  expect(!hasGit || paths.has("web/git.json"), "web", 'no entry "web/git.json"');
  for (const { name, path } of it.rpms) expect(path === `rpms/${name}/`, "rpms", `"${path}": expected rpms/${name}/`);
  for (const [kind, list] of [
    ["isos", it.isos.map((one) => one.name)],
    ["rpms", it.rpms.map((one) => one.name)],
    ["images", it.images.map((one) => one.reference)],
    ["web", (it.web ?? []).map((one) => one.name)],
  ] as const) {
    expect(new Set(list).size === list.length, kind, "contains a duplicate");
  }
  const origins = it.origins ?? [];
  const folders = foldersOf([...it.rpms, ...it.provenance, ...origins], entries);
  for (const { path, keys } of it.rpms) {
    expect(folders.has(path), "rpms", `no entry below "${path}"`);
    for (const key of keys) expect(paths.has(`keys/${key}`), "rpms", `no entry "keys/${key}"`);
  }
  for (const [kind, list] of [
    ["provenance", it.provenance],
    ["origins", origins],
  ] as const) {
    for (const { path } of list) expect(paths.has(path) || folders.has(path), kind, `no entry "${path}"`);
  }
  return problems;
}

/** The prefixes in the catalog that have an entry below them. */
function foldersOf(named: readonly { path: string }[], entries: readonly Pick<InventoryEntry, "path">[]): Set<string> {
  const wanted = new Set(named.map((it) => it.path).filter((it) => it.endsWith("/")));
  const found = new Set<string>();
  if (wanted.size === 0) return found;
  for (const { path } of entries) {
    for (let slash = path.lastIndexOf("/"); slash > 0; slash = path.lastIndexOf("/", slash - 1)) {
      const folder = path.slice(0, slash + 1);
      if (wanted.has(folder)) found.add(folder);
    }
  }
  return found;
}
