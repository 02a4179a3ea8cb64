/**
 * YAML from outside, read with the yaml package within limits: no alias bombs, no stack overflows, and time linear in
 * the text. The package compares each key of a mapping with every other one, and shows the whole line for each error;
 * here every key is looked up once, and the first errors are enough.
 */
import { type Document, isMap, isPair, isScalar, isSeq, LineCounter, parseDocument, YAMLParseError } from "yaml";

/** Levels of collections. */
const MAX_DEPTH = 100;
/** Limit of alias expansion, for `toJS`. */
export const MAX_ALIASES = 100;
const MAX_ERRORS = 100;
const SEVERAL = "holds more than one document: expected one, without '---' or '...' inside";

type YamlOptions = Omit<NonNullable<Parameters<typeof parseDocument>[1]>, "uniqueKeys" | "prettyErrors" | "logLevel">;

/**
 * Parses one document. Faults are in its `errors` (at most 100), each with `linePos`; a second document, double keys
 * and too much depth are among them. If there are any, the document's value must not be used.
 */
export function parseYaml(text: string, options: YamlOptions = {}): Document.Parsed {
  const lines = options.lineCounter ?? new LineCounter();
  let document: Document.Parsed;
  try {
    // At any other level the package prints warnings itself, or accepts a second document.
    const own = { lineCounter: lines, uniqueKeys: false, prettyErrors: false, logLevel: "error" } as const;
    document = parseDocument(text, { ...options, ...own });
    for (const error of document.errors) if (error.code === "MULTIPLE_DOCS") error.message = SEVERAL;
    if (document.errors.length === 0) checkNodes(document, options.merge === true);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    // The package recurses for every level.
    document = parseDocument("", options);
    document.errors = [tooDeep(0)];
  }
  document.errors.splice(MAX_ERRORS);
  for (const error of document.errors) error.linePos = [lines.linePos(error.pos[0])];
  return document;
}

function checkNodes(document: Document.Parsed, merge: boolean): void {
  const waiting: [node: unknown, depth: number][] = [[document.contents, 1]];
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
    const [node, depth] = next;
    if (isPair(node)) waiting.push([node.key, depth], [node.value, depth]);
    else if (isMap(node) || isSeq(node)) {
      if (depth > MAX_DEPTH) document.errors.push(tooDeep(node.range?.[0] ?? 0));
      if (document.errors.length > MAX_ERRORS) return;
      if (isMap(node)) checkKeys(document, node.items, merge);
      if (depth <= MAX_DEPTH) for (const item of node.items) waiting.push([item, depth + 1]);
    }
  }
  document.errors.sort((a, b) => a.pos[0] - b.pos[0]);
}

/** As in the package: only scalars can be equal, and `<<` may repeat where it merges. */
function checkKeys(document: Document.Parsed, items: readonly { key: unknown }[], merge: boolean): void {
  const seen = new Set<unknown>();
  for (const { key } of items) {
    if (!isScalar(key) || (merge && key.value === "<<")) continue;
    if (seen.has(key.value)) {
      const start = key.range?.[0] ?? 0;
      document.errors.push(new YAMLParseError([start, start + 1], "DUPLICATE_KEY", "Map keys must be unique"));
    }
    seen.add(key.value);
  }
}

function tooDeep(start: number): YAMLParseError {
  return new YAMLParseError([start, start + 1], "UNEXPECTED_TOKEN", `more than ${MAX_DEPTH} levels deep`);
}
