/** The names by which entries of a manifest are known: a file by its path, an image by its reference or archive. */
import { checkFileName } from "../io/path-grammar.ts";
import type { FileEntry, ImageEntry, Manifest } from "./schema.ts";

/** The name of an images entry in the lock and for `--update`: as written in the manifest. */
export function imageName(entry: Partial<ImageEntry>): string {
  if (entry.chart !== undefined) return `${entry.as ?? entry.chart}:${entry.version ?? "newest"}`;
  const name = entry.as ?? entry.ref ?? (entry.archive as string);
  return entry.tags === undefined ? name : `${name}:${entry.tags.match ?? "*"}`;
}

/** A URL whose last segment a URL parser would not change; asked for six times of each of 100,000 entries. */
const PLAIN_URL =
  /^https?:\/\/(?:[a-z][a-z0-9.-]*[a-z]|\d{1,3}(?:\.\d{1,3}){3})(?::\d{1,5})?\/(?:[A-Za-z0-9_][A-Za-z0-9._-]*\/)*([A-Za-z0-9_][A-Za-z0-9._-]*)$/;

/**
 * Path of a `files:` entry below `files/`: `as`, or the last segment of its URL or path. Throws a plain Error when
 * there is none.
 */
export function filePathOf(entry: NonNullable<Manifest["files"]>[number]): string {
  if (entry.as !== undefined) return entry.as;
  const place = entry.url ?? entry.urls?.[0];
  let name: string;
  if (place !== undefined) {
    const segment = PLAIN_URL.exec(place)?.[1] ?? new URL(place).pathname.split("/").at(-1) ?? "";
    try {
      name = decodeURIComponent(segment);
    } catch {
      name = segment;
    }
  } else name = (entry.path ?? "").split("/").at(-1) ?? "";
  const fault = checkFileName(name);
  if (fault !== undefined) {
    const where = entry.url === undefined && entry.urls === undefined ? "path" : "URL";
    throw new Error(`has no file name in its ${where} (${fault}); give it as: name`);
  }
  return name;
}

const fileIndexes = new WeakMap<readonly FileEntry[], ReadonlyMap<string, FileEntry>>();

/** The `files:` entry with this {@link filePathOf}; of 10,000 entries each is asked for, so they are indexed once. */
export function fileEntryOf({ files }: Pick<Manifest, "files">, path: string): FileEntry | undefined {
  if (files === undefined) return undefined;
  let index = fileIndexes.get(files);
  if (index === undefined) {
    index = new Map(files.map((it) => [filePathOf(it), it]));
    fileIndexes.set(files, index);
  }
  return index.get(path);
}
