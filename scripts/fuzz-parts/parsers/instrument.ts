/** Makes a program count which of its branches are taken: `globalThis.__hits[n]++` at the start of each. */
import { type AnyNode, type Node, parse } from "acorn";

/** Returns the program with counters, and how many there are. */
export function instrument(code: string): { code: string; branches: number } {
  const insertions: { at: number; text: string }[] = [];
  let branches = 0;
  const counter = () => `globalThis.__hits[${branches++}]++`;
  const statement = (node: Node) => {
    insertions.push({ at: node.start, text: `{${counter()};` }, { at: node.end, text: "}" });
  };
  const expression = (node: Node) => {
    insertions.push({ at: node.start, text: `(${counter()},` }, { at: node.end, text: ")" });
  };
  const waiting: AnyNode[] = [parse(code, { ecmaVersion: "latest", sourceType: "script" })];
  for (let node = waiting.pop(); node !== undefined; node = waiting.pop()) {
    if (node.type === "IfStatement") for (const it of [node.consequent, node.alternate]) it && statement(it);
    if (/^(For|While)/.test(node.type)) statement((node as unknown as { body: Node }).body);
    if (node.type === "ConditionalExpression") for (const it of [node.consequent, node.alternate]) expression(it);
    if (node.type === "LogicalExpression") expression(node.right);
    if (node.type === "SwitchCase") {
      const first = node.consequent[0];
      if (first) insertions.push({ at: first.start, text: `${counter()};` });
    }
    for (const value of Object.values(node)) {
      for (const it of Array.isArray(value) ? value : [value]) if (typeof it?.type === "string") waiting.push(it);
    }
  }
  // At one place what ends inside comes first, and what begins outside.
  const parts: string[] = [];
  let last = 0;
  const order = insertions.map((it, index) => ({ ...it, index, closes: /^[})]$/.test(it.text) }));
  order.sort(
    (a, b) => a.at - b.at || Number(b.closes) - Number(a.closes) || (a.closes ? b.index - a.index : a.index - b.index),
  );
  for (const { at, text } of order) {
    parts.push(code.slice(last, at), text);
    last = at;
  }
  return { code: parts.join("") + code.slice(last), branches };
}
