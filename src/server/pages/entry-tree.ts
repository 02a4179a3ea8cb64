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

/**
 * Creates a {@link TreeView} of releases, at most one per stream. Stores references to the releases, copies nothing.
 * Every release's `inventory.entries` must be sorted by the UTF-8 bytes of its paths, as the format requires.
 */
export function createTreeView(releases: readonly Release[], written?: WrittenPages): TreeView {
  return {
    mark: {},
    releases,
    written,
    find: (path, stream) => find(chosen(releases, stream), path),
    *names(directory, stream) {
      const prefix = prefixOf(directory);
      const sources = chosen(releases, stream).map(({ inventory: { entries } }) => namesIn(entries, prefix));
      for (const [name = ""] of merged(sources, (it) => it)) yield name;
    },
  };
}

function chosen(releases: readonly Release[], stream: string | undefined): readonly Release[] {
  return stream === undefined ? releases : releases.filter((release) => release.stream === stream);
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

/** Returns whether anything is below a directory path, without listing it. */
export function isDirectory(view: TreeView, directory: string, stream?: string): boolean {
  return chosen(view.releases, stream).some(({ inventory: { entries } }) => {
    const [first, end] = entries.range(prefixOf(directory));
    return first < end;
  });
}

/** What a directory path and all paths below it start with; slashes around it do not matter. */
function prefixOf(directory: string): string {
  const bare = directory.replace(/^\/+|\/+$/g, "");
  return bare === "" ? "" : `${bare}/`;
}

/** The entry with one path in each release that has it, by release. */
interface SamePath {
  path: string;
  entries: InventoryEntry[];
}

/** Every path below a directory path once, in order. */
export function* pathsBelow(view: TreeView, directory: string, stream?: string): Generator<SamePath> {
  const prefix = prefixOf(directory);
  const sources = chosen(view.releases, stream).map(({ inventory: { entries } }) => entriesOf(entries, prefix));
  for (const entries of merged(sources, (it) => it.path)) {
    const [{ path }] = entries as [InventoryEntry];
    yield { path, entries };
  }
}

function* entriesOf(entries: EntryTable, prefix: string): Generator<InventoryEntry> {
  const [first, end] = entries.range(prefix);
  for (let index = first; index < end; index++) yield entries.at(index);
}

/** Names directly below a directory, in order. */
function* namesIn(entries: EntryTable, prefix: string): Generator<string> {
  const [first, end] = entries.range(prefix);
  for (let index = first; index < end; ) {
    const path = entries.pathAt(index);
    const slash = path.indexOf("/", prefix.length);
    yield path.slice(prefix.length, slash + 1 || undefined);
    index = slash === -1 ? index + 1 : entries.range(path.slice(0, slash + 1))[1];
  }
}

/** Merges sorted lists: what has the same name comes together. */
function* merged<T>(sources: readonly Iterator<T>[], nameOf: (item: T) => string): Generator<T[]> {
  const heads = sources.map((it) => it.next());
  for (;;) {
    let name: string | undefined;
    for (const { done, value } of heads)
      if (done !== true && (name === undefined || compareUtf8(nameOf(value), name) < 0)) name = nameOf(value);
    if (name === undefined) return;
    const same: T[] = [];
    for (const [at, { done, value }] of heads.entries()) {
      if (done === true || nameOf(value) !== name) continue;
      same.push(value);
      heads[at] = (sources[at] as Iterator<T>).next();
    }
    yield same;
  }
}
