/**
 * Rich dependencies: `(a >= 1 and (b or c) if d else e)`, as rpm's docs/manual/boolean_dependencies.md describes them, and
 * their conversion to clauses that a solver understands. No knowledge of packages here: the caller says who provides what.
 */
import { formatSign, parseEvr, parseSign } from "./evr.ts";
import type { Relation } from "./primary.ts";

export type Operator = "and" | "or" | "if" | "unless" | "with" | "without";
export type Dependency = { op?: never; relation: Relation } | { op: Operator; args: Dependency[] };

const OPERATORS = new Set<string>(["and", "or", "if", "unless", "with", "without"]);
const MAX_LENGTH = 8192;
const MAX_DEPTH = 20;
/** Conversion of nested alternatives can explode; nothing real comes near. */
const MAX_CLAUSES = 4096;

/** Tells whether a name is an expression. */
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

  /** Up to a blank or an unbalanced closing parenthesis: names have balanced ones of their own. */
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

/** `name >= epoch:version-release` as people write it, without epoch 0. */
export function formatRelation({ name, flags, epoch, version, release }: Relation): string {
  if (flags === 0) return name;
  return `${name} ${formatSign(flags)} ${epoch === 0 ? "" : `${epoch}:`}${version}${release === "" ? "" : `-${release}`}`;
}

/** Who provides a relation: package numbers, each once. */
export type ProvidersOf = (relation: Relation) => readonly number[];

/**
 * Converts a dependency into clauses, all of which must hold: `n + 1` stands for "package n is there", `-(n + 1)` for "it is
 * not". An empty clause cannot be satisfied. `negated`: clauses of the opposite. Undefined when the expression grows beyond
 * all reason.
 */
export function clausesOf(dependency: Dependency, providersOf: ProvidersOf, negated = false): number[][] | undefined {
  try {
    return convert(dependency, negated, providersOf);
  } catch (error) {
    if (error instanceof RangeError) return undefined;
    throw error;
  }
}

function convert(it: Dependency, negated: boolean, providersOf: ProvidersOf): number[][] {
  if (it.op === undefined || it.op === "with" || it.op === "without") {
    const packages = setOf(it, providersOf);
    return negated ? packages.map((id) => [-(id + 1)]) : [packages.map((id) => id + 1)];
  }
  const [first, second, third] = it.args as [Dependency, Dependency, Dependency | undefined];
  switch (it.op) {
    case "and":
    case "or": {
      const parts = it.args.map((arg) => convert(arg, negated, providersOf));
      return (it.op === "and") !== negated ? conjunction(parts) : disjunction(parts);
    }
    case "if": {
      // a if b else c: (a or not b) and (c or b)
      const then = either([first, false], [second, true]);
      if (third === undefined) return then;
      const otherwise = either([third, false], [second, false]);
      return negated ? disjunction([then, otherwise]) : conjunction([then, otherwise]);
    }
    case "unless": {
      // a unless b: a and not b. With else c: (a and not b) or (c and b), which is (a or b) and (c or not b)
      if (third === undefined) {
        const parts = [convert(first, negated, providersOf), convert(second, !negated, providersOf)];
        return negated ? disjunction(parts) : conjunction(parts);
      }
      const then = either([first, false], [second, false]);
      const otherwise = either([third, false], [second, true]);
      return negated ? disjunction([then, otherwise]) : conjunction([then, otherwise]);
    }
  }

  /** `a or b`, each possibly negated first, and the whole negated at the end (De Morgan). */
  function either([a, notA]: [Dependency, boolean], [b, notB]: [Dependency, boolean]): number[][] {
    const parts = [convert(a, notA !== negated, providersOf), convert(b, notB !== negated, providersOf)];
    return negated ? conjunction(parts) : disjunction(parts);
  }
}

/** What cannot be satisfied is that alone: a package is excused from conflicting with itself only where nothing else is said. */
function conjunction(parts: number[][][]): number[][] {
  const clauses = parts.flat();
  return clauses.some((it) => it.length === 0) ? [[]] : clauses;
}

/** Clauses that always hold are dropped on the way, as are repeated ones: nested conditions would explode. */
function disjunction(parts: number[][][]): number[][] {
  let result: number[][] = [[]];
  for (const part of parts) {
    const next = new Map<string, number[]>();
    for (const left of result) {
      for (const right of part) {
        const clause = tidyClause([...left, ...right]);
        if (clause) next.set(clause.join(), clause);
      }
      if (next.size > MAX_CLAUSES) throw new RangeError("too many clauses");
    }
    result = [...next.values()];
  }
  return result;
}

/** A clause without repetitions, in rising order; undefined when it always holds. */
export function tidyClause(literals: readonly number[]): number[] | undefined {
  const tidy = [...new Set(literals)].sort((a, b) => a - b);
  return tidy.some((it) => it < 0 && tidy.includes(-it)) ? undefined : tidy;
}

/** Packages that match a relation, or a combination of relations that one package has to match alone. */
function setOf(it: Dependency, providersOf: ProvidersOf): number[] {
  if (it.op === undefined) return [...providersOf(it.relation)];
  const sets = it.args.map((arg) => setOf(arg, providersOf));
  const [first = [], ...others] = sets;
  switch (it.op) {
    case "with":
      return first.filter((id) => others.every((set) => set.includes(id)));
    case "without":
      return first.filter((id) => !others.some((set) => set.includes(id)));
    default:
      return [...new Set(sets.flat())];
  }
}

/**
 * An expression as if every condition in it held: what `a if b` and `a unless b` ask for sooner or later, and both branches
 * where there is an else. Undefined when it has no condition.
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
