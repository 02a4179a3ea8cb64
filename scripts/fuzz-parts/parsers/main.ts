/** Runs the targets one after the other and prints a table; ends with 1 when one crashed or hung. Arguments: names, --minutes N. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { Worker } from "node:worker_threads";
import { build } from "esbuild";
import { instrument } from "./instrument.ts";
import { targets } from "./targets.ts";

const MAX_INPUT = 64 * 1024;
const HUNG_SECONDS = 20;

interface Result {
  runs: number;
  covered: number;
  corpus: number;
  crashes: string[];
  hangs: string[];
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { minutes: { type: "string", default: "1" }, seed: { type: "string", default: "1" } },
});
const names = positionals.length > 0 ? positionals : Object.keys(targets);
const unknown = names.find((it) => targets[it] === undefined);
if (unknown !== undefined) {
  console.error(`fuzz: no target "${unknown}": expected solver, ${Object.keys(targets).join(", ")}`);
  process.exit(2);
}
const dir = mkdtempSync(join(tmpdir(), "airferry-fuzz-"));
const program = join(dir, "targets.cjs");
await build({
  entryPoints: [join(import.meta.dirname, "targets.ts")],
  outfile: program,
  bundle: true,
  platform: "node",
  format: "cjs",
  target: "node24",
  define: { "import.meta.url": "__url", "import.meta.dirname": "__dirname" },
  banner: { js: 'const __url = require("node:url").pathToFileURL(__filename).href;' },
  logLevel: "error",
});
const { code, branches } = instrument(readFileSync(program, "utf8"));
writeFileSync(program, code);

/** One target in a thread; a run that does not end is a hang, and its input is known. */
function fuzz(name: string, seconds: number): Promise<Result> {
  const current = new Uint8Array(new SharedArrayBuffer(MAX_INPUT));
  const state = new Int32Array(new SharedArrayBuffer(8));
  const workerData = { program, name, branches, seconds, seed: Number(values.seed), current, state };
  const worker = new Worker(new URL("./loop.ts", import.meta.url), { workerData });
  let last = 0;
  let still = 0;
  return new Promise<Result>((resolve) => {
    const watch = setInterval(() => {
      const now = Atomics.load(state, 1);
      still = now === last ? still + 1 : 0;
      last = now;
      if (still < HUNG_SECONDS) return;
      const input = Buffer.from(current.slice(0, Math.min(300, state[0] as number))).toString("base64");
      finish({ runs: now, covered: 0, corpus: 0, crashes: [], hangs: [`no end: ${input}`] });
    }, 1000);
    const finish = (result: Result) => {
      clearInterval(watch);
      void worker.terminate();
      resolve(result);
    };
    worker.once("message", finish);
    worker.once("error", (error) => finish({ runs: last, covered: 0, corpus: 0, crashes: [String(error)], hangs: [] }));
  });
}

console.log(
  `${"target".padEnd(15)}${"runs".padStart(9)}${"branches".padStart(10)}${"corpus".padStart(8)}  crashes  hangs`,
);
let crashes = 0;
let hangs = 0;
for (const name of names) {
  const result = await fuzz(name, (Number(values.minutes) * 60) / names.length);
  crashes += result.crashes.length;
  hangs += result.hangs.length;
  const { runs, covered, corpus } = result;
  console.log(
    `${name.padEnd(15)}${String(runs).padStart(9)}${String(covered).padStart(10)}${String(corpus).padStart(8)}  ${String(result.crashes.length).padStart(7)}  ${String(result.hangs.length).padStart(5)}`,
  );
  for (const it of [...result.crashes, ...result.hangs]) console.log(`  ${it}`);
}
console.log(`${names.length} targets: ${crashes} crashes, ${hangs} hangs`);
rmSync(dir, { recursive: true });
process.exitCode = crashes + hangs > 0 ? 1 : 0;
