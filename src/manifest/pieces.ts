/**
 * A long manifest cut into pieces that are parsed one after the other: the yaml package makes 6 KB of objects of an
 * entry of 40 characters. Only what is plainly a list of entries is cut; everything else is left to the whole parse,
 * and so is every manifest with a fault, for its messages.
 */
import type { Document } from "yaml";
import { FEW_BYTES } from "../io/parser-thread.ts";
import { parseYaml } from "../io/yaml.ts";

/** A list of entries: its key by itself on a line. */
const LIST = /^(?:isos|rpms|files|images): *\r?$/;
/** Anchors, aliases, tags, merges, documents, directives and block scalars may reach from one entry into another. */
const REACHING = /(?:^|[\s[{,:-])[&*!]|<<|^(?:%|---|\.\.\.)|\t|[|>][-+0-9]*\s*(?:#.*)?$/m;

/**
 * Reads a manifest in pieces; yields where the work may pause. Returns its value, and its document without the lists,
 * or undefined if it has to be read whole.
 */
export function* readInPieces(text: string): Generator<void, { value: object; document: Document } | undefined> {
  const cut = cutLists(text);
  if (cut === undefined) return undefined;
  const document = parseYaml(cut.rest);
  const value: unknown = document.errors.length === 0 ? document.toJS() : undefined;
  if (typeof value !== "object" || value === null || Array.isArray(value)) return undefined;
  for (const { key, pieces } of cut.lists) {
    const entries: unknown[] = [];
    for (const piece of pieces) {
      yield;
      const part = parseYaml(piece);
      const members: unknown = part.errors.length === 0 ? part.toJS() : undefined;
      if (!Array.isArray(members)) return undefined;
      for (const it of members) entries.push(it);
    }
    (value as Record<string, unknown>)[key] = entries;
  }
  return { value, document };
}

interface CutText {
  /** The text with empty lists. */
  rest: string;
  lists: { key: string; pieces: string[] }[];
}

function cutLists(text: string): CutText | undefined {
  if (REACHING.test(text)) return undefined;
  const rest: string[] = [];
  const lists: CutText["lists"] = [];
  const lines = text.split("\n");
  for (let at = 0; at < lines.length; ) {
    const line = lines[at++] as string;
    if (!LIST.test(line)) {
      rest.push(line);
      continue;
    }
    const key = line.slice(0, line.indexOf(":"));
    let end = at;
    while (end < lines.length && /^(?:[ #-]|\r?$)/.test(lines[end] as string)) end++;
    const pieces = cutEntries(lines.slice(at, end));
    if (pieces === undefined) return undefined;
    rest.push(`${key}: []`);
    lists.push({ key, pieces });
    at = end;
  }
  return lists.length === 0 ? undefined : { rest: rest.join("\n"), lists };
}

/** Entries of one indentation, several to a piece; undefined for anything else. */
function cutEntries(lines: readonly string[]): string[] | undefined {
  const pieces: string[] = [];
  let piece = "";
  let indent: number | undefined;
  for (const line of lines) {
    const content = line.trimStart();
    if (content !== "" && !content.startsWith("#")) {
      const depth = line.length - content.length;
      const isEntry = content.startsWith("- ");
      indent ??= isEntry ? depth : undefined;
      if (indent === undefined || depth < indent || (depth === indent && !isEntry)) return undefined;
      if (depth === indent && piece.length >= FEW_BYTES) {
        pieces.push(piece);
        piece = "";
      }
    }
    piece += `${line}\n`;
  }
  if (indent === undefined) return undefined;
  pieces.push(piece);
  return pieces;
}
