/** Where the entries of a bundle came from. docs/format.md, "Catalog". */
import type { Provenance } from "./inventory-types.ts";
import { ProvenanceTable } from "./provenance-table.ts";

/** Finds the provenance of a path: its own line, else the longest prefix that has one. */
export function provenanceOf(lines: Iterable<Provenance>): (path: string) => Provenance | undefined {
  if (lines instanceof ProvenanceTable) return (path) => lines.of(path);
  const byPath = new Map<string, Provenance>();
  for (const it of lines) byPath.set(it.path, it);
  return (path) => {
    const own = byPath.get(path);
    if (own !== undefined) return own;
    for (let slash = path.lastIndexOf("/"); slash > 0; slash = path.lastIndexOf("/", slash - 1)) {
      const above = byPath.get(path.slice(0, slash + 1));
      if (above !== undefined) return above;
    }
    return undefined;
  };
}
