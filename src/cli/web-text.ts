/** What is said of web answers in a line. */
import type { Catalog } from "../bundle/inventory-types.ts";
import { plural } from "../io/format.ts";

/** How many web answers a catalog counts. */
export function answersIn({ web = [] }: Pick<Catalog, "web">): number {
  return web.reduce((sum, it) => sum + it.answers, 0);
}

/** `, 12 web answers of 2 hosts`; empty if there are none. */
export function webText(catalog: Pick<Catalog, "web">): string {
  if (catalog.web === undefined) return "";
  const hosts = new Set(catalog.web.flatMap((it) => it.hosts)).size;
  return `, ${plural(answersIn(catalog), "web answer")} of ${plural(hosts, "host")}`;
}
