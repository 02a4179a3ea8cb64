/**
 * JSON from outside. V8 parses any depth, but everything that walks the value afterwards (stringify, validation) is
 * recursive and fails with "Maximum call stack size exceeded"; so depth is limited first.
 */

/** Levels of lists and objects; the deepest that airferry writes or reads has 8. */
const MAX_JSON_DEPTH = 64;

/**
 * Parses JSON. @throws {SyntaxError} when it is not JSON, or deeper than {@link MAX_JSON_DEPTH}: the message is
 * readable
 */
export function parseJson(text: string): unknown {
  // Parsed first: brackets can only be counted once it is known where strings end.
  const value: unknown = JSON.parse(text);
  if (isDeeper(text, MAX_JSON_DEPTH)) throw new SyntaxError(`more than ${MAX_JSON_DEPTH} levels deep`);
  return value;
}

/**
 * Whether an object of well-formed JSON has a name twice: readers differ about which of the two counts. For text that
 * is not canonical, where comparing it with its own parsed form shows nothing.
 */
export function hasRepeatedName(text: string): boolean {
  const open: (Set<string> | undefined)[] = [];
  for (const [token, colon] of text.matchAll(/"[^"\\]*(?:\\.[^"\\]*)*"(\s*:)?|[{}[\]]/g)) {
    if (token === "{" || token === "[") open.push(token === "{" ? new Set() : undefined);
    else if (token === "}" || token === "]") open.pop();
    else if (colon !== undefined) {
      const name = JSON.parse(token.slice(0, -colon.length)) as string;
      const names = open.at(-1);
      if (names?.has(name)) return true;
      names?.add(name);
    }
  }
  return false;
}

/** `text` is well-formed JSON. */
function isDeeper(text: string, max: number): boolean {
  let depth = 0;
  for (let at = 0; at < text.length; at++) {
    switch (text.charCodeAt(at)) {
      case 0x22:
        at = endOfString(text, at);
        break;
      case 0x5b:
      case 0x7b:
        if (++depth > max) return true;
        break;
      case 0x5d:
      case 0x7d:
        depth--;
    }
  }
  return false;
}

/** Position of the quote that ends the string beginning at `start`. */
function endOfString(text: string, start: number): number {
  for (let end = text.indexOf('"', start + 1); ; end = text.indexOf('"', end + 1)) {
    if (end < 0) return text.length;
    let slashes = 0;
    while (text.charCodeAt(end - 1 - slashes) === 0x5c) slashes++;
    if (slashes % 2 === 0) return end;
  }
}
