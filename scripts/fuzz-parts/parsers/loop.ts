/** The loop of one target, in a thread: mutates what reached new branches, runs it, keeps what reaches more. */
import { parentPort, workerData } from "node:worker_threads";

interface Task {
  program: string;
  name: string;
  branches: number;
  seconds: number;
  seed: number;
  current: Uint8Array<SharedArrayBuffer>;
  state: Int32Array<SharedArrayBuffer>;
}
const { program, name, branches, seconds, seed, current, state } = workerData as Task;
const MAX_INPUT = current.length;
const SLOW_MS = 1000;
const hits = new Uint8Array(branches);
Object.assign(globalThis, { __hits: hits });
const { targets } = process.getBuiltinModule("node:module").createRequire(program)(program);
const target = targets[name] as { samples: (string | Buffer)[]; run(data: Buffer): unknown };

let random = seed;
const below = (n: number) => {
  random = (Math.imul(random, 1103515245) + 12345) >>> 0;
  return Math.floor(((random >>> 8) / 0x1000000) * n);
};
const corpus: Buffer[] = target.samples.map((it) => Buffer.from(it));
const words = corpus.flatMap((it) => it.toString("latin1").match(/[\w:-]{2,}|[^\w\s]+/g) ?? []);
const seen = new Uint8Array(branches);
const crashes: string[] = [];
const hangs: string[] = [];
let runs = 0;

function mutate(data: Buffer): Buffer {
  let out = data;
  for (let n = 1 + below(4); n > 0; n--) {
    const at = below(out.length + 1);
    const end = Math.min(out.length, at + 1 + below(16));
    const piece = out.subarray(at, end);
    const between = [
      () => Buffer.from([below(256)]),
      () => Buffer.alloc(0),
      () => Buffer.concat([piece, piece]),
      () => Buffer.from(words[below(words.length)] ?? "", "latin1"),
      () => Buffer.concat(Array.from({ length: 2 ** below(12) }, () => piece)),
      () => (corpus[below(corpus.length)] as Buffer).subarray(below(64)),
      () => Buffer.from(String(2 ** below(54) - below(2))),
    ][below(7)] as () => Buffer;
    out = Buffer.concat([out.subarray(0, at), between(), out.subarray(end)]).subarray(0, MAX_INPUT);
  }
  return out;
}

async function tryOne(data: Buffer): Promise<void> {
  current.set(data);
  state[0] = data.length;
  hits.fill(0);
  const before = process.threadCpuUsage();
  try {
    await target.run(data);
  } catch (error) {
    const { code } = error as { code?: string };
    if ((error as Error).name !== "AirferryError" || code === "ERR_INTERNAL") {
      crashes.push(
        `${String((error as Error).stack).slice(0, 400)}\n  input: ${data.subarray(0, 300).toString("base64")}`,
      );
    }
  }
  const { user } = process.threadCpuUsage(before);
  if (user / 1000 > SLOW_MS) hangs.push(`${Math.round(user / 1000)} ms: ${data.subarray(0, 300).toString("base64")}`);
  runs++;
  Atomics.add(state, 1, 1);
  let isNew = false;
  for (let i = 0; i < branches; i++) {
    const count = hits[i] as number;
    if (count === 0) continue;
    const bucket = count > 32 ? 8 : count > 4 ? 4 : count > 1 ? 2 : 1;
    if (((seen[i] as number) & bucket) === 0) isNew = true;
    seen[i] = (seen[i] as number) | bucket;
  }
  if (isNew && corpus.length < 5000) corpus.push(data);
}

const end = Date.now() + seconds * 1000;
for (const sample of [...corpus]) await tryOne(sample);
while (Date.now() < end && crashes.length + hangs.length < 5)
  await tryOne(mutate(corpus[below(corpus.length)] as Buffer));
parentPort?.postMessage({ runs, covered: seen.filter((it) => it > 0).length, corpus: corpus.length, crashes, hangs });
