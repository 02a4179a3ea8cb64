/** An inventory as plain data that goes to a thread: what is large of it is memory that both share. */
import { bug } from "../errors.ts";
import { EntryList } from "./entry-list.ts";
import { EntryTable, type SharedEntries } from "./entry-table.ts";
import type { Catalog, Inventory } from "./inventory-types.ts";
import { ProvenanceTable, type SharedProvenance } from "./provenance-table.ts";

/** A list of fewer files is copied as it is. */
const MANY_FILES = 100;

export interface SharedInventory {
  readonly rest: Omit<Inventory, "entries" | "catalog">;
  readonly catalog: Omit<Catalog, "provenance" | "files">;
  /** Many are indexes of entries. */
  readonly files: Uint32Array<SharedArrayBuffer> | Catalog["files"];
  readonly entries: SharedEntries;
  readonly provenance: SharedProvenance;
}

/** Of an inventory that was read. */
export function shareInventory({ entries, catalog, ...rest }: Inventory): SharedInventory {
  const { provenance, files, ...others } = catalog;
  if (!(provenance instanceof ProvenanceTable)) bug("the inventory was not read");
  return {
    rest,
    catalog: others,
    files: sharedFiles(files, entries),
    entries: entries.shared,
    provenance: provenance.shared,
  };
}

function sharedFiles(files: Catalog["files"], entries: EntryTable): SharedInventory["files"] {
  if (files instanceof EntryList) return files.indexes;
  return files.length < MANY_FILES ? files : EntryList.of(entries, files).indexes;
}

/** The inventory in another thread. */
export function sharedInventory({ rest, catalog, files: shared, entries, provenance }: SharedInventory): Inventory {
  const table = EntryTable.of(entries);
  const files = shared instanceof Uint32Array ? new EntryList(table, shared) : shared;
  return { ...rest, entries: table, catalog: { ...catalog, files, provenance: ProvenanceTable.of(provenance, table) } };
}
