/** JSON with sorted keys, without spaces unless `indent` is set: the same value always gives the same text. */
export function canonicalJson(value: unknown, indent = 0): string {
  const sorted = (_key: string, it: unknown) =>
    it !== null && typeof it === "object" && !Array.isArray(it) && !isSorted(Object.keys(it)) ? sortedKeys(it) : it;
  return JSON.stringify(value, sorted, indent);
}

/** Length of a piece of text. */
const PIECE_CHARS = 64 * 1024;

/**
 * The text of {@link canonicalJson} in pieces, for what may have 100,000 members: neither the text nor a copy of the
 * value is made as a whole. An iterable other than an array stands for an array, whose members are made on demand.
 * `levels` of it are taken apart.
 */
export function* canonicalPieces(value: unknown, indent: number, levels: number): Generator<string> {
  let waiting = "";
  for (const part of partsOf(value, indent, levels, "\n")) {
    waiting += part;
    if (waiting.length < PIECE_CHARS) continue;
    yield waiting;
    waiting = "";
  }
  if (waiting !== "") yield waiting;
}

/** @param line what begins a line on the level of `value`: a line break, and the indentation */
function* partsOf(value: unknown, indent: number, levels: number, line: string): Generator<string> {
  if (levels === 0 || value === null || typeof value !== "object") {
    const text = canonicalJson(value, indent);
    yield line.length > 1 ? text.replaceAll("\n", line) : text;
    return;
  }
  const inner = line + " ".repeat(indent);
  let isFirst = true;
  if (Symbol.iterator in value) {
    for (const it of value as Iterable<unknown>) {
      yield isFirst ? `[${inner}` : `,${inner}`;
      isFirst = false;
      yield* partsOf(it, indent, levels - 1, inner);
    }
    yield isFirst ? "[]" : `${line}]`;
    return;
  }
  for (const [key, it] of Object.entries(sortedKeys(value))) {
    if (it === undefined) continue;
    yield `${isFirst ? "{" : ","}${inner}${JSON.stringify(key)}: `;
    isFirst = false;
    yield* partsOf(it, indent, levels - 1, inner);
  }
  yield isFirst ? "{}" : `${line}}`;
}

function sortedKeys(value: object): object {
  return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** Nearly everything read from a lock is sorted and need not be copied. */
function isSorted(keys: readonly string[]): boolean {
  return keys.every((it, index) => index === 0 || (keys[index - 1] ?? "") < it);
}
