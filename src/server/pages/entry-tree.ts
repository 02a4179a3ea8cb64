/**
 * All current releases as one tree of entry paths, without copying them: lookups use each release's map, and
 * directories are found by binary search in its sorted entries, so 100,000 entries need no further memory. See
 * docs/serve.md, "Paths".
 */
import type { EntryTable } from "../../bundle/entry-table.ts";
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
    const [first, end] = entries.range(`${directory}/`);
    return first < end;
  });
}

/** Every entry below a directory path, of each release in turn: a path may come several times. */
export function* entriesBelow(view: TreeView, directory: string, stream?: string): Generator<InventoryEntry> {
  for (const { stream: name, inventory } of view.releases) {
    if (stream !== undefined && stream !== name) continue;
    const { entries } = inventory;
    const [first, end] = entries.range(`${directory}/`);
    for (let index = first; index < end; index++) yield entries.at(index);
  }
}

function addNames(entries: EntryTable, prefix: string, names: Set<string>): void {
  const [first, end] = entries.range(prefix);
  for (let index = first; index < end; ) {
    const path = entries.pathAt(index);
    const slash = path.indexOf("/", prefix.length);
    names.add(path.slice(prefix.length, slash + 1 || undefined));
    index = slash === -1 ? index + 1 : entries.range(path.slice(0, slash + 1))[1];
  }
}
