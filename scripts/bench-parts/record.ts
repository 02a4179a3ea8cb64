/**
 * record compared with the same downloads through tinyproxy, from an upstream that is reached at 100 MB/s: its nginx is
 * in a network namespace behind a rate limit. And the memory of a recording whose clients are slow, or take nothing.
 */
import { type ChildProcess, execFile, execFileSync, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { freePort } from "../../test/fixtures/free-port.ts";
import { cpuSecs, measure, median, mib } from "./measure.ts";
import type { Row } from "./row.ts";
import { watchMemory } from "./watch-memory.ts";

const run = promisify(execFile);
const BIN = join(dirname(fileURLToPath(import.meta.url)), "..", "..", "src", "bin.ts");
const RATE = "800mbit";
const LARGE_MIB = 512;
const SMALL_FILES = 2000;
const SMALL_BYTES = 20_000;
const AT_ONCE = "16";
const ROUNDS = 3;
const HUGE_MIB = 1024;
const MANY_CLIENTS = 40;
const MANY_MIB = 48;
const MAX_MEMORY_MB = 200;
const MAX_WAIT_MS = 180_000;

interface SlowClients {
  job: string;
  file: string;
  clients: number;
  /** At which each reads. */
  rate: string;
  /** Which of them read nothing at all. */
  isStopped: (index: number) => boolean;
  note: string;
}

interface Proxy {
  url: string;
  pid: number;
  /** What its clients verify TLS with. */
  ca: string;
  stop(): Promise<unknown>;
}

/** Needs root, ip, tc, nginx, curl, openssl and tinyproxy. */
export async function benchRecord(): Promise<Row[]> {
  const dir = mkdtempSync(join(tmpdir(), "airferry-bench-record-"));
  execFileSync("chmod", ["755", dir]);
  const proxies: Proxy[] = [];
  makeContent(dir);
  const net = limitedNetwork();
  const upstreams = [startUpstream(dir, "limited", net.inside, net.enter)];
  try {
    proxies.push(await startTinyproxy(dir), await startRecord(dir, "bench"));
    const [peer, ours] = proxies as [Proxy, Proxy];
    const rows: Row[] = [];
    for (const [what, file, isLarge] of [
      [`one file of ${LARGE_MIB} MiB`, "large", true],
      [`${SMALL_FILES} files of ${SMALL_BYTES / 1000} kB`, "small", false],
    ] as const) {
      for (const scheme of ["http", "https"]) {
        const base = `${scheme}://${net.inside}:${scheme === "http" ? 8080 : 8443}`;
        const [a, b] = await alternate((proxy) => download(dir, proxy, `${base}/${file}`, isLarge), ours, peer);
        rows.push({
          job: `record ${what}, ${scheme === "http" ? "plain" : "TLS"}, at 100 MB/s`,
          airferry: `${a.toFixed(2)} s`,
          peer: `tinyproxy ${b.toFixed(2)} s`,
          ratio: a / b,
          required: "≤ 1.3",
        });
      }
    }
    await ours.stop();
    rows.push(packRecording(dir));
    upstreams.push(startUpstream(dir, "near", "127.0.0.1", []));
    rows.push(
      await slowClients(dir, {
        job: `record: memory with four slow clients of ${HUGE_MIB} MiB`,
        file: "huge",
        clients: 4,
        rate: "40M",
        isStopped: (at) => at < 2,
        note: "two by TLS; two take nothing",
      }),
      await slowClients(dir, {
        job: `record: memory with ${MANY_CLIENTS} clients of ${MANY_MIB} MiB that take nothing`,
        file: "many",
        clients: MANY_CLIENTS,
        rate: "100k",
        isStopped: () => true,
        note: "half by TLS",
      }),
    );
    return rows;
  } finally {
    await Promise.all(proxies.map((it) => it.stop()));
    await Promise.all(upstreams.map(stopped));
    net.remove();
    rmSync(dir, { recursive: true, force: true });
  }
}

function makeContent(dir: string): void {
  mkdirSync(join(dir, "www/small"), { recursive: true });
  execFileSync(
    "sh",
    [
      "-c",
      `head -c ${LARGE_MIB}M /dev/urandom > www/large; truncate -s ${HUGE_MIB}M www/huge; truncate -s ${MANY_MIB}M www/many`,
    ],
    {
      cwd: dir,
    },
  );
  const names = Array.from({ length: SMALL_FILES }, (_, index) => `${index}.bin`);
  for (const name of names) writeFileSync(join(dir, "www/small", name), randomBytes(SMALL_BYTES));
  const subject = ["-subj", "/CN=bench", "-addext", "subjectAltName=IP:127.0.0.1,IP:10.213.7.2"];
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "tls.key"];
  execFileSync("openssl", ["req", "-x509", ...key, "-out", "tls.crt", "-days", "2", ...subject], {
    cwd: dir,
    stdio: "ignore",
  });
}

/** A namespace whose only link sends at the rate. */
function limitedNetwork(): { inside: string; enter: string[]; remove(): void } {
  const name = `airferry-bench-${process.pid}`;
  const [near, far] = [`afb${process.pid % 100_000}`, `afc${process.pid % 100_000}`];
  const inside = "10.213.7.2";
  const ip = (text: string) => execFileSync("ip", text.split(" "));
  const remove = () => void ip(`netns del ${name}`);
  ip(`netns add ${name}`);
  try {
    ip(`link add ${near} type veth peer name ${far} netns ${name}`);
    ip(`addr add 10.213.7.1/30 dev ${near}`);
    ip(`link set ${near} up`);
    ip(`-n ${name} addr add ${inside}/30 dev ${far}`);
    ip(`-n ${name} link set ${far} up`);
    const limit = `-n ${name} qdisc add dev ${far} root tbf rate ${RATE} burst 1mb latency 50ms`;
    execFileSync("tc", limit.split(" "));
  } catch (error) {
    remove();
    throw error;
  }
  return { inside, enter: ["ip", "netns", "exec", name], remove };
}

function startUpstream(dir: string, name: string, address: string, enter: readonly string[]): ChildProcess {
  const config = `worker_processes 1; daemon off; pid ${dir}/${name}.pid; error_log ${dir}/${name}.err; user root; events {}
http { access_log off; sendfile on; keepalive_requests 100000; server { listen ${address}:8080; listen ${address}:8443 ssl;
 ssl_certificate ${dir}/tls.crt; ssl_certificate_key ${dir}/tls.key; root ${dir}/www; } }`;
  writeFileSync(join(dir, `${name}.conf`), config);
  const [command = "", ...args] = [...enter, "nginx", "-p", dir, "-c", join(dir, `${name}.conf`)];
  return spawn(command, args, { stdio: "ignore" });
}

async function startTinyproxy(dir: string): Promise<Proxy> {
  const port = await freePort();
  const config = `Port ${port}\nListen 127.0.0.1\nTimeout 600\nMaxClients 200\nLogLevel Critical\nLogFile "${dir}/tinyproxy.log"\n`;
  writeFileSync(join(dir, "tinyproxy.conf"), config);
  const child = spawn("tinyproxy", ["-d", "-c", join(dir, "tinyproxy.conf")], { stdio: "ignore" });
  const url = `http://127.0.0.1:${port}`;
  await answers(url);
  return { url, pid: child.pid!, ca: join(dir, "tls.crt"), stop: () => stopped(child) };
}

async function startRecord(dir: string, name: string): Promise<Proxy> {
  const url = `http://127.0.0.1:${await freePort()}`;
  const args = ["record", "--out", `${name}.yaml`, "--listen", url.slice("http://".length), "--ca", "tls.crt", "-q"];
  const child = spawn(process.execPath, ["--disable-warning=ExperimentalWarning", BIN, ...args], {
    cwd: dir,
    stdio: ["ignore", "ignore", "inherit"],
    env: { ...process.env, no_proxy: "", http_proxy: "", https_proxy: "" },
  });
  await answers(url);
  const ca = join(dir, `${name}.ca`);
  writeFileSync(ca, await (await fetch(`${url}/ca.crt`)).text());
  return { url, pid: child.pid!, ca, stop: () => stopped(child) };
}

async function answers(url: string): Promise<void> {
  for (let tries = 0; tries < 100; tries++) {
    const isUp = await fetch(url).then(
      () => true,
      () => false,
    );
    if (isUp) return;
    await sleep(100);
  }
  throw new Error(`${url} does not answer`);
}

function curl(proxy: Proxy, ...args: string[]): string[] {
  return ["-sf", "--noproxy", "", "-x", proxy.url, "--cacert", proxy.ca, ...args];
}

/** Seconds of a download. */
async function download(dir: string, proxy: Proxy, url: string, isLarge: boolean): Promise<number> {
  rmSync(join(dir, "got"), { recursive: true, force: true });
  mkdirSync(join(dir, "got"));
  execFileSync("sync");
  const started = performance.now();
  if (isLarge) await run("curl", curl(proxy, "-o", "/dev/null", url));
  else {
    const lines = Array.from({ length: SMALL_FILES }, (_, at) => `url = "${url}/${at}.bin"\noutput = "got/${at}"\n`);
    writeFileSync(join(dir, "urls"), lines.join(""));
    await run("curl", curl(proxy, "--parallel", "--parallel-max", AT_ONCE, "-K", "urls"), { cwd: dir });
  }
  return (performance.now() - started) / 1000;
}

/** Medians of both, measured in turns. The first turn is a warm-up. */
async function alternate(
  seconds: (proxy: Proxy) => Promise<number>,
  ours: Proxy,
  peer: Proxy,
): Promise<[number, number]> {
  const all: [number[], number[]] = [[], []];
  for (let round = 0; round <= ROUNDS; round++) {
    const pair = [await seconds(ours), await seconds(peer)] as const;
    if (round === 0) continue;
    all[0].push(pair[0]);
    all[1].push(pair[1]);
  }
  const [a, b] = all.map((it) => it.sort((x, y) => x - y)[it.length >> 1]!);
  return [a ?? 0, b ?? 0];
}

/** pack of what was recorded, by two schemes, compared with the same bytes as files. */
function packRecording(dir: string): Row {
  const env = { AIRFERRY_PASSWORD: "bench", AIRFERRY_CACHE: join(dir, "cache") };
  const airferry = (...args: string[]) =>
    measure(process.execPath, ["--disable-warning=ExperimentalWarning", BIN, ...args], { cwd: dir, env });
  airferry("keygen", "--out", "site");
  const paths = ["large", ...Array.from({ length: SMALL_FILES }, (_, at) => `small/${at}.bin`)];
  const entries = paths.flatMap((it) =>
    ["http", "https"].map((scheme) => `  - {path: www/${it}, as: ${scheme}/${it}}\n`),
  );
  writeFileSync(join(dir, "plain.yaml"), `apiVersion: airferry/v1\nstream: plain\nfiles:\n${entries.join("")}`);
  const pack = (name: string) =>
    median(
      ROUNDS,
      () => airferry("pack", `${name}.yaml`, "--key", "site.key", "--out", "packed", "-q"),
      () => {
        for (const it of ["packed", `${name}.state.json`, `${name}.lock.json`, `${name}.lock.d`])
          rmSync(join(dir, it), { recursive: true, force: true });
        execFileSync("sync");
      },
    );
  const [files, recorded] = [pack("plain"), pack("bench")];
  return {
    job: `pack ${entries.length} recorded answers, processor`,
    airferry: cpuSecs(recorded),
    peer: `as files: ${cpuSecs(files)}`,
    ratio: recorded.cpu / files.cpu,
    required: "≤ 1.2",
    note: `peak ${mib(recorded.memory)}, two of ${LARGE_MIB} MiB, the others of ${SMALL_BYTES / 1000} kB`,
  };
}

/** The peak of memory until the bodies of all clients are recorded. */
async function slowClients(dir: string, { job, file, clients, rate, isStopped, note }: SlowClients): Promise<Row> {
  const name = `slow-${file}`;
  const proxy = await startRecord(dir, name);
  const memory = watchMemory(proxy.pid);
  const running: ChildProcess[] = [];
  try {
    for (let at = 0; at < clients; at++) {
      const base = at % 2 === 0 ? "http://127.0.0.1:8080" : "https://127.0.0.1:8443";
      const args = curl(proxy, "-o", "/dev/null", "--limit-rate", rate, `${base}/${file}?${at}`);
      running.push(spawn("curl", args, { stdio: "ignore" }));
    }
    await sleep(2000);
    for (const [at, it] of running.entries()) if (isStopped(at)) it.kill("SIGSTOP");
    const list = join(dir, `${name}.recording/answers.jsonl`);
    const count = () => (existsSync(list) ? readFileSync(list, "latin1").split("\n").length - 1 : 0);
    for (const end = Date.now() + MAX_WAIT_MS; count() < clients; await sleep(200))
      if (Date.now() > end) throw new Error(`only ${count()} of ${clients} bodies were recorded`);
  } finally {
    for (const it of running) it.kill("SIGKILL");
    await proxy.stop();
    rmSync(join(dir, `${name}.recording`), { recursive: true, force: true });
  }
  const peak = memory.stop() / 1e6;
  return {
    job,
    airferry: `${peak.toFixed(0)} MB`,
    peer: `limit ${MAX_MEMORY_MB} MB`,
    ratio: peak / MAX_MEMORY_MB,
    required: "≤ 1",
    note,
  };
}

async function stopped(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = once(child, "exit");
  child.kill("SIGTERM");
  await gone;
}
