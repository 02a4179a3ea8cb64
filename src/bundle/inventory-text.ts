/**
 * The text of an inventory as a value: canonical JSON, which means that formatting the value gives the same text. In
 * steps, since the text may have a hundred megabytes, of which no more than a part is ever a string.
 * docs/format.md, "Inventory".
 */
import { isUtf8 } from "node:buffer";
import { parseJson } from "../io/json.ts";

/**
 * The text before the two long lists, what may follow them, the first of which does, and the end of the text where
 * nothing follows. Within a string the quotes would be escaped, and no item has a list of objects, so matches are
 * unambiguous, whichever member of the catalog comes next.
 */
const ENTRIES = { before: ',"entries":[', behind: ['],"catalog":'], last: undefined };
const PROVENANCE = { before: ',"provenance":[', behind: ['}],"', '}]},"'], last: "}]}}" };
const END_OF_LIST = Buffer.from("]");
const NEXT_ITEM = ',{"path":"';
const STEP_BYTES = 512 * 1024;
const STEP_ITEMS = 1000;
/** Characters that are compared at once, and what they have at most in bytes. */
const PIECE_CHARS = 8 * 1024;
const MAX_CHAR_BYTES = 3;

/** Between the brackets of a list. */
interface Range {
  start: number;
  end: number;
}

/**
 * Parses the bytes; yields where the work may pause. @throws {Error} for text that is not UTF-8, not JSON, not
 * canonical, too deep, or with half of a surrogate pair
 */
export function* parseCanonical(bytes: Uint8Array): Generator<void, unknown> {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  if (!isUtf8(text)) throw new Error("not UTF-8");
  yield;
  const value = yield* parseInParts(text);
  if (!(yield* isCanonical(value, text))) throw notCanonical();
  if (hasLoneSurrogate(text)) throw new Error("a string is not well-formed Unicode");
  return value;
}

/** Canonical JSON escapes nothing else this way. */
function hasLoneSurrogate(text: Buffer): boolean {
  for (let at = text.indexOf("\\ud"); at >= 0; at = text.indexOf("\\ud", at + 1)) {
    let backslashes = 1;
    while (text[at - backslashes] === 0x5c) backslashes++;
    if (backslashes % 2 === 1) return true;
  }
  return false;
}

function notCanonical(): Error {
  return new Error("not canonical JSON");
}

/** Parses the long lists a part at a time. If they are cut wrongly, the text is not canonical, which is detected. */
function* parseInParts(text: Buffer): Generator<void, unknown> {
  const entries = rangeOf(text, ENTRIES, 0);
  const lines = rangeOf(text, PROVENANCE, entries?.end ?? 0);
  const ranges = [entries, lines].filter((it) => it !== undefined && it.end - it.start >= STEP_BYTES);
  let rest = "";
  let from = 0;
  for (const it of ranges) {
    rest += text.toString("utf8", from, it?.start);
    from = it?.end ?? from;
  }
  const value = parseJson(rest + text.toString("utf8", from));
  for (const it of ranges) {
    const list = it === entries ? memberOf(value, "entries") : memberOf(memberOf(value, "catalog"), "provenance");
    if (it === undefined || !Array.isArray(list)) throw notCanonical();
    yield* readItems(text, it, list);
  }
  return value;
}

function memberOf(value: unknown, key: string): unknown {
  return typeof value === "object" && value !== null
    ? Object.entries(value).find(([it]) => it === key)?.[1]
    : undefined;
}

/** Undefined where it is not found. */
function rangeOf(
  text: Buffer,
  { before, behind, last }: typeof ENTRIES | typeof PROVENANCE,
  from: number,
): Range | undefined {
  const found = text.indexOf(before, from);
  const start = found + before.length;
  if (found < 0 || text.subarray(start, start + 1).equals(END_OF_LIST)) return undefined;
  const ends = behind.flatMap((it) => {
    const at = text.indexOf(it, start);
    return at < 0 ? [] : [at + it.indexOf("]")];
  });
  if (last !== undefined && text.subarray(-last.length).equals(Buffer.from(last)))
    ends.push(text.length - last.length + last.indexOf("]"));
  return ends.length === 0 ? undefined : { start, end: Math.min(...ends) };
}

function* readItems(text: Buffer, { start, end }: Range, into: unknown[]): Generator<void, void> {
  for (let at = start; at < end; ) {
    const next = text.indexOf(NEXT_ITEM, at + STEP_BYTES);
    const to = next < 0 || next > end ? end : next;
    for (const it of parseJson(`[${text.toString("utf8", at, to)}]`) as unknown[]) into.push(it);
    at = to + 1;
    yield;
  }
}

/** Returns whether `JSON.stringify(value)` is `text`, without creating that text again. */
function* isCanonical(value: unknown, text: Buffer): Generator<void, boolean> {
  const encoder = new TextEncoder();
  const memory = new Uint8Array(MAX_CHAR_BYTES * PIECE_CHARS);
  let at = 0;
  let waiting = "";
  const takes = () => {
    for (let rest = waiting; rest !== ""; ) {
      const { read, written } = encoder.encodeInto(rest, memory);
      if (text.compare(memory, 0, written, at, Math.min(at + written, text.length)) !== 0) return false;
      at += written;
      rest = rest.slice(read);
    }
    waiting = "";
    return true;
  };
  let count = 0;
  for (const part of partsOf(value, LEVELS)) {
    waiting += part;
    if (waiting.length >= PIECE_CHARS && !takes()) return false;
    if (++count % STEP_ITEMS === 0) yield;
  }
  return takes() && at === text.length;
}

/** The long lists are members of the inventory, and of its catalog. */
const LEVELS = 2;

/** The text of a value in parts: objects are taken apart for some levels, and lists that are their members. */
function* partsOf(value: unknown, levels: number): Generator<string> {
  if (typeof value !== "object" || value === null) yield JSON.stringify(value);
  else if (Array.isArray(value)) {
    let before = "[";
    for (const it of value) {
      yield before + JSON.stringify(it);
      before = ",";
    }
    yield before === "[" ? "[]" : "]";
  } else if (levels === 0) yield JSON.stringify(value);
  else {
    let before = "{";
    for (const [key, member] of Object.entries(value)) {
      yield `${before}${JSON.stringify(key)}:`;
      yield* partsOf(member, levels - 1);
      before = ",";
    }
    yield before === "{" ? "{}" : "}";
  }
}
