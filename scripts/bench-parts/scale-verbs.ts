/** Runs one verb over what scale-made.ts made, one after the other: each finds what those before it left. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";

const AIRFERRY = join(import.meta.dirname, "../airferry");
const SAMPLE_MS = 25;
const MAX_START_MS = 120_000;
const GIB = 1024 ** 3;
const RANGES = 200;
const RANGE_BYTES = 65_536;
const SPARSE = /^z\d+$/;
const BUNDLE = "bundles/bench-000001";
const QUIET_TRUST = ["-q", "--trust", "site.pub"];

interface Step {
  args: readonly string[];
  /** It is ended once it listens, after so many requests. */
  requests?: (base: string, dir: string) => Promise<void>;
  /** Runs before it, unmeasured. */
  prepare?: (dir: string) => Promise<void>;
}

const STEPS = {
  lock: { args: ["lock", "m.yaml", "-q"], prepare: (dir) => airferry(dir, ["keygen", "--out", "site", "-q"]) },
  plan: { args: ["plan", "m.yaml", "-q"] },
  "plan bd25": { args: ["plan", "m.yaml", "-q", "--volume-size", "bd25", "--per-medium"] },
  pack: { args: ["pack", "m.yaml", "-q", "--key", "site.key", "--serial", "1"] },
  inspect: { args: ["inspect", BUNDLE, "-q"] },
  verify: { args: ["verify", BUNDLE, ...QUIET_TRUST] },
  "verify partial": { args: ["verify", BUNDLE, ...QUIET_TRUST, "--partial"] },
  unpack: { args: ["unpack", BUNDLE, ...QUIET_TRUST, "--store", "store"] },
  status: { args: ["status", "-q", "--store", "store"] },
  "serve start": { args: ["serve", "--store", "store", "--listen", "127.0.0.1:0"], requests: async () => {} },
  "serve ranges": { args: ["serve", "--store", "store", "--listen", "127.0.0.1:0"], requests: askRanges },
  // Last: a later release of one file makes all of the others superfluous.
  prune: { args: ["prune", "-q", "--store", "store", "--keep", "1"], prepare: addSmallRelease },
} satisfies Record<string, Step>;

export type Verb = keyof typeof STEPS;

interface Used {
  /** CPU seconds of all processes. */
  cpu: number;
  /** Most bytes that all processes had resident together. */
  memory: number;
}

/** Runs a verb in a folder, in which those before it ran. `serve` is ended once it listens. @throws when it fails */
export async function measureVerb(verb: Verb, dir: string): Promise<Used> {
  const { args, prepare, requests }: Step = STEPS[verb];
  await prepare?.(dir);
  return run(dir, args, requests);
}

async function airferry(dir: string, args: readonly string[]): Promise<void> {
  await run(dir, args);
}

/** Packs and unpacks a second release of the stream, which has one small file. */
async function addSmallRelease(dir: string): Promise<void> {
  writeFileSync(join(dir, "small"), "small\n");
  writeFileSync(join(dir, "n.yaml"), "apiVersion: airferry/v1\nstream: bench\nfiles:\n- path: small\n");
  await airferry(dir, ["pack", "n.yaml", "-q", "--key", "site.key", "--serial", "2", "--out", "next"]);
  await airferry(dir, ["unpack", "next/bench-000002", ...QUIET_TRUST, "--store", "store"]);
}

/** Parts from everywhere in files of a GiB: all over the layout. */
async function askRanges(base: string, dir: string): Promise<void> {
  const files = readdirSync(dir).filter((it) => SPARSE.test(it));
  for (let i = 0; i < RANGES; i++) {
    const start = Math.floor((i / RANGES) * GIB);
    const range = `bytes=${start}-${start + RANGE_BYTES - 1}`;
    const answer = await fetch(`${base}files/${files[i % files.length]}`, { headers: { range } });
    const { byteLength } = await answer.arrayBuffer();
    if (answer.status !== 206 || byteLength !== RANGE_BYTES) throw new Error(`a range: ${answer.status}`);
  }
}

async function run(dir: string, args: readonly string[], requests?: Step["requests"]): Promise<Used> {
  const isServer = requests !== undefined;
  const env = { ...process.env, AIRFERRY_PASSWORD: "bench", AIRFERRY_CACHE: join(dir, "cache") };
  const report = join(dir, "time");
  const child = spawn("/usr/bin/time", ["-o", report, "-f", "%U %S %M", AIRFERRY, ...args], {
    cwd: dir,
    env,
    stdio: ["ignore", isServer ? "pipe" : "ignore", "pipe"],
  });
  let said = "";
  child.stderr?.on("data", (chunk: Buffer) => {
    said = (said + chunk.toString()).slice(-2000);
  });
  const ended = once(child, "exit");
  const watched = watchMemory(child.pid as number);
  if (requests !== undefined) await stopOnceAsked(child, ended, (base) => requests(base, dir));
  const [status] = (await ended) as [number | null];
  const peak = watched.stop();
  const [user = 0, system = 0, kib = 0] = (readFileSync(report, "utf8").trim().split("\n").at(-1) ?? "")
    .split(" ")
    .map(Number);
  if (status !== 0 && !isServer) throw new Error(`airferry ${args[0]}: exit ${status}: ${said}`);
  return { cpu: user + system, memory: Math.max(peak, kib * 1024) };
}

/** Its first line on stdout is its address. */
async function stopOnceAsked(
  child: ReturnType<typeof spawn>,
  ended: Promise<unknown>,
  requests: (base: string) => Promise<void>,
): Promise<void> {
  try {
    if (child.stdout === null) return;
    const signal = AbortSignal.timeout(MAX_START_MS);
    const line = once(createInterface(child.stdout), "line", { signal }).catch(() => undefined);
    const [said] = ((await Promise.race([line, ended])) ?? []) as unknown[];
    const base = /https?:\/\/\S+/.exec(String(said))?.[0];
    if (base === undefined) throw new Error(`airferry serve does not say where it listens: ${said}`);
    await requests(base.endsWith("/") ? base : `${base}/`);
  } finally {
    // GNU time waits for the program, which is its only child.
    for (const pid of childrenOf(child.pid as number)) process.kill(pid, "SIGTERM");
  }
}

/** The most that a process and all below it have resident together, by samples. */
function watchMemory(pid: number): { stop(): number } {
  let peak = 0;
  let isStopped = false;
  void (async () => {
    while (!isStopped) {
      peak = Math.max(peak, residentBytes(pid));
      await sleep(SAMPLE_MS);
    }
  })();
  return {
    stop() {
      isStopped = true;
      return peak;
    },
  };
}

function residentBytes(pid: number): number {
  const own = /^VmRSS:\s+(\d+) kB/m.exec(textOf(`/proc/${pid}/status`))?.[1] ?? 0;
  return childrenOf(pid).reduce((sum, it) => sum + residentBytes(it), Number(own) * 1024);
}

function childrenOf(pid: number): number[] {
  try {
    return readdirSync(`/proc/${pid}/task`).flatMap((task) =>
      textOf(`/proc/${pid}/task/${task}/children`).split(" ").filter(Boolean).map(Number),
    );
  } catch {
    return [];
  }
}

/** Empty once the process is gone. */
function textOf(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return "";
  }
}
