/**
 * Runs the targets one after the other and prints a table; ends with 1 when one crashed or hung. Arguments: names,
 * --minutes N in all, --seed N, --corpus DIR, which keeps inputs that reached new branches.
 */
import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { Worker } from "node:worker_threads";
import type { LoopData, Result, Task } from "./loop.ts";
import { buildProgram } from "./program.ts";
import { targets } from "./targets.ts";

const MAX_INPUT = 64 * 1024;
const MAX_HEAP_MIB = 1024;
/** A run that does not end is found by its counter. */
const HUNG_SECONDS = 30;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    minutes: { type: "string", default: "1" },
    seed: { type: "string", default: "1" },
    corpus: { type: "string" },
  },
});
const names = positionals.length > 0 ? positionals : Object.keys(targets).sort();
const unknown = names.find((it) => targets[it] === undefined);
if (unknown !== undefined) {
  console.error(`fuzz: no target "${unknown}": expected solver, ${Object.keys(targets).sort().join(", ")}`);
  process.exit(2);
}

const corpusOf = (name: string) => join(values.corpus ?? "", name);

function readCorpus(name: string): Uint8Array[] {
  if (values.corpus === undefined) return [];
  mkdirSync(corpusOf(name), { recursive: true });
  return readdirSync(corpusOf(name)).map((it) => new Uint8Array(readFileSync(join(corpusOf(name), it))));
}

function keepCorpus(name: string, corpus: readonly Uint8Array[]): void {
  if (values.corpus === undefined) return;
  for (const it of corpus) {
    writeFileSync(join(corpusOf(name), createHash("sha256").update(it).digest("hex").slice(0, 16)), it);
  }
}

/** A thread that runs targets until one ends it. */
class Loop {
  readonly #data: LoopData;
  #worker: Worker | undefined;

  constructor({ program, branches }: { program: string; branches: number }) {
    const current = new Uint8Array(new SharedArrayBuffer(MAX_INPUT));
    const state = new Int32Array(new SharedArrayBuffer(8));
    this.#data = { program, branches, current, state };
  }

  run(task: Task): Promise<Result> {
    this.#worker ??= new Worker(new URL("./loop.ts", import.meta.url), {
      workerData: this.#data,
      resourceLimits: { maxOldGenerationSizeMb: MAX_HEAP_MIB },
    });
    const worker = this.#worker;
    const { current, state } = this.#data;
    const input = () => Buffer.from(current.slice(0, state[0])).toString("base64");
    return new Promise<Result>((resolve) => {
      let last = 0;
      let still = 0;
      const watch = setInterval(() => {
        const now = Atomics.load(state, 1);
        still = now === last ? still + 1 : 0;
        last = now;
        if (still >= HUNG_SECONDS) giveUp({ hangs: [`no end: ${input()}`] });
      }, 1000);
      const finish = (result: Result) => {
        clearInterval(watch);
        worker.off("message", finish).off("error", onError).off("exit", onExit);
        resolve(result);
      };
      const giveUp = (faults: Partial<Result>) => {
        this.#worker = undefined;
        finish({ runs: last, covered: 0, corpus: [], crashes: [], hangs: [], ...faults });
        void worker.terminate();
      };
      const onError = (error: Error) => giveUp({ crashes: [`${error.stack ?? error}\n  input: ${input()}`] });
      const onExit = () => giveUp({ crashes: [`the thread ended\n  input: ${input()}`] });
      worker.on("message", finish).on("error", onError).on("exit", onExit);
      worker.postMessage(task);
    });
  }

  async close(): Promise<void> {
    await this.#worker?.terminate();
  }
}

const row = (name: string, ...cells: (string | number)[]) =>
  name.padEnd(18) + cells.map((it, index) => String(it).padStart([9, 10, 8, 9, 7][index] as number)).join("");

const dir = mkdtempSync(join(tmpdir(), "airferry-fuzz-"));
const loop = new Loop(await buildProgram(dir));
console.log(row("target", "runs", "branches", "corpus", "crashes", "hangs"));
const all = { runs: 0, crashes: 0, hangs: 0 };
for (const name of names) {
  const seconds = (Number(values.minutes) * 60) / names.length;
  const { runs, covered, corpus, crashes, hangs } = await loop.run({
    name,
    seconds,
    seed: Number(values.seed),
    corpus: readCorpus(name),
  });
  keepCorpus(name, corpus);
  all.runs += runs;
  all.crashes += crashes.length;
  all.hangs += hangs.length;
  console.log(row(name, runs, covered, corpus.length, crashes.length, hangs.length));
  for (const it of [...crashes, ...hangs]) console.log(`  ${it}`);
}
await loop.close();
rmSync(dir, { recursive: true });
console.log(`${names.length} targets, ${all.runs} runs: ${all.crashes} crashes, ${all.hangs} hangs`);
process.exitCode = all.crashes + all.hangs > 0 ? 1 : 0;
