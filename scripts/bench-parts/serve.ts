/**
 * serve compared with nginx: one large file, small packages over 32 connections (one package repeatedly; in turn more
 * than fit in memory), and the memory of all processes under load.
 */
import { type ChildProcess, execFile, execFileSync, spawn, spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import type { Row } from "./row.ts";
import { processTree, watchMemory } from "./watch-memory.ts";

const run = promisify(execFile);

const BIN = join(dirname(fileURLToPath(import.meta.url)), "..", "..", "src", "bin.ts");
const LARGE_BYTES = Number(process.env.AIRFERRY_BENCH_BYTES ?? 2 * 1024 ** 3);
/** More than the server keeps in memory. */
const SMALL_FILES = 2000;
const SMALL_BYTES = 20_000;
const ROUNDS = 5;
const SECONDS = 3;
const MAX_MEMORY_MIB = 200;
const IDLE_CLIENTS = 5000;
/** A process accepts 1,024 connections of one host. */
const IDLE_ADDRESSES = 10;
const ACTIVE_CLIENTS = 200;
/** Clients that read the large file slowly while packages are requested. */
const SLOW_CLIENTS = 40;
/** Clients that request pages without reading, and how many each requests: as many as fit in one segment. */
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
    const fromBundle = await startServe(dir, ["bundle", "--trust", "site.pub"]);
    servers.push(fromBundle);
    const unchecked = await startServe(dir, ["--store", "store", "--verify-reads", "never"]);
    servers.push(unchecked);
    const rows = [await crowded(dir, ours)];
    const memory = watchMemory(ours.pid);
    rows.push(
      await large(ours.url, nginx.url),
      {
        ...(await large(fromBundle.url, ours.url, "from a store")),
        job: "serve: one large file out of a bundle",
        required: "≥ 0.95",
      },
      {
        ...(await large(ours.url, unchecked.url, "unchecked")),
        job: "serve: one large file, each piece checked once",
        required: "≥ 0.7",
      },
      await small(dir, ours, nginx, 1, "one package", "≥ 0.9"),
      await small(dir, ours, nginx, SMALL_FILES, `${SMALL_FILES} packages in turn`, "≥ 0.6"),
    );
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
  renameSync(join(dir, bundle), join(dir, "bundle"));
  // Files in memory as they were written are in smaller pages than as they are read: both start from the disk.
  const forget = "sync; find bundle store -type f -size +1M -exec dd if={} iflag=nocache count=0 status=none \\;";
  execFileSync("sh", ["-c", forget], { cwd: dir });
}

const ENV = { ...process.env, AIRFERRY_PASSWORD: "bench" };
const NODE_ARGS = ["--disable-warning=ExperimentalWarning", BIN];

function airferry(dir: string, ...args: string[]): string {
  const env = { ...ENV, AIRFERRY_CACHE: join(dir, "cache") };
  const ran = spawnSync(process.execPath, [...NODE_ARGS, ...args], { cwd: dir, env, encoding: "utf8" });
  if (ran.status !== 0) throw new Error(`airferry ${args[0]}: exit ${ran.status}: ${ran.stderr.slice(-2000)}`);
  return ran.stdout;
}

async function startServe(dir: string, source = ["--store", "store"]): Promise<Server> {
  const args = [...NODE_ARGS, "serve", ...source, "--listen", "127.0.0.1:0"];
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

async function large(ours: string, peer: string, what = "nginx"): Promise<Row> {
  const rate = async (base: string): Promise<number> => {
    const args = ["-sf", "-o", "/dev/null", "-w", "%{speed_download}", `${base}/files/large.iso`];
    return Number((await run("curl", args)).stdout);
  };
  const [a, b] = await alternate(rate, ours, peer);
  const gigabytes = (bytes: number) => `${(bytes / 1e9).toFixed(2)} GB/s`;
  return {
    job: "serve: one large file",
    airferry: gigabytes(a),
    peer: `${what} ${gigabytes(b)}`,
    ratio: a / b,
    required: "≥ 0.8",
  };
}

async function small(
  dir: string,
  ours: Server,
  peer: Server,
  files: number,
  what: string,
  required: string,
): Promise<Row> {
  const script = wrkScript(dir, files);
  const perCpuSecond: Record<string, number[]> = { [ours.url]: [], [peer.url]: [] };
  const rate = async (base: string): Promise<number> => {
    const { pid } = base === ours.url ? ours : peer;
    const before = processorSeconds(pid);
    const args = ["-t1", "-c32", `-d${SECONDS}`, "-s", script, base];
    const { stdout: report } = await run("wrk", args);
    if (/Non-2xx/.test(report)) throw new Error(report);
    const requests = Number(/(\d+) requests in/.exec(report)?.[1]);
    perCpuSecond[base]!.push(requests / (processorSeconds(pid) - before));
    return Number(/Requests\/sec:\s*([\d.]+)/.exec(report)?.[1]);
  };
  const [a, b] = await alternate(rate, ours.url, peer.url);
  // The first turn warms up, as in `alternate`.
  const [own, theirs] = [ours, peer].map(({ url }) => median(perCpuSecond[url]!.slice(1))) as [number, number];
  return {
    job: `serve: ${what} of ${SMALL_BYTES / 1000} kB, 32 connections`,
    airferry: `${a.toFixed(0)}/s`,
    peer: `nginx ${b.toFixed(0)}/s`,
    ratio: a / b,
    required,
    note: `per CPU second ${own.toFixed(0)} and ${theirs.toFixed(0)}: ${(own / theirs).toFixed(2)}`,
  };
}

/** The processor time of a process and its children so far. */
function processorSeconds(pid: number): number {
  const ofOne = (each: number): number => {
    try {
      const fields = readFileSync(`/proc/${each}/stat`, "utf8")
        .replace(/^.*\) /, "")
        .split(" ");
      return (Number(fields[11]) + Number(fields[12])) / 100;
    } catch {
      return 0;
    }
  };
  return processTree(pid).reduce((sum, each) => sum + ofOne(each), 0);
}

function wrkScript(dir: string, files: number): string {
  const file = join(dir, `packages-${files}.lua`);
  writeFileSync(
    file,
    `local i = 0\nrequest = function()\n i = (i + 1) % ${files}\n return wrk.format("GET", "/files/p/package-" .. i .. ".rpm")\nend\n`,
  );
  return file;
}

/** Memory with thousands of idle connections, while other clients request packages. */
async function crowded(dir: string, { url, pid }: Server): Promise<Row> {
  const memory = watchMemory(pid);
  const { hostname, port } = new URL(url);
  const sockets: Socket[] = [];
  for (let i = 0; i < IDLE_CLIENTS; i++) {
    const socket = connect({ host: hostname, port: Number(port), localAddress: `127.0.0.${2 + (i % IDLE_ADDRESSES)}` });
    sockets.push(socket);
    await once(socket, "connect");
    socket.write("GET /files/p/package-0.rpm HTTP/1.1\r\nHost: x\r\n\r\n");
    socket.resume();
  }
  await run("wrk", ["-t1", `-c${ACTIVE_CLIENTS}`, `-d${SECONDS}`, "-s", wrkScript(dir, SMALL_FILES), url]);
  const peak = memory.stop() / 1024 ** 2;
  const open = sockets.filter((it) => !it.destroyed).length;
  for (const socket of sockets) socket.destroy();
  return {
    job: `serve: memory with ${open} idle and ${ACTIVE_CLIENTS} active clients`,
    airferry: `${peak.toFixed(0)} MiB`,
    peer: `${MAX_MEMORY_MIB} MiB`,
    ratio: peak / MAX_MEMORY_MIB,
    required: "≤ 1",
    note: "resident, all processes",
  };
}

/** Medians of both, measured in turns, so that other load on the machine affects both. The first turn is a warm-up. */
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
  return [median(rates[0]), median(rates[1])];
}

function median(list: number[]): number {
  return list.sort((a, b) => a - b)[Math.floor(list.length / 2)]!;
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
  const wrk = spawn("wrk", ["-t1", "-c32", `-d${SECONDS}`, "-s", wrkScript(dir, SMALL_FILES), url], {
    stdio: "ignore",
  });
  await Promise.all([once(wrk, "exit"), ...slow]);
}

/**
 * Clients that request thousands of pages and read nothing: what that costs in memory, and how long other clients wait
 * for a response meanwhile.
 */
async function hostile({ url, pid }: Server): Promise<Row> {
  const memory = watchMemory(pid);
  const { hostname, port } = new URL(url);
  const requests = "GET /files/p/ HTTP/1.1\r\nHost: x\r\n\r\n".repeat(PIPELINED_REQUESTS);
  const sockets = Array.from({ length: HOSTILE_CLIENTS }, () => {
    const socket = connect({ host: hostname, port: Number(port) });
    // It is expected to be cut.
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

function stopped(child: ChildProcess): Promise<unknown> {
  const gone = once(child, "exit");
  child.kill("SIGTERM");
  return gone;
}
