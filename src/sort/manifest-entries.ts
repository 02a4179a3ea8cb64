/** The entries of a manifest by what they are of and by their names, of which there may be 10,000. */
import { filePathOf, imageName } from "../manifest/entry-names.ts";
import type { RecordedManifest } from "../record/types.ts";
import type { EntryText, SortedKey } from "./types.ts";

/** Text that is added to one manifest: none is larger than 4 MiB. */
const MAX_ADDED_LENGTH = 1024 * 1024;

interface Known {
  /** By URL without the slash at its end, or reference. */
  byId: Map<string, EntryText>;
  /** In lower case. */
  names: Set<string>;
  /** Folders that files are in. */
  folders: Set<string>;
}

/** What sorting finds in a manifest, and adds to it. */
export class ManifestEntries {
  readonly #manifest: RecordedManifest;
  readonly #known = new Map<SortedKey, Known>();
  #added = 0;

  constructor(manifest: RecordedManifest) {
    this.#manifest = manifest;
  }

  /** An entry of one of these URLs, or of this image. */
  find(key: SortedKey, ids: readonly string[]): EntryText | undefined {
    const { byId } = this.#of(key);
    for (const id of ids) {
      const found = byId.get(withoutSlash(id));
      if (found !== undefined) return found;
    }
    return undefined;
  }

  /** Whether another entry has this one's name already, up to its case, or a file is where others have a folder. */
  isTaken(key: SortedKey, entry: EntryText): boolean {
    const name = nameOf(key, entry);
    const { names, folders } = this.#of(key);
    if (name === undefined || names.has(name)) return true;
    return key === "files" && (folders.has(name) || foldersOf(name).some((it) => names.has(it)));
  }

  /** Whether the manifest has room for an entry. */
  fits(entry: EntryText): boolean {
    return this.#added + JSON.stringify(entry).length <= MAX_ADDED_LENGTH;
  }

  /** Writes an entry into the manifest, `before` being the one that it replaces. */
  put(key: SortedKey, entry: EntryText, options: { before: EntryText | undefined; comment: string | undefined }): void {
    this.#manifest.put(key, entry, options);
    this.#added += JSON.stringify(entry).length;
    note(this.#of(key), key, entry);
  }

  #of(key: SortedKey): Known {
    let known = this.#known.get(key);
    if (known === undefined) {
      known = { byId: new Map(), names: new Set(), folders: new Set() };
      for (const it of this.#manifest.entries(key)) note(known, key, it);
      this.#known.set(key, known);
    }
    return known;
  }
}

function note({ byId, names, folders }: Known, key: SortedKey, entry: EntryText): void {
  const ids = key === "images" ? [entry.ref] : [entry.url, ...(Array.isArray(entry.urls) ? entry.urls : [])];
  for (const it of ids) if (typeof it === "string" && !byId.has(withoutSlash(it))) byId.set(withoutSlash(it), entry);
  const name = nameOf(key, entry);
  if (name === undefined) return;
  names.add(name);
  if (key === "files") for (const it of foldersOf(name)) folders.add(it);
}

function withoutSlash(id: string): string {
  return id.replace(/\/$/, "");
}

function foldersOf(path: string): string[] {
  const segments = path.split("/").slice(0, -1);
  return segments.map((_, index) => segments.slice(0, index + 1).join("/"));
}

function nameOf(key: SortedKey, entry: EntryText): string | undefined {
  try {
    const name = key === "files" ? filePathOf(entry) : key === "images" ? imageName(entry) : entry.name;
    return typeof name === "string" ? name.toLowerCase() : undefined;
  } catch {
    return undefined;
  }
}
