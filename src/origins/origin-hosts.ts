/** The hosts that must lead to a server that answers under the origins' names. */
import type { Inventory } from "../bundle/inventory-types.ts";
import { originsOfRelease } from "./release-origins.ts";

/** The origins of releases, `https://host` or `http://host:port`, sorted. */
export function originsOf(releases: readonly { inventory: Inventory }[]): string[] {
  return [...new Set(releases.flatMap((it) => [...originsOfRelease(it.inventory).origins]))].sort();
}

/** The names and addresses in origins, without port and brackets, sorted. */
export function hostsOf(origins: readonly string[]): string[] {
  return [...new Set(origins.map((it) => new URL(it).hostname.replace(/^\[|\]$/g, "")))].sort();
}
