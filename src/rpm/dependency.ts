/**
 * Rich dependencies: `(a >= 1 and (b or c) if d else e)`, as rpm's docs/manual/boolean_dependencies.md describes them.
 * clauses.ts converts them to what a solver understands.
 */
import { formatSign, parseEvr, parseSign } from "./evr.ts";
import type { Relation } from "./primary.ts";

type Operator = "and" | "or" | "if" | "unless" | "with" | "without";
export type Dependency = { op?: never; relation: Relation } | { op: Operator; args: Dependency[] };

const OPERATORS = new Set<string>(["and", "or", "if", "unless", "with", "without"]);
const MAX_LENGTH = 8192;
const MAX_DEPTH = 20;

/** Returns whether a name is an expression. */
export function isRich(name: string): boolean {
  return name.startsWith("(");
}

/** Parses an expression; undefined when it is malformed. */
export function parseRich(text: string): Dependency | undefined {
  if (text.length > MAX_LENGTH) return undefined;
  const parser = new RichParser(text);
  try {
    const value = parser.expression(0);
    return parser.atEnd() ? value : undefined;
  } catch {
    return undefined;
  }
}

class RichParser {
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  atEnd(): boolean {
    this.#blanks();
    return this.#at === this.#text.length;
  }

  /** `( operand {op operand} )`; `else` belongs to if and unless. */
  expression(depth: number): Dependency {
    if (depth > MAX_DEPTH) throw new Error("too deep");
    this.#expect("(");
    const args = [this.#operand(depth)];
    let op: Operator | undefined;
    for (;;) {
      this.#blanks();
      if (this.#text[this.#at] === ")") {
        this.#at++;
        break;
      }
      const word = this.#word();
      if (word === "else" && (op === "if" || op === "unless") && args.length === 2) args.push(this.#operand(depth));
      else {
        if (
          !OPERATORS.has(word) ||
          (op !== undefined && (op !== word || (op !== "and" && op !== "or" && op !== "with")))
        )
          throw new Error("operator");
        op = word as Operator;
        args.push(this.#operand(depth));
      }
    }
    return op === undefined ? (args[0] as Dependency) : { op, args };
  }

  #operand(depth: number): Dependency {
    this.#blanks();
    if (this.#text[this.#at] === "(") return this.expression(depth + 1);
    const name = this.#word();
    if (name === "") throw new Error("name");
    this.#blanks();
    const sign = /^[<>=]+/.exec(this.#text.slice(this.#at, this.#at + 3))?.[0];
    if (sign === undefined) return { relation: { name, flags: 0, epoch: 0, version: "", release: "" } };
    const flags = parseSign(sign);
    if (flags === undefined) throw new Error("sign");
    this.#at += sign.length;
    this.#blanks();
    return { relation: { name, flags, ...parseEvr(this.#word()) } };
  }

  /** Up to white space or an unbalanced closing parenthesis: names may contain balanced ones. */
  #word(): string {
    this.#blanks();
    const start = this.#at;
    let nesting = 0;
    for (; this.#at < this.#text.length; this.#at++) {
      const char = this.#text[this.#at];
      if (char === " " || char === "\t") break;
      if (char === "(") nesting++;
      else if (char === ")" && nesting-- === 0) break;
    }
    return this.#text.slice(start, this.#at);
  }

  #blanks(): void {
    while (this.#text[this.#at] === " " || this.#text[this.#at] === "\t") this.#at++;
  }

  #expect(char: string): void {
    this.#blanks();
    if (this.#text[this.#at++] !== char) throw new Error(char);
  }
}

/** `name >= epoch:version-release` in readable form, without epoch 0. */
export function formatRelation({ name, flags, epoch, version, release }: Relation): string {
  if (flags === 0) return name;
  return `${name} ${formatSign(flags)} ${epoch === 0 ? "" : `${epoch}:`}${version}${release === "" ? "" : `-${release}`}`;
}

/**
 * An expression as if every condition in it held: what `a if b` and `a unless b` may require, and both branches of an
 * else. Undefined when it has no condition.
 */
export function unconditional(it: Dependency): Dependency | undefined {
  if (it.op === undefined) return undefined;
  if (it.op === "if" || it.op === "unless") {
    const [first, , third] = it.args as [Dependency, Dependency, Dependency | undefined];
    const then = unconditional(first) ?? first;
    return third === undefined ? then : { op: "and", args: [then, unconditional(third) ?? third] };
  }
  const args = it.args.map((arg) => unconditional(arg));
  if (args.every((arg) => arg === undefined)) return undefined;
  return { op: it.op, args: it.args.map((arg, index) => args[index] ?? arg) };
}

/** Every relation that an expression names, in order. */
export function relationsIn(it: Dependency): Relation[] {
  return it.op === undefined ? [it.relation] : it.args.flatMap(relationsIn);
}
