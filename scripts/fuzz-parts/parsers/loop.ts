/**
 * The thread that runs targets, one after the other on request: mutates inputs that reached new branches, runs them,
 * keeps those that reach more.
 */
import { parentPort, workerData } from "node:worker_threads";
import type { Target } from "./target.ts";

/** What the thread is started with. */
export interface LoopData {
  program: string;
  branches: number;
  /** The input that runs now, and how long it is and how many have run. */
  current: Uint8Array<SharedArrayBuffer>;
  state: Int32Array<SharedArrayBuffer>;
}

/** A request to it. */
export interface Task {
  name: string;
  seconds: number;
  seed: number;
  /** Inputs of earlier rounds that reached branches of their own. */
  corpus: Uint8Array[];
}

/** Its response. Faults have their input in base64. */
export interface Result {
  runs: number;
  covered: number;
  /** All inputs that reached branches of their own. */
  corpus: Uint8Array[];
  crashes: string[];
  hangs: string[];
}

const { program, branches, current, state } = workerData as LoopData;
const MAX_MS = 1000;
const MAX_MIB = 256;
const MAX_FAULTS = 5;
const MAX_CORPUS = 5000;
const hits = new Uint8Array(branches);
Object.assign(globalThis, { __hits: hits });
const { targets } = process.getBuiltinModule("node:module").createRequire(program)(program) as {
  targets: Record<string, Target>;
};
const { getHeapStatistics } = process.getBuiltinModule("node:v8");

/** Bytes that this thread holds, in its heap and in buffers. */
function held(): number {
  const { used_heap_size, external_memory } = getHeapStatistics();
  return used_heap_size + external_memory;
}

/** One target's round. */
class Round {
  readonly #target: Target;
  readonly #maxBytes: number;
  readonly #corpus: Buffer[];
  readonly #words: string[];
  readonly #seen = new Uint8Array(branches);
  readonly #crashes: string[] = [];
  readonly #hangs: string[] = [];
  #random: number;
  #runs = 0;

  constructor(target: Target, { seed, corpus }: Task) {
    this.#target = target;
    this.#maxBytes = Math.min(current.length, target.maxBytes ?? current.length);
    this.#random = seed;
    const samples = target.samples.map((it) => Buffer.from(it));
    this.#words = samples.flatMap((it) => it.toString("latin1").match(/[\w:-]{2,}|[^\w\s]+/g) ?? []);
    this.#corpus = [...samples, ...corpus.map((it) => Buffer.from(it))].map((it) => it.subarray(0, this.#maxBytes));
  }

  async run(seconds: number): Promise<Result> {
    const end = Date.now() + seconds * 1000;
    for (const sample of [...this.#corpus]) await this.#tryOne(sample, true);
    while (Date.now() < end && this.#crashes.length + this.#hangs.length < MAX_FAULTS) {
      await this.#tryOne(this.#mutate(this.#corpus[this.#below(this.#corpus.length)] as Buffer), false);
    }
    return {
      runs: this.#runs,
      covered: this.#seen.reduce((sum, it) => sum + (it > 0 ? 1 : 0), 0),
      corpus: this.#corpus,
      crashes: this.#crashes,
      hangs: this.#hangs,
    };
  }

  #below(n: number): number {
    this.#random = (Math.imul(this.#random, 1103515245) + 12345) >>> 0;
    return Math.floor(((this.#random >>> 8) / 0x1000000) * n);
  }

  #mutate(data: Buffer): Buffer {
    const below = (n: number) => this.#below(n);
    let out = data;
    for (let n = 1 + below(4); n > 0; n--) {
      const at = below(out.length + 1);
      const end = Math.min(out.length, at + 1 + below(16));
      const piece = out.subarray(at, end);
      const between = [
        () => Buffer.from([below(256)]),
        () => Buffer.alloc(0),
        () => Buffer.concat([piece, piece]),
        () => Buffer.from(this.#words[below(this.#words.length)] ?? "", "latin1"),
        () => Buffer.concat(Array.from({ length: 2 ** below(12) }, () => piece)),
        () => (this.#corpus[below(this.#corpus.length)] as Buffer).subarray(below(64)),
        () => Buffer.from(String(2 ** below(54) - below(2))),
      ][below(7)] as () => Buffer;
      out = Buffer.concat([out.subarray(0, at), between(), out.subarray(end)]).subarray(0, this.#maxBytes);
    }
    return out;
  }

  async #tryOne(data: Buffer, isKept: boolean): Promise<void> {
    const { maxMs = MAX_MS, maxMiB = MAX_MIB } = this.#target;
    current.set(data);
    state[0] = data.length;
    hits.fill(0);
    const before = held();
    const started = process.threadCpuUsage();
    try {
      await this.#target.run(data);
    } catch (error) {
      const { name, code, stack } = error as Error & { code?: string };
      if (name !== "AirferryError" || code === "ERR_INTERNAL") {
        this.#crashes.push(`${String(stack ?? error).slice(0, 600)}\n  input: ${data.toString("base64")}`);
      }
    }
    const ms = Math.round(process.threadCpuUsage(started).user / 1000);
    if (ms > maxMs) this.#hangs.push(`${ms} ms: ${data.toString("base64")}`);
    const MiB = Math.round((held() - before) / 2 ** 20);
    if (MiB > maxMiB) this.#crashes.push(`${MiB} MiB: ${data.toString("base64")}`);
    this.#runs++;
    Atomics.add(state, 1, 1);
    if (this.#isNew() && !isKept && this.#corpus.length < MAX_CORPUS) this.#corpus.push(data);
  }

  /** Whether the run took a branch that none did before, or took one much more often. */
  #isNew(): boolean {
    let isNew = false;
    for (let i = 0; i < branches; i++) {
      const count = hits[i] as number;
      if (count === 0) continue;
      const bucket = count > 32 ? 8 : count > 4 ? 4 : count > 1 ? 2 : 1;
      const seen = this.#seen[i] as number;
      if ((seen & bucket) !== 0) continue;
      isNew = true;
      this.#seen[i] = seen | bucket;
    }
    return isNew;
  }
}

parentPort?.on("message", async (task: Task) => {
  state[1] = 0;
  parentPort?.postMessage(await new Round(targets[task.name] as Target, task).run(task.seconds));
});
