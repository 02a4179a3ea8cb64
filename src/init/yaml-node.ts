/** One node of a foreign YAML document: values by key with their lines, whatever the shape really is. No I/O. */
import { type Document, isAlias, isMap, isScalar, isSeq, LineCounter } from "yaml";
import { parseYaml } from "../io/yaml.ts";

/** Aliases that are followed in one document; looking one up takes time linear in the document. */
const MAX_FOLLOWED = 200;

interface Context {
  document: Document.Parsed;
  lines: LineCounter;
  /** Line of the file before the document's first. */
  offset: number;
  followed: number;
}

/** A document, or why there is none: `line` is of the file. */
type ParsedYaml = { node: YamlNode } | { fault: string; line: number };

/** Parses one document that begins after line `offset` of its file. */
export function parseYamlNode(text: string, offset: number): ParsedYaml {
  const lines = new LineCounter();
  const document = parseYaml(text, { lineCounter: lines });
  const [error] = document.errors;
  if (error !== undefined) {
    return { fault: error.message.split("\n")[0] ?? "not YAML", line: offset + (error.linePos?.[0].line ?? 1) };
  }
  return { node: new YamlNode(document.contents, { document, lines, offset, followed: 0 }) };
}

/** A mapping, list, scalar, or nothing at all. */
export class YamlNode {
  readonly #node: unknown;
  readonly #context: Context;

  constructor(node: unknown, context: Context) {
    const isFollowed = isAlias(node) && context.followed++ < MAX_FOLLOWED;
    this.#node = isFollowed ? node.resolve(context.document) : isAlias(node) ? undefined : node;
    this.#context = context;
  }

  /** Line in the file, from 1. */
  get line(): number {
    const start = (this.#node as { range?: [number, number, number] } | undefined)?.range?.[0] ?? 0;
    return this.#context.offset + this.#context.lines.linePos(start).line;
  }

  /** The value of a key, also one that is merged with `<<`; nothing when there is none. */
  get(key: string): YamlNode {
    const own = this.#pair(key);
    if (own !== undefined) return own;
    const merged = this.#pair("<<");
    const from = merged === undefined ? [] : merged.items().length > 0 ? merged.items() : [merged];
    for (const it of from) {
      const value = it.#pair(key);
      if (value !== undefined) return value;
    }
    return new YamlNode(undefined, this.#context);
  }

  /** The value at the end of several keys. */
  at(...keys: readonly string[]): YamlNode {
    return keys.reduce<YamlNode>((node, key) => node.get(key), this);
  }

  /** Members of a list; none of anything else. */
  items(): YamlNode[] {
    return isSeq(this.#node) ? this.#node.items.map((it) => new YamlNode(it, this.#context)) : [];
  }

  isList(): boolean {
    return isSeq(this.#node);
  }

  /** Whether it is a list or mapping without members. */
  isEmpty(): boolean {
    return (isSeq(this.#node) || isMap(this.#node)) && this.#node.items.length === 0;
  }

  /** Keys and values of a mapping; none of anything else. */
  fields(): [key: string, value: YamlNode][] {
    if (!isMap(this.#node)) return [];
    return this.#node.items.map((it) => [scalarText(it.key) ?? "", new YamlNode(it.value, this.#context)]);
  }

  /** A scalar as it is written: `1.30` stays `1.30`. Undefined for anything else, and for null. */
  text(): string | undefined {
    return scalarText(this.#node);
  }

  /** Whether it is the scalar `true`. */
  isTrue(): boolean {
    return isScalar(this.#node) && this.#node.value === true;
  }

  /** Whether there is a value other than null. */
  exists(): boolean {
    return this.#node !== undefined && this.#node !== null && !(isScalar(this.#node) && this.#node.value === null);
  }

  /** Every scalar below it, with the keys that lead to it. Aliases are not followed: their anchors are below it too. */
  *scalars(): Generator<{ path: string[]; text: string; line: number }> {
    const waiting: [node: unknown, path: string[]][] = [[this.#node, []]];
    for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
      const [node, path] = next;
      if (isMap(node)) {
        for (const it of node.items.toReversed()) waiting.push([it.value, [...path, scalarText(it.key) ?? "?"]]);
      } else if (isSeq(node)) {
        for (const [index, it] of [...node.items.entries()].toReversed()) waiting.push([it, [...path, String(index)]]);
      } else {
        const text = scalarText(node);
        if (text !== undefined) yield { path, text, line: new YamlNode(node, this.#context).line };
      }
    }
  }

  #pair(key: string): YamlNode | undefined {
    if (!isMap(this.#node)) return undefined;
    const found = this.#node.items.find((it) => scalarText(it.key) === key);
    return found && new YamlNode(found.value, this.#context);
  }
}

function scalarText(node: unknown): string | undefined {
  if (!isScalar(node) || node.value === null) return undefined;
  return typeof node.value === "string" ? node.value : (node.source ?? String(node.value));
}
