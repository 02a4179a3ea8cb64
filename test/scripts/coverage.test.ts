/** scripts/coverage-parts: which lines count, and which were reached. */
import { spawnSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { codeLines, Reached, unreachedLines } from "../../scripts/coverage-parts/reached.ts";
import { figures, formatLines, parseLines } from "../../scripts/coverage-parts/report.ts";
import { scratch } from "../fixtures/program.ts";

const SOURCE = `/** A comment. */
interface Shape {
  side: number;
}

export function half(it: Shape): number {
  // Why.
  if (it.side < 0) {
    throw new Error("negative");
  }
  return it.side / 2;
}

export function never(): void {
  half({ side: 1 });
}
`;

t.test("codeLines() leaves out blank lines, comments, types and closing brackets", async (t) => {
  t.same(codeLines(SOURCE), [6, 8, 9, 11, 14, 15]);
});

t.test("unreachedLines() lets an inner range speak for its part", async (t) => {
  const text = "aaa\nbbb\nccc\nddd\n";
  const of = (...ranges: [number, number, number][]) => [
    ...unreachedLines(text, [
      { ranges: ranges.map(([startOffset, endOffset, count]) => ({ startOffset, endOffset, count })) },
    ]),
  ];
  t.same(of([0, 16, 1]), []);
  t.same(of([0, 16, 1], [4, 12, 0]), [2, 3]);
  t.same(of([0, 16, 1], [4, 12, 0], [8, 11, 2]), [2]);
  t.same(of([0, 16, 1], [5, 12, 0]), [3], "a line of which a part ran is reached");
});

t.test("Reached adds up what several processes ran", async (t) => {
  const dir = scratch(t);
  const src = join(dir, "src/room");
  mkdirSync(src, { recursive: true });
  writeFileSync(join(src, "half.ts"), SOURCE);
  writeFileSync(join(dir, "src/unused.ts"), "export const one = 1;\n");
  const reached = new Reached(join(dir, "src"));
  const run = (code: string) => {
    const to = join(dir, "coverage");
    const env = { PATH: process.env.PATH, NODE_V8_COVERAGE: to, NODE_DISABLE_COMPILE_CACHE: "1" };
    const text = `const { half } = await import(${JSON.stringify(join(src, "half.ts"))}); ${code}`;
    const ran = spawnSync(process.execPath, ["--input-type=module", "-e", text], { env, encoding: "utf8" });
    t.equal(ran.status, 0, ran.stderr);
    reached.fold(to);
    return reached.files.get("room/half.ts")?.unreached;
  };
  t.same(reached.files.get("room/half.ts")?.unreached, [6, 8, 9, 11, 14, 15]);
  // Of `export function`, the first word runs with the module.
  t.same(run("half({ side: 4 });"), [9, 15]);
  t.same(run("try { half({ side: -4 }); } catch {}"), [15]);
  t.same(run("half({ side: 4 });"), [15], "what was reached stays so");
  t.same(reached.files.get("unused.ts"), { lines: 1, unreached: [1] });
  const later = new Reached(join(dir, "src"));
  later.addRecord(new Map([["room/half.ts", [9, 15]]]));
  t.same(later.files.get("room/half.ts")?.unreached, [9, 15], "what a record does not list was reached");
  t.same(later.files.get("unused.ts")?.unreached, []);
  t.same(figures(reached.files), {
    room: { lines: 6, reached: 5, percent: 83.3 },
    verbs: { lines: 1, reached: 0, percent: 0 },
    all: { lines: 7, reached: 5, percent: 71.4 },
  });
});

t.test("formatLines() and parseLines()", async (t) => {
  t.equal(formatLines([]), "");
  t.equal(formatLines([3, 7, 8, 9, 12]), "3, 7-9, 12");
  t.same(parseLines("3, 7-9, 12"), [3, 7, 8, 9, 12]);
});
