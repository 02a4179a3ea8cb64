/** Formats text for people: sizes, durations, tables, and untrusted names. */
import { columnsOf, printable } from "../io/printable.ts";

/** Rows as aligned columns, header first, one line each; numbers right-aligned. Cells may hold untrusted text. */
export function formatTable(
  header: readonly string[],
  rows: readonly (readonly string[])[],
  right: readonly number[] = [],
): string[] {
  return [...tableLines(header, rows, right)];
}

/** The same line by line, for long tables. The rows are read twice. */
export function* tableLines(
  header: readonly string[],
  rows: Iterable<readonly string[]>,
  right: readonly number[] = [],
): Generator<string> {
  const widths = header.map(columnsOf);
  for (const row of rows)
    for (const [column, cell] of row.entries())
      widths[column] = Math.max(widths[column] ?? 0, columnsOf(printable(cell)));
  const lineOf = (row: readonly string[]) =>
    row
      .map(printableCell)
      .map((cell, column) => {
        const blanks = " ".repeat((widths[column] as number) - columnsOf(cell));
        return right.includes(column) ? blanks + cell : column === row.length - 1 ? cell : cell + blanks;
      })
      .join("  ")
      .trimEnd();
  yield lineOf(header);
  for (const row of rows) yield lineOf(row);
}

function printableCell(cell: string): string {
  return printable(cell);
}

/** `1:02:03` or `2:03`. */
export function formatSeconds(seconds: number): string {
  const parts = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
  const [hours, minutes, rest] = parts as [number, number, number];
  const two = (value: number) => String(value).padStart(2, "0");
  return hours > 0 ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)}`;
}
