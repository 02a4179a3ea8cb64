/** All clients at once against some servers: what the servers' processors did for it. */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { processTree, watchMemory } from "../bench-parts/watch-memory.ts";
import type { StorePlace } from "./bucket.ts";
import { airferryCommand, upstreamFile } from "./content.ts";
import type { Fetch } from "./installation.ts";
import { type Hall, serverAddress, within } from "./network.ts";

const PORT = 9000;
/** What dnf and the installer have open at a time. */
const CONNECTIONS = 3;
const TICKS_PER_SECOND = Number(execFileSync("getconf", ["CLK_TCK"], { encoding: "utf8" }));

interface RunningServer {
  url: string;
  child: ChildProcess;
  /** Of the process that serves. */
  pid: number;
}

export interface Measurement {
  /** Where the store is. */
  store: "folder" | "bucket";
  servers: number;
  clients: number;
  requests: number;
  bytes: number;
  seconds: number;
  /** Of all servers, user and system. */
  cpuSeconds: number;
  /** Peak of the largest server, resident. */
  peakBytes: number;
  /** Until the first, the middle and the last client had everything. */
  clientSeconds: [number, number, number];
}

/** Starts servers of a store in the hall's namespace for them, all on the first core: the other cores are the clients'. */
export async function startServers(
  hall: Hall,
  dir: string,
  store: StorePlace,
  count: number,
): Promise<RunningServer[]> {
  const servers: RunningServer[] = [];
  for (let it = 0; it < count; it++) {
    const url = `http://${serverAddress(it)}:${PORT}`;
    const listen = ["--listen", url.replace("http://", ""), "--workers", "1", "--access-log", `access-${it}.log`];
    const cache = store.kind === "bucket" ? ["--cache", `cache-${it}`] : [];
    const serve = airferryCommand("serve", "--store", store.name, ...listen, ...cache);
    const [program = "", ...rest] = within(hall.servers, "taskset", "-c", "0", ...serve);
    const child = spawn(program, rest, {
      cwd: dir,
      env: { ...process.env, ...store.env },
      stdio: ["ignore", "pipe", "inherit"],
    });
    const [line] = (await once(createInterface(child.stdout), "line")) as [string];
    if (!line.startsWith("http")) throw new Error(`serve said "${line}"`);
    servers.push({ url, child, pid: child.pid as number });
  }
  return servers;
}

export async function stopServers(servers: readonly RunningServer[]): Promise<void> {
  for (const { child } of servers) {
    const ended = once(child, "exit");
    child.kill("SIGTERM");
    await ended;
  }
}

/** curl's list of what to fetch, and where to. */
function listOf(fetches: readonly Fetch[], url: string, output: (index: number) => string): string {
  return fetches.map(({ path }, it) => `url = "${url}${path}"\noutput = "${output(it)}"\n`).join("");
}

/** One client fetches everything from a server and keeps it; throws for a file that is not what upstream has. */
export async function compareWithUpstream(
  hall: Hall,
  dir: string,
  server: RunningServer,
  fetches: readonly Fetch[],
): Promise<void> {
  const got = join(dir, "got");
  mkdirSync(got);
  writeFileSync(
    join(dir, "compare.curl"),
    listOf(fetches, server.url, (it) => join(got, String(it))),
  );
  const [program = "", ...args] = within(
    hall.clients[0] as string,
    "curl",
    "-sS",
    "--fail",
    "-Z",
    "-K",
    "compare.curl",
  );
  // Of parallel transfers curl always prints the progress.
  execFileSync(program, args, { cwd: dir, stdio: ["ignore", "ignore", "pipe"] });
  for (const [it, { path }] of fetches.entries()) {
    const file = upstreamFile(dir, path);
    if (file !== undefined && !readFileSync(join(got, String(it))).equals(readFileSync(file)))
      throw new Error(`${path} is not what upstream has`);
  }
  rmSync(got, { recursive: true });
}

/** Lets every client fetch everything, from the servers in turn; throws when one of them gets less. */
export async function measureHall(
  hall: Hall,
  dir: string,
  store: StorePlace["kind"],
  servers: readonly RunningServer[],
  fetches: readonly Fetch[],
): Promise<Measurement> {
  for (const [it, { url }] of servers.entries()) {
    writeFileSync(
      join(dir, `fetch-${it}.curl`),
      listOf(fetches, url, () => "/dev/null"),
    );
  }
  const expected = fetches.reduce((sum, it) => sum + it.bytes, 0);
  const cpuBefore = cpuOf(servers);
  const memories = servers.map((it) => watchMemory(it.pid));
  const began = performance.now();
  const took = await Promise.all(
    hall.clients.map(async (name, it) => {
      const options = ["-sS", "--fail", "-Z", "--parallel-max", String(CONNECTIONS), "-w", "%{size_download}\\n"];
      const curl = ["taskset", "-c", clientCores(), "curl", ...options, "-K", `fetch-${it % servers.length}.curl`];
      const [program = "", ...args] = within(name, ...curl);
      const child = spawn(program, args, { cwd: dir, stdio: ["ignore", "pipe", "pipe"] });
      let printed = "";
      let faults = "";
      child.stdout.on("data", (text) => (printed += text));
      child.stderr.on("data", (text) => (faults += text));
      const [status] = (await once(child, "close")) as [number | null];
      const got = printed
        .trim()
        .split("\n")
        .reduce((sum, size) => sum + Number(size), 0);
      if (status !== 0 || got !== expected)
        throw new Error(`a client got ${got} of ${expected} bytes, status ${status}: ${faults.slice(0, 500)}`);
      return (performance.now() - began) / 1000;
    }),
  );
  const seconds = (performance.now() - began) / 1000;
  // A server counts what it did last when it next runs.
  await sleep(200);
  const sorted = took.toSorted((a, b) => a - b);
  const at = (share: number) => sorted[Math.floor((sorted.length - 1) * share)] ?? 0;
  return {
    store,
    servers: servers.length,
    clients: hall.clients.length,
    requests: fetches.length * hall.clients.length,
    bytes: expected * hall.clients.length,
    seconds,
    cpuSeconds: cpuOf(servers) - cpuBefore,
    peakBytes: Math.max(...memories.map((it) => it.stop())),
    clientSeconds: [at(0), at(0.5), at(1)],
  };
}

function clientCores(): string {
  const cores = Number(execFileSync("nproc", { encoding: "utf8" }));
  return cores > 1 ? `1-${cores - 1}` : "0";
}

/** Seconds that the servers' processes have used; `ip netns exec` and taskset have become them. */
function cpuOf(servers: readonly RunningServer[]): number {
  const pids = servers.flatMap((it) => processTree(it.pid));
  return pids.reduce((sum, pid) => {
    const fields = readFileSync(`/proc/${pid}/stat`, "utf8")
      .replace(/^.*\) /, "")
      .split(" ");
    return sum + (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
  }, 0);
}
