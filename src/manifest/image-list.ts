/**
 * Files that list images one to a line, as releases publish them (`images.txt`): `list:` of an images entry expands to
 * one entry per line. See docs/images.md, "Many images at once".
 */
import type { Problem } from "../errors.ts";
import { checkReference, formatReference, parseReference } from "../oci/reference.ts";
import type { ImageEntry } from "./schema.ts";

/** Lists are written by hand or by a release script; a longer one is a mistake. */
export const MAX_IMAGE_LIST_BYTES = 256 * 1024;

/**
 * Creates one entry per line; text after `#` is a comment, an image that is listed twice counts once. Other keys of
 * `entry` apply to all of them. Problems name `shown` and the line.
 */
export function parseImageList(
  text: string,
  entry: ImageEntry,
  shown: string,
): { entries: ImageEntry[]; problems: Problem[] } {
  const { list: _, ...rest } = entry;
  const entries = new Map<string, ImageEntry>();
  const problems: Problem[] = [];
  for (const [index, line] of text
    .replace(/^\uFEFF/, "")
    .split(/\r?\n/)
    .entries()) {
    const ref = line.replace(/(?:^|\s)#.*$/, "").trim();
    if (ref === "") continue;
    const wrong = /\s/.test(ref) ? { fault: "several words", hint: "one image a line" } : checkReference(ref);
    if (wrong !== undefined) {
      const message = `is not an image reference: ${wrong.fault}; ${wrong.hint}`;
      problems.push({ code: "ERR_MANIFEST_INVALID", path: `${shown}:${index + 1}`, message });
      continue;
    }
    const name = formatReference(parseReference(ref));
    if (!entries.has(name)) entries.set(name, { ...rest, ref });
  }
  if (entries.size === 0 && problems.length === 0) {
    problems.push({ code: "ERR_MANIFEST_INVALID", path: shown, message: "lists no image" });
  }
  return { entries: [...entries.values()], problems };
}
