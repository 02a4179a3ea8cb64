/**
 * The text of an inventory as a value: canonical JSON, which means that formatting the value gives the same text. In
 * steps, since the text may have a hundred megabytes. docs/format.md, "Inventory".
 */
import { parseJson } from "../io/json.ts";

/**
 * The text before and after the list of entries. Within a string the quotes would be escaped, so matches are
 * unambiguous.
 */
const ENTRIES = ',"entries":[';
const BEHIND = '],"catalog":';
const NEXT_ENTRY = ',{"path":"';
const STEP_CHARS = 512 * 1024;
const STEP_ENTRIES = 1000;

/**
 * Parses the bytes; yields where the work may pause. @throws {Error} for text that is not UTF-8, not JSON, not
 * canonical, or too deep
 */
export function* parseCanonical(bytes: Uint8Array): Generator<void, unknown> {
  const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  yield;
  const value = yield* parseInParts(text);
  if (!(yield* isCanonical(value, text))) throw new Error("not canonical JSON");
  return value;
}

/** Parses the list of entries, a part at a time. If it is cut wrongly, the text is not canonical, which is detected. */
function* parseInParts(text: string): Generator<void, unknown> {
  const start = text.indexOf(ENTRIES) + ENTRIES.length;
  const end = text.indexOf(BEHIND, start);
  if (start < ENTRIES.length || end - start < STEP_CHARS) return parseJson(text);
  const value = parseJson(text.slice(0, start) + text.slice(end)) as { entries: unknown[] };
  for (let at = start; at < end; ) {
    const next = text.indexOf(NEXT_ENTRY, at + STEP_CHARS);
    const to = next < 0 || next > end ? end : next;
    for (const it of parseJson(`[${text.slice(at, to)}]`) as unknown[]) value.entries.push(it);
    at = to + 1;
    yield;
  }
  return value;
}

/** Returns whether `JSON.stringify(value)` is `text`, without creating that text again. */
function* isCanonical(value: unknown, text: string): Generator<void, boolean> {
  let at = 0;
  const takes = (part: string) => {
    if (!text.startsWith(part, at)) return false;
    at += part.length;
    return true;
  };
  if (typeof value !== "object" || value === null || Array.isArray(value)) return JSON.stringify(value) === text;
  if (!takes("{")) return false;
  for (const [index, [key, member]] of Object.entries(value).entries()) {
    if (index > 0 && !takes(",")) return false;
    if (!takes(`${JSON.stringify(key)}:`)) return false;
    if (!Array.isArray(member)) {
      if (!takes(JSON.stringify(member))) return false;
      continue;
    }
    if (!takes("[")) return false;
    for (const [place, it] of member.entries()) {
      if ((place > 0 && !takes(",")) || !takes(JSON.stringify(it))) return false;
      if (place % STEP_ENTRIES === 0) yield;
    }
    if (!takes("]")) return false;
  }
  return takes("}") && at === text.length;
}
