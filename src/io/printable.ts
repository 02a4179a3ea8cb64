/**
 * The only way for foreign text (upstream, media, clients, catalogs) into a message, a log, a table or a page: it is
 * shown literally, on one line, and cannot control a terminal. No imports.
 */

/**
 * Controls (C0, DEL, C1), line and paragraph separators, marks that reorder or join text, everything invisible by
 * default (tags, fillers, variation selectors), and lone surrogates.
 */
const UNSAFE_CHARACTER = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}\p{DI}]/gu;
/** More marks on one letter than any script has: they would cover neighbouring lines. */
const STACKED_MARKS = /(?<=\p{M}{4})\p{M}+/gu;
const PLAIN = /^[ -~]*$/;

/**
 * Makes foreign text safe to show: unsafe characters and line breaks become `\u{…}` with their hexadecimal number, and
 * text longer than `maxLength` UTF-16 units is truncated with an ellipsis. Idempotent.
 */
export function printable(text: string, maxLength = Number.POSITIVE_INFINITY): string {
  const cut = text.length > maxLength ? text.slice(0, maxLength).replace(/[\ud800-\udbff]$/, "") : text;
  const shown = PLAIN.test(cut) ? cut : cut.replace(UNSAFE_CHARACTER, escaped).replace(STACKED_MARKS, escapedEach);
  return cut.length < text.length ? `${shown}…` : shown;
}

/** The same for multi-line text formatted by airferry (a rendered file, a table): line feeds and tabs stay. */
export function printableLines(text: string): string {
  return text.replace(/[^\n\t]+/g, (part) => printable(part));
}

/** Formats a value as JSON in which every unsafe character is escaped: the same value, safe for a terminal. */
export function printableJson(value: unknown, indent?: number): string {
  return escapedJson(JSON.stringify(value, undefined, indent) ?? "null");
}

/** Characters of a piece, at least. */
const PIECE_CHARS = 64 * 1024;
/** Levels of objects whose members are pieces of their own. */
const LEVELS = 2;

/**
 * What {@link printableJson} gives with an indent of 2, in pieces: a list may be anything that can be iterated, whose
 * items are asked for as they are written.
 */
export function* printableJsonPieces(value: unknown): Generator<string, void> {
  let waiting = "";
  for (const it of partsOf(value, "", LEVELS)) {
    waiting += it;
    if (waiting.length < PIECE_CHARS) continue;
    yield escapedJson(waiting);
    waiting = "";
  }
  yield escapedJson(waiting);
}

function* partsOf(value: unknown, indent: string, levels: number): Generator<string, void> {
  const within = `${indent}  `;
  const isObject = typeof value === "object" && value !== null;
  if (isObject && Symbol.iterator in value) {
    let before = "[";
    for (const it of value as Iterable<unknown>) {
      yield `${before}\n${within}${indented(it ?? null, within)}`;
      before = ",";
    }
    yield before === "[" ? "[]" : `\n${indent}]`;
  } else if (isObject && levels > 0 && !("toJSON" in value)) {
    let before = "{";
    for (const [key, member] of Object.entries(value)) {
      if (member === undefined) continue;
      yield `${before}\n${within}${JSON.stringify(key)}: `;
      yield* partsOf(member, within, levels - 1);
      before = ",";
    }
    yield before === "{" ? "{}" : `\n${indent}}`;
  } else yield indented(value, indent);
}

function indented(value: unknown, indent: string): string {
  return (JSON.stringify(value, undefined, 2) ?? "null").replaceAll("\n", `\n${indent}`);
}

function escapedJson(text: string): string {
  return text.replace(UNSAFE_CHARACTER, (it) => (it === "\n" ? it : jsonEscaped(it)));
}

/** Columns of a printable text on a terminal: wide ones of East Asia and emoji two, combining marks none. */
export function columnsOf(text: string): number {
  if (PLAIN.test(text)) return text.length;
  let columns = 0;
  for (const it of text) columns += /\p{M}/u.test(it) ? 0 : WIDE.test(it) ? 2 : 1;
  return columns;
}

const WIDE =
  /[\u1100-\u115f\u2e80-\u303e\u3041-\u4dbf\u4e00-\ua4cf\ua960-\ua97f\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6\u{1b000}-\u{1b2ff}\u{20000}-\u{3fffd}]|\p{Emoji_Presentation}/u;

function escaped(character: string): string {
  return `\\u{${(character.codePointAt(0) as number).toString(16)}}`;
}

function escapedEach(characters: string): string {
  return [...characters].map(escaped).join("");
}

function jsonEscaped(character: string): string {
  return Array.from({ length: character.length }, (_, at) => {
    const unit = character.charCodeAt(at).toString(16);
    return `\\u${unit.padStart(4, "0")}`;
  }).join("");
}
