/**
 * The one grammar of paths: which strings of a manifest, an inventory or upstream's metadata may become a path. It is
 * checked where such a string is read (manifest, import) and again where it is used ({@link pathIn}). docs/format.md,
 * "Entry paths".
 */
import { join } from "node:path";
import { AirferryError } from "../errors.ts";
import { printable } from "./printable.ts";

/** Longest path, in bytes of UTF-8. */
const MAX_PATH_BYTES = 1024;
/** Longest segment, in bytes of UTF-8: the limit of common file systems. */
const MAX_SEGMENT_BYTES = 255;
/** Longest name of an artifact: with a suffix (`.iso`, `-debuginfo`) it is still one segment. */
export const MAX_NAME_BYTES = 200;
/** Longest name of a stream. */
export const MAX_STREAM_BYTES = 64;

/** `[A-Za-z0-9][A-Za-z0-9._-]*`: safe as one path segment on every file system and in every URL. */
export const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]*$/;

/** Controls (C0, DEL, C1), marks that reorder or hide text on a terminal, line separators, the byte order mark. */
export const UNSAFE_CHARACTER =
  /[\u0000-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]/u;
const PLAIN = /^[A-Za-z0-9+~^=@_%,()[\]{}!#$&';:. /-]*$/;
const DRIVE = /^[A-Za-z]:/;

/** Returns what is wrong with a relative path, `/` between its segments; undefined when it is legal. */
export function checkPath(path: string): string | undefined {
  if (path === "") return "it is empty";
  if (path.startsWith("/")) return "it is absolute";
  if (DRIVE.test(path)) return "it starts with a drive letter";
  if (path.includes("\\")) return "it has a backslash";
  const plain = PLAIN.test(path);
  if (!plain) {
    if (!path.isWellFormed()) return "it is not well-formed Unicode";
    if (UNSAFE_CHARACTER.test(path)) return "it has a control or invisible character";
    // The replacement character of decoders: no file on disk has that name.
    if (path.includes("\ufffd")) return "it is not UTF-8";
    if (path.normalize("NFC") !== path) return "it is not in Unicode normalisation form C";
  }
  const size = plain ? path.length : Buffer.byteLength(path);
  if (size > MAX_PATH_BYTES) return `it is longer than ${MAX_PATH_BYTES} bytes`;
  for (const segment of path.split("/")) {
    if (segment === "") return "it has an empty segment";
    if (segment === "." || segment === "..") return `it has a "${segment}" segment`;
    const bytes = plain ? segment.length : Buffer.byteLength(segment);
    if (bytes > MAX_SEGMENT_BYTES) return `a segment is longer than ${MAX_SEGMENT_BYTES} bytes`;
  }
  return undefined;
}

/** Returns what is wrong with a file name, a path of one segment; undefined when it is legal. */
export function checkFileName(name: string): string | undefined {
  return name.includes("/") ? "it has a slash" : checkPath(name);
}

/**
 * Returns what is wrong with the name of an artifact or, with another `maxBytes`, of a stream; undefined when it is
 * legal.
 */
export function checkName(name: string, maxBytes = MAX_NAME_BYTES): string | undefined {
  if (!NAME.test(name))
    return "it must start with a letter or digit and contain only letters, digits, '.', '_' and '-'";
  return name.length > maxBytes ? `it is longer than ${maxBytes} bytes` : undefined;
}

/** Returns whether a text is the name of a stream. */
export function isStreamName(text: string): boolean {
  return checkName(text, MAX_STREAM_BYTES) === undefined;
}

/**
 * Returns the path of `path` below `folder`: required for using a foreign string as a path. The caller handles links in
 * the folder.
 * @param where place of the string, for messages: `builder.imageconfig.iso_name`
 * @throws {AirferryError} ERR_PATH_UNSAFE when it is not a legal path
 */
export function pathIn(folder: string, path: string, where = "path"): string {
  const fault = checkPath(path);
  if (fault === undefined) return join(folder, path);
  throw new AirferryError("ERR_PATH_UNSAFE", `cannot use ${where} ${quoted(path)} as a path: ${fault}`, {
    path: where,
    expected: "a relative path without '.' and '..' segments, backslashes or control characters",
    hint: `change ${where} where it was packed, and pack again`,
  });
}

/** As {@link pathIn}, for one segment. @throws {AirferryError} ERR_PATH_UNSAFE */
export function fileIn(folder: string, name: string, where = "name"): string {
  if (!name.includes("/")) return pathIn(folder, name, where);
  throw new AirferryError("ERR_PATH_UNSAFE", `cannot use ${where} ${quoted(name)} as a file's name: it has a slash`, {
    path: where,
    expected: "a name without a slash",
    hint: `change ${where} where it was packed, and pack again`,
  });
}

function quoted(text: string): string {
  return `"${printable(text, 200)}"`;
}
