/** Runs one verb over what scale-made.ts made, one after the other: each finds what those before it left. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";

const AIRFERRY = join(import.meta.dirname, "../airferry");
const SAMPLE_MS = 25;
const MAX_START_MS = 120_000;
const OF_VERB = {
  lock: ["lock", "m.yaml", "-q"],
  plan: ["plan", "m.yaml", "-q"],
  pack: ["pack", "m.yaml", "-q", "--key", "site.key", "--serial", "1"],
  verify: ["verify", "bundles/bench-000001", "-q", "--trust", "site.pub"],
  unpack: ["unpack", "bundles/bench-000001", "-q", "--trust", "site.pub", "--store", "store"],
  status: ["status", "-q", "--store", "store"],
  "serve start": ["serve", "--store", "store", "--listen", "127.0.0.1:0"],
} as const;

type Verb = keyof typeof OF_VERB;

/** In the order in which they have to run. */
export const VERBS = Object.keys(OF_VERB) as Verb[];

interface Used {
  /** CPU seconds of all processes. */
  cpu: number;
  /** Most bytes that all processes had resident together. */
  memory: number;
}

/** Runs a verb in a folder. `serve` is ended once it listens. @throws when it fails */
export async function measureVerb(verb: Verb, dir: string): Promise<Used> {
  if (verb === "lock") await run(dir, ["keygen", "--out", "site", "-q"]);
  return run(dir, OF_VERB[verb], verb === "serve start");
}

async function run(dir: string, args: readonly string[], isServer = false): Promise<Used> {
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
  if (isServer) await stopOnceItListens(child, ended);
  const [status] = (await ended) as [number | null];
  const peak = watched.stop();
  const [user = 0, system = 0, kib = 0] = (readFileSync(report, "utf8").trim().split("\n").at(-1) ?? "")
    .split(" ")
    .map(Number);
  if (status !== 0 && !isServer) throw new Error(`airferry ${args[0]}: exit ${status}: ${said}`);
  return { cpu: user + system, memory: Math.max(peak, kib * 1024) };
}

/** Its first line on stdout is its address. */
async function stopOnceItListens(child: ReturnType<typeof spawn>, ended: Promise<unknown>): Promise<void> {
  if (child.stdout !== null) {
    const signal = AbortSignal.timeout(MAX_START_MS);
    await Promise.race([once(createInterface(child.stdout), "line", { signal }).catch(() => undefined), ended]);
  }
  // GNU time waits for the program, which is its only child.
  for (const pid of childrenOf(child.pid as number)) process.kill(pid, "SIGTERM");
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
