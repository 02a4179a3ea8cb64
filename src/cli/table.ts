/** Formats text for people: sizes, durations, tables, and untrusted names. */
import { columnsOf, printable } from "../io/printable.ts";

/** Rows as aligned columns, header first, one line each; numbers right-aligned. Cells may hold untrusted text. */
export function formatTable(
  header: readonly string[],
  rows: readonly (readonly string[])[],
  right: readonly number[] = [],
): string[] {
  const all = [header, ...rows].map((row) => row.map((cell) => printable(cell)));
  const widths = header.map((_, column) => all.reduce((most, row) => Math.max(most, columnsOf(row[column] ?? "")), 0));
  return all.map((row) =>
    row
      .map((cell, column) => {
        const blanks = " ".repeat((widths[column] as number) - columnsOf(cell));
        return right.includes(column) ? blanks + cell : column === row.length - 1 ? cell : cell + blanks;
      })
      .join("  ")
      .trimEnd(),
  );
}

/** `1:02:03` or `2:03`. */
export function formatSeconds(seconds: number): string {
  const parts = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
  const [hours, minutes, rest] = parts as [number, number, number];
  const two = (value: number) => String(value).padStart(2, "0");
  return hours > 0 ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)}`;
}
