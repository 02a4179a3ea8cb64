/**
 * serve on a store in a bucket compared with the gateway of the bucket (one large file, from a full and from an empty
 * cache) and with serve on the same store in a folder (small packages that are in the cache).
 */
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { digestOf, hexOf } from "../../src/io/digest.ts";
import { openBucket } from "../../src/s3/bucket.ts";
import { parseS3Target } from "../../src/s3/s3-target.ts";
import { unpack } from "../../src/unpack.ts";
import { putStore } from "../../test/fixtures/bucket-store.ts";
import { makeBundle, makeKey, noise } from "../../test/fixtures/bundle-maker.ts";
import { startGateway } from "../../test/fixtures/s3-gateway.ts";
import type { Row } from "./row.ts";

const run = promisify(execFile);
const BIN = join(dirname(fileURLToPath(import.meta.url)), "..", "..", "src", "bin.ts");
const LARGE_BYTES = 400 * 1024 ** 2;
const SMALL_FILES = 2000;
const SMALL_BYTES = 20_000;
const ROUNDS = 5;
const SECONDS = 3;

interface Server {
  url: string;
  pid: number;
  stop(): Promise<void>;
}

/** Needs versitygw, curl and wrk. */
export async function benchBucket(): Promise<Row[]> {
  const dir = mkdtempSync(join(tmpdir(), "airferry-bench-bucket-"));
  const gateway = await startGateway(join(dir, "gateway"));
  Object.assign(process.env, gateway.env);
  const servers: Server[] = [];
  try {
    const name = gateway.name("bench");
    const large = await makeStore(dir, name);
    const ours = await startServe(dir, name, "cache");
    const folder = await startServe(dir, join(dir, "store"));
    servers.push(ours, folder);
    for (let i = 0; i < SMALL_FILES; i++) await (await fetch(`${ours.url}/files/p/package-${i}.rpm`)).arrayBuffer();
    return [await warm(ours, large), await cold(dir, name, large), await small(dir, ours, folder)];
  } finally {
    await Promise.all(servers.map((it) => it.stop()));
    await gateway.stop();
    rmSync(dir, { recursive: true, force: true });
  }
}

/** Fills a folder and the bucket; returns where the gateway itself has the large file. */
async function makeStore(dir: string, name: string): Promise<string> {
  const key = makeKey();
  const large = noise(LARGE_BYTES, 1);
  const packages = Array.from({ length: SMALL_FILES }, (_, i) => [
    `files/p/package-${i}.rpm`,
    noise(SMALL_BYTES, i + 2),
  ]);
  writeFileSync(join(dir, "site.pub"), key.pem);
  makeBundle(join(dir, "bundle"), {
    files: { "files/large.iso": large, ...Object.fromEntries(packages) },
    keys: [key],
  });
  await unpack([join(dir, "bundle")], { trust: [join(dir, "site.pub")], store: join(dir, "store") });
  await putStore(join(dir, "store"), name);
  const hex = hexOf(digestOf(large));
  const bucket = await openBucket(parseS3Target(name));
  try {
    return await bucket.presign(`blobs/sha256/${hex.slice(0, 2)}/${hex}`, 3600);
  } finally {
    bucket.close();
  }
}

async function startServe(dir: string, store: string, cache?: string): Promise<Server> {
  const flags = cache === undefined ? [] : ["--cache", join(dir, cache)];
  const args = [
    "--disable-warning=ExperimentalWarning",
    BIN,
    "serve",
    "--store",
    store,
    "--listen",
    "127.0.0.1:0",
    ...flags,
  ];
  const child = spawn(process.execPath, args, { cwd: dir, stdio: ["ignore", "pipe", "ignore"] });
  const [url] = (await once(createInterface(child.stdout), "line")) as [string];
  return {
    url,
    pid: child.pid ?? 0,
    async stop() {
      const gone = once(child, "exit");
      child.kill("SIGTERM");
      await gone;
    },
  };
}

async function rateOf(url: string): Promise<number> {
  const { stdout } = await run("curl", ["-sf", "-o", "/dev/null", "-w", "%{speed_download}", url]);
  return Number(stdout);
}

async function warm({ url }: Server, gateway: string): Promise<Row> {
  const rates: [ours: number[], gateways: number[]] = [[], []];
  // The first turn fills the cache.
  for (let round = 0; round <= ROUNDS; round++) {
    const pair = [await rateOf(`${url}/files/large.iso`), await rateOf(gateway)] as const;
    if (round === 0) continue;
    rates[0].push(pair[0]);
    rates[1].push(pair[1]);
  }
  return row("serve: one large file of a bucket, in the cache", median(rates[0]), median(rates[1]), "≥ 0.8");
}

async function cold(dir: string, name: string, gateway: string): Promise<Row> {
  const rates: [ours: number[], gateways: number[]] = [[], []];
  for (let round = 0; round < ROUNDS; round++) {
    const server = await startServe(dir, name, `cold-${round}`);
    rates[0].push(await rateOf(`${server.url}/files/large.iso`));
    rates[1].push(await rateOf(gateway));
    await server.stop();
    rmSync(join(dir, `cold-${round}`), { recursive: true, force: true });
  }
  const made = row("serve: one large file of a bucket, not in the cache", median(rates[0]), median(rates[1]), "≥ 0.05");
  return { ...made, note: "fetched, hashed and written once; the gateway sends it by sendfile" };
}

function row(job: string, ours: number, gateways: number, required: string): Row {
  const megabytes = (bytes: number) => `${(bytes / 1e6).toFixed(0)} MB/s`;
  return { job, airferry: megabytes(ours), peer: `gateway ${megabytes(gateways)}`, ratio: ours / gateways, required };
}

async function small(dir: string, ours: Server, folder: Server): Promise<Row> {
  const script = join(dir, "packages.lua");
  const path = `"/files/p/package-" .. i .. ".rpm"`;
  const request = `request = function()\n i = (i + 1) % ${SMALL_FILES}\n return wrk.format("GET", ${path})\nend\n`;
  writeFileSync(script, `local i = 0\n${request}`);
  const costs: [ours: number[], folders: number[]] = [[], []];
  for (let round = 0; round <= ROUNDS; round++) {
    const pair = [await cost(ours, script), await cost(folder, script)] as const;
    if (round === 0) continue;
    costs[0].push(pair[0]);
    costs[1].push(pair[1]);
  }
  const [own, theirs] = [median(costs[0]), median(costs[1])];
  return {
    job: `serve: ${SMALL_FILES} packages of ${SMALL_BYTES / 1000} kB of a bucket, in the cache`,
    airferry: `${own.toFixed(0)} per CPU second`,
    peer: `from a folder ${theirs.toFixed(0)}`,
    ratio: own / theirs,
    required: "≥ 0.9",
  };
}

/** Answers for each second of the processor. */
async function cost({ url, pid }: Server, script: string): Promise<number> {
  const before = processorSeconds(pid);
  const { stdout: report } = await run("wrk", ["-t1", "-c32", `-d${SECONDS}`, "-s", script, url]);
  if (/Non-2xx/.test(report)) throw new Error(report);
  return Number(/(\d+) requests in/.exec(report)?.[1]) / (processorSeconds(pid) - before);
}

function processorSeconds(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8")
    .replace(/^.*\) /, "")
    .split(" ");
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

function median(list: number[]): number {
  return list.sort((a, b) => a - b)[list.length >> 1] ?? Number.NaN;
}
