/** serve beside nginx: one large file, small packages over 32 connections, and the memory of all processes under load. */
import { type ChildProcess, execFile, execFileSync, spawn, spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import type { Row } from "./row.ts";

const run = promisify(execFile);

const BIN = join(dirname(fileURLToPath(import.meta.url)), "..", "..", "src", "bin.ts");
const LARGE_BYTES = Number(process.env.AIRFERRY_BENCH_BYTES ?? 2 * 1024 ** 3);
const SMALL_FILES = 500;
const SMALL_BYTES = 20_000;
const ROUNDS = 5;
const SECONDS = 3;
const MAX_MEMORY_MIB = 300;
/** Clients that take the large file slowly while packages are asked for. */
const SLOW_CLIENTS = 40;
/** Clients that ask for pages without reading, and how many each asks for: as much as one segment holds. */
const HOSTILE_CLIENTS = 20;
const PIPELINED_REQUESTS = 1500;

interface Server {
  url: string;
  pid: number;
  /** Resolves when it is gone: its folder can be removed then. */
  stop(): Promise<unknown>;
}

/** Needs nginx, curl and wrk on PATH. */
export async function benchServe(): Promise<Row[]> {
  const dir = mkdtempSync(join(tmpdir(), "airferry-bench-serve-"));
  const servers: Server[] = [];
  try {
    makeStore(dir);
    const nginx = await startNginx(dir);
    servers.push(nginx);
    const ours = await startServe(dir);
    servers.push(ours);
    const memory = watchMemory(ours.pid);
    const rows = [await large(ours.url, nginx.url), await small(dir, ours.url, nginx.url)];
    await loadWithSlowClients(dir, ours.url);
    const peak = memory.stop() / 1024 ** 2;
    rows.push({
      job: "serve: memory under load",
      airferry: `${peak.toFixed(0)} MiB`,
      peer: `${MAX_MEMORY_MIB} MiB`,
      ratio: peak / MAX_MEMORY_MIB,
      required: "≤ 1",
      note: `resident, all processes, with ${SLOW_CLIENTS} slow downloads`,
    });
    rows.push(await hostile(ours));
    return rows;
  } finally {
    await Promise.all(servers.map((it) => it.stop()));
    rmSync(dir, { recursive: true, force: true });
  }
}

/** Packs and unpacks real content, and leaves the same files in www/ for nginx. */
function makeStore(dir: string): void {
  mkdirSync(join(dir, "www/files/p"), { recursive: true, mode: 0o755 });
  execFileSync("chmod", ["755", dir]);
  execFileSync("sh", ["-c", `head -c ${LARGE_BYTES} /dev/urandom > www/files/large.iso`], { cwd: dir });
  const names = Array.from({ length: SMALL_FILES }, (_, i) => `p/package-${i}.rpm`);
  for (const name of names) writeFileSync(join(dir, "www/files", name), randomBytes(SMALL_BYTES));
  const entries = ["large.iso", ...names].map((name) => `  - {path: www/files/${name}, as: ${name}}`);
  writeFileSync(join(dir, "bench.yaml"), `apiVersion: airferry/v1\nstream: bench\nfiles:\n${entries.join("\n")}\n`);
  airferry(dir, "keygen", "--out", "site");
  const bundle = airferry(dir, "pack", "bench.yaml", "--key", "site.key").trim().split("\n").at(-1)!;
  airferry(dir, "unpack", bundle, "--trust", "site.pub", "--store", "store");
  rmSync(join(dir, "bundles"), { recursive: true, force: true });
}

const ENV = { ...process.env, AIRFERRY_PASSWORD: "bench" };
const NODE_ARGS = ["--disable-warning=ExperimentalWarning", BIN];

function airferry(dir: string, ...args: string[]): string {
  const env = { ...ENV, AIRFERRY_CACHE: join(dir, "cache") };
  const ran = spawnSync(process.execPath, [...NODE_ARGS, ...args], { cwd: dir, env, encoding: "utf8" });
  if (ran.status !== 0) throw new Error(`airferry ${args[0]}: exit ${ran.status}: ${ran.stderr.slice(-2000)}`);
  return ran.stdout;
}

async function startServe(dir: string): Promise<Server> {
  const args = [...NODE_ARGS, "serve", "--store", "store", "--listen", "127.0.0.1:0"];
  const child = spawn(process.execPath, args, { cwd: dir, env: ENV, stdio: ["ignore", "pipe", "inherit"] });
  const [url] = (await once(createInterface(child.stdout), "line")) as [string];
  return { url, pid: child.pid!, stop: () => stopped(child) };
}

async function startNginx(dir: string): Promise<Server> {
  const port = 20_000 + Math.floor(Math.random() * 10_000);
  const config = `worker_processes 2; daemon off; pid ${dir}/nginx.pid; error_log ${dir}/nginx.err; user root;
events { worker_connections 1024; }
http { access_log off; sendfile on; tcp_nopush on; keepalive_requests 100000000; client_body_temp_path ${dir}/t; proxy_temp_path ${dir}/t; fastcgi_temp_path ${dir}/t; uwsgi_temp_path ${dir}/t; scgi_temp_path ${dir}/t;
 open_file_cache max=2000; server { listen 127.0.0.1:${port}; root ${dir}/www; } }`;
  writeFileSync(join(dir, "nginx.conf"), config);
  const child = spawn("nginx", ["-c", join(dir, "nginx.conf")], { stdio: ["ignore", "ignore", "inherit"] });
  const url = `http://127.0.0.1:${port}`;
  for (let i = 0; i < 50; i++) {
    const up = await fetch(`${url}/files/p/package-0.rpm`).then(
      (answer) => answer.ok,
      () => false,
    );
    if (up) return { url, pid: child.pid!, stop: () => stopped(child) };
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error("nginx does not answer");
}

async function large(ours: string, peer: string): Promise<Row> {
  const rate = async (base: string): Promise<number> => {
    const args = ["-sf", "-o", "/dev/null", "-w", "%{speed_download}", `${base}/files/large.iso`];
    return Number((await run("curl", args)).stdout);
  };
  const [a, b] = await alternate(rate, ours, peer);
  const gigabytes = (bytes: number) => `${(bytes / 1e9).toFixed(2)} GB/s`;
  return {
    job: "serve: one large file",
    airferry: gigabytes(a),
    peer: `nginx ${gigabytes(b)}`,
    ratio: a / b,
    required: "≥ 0.8",
  };
}

async function small(dir: string, ours: string, peer: string): Promise<Row> {
  const script = wrkScript(dir);
  const rate = async (base: string): Promise<number> => {
    const args = ["-t1", "-c32", `-d${SECONDS}`, "-s", script, base];
    const { stdout: report } = await run("wrk", args);
    if (/Non-2xx/.test(report)) throw new Error(report);
    return Number(/Requests\/sec:\s*([\d.]+)/.exec(report)?.[1]);
  };
  const [a, b] = await alternate(rate, ours, peer);
  return {
    job: `serve: ${SMALL_BYTES / 1000} kB packages, 32 connections`,
    airferry: `${a.toFixed(0)}/s`,
    peer: `nginx ${b.toFixed(0)}/s`,
    ratio: a / b,
    required: "≥ 0.6",
  };
}

function wrkScript(dir: string): string {
  const file = join(dir, "packages.lua");
  writeFileSync(
    file,
    `local i = 0\nrequest = function()\n i = (i + 1) % ${SMALL_FILES}\n return wrk.format("GET", "/files/p/package-" .. i .. ".rpm")\nend\n`,
  );
  return file;
}

/** Medians of both, measured in turns, so that whatever else the machine does meets both. The first turn warms up. */
async function alternate(
  rate: (base: string) => Promise<number>,
  ours: string,
  peer: string,
): Promise<[number, number]> {
  const rates: [number[], number[]] = [[], []];
  for (let round = 0; round <= ROUNDS; round++) {
    const pair = [await rate(ours), await rate(peer)] as const;
    if (round === 0) continue;
    rates[0].push(pair[0]);
    rates[1].push(pair[1]);
  }
  const median = (list: number[]) => list.sort((a, b) => a - b)[Math.floor(list.length / 2)]!;
  return [median(rates[0]), median(rates[1])];
}

async function loadWithSlowClients(dir: string, url: string): Promise<void> {
  const slow = Array.from({ length: SLOW_CLIENTS }, () => {
    const args = [
      "-s",
      "-o",
      "/dev/null",
      "--limit-rate",
      "5M",
      "--max-time",
      String(SECONDS + 2),
      `${url}/files/large.iso`,
    ];
    return once(spawn("curl", args, { stdio: "ignore" }), "exit");
  });
  const wrk = spawn("wrk", ["-t1", "-c32", `-d${SECONDS}`, "-s", wrkScript(dir), url], { stdio: "ignore" });
  await Promise.all([once(wrk, "exit"), ...slow]);
}

/**
 * Clients that send requests for pages by the thousand and read nothing: what that costs in memory, and how long everybody else
 * waits for an answer meanwhile.
 */
async function hostile({ url, pid }: Server): Promise<Row> {
  const memory = watchMemory(pid);
  const { hostname, port } = new URL(url);
  const requests = "GET /files/p/ HTTP/1.1\r\nHost: x\r\n\r\n".repeat(PIPELINED_REQUESTS);
  const sockets = Array.from({ length: HOSTILE_CLIENTS }, () => {
    const socket = connect({ host: hostname, port: Number(port) });
    // Cut off is what should happen to it.
    socket.on("error", () => {});
    socket.pause();
    socket.write(requests);
    return socket;
  });
  let slowest = 0;
  for (const end = Date.now() + SECONDS * 1000; Date.now() < end; ) {
    const started = performance.now();
    await (await fetch(`${url}/files/p/package-0.rpm`)).arrayBuffer();
    slowest = Math.max(slowest, performance.now() - started);
  }
  for (const socket of sockets) socket.destroy();
  const peak = memory.stop() / 1024 ** 2;
  return {
    job: "serve: memory with clients that read nothing",
    airferry: `${peak.toFixed(0)} MiB`,
    peer: `${MAX_MEMORY_MIB} MiB`,
    ratio: peak / MAX_MEMORY_MIB,
    required: "≤ 1",
    note: `${HOSTILE_CLIENTS} × ${PIPELINED_REQUESTS} pipelined pages; slowest answer to another client ${slowest.toFixed(0)} ms`,
  };
}

/** Samples the resident memory of a process and its children; `stop` gives the highest sum in bytes. */
function watchMemory(pid: number): { stop(): number } {
  let peak = 0;
  const timer = setInterval(() => {
    const sum = processTree(pid).reduce((bytes, each) => bytes + residentBytes(each), 0);
    peak = Math.max(peak, sum);
  }, 100);
  return {
    stop() {
      clearInterval(timer);
      return peak;
    },
  };
}

function processTree(pid: number): number[] {
  const children = readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name) && parentOf(name) === pid)
    .map(Number);
  return [pid, ...children];
}

function parentOf(pid: string): number {
  try {
    return Number(/^PPid:\s*(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]);
  } catch {
    return 0;
  }
}

function residentBytes(pid: number): number {
  try {
    return Number(/^VmRSS:\s*(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]) * 1024;
  } catch {
    return 0;
  }
}

function stopped(child: ChildProcess): Promise<unknown> {
  const gone = once(child, "exit");
  child.kill("SIGTERM");
  return gone;
}
