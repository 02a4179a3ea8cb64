/** An inventory as plain data that goes to a thread: what is large of it is memory that both share. */
import { bug } from "../errors.ts";
import { EntryTable, type SharedEntries } from "./entry-table.ts";
import type { Catalog, Inventory } from "./inventory-types.ts";
import { ProvenanceTable, type SharedProvenance } from "./provenance-table.ts";

export interface SharedInventory {
  readonly rest: Omit<Inventory, "entries" | "catalog">;
  readonly catalog: Omit<Catalog, "provenance">;
  readonly entries: SharedEntries;
  readonly provenance: SharedProvenance;
}

/** Of an inventory that was read. */
export function shareInventory({ entries, catalog, ...rest }: Inventory): SharedInventory {
  const { provenance, ...others } = catalog;
  if (!(provenance instanceof ProvenanceTable)) bug("the inventory was not read");
  return { rest, catalog: others, entries: entries.shared, provenance: provenance.shared };
}

/** The inventory in another thread. */
export function sharedInventory({ rest, catalog, entries, provenance }: SharedInventory): Inventory {
  const table = EntryTable.of(entries);
  return { ...rest, entries: table, catalog: { ...catalog, provenance: ProvenanceTable.of(provenance, table) } };
}
