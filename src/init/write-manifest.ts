/**
 * The text of a manifest that `init --from` makes: every entry under a comment that says which line it comes from.
 * No I/O.
 */
import { printable, printableJson } from "../io/printable.ts";
import type { Merged, Origin } from "./merge.ts";

/** Lines of the list of what is not carried, at the end. */
const MAX_LISTED = 200;
const MAX_ORIGINS = 4;
/** Columns of lists that stay on one line. */
const MAX_COLUMNS = 100;

/** Formats the manifest; `sources` are the names of the files. */
export function manifestText(stream: string, sources: readonly string[], merged: Merged): string {
  const lines = [
    "# yaml-language-server: $schema=manifest.schema.json",
    `# Made by airferry init --from of ${comment(sources.join(", "))}.`,
    "# The comment above an entry says which lines it comes from. What is not carried over is listed at the end.",
    "apiVersion: airferry/v1",
    `stream: ${scalar(stream)}`,
  ];
  for (const kind of ["isos", "rpms", "files", "images"] as const) {
    const entries: readonly Origin<object>[] = merged[kind];
    if (entries.length === 0) continue;
    lines.push("", `${kind}:`);
    for (const { entry, from } of entries) lines.push(`  # ${originText(from)}`, ...entryLines(entry));
  }
  const { skipped, more } = merged;
  if (skipped.length > 0) {
    lines.push("", "# Not carried over:");
    for (const { file, line, what, why } of skipped.slice(0, MAX_LISTED)) {
      lines.push(`# - ${comment(`${file}:${line}: ${what}: ${why}`)}`);
    }
    const rest = skipped.length - MAX_LISTED + more;
    if (rest > 0) lines.push(`# - and ${rest} more`);
  }
  return `${lines.join("\n")}\n`;
}

function originText(from: readonly string[]): string {
  const more = from.length > MAX_ORIGINS ? `, and ${from.length - MAX_ORIGINS} more` : "";
  return `${comment(from.slice(0, MAX_ORIGINS).join(", "))}${more}`;
}

/** Foreign text in a comment: it stays on its line. */
function comment(text: string): string {
  return printable(text, 1000);
}

function entryLines(entry: object): string[] {
  return Object.entries(entry)
    .filter(([, value]) => value !== undefined)
    .flatMap(([key, value]) => valueLines(key, value))
    .map((line, index) => `${index === 0 ? "  - " : "    "}${line}`);
}

function valueLines(key: string, value: unknown): string[] {
  if (Array.isArray(value)) {
    const flow = `${key}: [${value.map(scalar).join(", ")}]`;
    return flow.length <= MAX_COLUMNS ? [flow] : [`${key}:`, ...value.map((it) => `  - ${scalar(it)}`)];
  }
  if (typeof value !== "object" || value === null) return [`${key}: ${scalar(value)}`];
  return [
    `${key}: { ${Object.entries(value)
      .map(([name, it]) => `${name}: ${scalar(it)}`)
      .join(", ")} }`,
  ];
}

/** A value as YAML reads it again: plain where it cannot be anything else. */
function scalar(value: unknown): string {
  if (typeof value !== "string") return String(value);
  const plain = /^(?:https?:\/\/[A-Za-z0-9$][\w.$~/%:=&?+@-]*|[A-Za-z][\w./@:+-]*)$/.test(value) && !/:$/.test(value);
  return plain && !/^(?:true|false|null|yes|no|on|off|y|n)$/i.test(value) ? value : printableJson(value);
}
