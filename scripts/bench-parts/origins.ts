/** The processor time of answers under an origin's name, compared with the same content below /files/ of the same server. */
import { execFile, execFileSync, spawn, spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { startNginx } from "./nginx.ts";
import type { Row } from "./row.ts";

const run = promisify(execFile);
const BIN = join(dirname(fileURLToPath(import.meta.url)), "..", "..", "src", "bin.ts");
const NODE_ARGS = ["--disable-warning=ExperimentalWarning", BIN];
const ENV = { ...process.env, AIRFERRY_PASSWORD: "bench" };
const HOST = "files.bench.example";
const SMALL_BYTES = 20_000;
const LARGE_BYTES = 64 * 1024 * 1024;
const ROUNDS = 3;
const SECONDS = 3;

/** Needs nginx and wrk on PATH. */
export async function benchOrigins(): Promise<Row[]> {
  const dir = mkdtempSync(join(tmpdir(), "airferry-bench-origins-"));
  try {
    await makeStore(dir);
    const listen = ["--listen", "127.0.0.1:0", "--listen-http", "127.0.0.1:0", "--listen-https", "127.0.0.1:0"];
    const args = ["serve", "--store", "store", "--origins", "--tls-dir", "keys", "--workers", "1", "--json", ...listen];
    const child = spawn(process.execPath, [...NODE_ARGS, ...args], { cwd: dir, stdio: ["ignore", "pipe", "ignore"] });
    try {
      const { urls, httpUrls, pid } = await documentOf(child.stdout);
      const [own, origin] = [urls[0] as string, httpUrls[0] as string];
      return [
        await compared(pid, own, origin, "small", `one file of ${SMALL_BYTES / 1000} kB`),
        await compared(pid, own, origin, "large", `one file of ${LARGE_BYTES / 1024 ** 2} MiB`),
      ];
    } finally {
      child.kill("SIGTERM");
      await once(child, "exit");
    }
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

/** Packs files whose URLs are at a host of nobody. */
async function makeStore(dir: string): Promise<void> {
  mkdirSync(join(dir, "www"), { recursive: true });
  execFileSync("chmod", ["755", dir]);
  writeFileSync(join(dir, "www/small"), randomBytes(SMALL_BYTES));
  writeFileSync(join(dir, "www/large"), randomBytes(LARGE_BYTES));
  const nginx = await startNginx(dir);
  try {
    const files = ["small", "large"].map((it) => `  - {url: "http://${HOST}/${it}"}\n`);
    writeFileSync(join(dir, "bench.yaml"), `apiVersion: airferry/v1\nstream: bench\nfiles:\n${files.join("")}`);
    airferry(dir, "keygen", "--out", "site");
    const rewrite = ["--rewrite", `http://${HOST}/=${nginx.url}/`];
    const bundle = airferry(dir, "pack", "bench.yaml", "--key", "site.key", ...rewrite)
      .trim()
      .split("\n")
      .at(-1)!;
    airferry(dir, "unpack", bundle, "--trust", "site.pub", "--store", "store");
  } finally {
    await nginx.stop();
  }
}

function airferry(dir: string, ...args: string[]): string {
  const env = { ...ENV, AIRFERRY_CACHE: join(dir, "cache") };
  const ran = spawnSync(process.execPath, [...NODE_ARGS, ...args], { cwd: dir, env, encoding: "utf8" });
  if (ran.status !== 0) throw new Error(`airferry ${args[0]}: exit ${ran.status}: ${ran.stderr.slice(-2000)}`);
  return ran.stdout;
}

/** What `serve --json` prints once it listens. */
async function documentOf(stdout: AsyncIterable<Buffer>): Promise<{ urls: string[]; httpUrls: string[]; pid: number }> {
  let text = "";
  for await (const chunk of stdout) {
    text += chunk;
    if (text.endsWith("}\n")) return JSON.parse(text);
  }
  throw new Error(`serve ended: ${text}`);
}

async function compared(pid: number, own: string, origin: string, name: string, what: string): Promise<Row> {
  const costs: [ours: number[], peers: number[]] = [[], []];
  // The first turn warms up.
  for (let round = 0; round <= ROUNDS; round++) {
    const pair = [await cost(pid, `${origin}/${name}`, HOST), await cost(pid, `${own}/files/${name}`)] as const;
    if (round === 0) continue;
    costs[0].push(pair[0]);
    costs[1].push(pair[1]);
  }
  const [ours, peers] = costs.map((it) => it.sort((a, b) => a - b)[it.length >> 1]!) as [number, number];
  return {
    job: `serve: ${what} as the origin, processor`,
    airferry: `${ours.toFixed(1)} µs`,
    peer: `below /files/ ${peers.toFixed(1)} µs`,
    ratio: ours / peers,
    required: "≤ 1.1",
  };
}

/** Microseconds of the processor for each answer. */
async function cost(pid: number, url: string, host?: string): Promise<number> {
  const before = processorSeconds(pid);
  const header = host === undefined ? [] : ["-H", `Host: ${host}`];
  const { stdout: report } = await run("wrk", ["-t1", "-c8", `-d${SECONDS}`, ...header, url]);
  if (/Non-2xx/.test(report)) throw new Error(report);
  const requests = Number(/(\d+) requests in/.exec(report)?.[1]);
  return ((processorSeconds(pid) - before) / requests) * 1e6;
}

function processorSeconds(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8")
    .replace(/^.*\) /, "")
    .split(" ");
  return (Number(fields[11]) + Number(fields[12])) / 100;
}
