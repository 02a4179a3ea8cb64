/** Coverage for people: a percentage for each room, and ranges of lines. */

interface RoomFigure {
  lines: number;
  reached: number;
  /** One decimal. */
  percent: number;
}

/** What test/coverage.json keeps. */
export interface CoverageRecord {
  commit: string;
  /** Files and folders, or all of test/. */
  tests: string[];
  failed: string[];
  rooms: Record<string, RoomFigure>;
  /** Lines as {@link formatLines} writes them, by file below src/. */
  unreached: Record<string, string>;
}

type Files = ReadonlyMap<string, { lines: number; unreached: readonly number[] }>;

/** Figures by room, the files directly in src/ as `verbs`, and of all as `all`. */
export function figures(files: Files): Record<string, RoomFigure> {
  const sums = new Map<string, { lines: number; reached: number }>();
  for (const [file, { lines, unreached }] of files) {
    const room = file.includes("/") ? (file.split("/")[0] as string) : "verbs";
    for (const name of [room, "all"]) {
      const sum = sums.get(name) ?? { lines: 0, reached: 0 };
      sums.set(name, { lines: sum.lines + lines, reached: sum.reached + lines - unreached.length });
    }
  }
  const sorted = [...sums].sort(([a], [b]) => (a === "all" ? 1 : b === "all" ? -1 : a < b ? -1 : 1));
  return Object.fromEntries(
    sorted.map(([name, it]) => [name, { ...it, percent: Math.round((it.reached / it.lines) * 1000) / 10 }]),
  );
}

/** Formats sorted line numbers: `3, 7-9`. */
export function formatLines(lines: readonly number[]): string {
  const ranges: [first: number, last: number][] = [];
  for (const line of lines) {
    const open = ranges.at(-1);
    if (open !== undefined && open[1] === line - 1) open[1] = line;
    else ranges.push([line, line]);
  }
  return ranges.map(([first, last]) => (first === last ? String(first) : `${first}-${last}`)).join(", ");
}

/** Reads what {@link formatLines} wrote. */
export function parseLines(text: string): number[] {
  return text.split(", ").flatMap((range) => {
    const [first, last = first] = range.split("-").map(Number) as [number, number?];
    return Array.from({ length: last - first + 1 }, (_, index) => first + index);
  });
}
