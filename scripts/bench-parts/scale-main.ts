/**
 * Growth: the CPU and the memory of verbs at n, 10 n and 100 n of entries, packages and bytes, as exponents and slopes.
 * What grows faster than n^1.05, or takes more memory than it may, is marked.
 */
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { type Baseline, describeMachine, saveBaseline } from "./baseline.ts";
import { type Growth, growthOf, isWithin, MAX_BYTES, MAX_EXPONENT, tableOf } from "./scale-growth.ts";
import { DIMENSIONS, type Dimension } from "./scale-made.ts";
import { measureVerb } from "./scale-verbs.ts";

const FILE = join(import.meta.dirname, "../../docs/bench-scale.json");
const STEPS = [1, 10, 100];
const DEFAULT_MINUTES = 25;

const HELP = `usage: scripts/bench scale [--write] [--only NAME,…] [--factor F] [--minutes M] [--json]

Measures at n, 10 n and 100 n of
${DIMENSIONS.map((it) => `  ${it.name.padEnd(9)} n = ${String(it.base).padEnd(4)} ${it.unit}\n${" ".repeat(12)}by ${it.verbs.join(", ")}`).join("\n")}
and prints the CPU seconds (user and system, all threads and processes), the peak memory (resident, all processes
together; at most ${MAX_BYTES / 1e6} MB), how time grows from 10 n to 100 n (as n^x; at most n^${MAX_EXPONENT}) and what each further
one takes of memory. The layout's content is zeros that take no room, and the digests of its volumes are made up: a
terabyte is planned, laid out, signed, listed and served, but not hashed.

  --write      keep the result, with the machine's description, as docs/bench-scale.json
  --only       only these of: ${DIMENSIONS.map((it) => it.name).join(", ")}
  --factor F   F times as many of everything, to try it: 0.01 is some minutes; default 1
  --minutes M  begin nothing new after that time; default ${DEFAULT_MINUTES}
  --json       print the rows as JSON

Exit status: 0 all within the limits, 1 something above them, 2 usage. Needs 25 GiB of temporary space (TMPDIR).`;

function parse() {
  const { values } = parseArgs({
    options: {
      write: { type: "boolean", default: false },
      json: { type: "boolean", default: false },
      help: { type: "boolean", default: false },
      only: { type: "string" },
      factor: { type: "string", default: "1" },
      minutes: { type: "string", default: String(DEFAULT_MINUTES) },
    },
  });
  const names = values.only?.split(",") ?? DIMENSIONS.map((it) => it.name);
  const unknown = names.find((name) => !DIMENSIONS.some((it) => it.name === name));
  if (unknown !== undefined) throw new Error(`unknown name "${unknown}": see --help`);
  const [factor, minutes] = [Number(values.factor), Number(values.minutes)];
  if (!(factor > 0) || !(minutes > 0)) throw new Error("--factor and --minutes take numbers above 0");
  if (values.write && (values.only !== undefined || factor !== 1))
    throw new Error("--write keeps a baseline of everything: without --only and --factor");
  return { ...values, factor, minutes, dimensions: DIMENSIONS.filter((it) => names.includes(it.name)) };
}

/** All sizes of one dimension; those that the time does not suffice for are left out. */
async function grow(dimension: Dimension, factor: number, deadline: number): Promise<Growth[]> {
  const growths = new Map<string, Growth>(
    dimension.verbs.map((verb) => [verb, { of: dimension.name, verb, sizes: [], cpuSeconds: [], peakBytes: [] }]),
  );
  for (const step of STEPS) {
    const size = Math.max(1, Math.round(dimension.base * factor * step));
    if (Date.now() > deadline) {
      console.error(`bench: ${dimension.name}: no time left for ${size}`);
      break;
    }
    const dir = mkdtempSync(join(tmpdir(), "airferry-bench-scale-"));
    try {
      console.error(`bench: ${dimension.name}: ${size} ${dimension.unit}`);
      await dimension.make(dir, size);
      for (const verb of dimension.verbs) {
        if (verb === "inspect") await dimension.afterPlan?.(dir);
        const { cpu, memory } = await measureVerb(verb, dir);
        const growth = growths.get(verb) as Growth;
        growth.sizes.push(size);
        growth.cpuSeconds.push(Math.round(cpu * 100) / 100);
        growth.peakBytes.push(memory);
      }
    } finally {
      rmSync(dir, { recursive: true, force: true });
    }
  }
  return [...growths.values()].map(growthOf);
}

let options: ReturnType<typeof parse>;
try {
  options = parse();
} catch (error) {
  console.error(`bench: ${(error as Error).message}`);
  process.exit(2);
}
if (options.help) {
  console.log(HELP);
  process.exit(0);
}
const machine = describeMachine();
const deadline = Date.now() + options.minutes * 60_000;
const rows: Growth[] = [];
const started = performance.now();
for (const it of options.dimensions) rows.push(...(await grow(it, options.factor, deadline)));
const before = existsSync(FILE) ? (JSON.parse(readFileSync(FILE, "utf8")) as Baseline<Growth>) : undefined;
console.error(`bench: ${Math.round((performance.now() - started) / 1000)} s`);
console.log(options.json ? JSON.stringify(rows, null, 2) : tableOf(rows, before).join("\n"));
const isWhole = rows.every((it) => it.sizes.length === STEPS.length);
if (options.write && isWhole) saveBaseline(machine, rows, FILE);
if (!isWhole)
  console.error(`bench: the time was too short${options.write ? ": nothing is kept; give more --minutes" : ""}`);
process.exitCode = isWhole && rows.every(isWithin) ? 0 : 1;
