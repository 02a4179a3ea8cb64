/**
 * All current releases as one tree of entry paths, without copying them: lookups use each release's map, and
 * directories are found by binary search in its sorted entries, so 100,000 entries need no further memory. See
 * docs/serve.md, "Paths".
 */
import type { InventoryEntry } from "../../bundle/inventory-types.ts";
import { compareUtf8 } from "../../io/text.ts";
import type { Release } from "../../store/types.ts";
import type { Found, TreeView, WrittenPages } from "../http/context.ts";

/** Cached directories: people page through large ones. */
const MAX_KEPT_LISTS = 8;

/**
 * Creates a {@link TreeView} of releases, at most one per stream. Stores references to the releases, copies nothing.
 * Every release's `inventory.entries` must be sorted by the UTF-8 bytes of its paths, as the format requires.
 */
export function createTreeView(releases: readonly Release[], written?: WrittenPages): TreeView {
  const lists = new Map<string, string[]>();
  return {
    releases,
    written,
    find: (path, stream) => find(stream === undefined ? releases : ofStream(releases, stream), path),
    list(directory, stream) {
      const key = JSON.stringify([directory, stream]);
      const known = lists.get(key);
      if (known !== undefined) return known;
      const names = list(stream === undefined ? releases : ofStream(releases, stream), directory);
      if (names === undefined) return undefined;
      const [oldest] = lists.keys();
      if (oldest !== undefined && lists.size >= MAX_KEPT_LISTS) lists.delete(oldest);
      lists.set(key, names);
      return names;
    },
  };
}

function ofStream(releases: readonly Release[], stream: string): readonly Release[] {
  return releases.filter((release) => release.stream === stream);
}

function find(releases: readonly Release[], path: string): Found | { conflict: string[] } | undefined {
  let found: Found | undefined;
  let differs = false;
  for (const release of releases) {
    const entry = release.entries.get(path);
    if (entry === undefined) continue;
    if (found === undefined) found = { entry, release };
    else if (found.entry.digest !== entry.digest) differs = true;
  }
  if (!differs) return found;
  const streams = releases.filter((release) => release.entries.has(path)).map((release) => release.stream);
  return { conflict: streams.map((stream) => qualifiedUrl(stream, path)) };
}

/** Returns the URL path of an entry within one stream, percent-encoded: `/s/STREAM/PATH`. */
export function qualifiedUrl(stream: string, path: string): string {
  return `/s/${encodeURIComponent(stream)}/${encodePath(path)}`;
}

/**
 * Percent-encodes each segment of an entry path for use in a URL; `+` is not encoded, since yum clients send it
 * literally.
 */
export function encodePath(path: string): string {
  return path
    .split("/")
    .map((segment) => encodeURIComponent(segment).replaceAll("%2B", "+").replaceAll("%3A", ":").replaceAll("%40", "@"))
    .join("/");
}

function list(releases: readonly Release[], directory: string): string[] | undefined {
  const bare = directory.replace(/^\/+|\/+$/g, "");
  const prefix = bare === "" ? "" : `${bare}/`;
  const names = new Set<string>();
  for (const release of releases) addNames(release.inventory.entries, prefix, names);
  if (names.size === 0) return undefined;
  return [...names].sort(compareUtf8);
}

/** Returns whether anything is below a directory path, without listing it. */
export function isDirectory(view: TreeView, directory: string, stream?: string): boolean {
  return view.releases.some(({ stream: name, inventory: { entries } }) => {
    if (stream !== undefined && stream !== name) return false;
    return entries[lowerBound(entries, `${directory}/`)]?.path.startsWith(`${directory}/`) === true;
  });
}

/** Every entry below a directory path, of each release in turn: a path may come several times. */
export function* entriesBelow(view: TreeView, directory: string, stream?: string): Generator<InventoryEntry> {
  const prefix = `${directory}/`;
  for (const { stream: name, inventory } of view.releases) {
    if (stream !== undefined && stream !== name) continue;
    const { entries } = inventory;
    for (let at = lowerBound(entries, prefix); entries[at]?.path.startsWith(prefix); at++) {
      yield entries[at] as InventoryEntry;
    }
  }
}

function addNames(entries: readonly InventoryEntry[], prefix: string, names: Set<string>): void {
  let index = lowerBound(entries, prefix);
  for (let entry = entries[index]; entry?.path.startsWith(prefix); entry = entries[index]) {
    const slash = entry.path.indexOf("/", prefix.length);
    if (slash === -1) {
      names.add(entry.path.slice(prefix.length));
      index++;
    } else {
      names.add(entry.path.slice(prefix.length, slash + 1));
      // "0" is the character after "/": the first path beyond everything below this directory.
      index = lowerBound(entries, `${entry.path.slice(0, slash)}0`, index + 1);
    }
  }
}

function lowerBound(entries: readonly InventoryEntry[], path: string, from = 0): number {
  let low = from;
  let high = entries.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const entry = entries[middle];
    if (entry !== undefined && compareUtf8(entry.path, path) < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}
