/** Tries each kind in turn until the time is over, and prints a table; ends with 1 if anything did not hold. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { seeded } from "../../test/fixtures/seeded.ts";
import { CLIENT_KINDS } from "./clients.ts";
import { CLOCK_KINDS } from "./clocks.ts";
import { DISK_KINDS } from "./disks.ts";
import { KILL_KINDS } from "./kills.ts";
import { add, held, type Kind, type Outcome } from "./kind.ts";
import { Lab } from "./lab.ts";
import { MEDIA_KINDS } from "./media.ts";
import { POWER_KINDS } from "./power.ts";
import { STREAM_KINDS } from "./streams.ts";

const ALL: readonly Kind[] = [
  ...KILL_KINDS,
  ...POWER_KINDS,
  ...DISK_KINDS,
  ...MEDIA_KINDS,
  ...STREAM_KINDS,
  ...CLOCK_KINDS,
  ...CLIENT_KINDS,
];
const GROUPS = [...new Set(ALL.map((it) => it.name.split("-")[0] as string))];
/** Messages about one kind that are printed. */
const MAX_MESSAGES = 8;

function usage(message: string): never {
  process.stderr.write(`torture: ${message}; see scripts/torture --help\n`);
  process.exit(2);
}

/** Whole numbers, or decimal ones, above 0. */
function numberOf(text: string, name: string, pattern: RegExp): number {
  if (!pattern.test(text) || Number(text) <= 0) usage(`--${name} ${JSON.stringify(text)}: expected a number above 0`);
  return Number(text);
}

function readArguments() {
  const options = {
    minutes: { type: "string" },
    seed: { type: "string" },
    only: { type: "string", multiple: true },
    keep: { type: "boolean" },
  } as const;
  try {
    return parseArgs({ options, allowPositionals: true });
  } catch (error) {
    return usage((error as Error).message.split(". ")[0] as string);
  }
}

const { values, positionals } = readArguments();
if (positionals.length > 0 && values.only === undefined) usage(`unknown argument ${JSON.stringify(positionals[0])}`);
const only = [...(values.only ?? []), ...positionals];
const unknown = only.find((it) => !GROUPS.includes(it) && !ALL.some(({ name }) => name === it));
if (unknown !== undefined)
  usage(`no kind ${JSON.stringify(unknown)}: expected ${GROUPS.join(", ")}, or a row of the table`);
const minutes = numberOf(values.minutes ?? "1", "minutes", /^\d{1,5}(\.\d+)?$/);
const seed = numberOf(values.seed ?? String(1 + Math.floor(Math.random() * 1e9)), "seed", /^\d{1,10}$/);
const kinds = ALL.filter(
  ({ name }) => only.length === 0 || only.includes(name) || only.includes(name.split("-")[0] as string),
);

/** A generator for each name, so that the attempts of one kind do not depend on which others are tried. */
const randomFor = (name: string) => seeded([...name].reduce((sum, it) => Math.imul(sum, 31) + it.charCodeAt(0), seed));

const row = (name: string, ...cells: (string | number)[]) =>
  name.padEnd(16) + cells.map((it, index) => String(it).padStart([9, 9, 11, 10, 10, 8][index] as number)).join("");

console.log(
  `seed ${seed}, ${minutes} minutes: scripts/torture --seed ${seed} --minutes ${minutes} tries the same again`,
);
const dir = mkdtempSync(join(tmpdir(), "airferry-torture-"));
const sums = new Map<Kind, Required<Outcome>>();
const skipped = new Map<Kind, string>();
for (const it of kinds) {
  sums.set(it, { attempts: 0, refused: 0, completed: 0, lost: 0, corrupt: 0, wrong: [] });
  const reason = it.missing?.();
  if (reason !== undefined) skipped.set(it, reason);
}
const tried = kinds.filter((it) => !skipped.has(it));
let lab: Lab | undefined;
let stopped = false;
process.once("SIGINT", () => {
  stopped = true;
});
try {
  lab = await Lab.open(dir, randomFor("lab"));
  const end = Date.now() + minutes * 60_000;
  const randoms = new Map(tried.map((it) => [it, randomFor(it.name)]));
  for (let at = 0; tried.length > 0 && Date.now() < end && !stopped; at++) {
    const kind = tried[at % tried.length] as Kind;
    const sum = sums.get(kind) as Required<Outcome>;
    try {
      add(sum, await kind.attempt(lab, randoms.get(kind) as ReturnType<typeof seeded>));
    } catch (error) {
      add(sum, { wrong: [`attempt ${sum.attempts + 1}: ${(error as Error).message.slice(0, 500)}`] });
    }
  }
  for (const it of tried) await it.close?.();
} finally {
  lab?.close();
  if (values.keep) process.stderr.write(`torture: kept ${dir}\n`);
  else rmSync(dir, { recursive: true, force: true });
}

console.log(row("kind", "attempts", "refused", "completed", "lost", "corrupt", "faults"));
const all: Required<Outcome> = { attempts: 0, refused: 0, completed: 0, lost: 0, corrupt: 0, wrong: [] };
for (const [kind, sum] of sums) {
  const reason = skipped.get(kind);
  if (reason !== undefined) {
    console.log(`${kind.name.padEnd(16)}  skipped: ${reason}`);
    continue;
  }
  add(all, sum);
  console.log(row(kind.name, sum.attempts, sum.refused, sum.completed, sum.lost, sum.corrupt, sum.wrong.length));
  if (kind.note !== undefined && sum.attempts > 0) console.log(`  ${kind.note()}`);
  for (const it of sum.wrong.slice(0, MAX_MESSAGES)) console.log(`  ${it}`);
  if (sum.wrong.length > MAX_MESSAGES) console.log(`  and ${sum.wrong.length - MAX_MESSAGES} more`);
}
console.log(
  `${all.attempts} attempts: ${all.lost} bytes lost, ${all.corrupt} bytes corrupt, ${all.wrong.length} faults`,
);
process.exitCode = held(all) ? 0 : 1;
