/** The words for a fault that the schema of a manifest found: what was expected, what was found, and where. */
import type { z } from "zod";
import { closestWord, didYouMean } from "../io/closest-word.ts";
import { redactUrl } from "../io/redact.ts";

export function valueAt(value: unknown, path: readonly PropertyKey[]): unknown {
  let it = value as Record<PropertyKey, unknown> | null | undefined;
  for (const key of path) it = it?.[key] as typeof it;
  return it;
}

/** What the schema found, in terms of the manifest. */
export function describeIssue(issue: z.core.$ZodIssue, value: unknown): string {
  const shown = typeof value === "string" && /:[^@\s]*@/.test(value) ? redactUrl(value) : value;
  const got = typeof value === "string" || typeof value === "number" ? `, got ${JSON.stringify(shown)}` : "";
  switch (issue.code) {
    case "invalid_type":
      return value === undefined
        ? `is missing: expected ${kindWords(issue.expected)}`
        : `expected ${kindWords(issue.expected)}, got ${kindOf(value)}${issue.expected === "string" && isScalar(value) ? "; write it in quotes" : ""}`;
    case "invalid_value": {
      const wanted = `must be ${issue.values.map((it) => JSON.stringify(it)).join(" or ")}`;
      const quotes = typeof value === "number" && issue.values.every((it) => typeof it === "string");
      if (value === undefined) return `is missing: ${wanted}`;
      if (quotes) return `${wanted}${got}; write it in quotes`;
      const known = issue.values.filter((it) => typeof it === "string");
      // Of one that is expected nothing else can be meant.
      const near = typeof value === "string" && known.length > 1 ? closestWord(value, known) : undefined;
      return `${wanted}${got}${didYouMean(near)}`;
    }
    case "too_small":
      return issue.origin === "string" || issue.origin === "array"
        ? "must not be empty"
        : `must be at least ${issue.minimum}${got}`;
    case "too_big":
      return `must be at most ${issue.maximum}${issue.origin === "string" ? " characters long" : ""}`;
    case "invalid_key":
      return issue.issues[0]?.message ?? issue.message;
    case "invalid_union":
      return /^Invalid/.test(issue.message)
        ? `expected text, a number, true or false, got ${kindOf(value)}`
        : `${issue.message}, got ${kindOf(value)}`;
    default:
      // The schema's own messages are good; the library's defaults are not.
      return /^(Invalid|Unrecognized|Too )/.test(issue.message) ? `cannot be used${got}` : issue.message;
  }
}

const KINDS: Readonly<Record<string, string>> = {
  string: "text",
  object: "a mapping",
  record: "a mapping",
  array: "a list",
  boolean: "true or false",
  number: "a number",
  int: "a whole number",
};

function kindWords(expected: string): string {
  return KINDS[expected] ?? expected;
}

/** The type of a document value, in the same words. */
function kindOf(value: unknown): string {
  if (value === null) return "nothing";
  if (Array.isArray(value)) return "a list";
  if (isScalar(value)) return String(value);
  return typeof value === "string" ? `the text ${JSON.stringify(value.slice(0, 80))}` : "a mapping";
}

function isScalar(value: unknown): value is number | boolean {
  return typeof value === "number" || typeof value === "boolean";
}

/** `["isos", 0, "url"]` as `isos[0].url`. */
export function formatPath(path: readonly PropertyKey[]): string {
  return path
    .map((key, index) => (typeof key === "number" ? `[${key}]` : `${index > 0 ? "." : ""}${String(key)}`))
    .join("");
}
