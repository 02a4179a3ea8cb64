/** The server as several threads: signals, ends, counts over all of them, the access log, busy ports. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import t, { type Test } from "tap";
import type { ServeOptions } from "../../../src/serve.ts";
import { startServer, temporaryDir } from "../../fixtures/serving.ts";

const MAIN = join(import.meta.dirname, "../../fixtures/serve-main.ts");
const COMPILE_CACHE = join(tmpdir(), `airferry-test-${process.pid}`);
const LINUX = process.platform === "linux";

t.teardown(() => rm(COMPILE_CACHE, { recursive: true, force: true }));

interface Program {
  child: ChildProcess;
  url: string;
  errors: () => string;
  exited: Promise<unknown>;
}

async function startProgram(t: Test, workers: number, options: Partial<ServeOptions> = {}): Promise<Program> {
  const dir = join(await temporaryDir(t), "store");
  await mkdir(dir, { recursive: true });
  const content = { "files/x": "content of x", "files/big": "b".repeat(6 * 1024 * 1024) };
  await writeFile(join(dir, "release.json"), JSON.stringify({ stream: "a", content }));
  const env = { ...process.env, NODE_COMPILE_CACHE: COMPILE_CACHE, NODE_OPTIONS: "" };
  const args = ["--disable-warning=ExperimentalWarning", MAIN, dir, String(workers), JSON.stringify(options)];
  const child = spawn(process.execPath, args, { env });
  let errors = "";
  child.stderr.on("data", (text) => {
    errors += text;
  });
  const exited = once(child, "exit");
  t.teardown(() => child.kill("SIGKILL"));
  const [line] = (await Promise.race([once(createInterface(child.stdout), "line"), exited])) as [string | number];
  if (typeof line !== "string") throw new Error(`the program ended with ${line}: ${errors}`);
  return { child, url: JSON.parse(line).urls[0], errors: () => errors, exited };
}

/** Each request on a connection of its own, so that all threads get some. */
async function get(url: string): Promise<string> {
  const answer = await fetch(url, { headers: { Connection: "close" } });
  return answer.text();
}

/** How many sockets listen on a port of this host. */
async function listening(port: number): Promise<number> {
  const table = await readFile("/proc/net/tcp", "utf8");
  const hex = port.toString(16).toUpperCase().padStart(4, "0");
  return table.split("\n").filter((line) => new RegExp(`^ *\\d+: [0-9A-F]{8}:${hex} [0-9A-F:]+ 0A `).test(line)).length;
}

t.test(
  "metrics add up over threads and a worker that fails is replaced",
  { skip: !LINUX && "Linux only" },
  async (t) => {
    const { child, url, errors, exited } = await startProgram(t, 3);
    const port = Number(new URL(url).port);
    t.equal(await listening(port), 3);
    for (let i = 0; i < 30; i++) t.equal(await get(`${url}/files/x`), "content of x");
    const metrics = await get(`${url}/metrics`);
    t.match(metrics, 'airferry_http_responses_total{route="files",status="200"} 30\n');
    t.match(metrics, `airferry_http_response_bytes_total{route="files"} ${30 * 12}\n`);
    const memory = [...metrics.matchAll(/resident_memory_bytes\{pid="(\d+)"\} (\d+)/g)];
    t.equal(memory.length, 1, "the memory of all threads is counted once");
    t.equal(Number(memory[0]![1]), child.pid);
    const status = await readFile(`/proc/${child.pid}/status`, "utf8");
    const resident = Number(/^VmRSS:\s*(\d+)/m.exec(status)?.[1]) * 1024;
    t.ok(Math.abs(Number(memory[0]![2]) / resident - 1) < 0.2, "as the system counts it");
    // What a worker has counted is told to the first thread every two seconds.
    await new Promise((resolve) => setTimeout(resolve, 2500));
    child.kill("SIGUSR2");
    for (let i = 0; i < 40 && (await listening(port)) === 3; i++)
      await new Promise((resolve) => setTimeout(resolve, 25));
    let served: string | undefined;
    // What waits to be accepted by a thread that ends is lost with it.
    for (let i = 0; i < 20 && served === undefined; i++) served = await get(`${url}/files/x`).catch(() => undefined);
    t.equal(served, "content of x", "the first thread serves on");
    for (let i = 0; i < 60 && (await listening(port)) < 3; i++)
      await new Promise((resolve) => setTimeout(resolve, 250));
    t.equal(await listening(port), 3);
    const told = errors().match(/a worker thread ended with an unforeseen fault; starting another/g);
    t.equal(told?.length, 2);
    const after = await get(`${url}/metrics`);
    t.match(after, 'airferry_http_responses_total{route="files",status="200"} 31\n', "its counts outlive it");
    child.kill("SIGTERM");
    t.same(await exited, [0, null]);
  },
);

t.test("a stop lets running answers finish, within limits", { skip: !LINUX && "Linux only" }, async (t) => {
  for (const workers of [1, 2]) {
    const { child, url, exited } = await startProgram(t, workers);
    const answer = await fetch(`${url}/files/big`);
    child.kill("SIGTERM");
    await new Promise((resolve) => setTimeout(resolve, 300));
    await t.rejects(fetch(`${url}/files/x`), "no new connections");
    t.equal((await answer.arrayBuffer()).byteLength, 6 * 1024 * 1024, "the running answer is whole");
    t.same(await exited, [0, null], `${workers} threads end`);
  }
  const { child, url, exited } = await startProgram(t, 2, { graceMs: 300 });
  const stuck = await fetch(`${url}/files/big`);
  child.kill("SIGINT");
  t.same(await exited, [0, null], "a client that does not read holds nothing up");
  await t.rejects(stuck.arrayBuffer());
});

t.test("the access log has a line for each answer", async (t) => {
  const log = join(t.testdir(), "access.log");
  const { child, url, exited } = await startProgram(t, 2, { accessLog: log });
  await fetch(`${url}/files/x?q=1`, { headers: { "User-Agent": "test/1" } }).then((answer) => answer.text());
  await fetch(`${url}/files/x`, { headers: { Range: "bytes=3-5" } }).then((answer) => answer.text());
  await fetch(`${url}/none`).then((answer) => answer.text());
  await fetch(`${url}/files/x`, { method: "HEAD" });
  child.kill("SIGTERM");
  await exited;
  const lines = (await readFile(log, "utf8"))
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
  t.equal(lines.length, 4);
  t.match(
    lines.find((it) => it.agent === "test/1"),
    { client: "127.0.0.1", method: "GET", path: "/files/x?q=1", status: 200, bytes: 12, ms: Number, time: /^\d{4}-/ },
  );
  t.match(
    lines.find((it) => it.range === "bytes=3-5"),
    { status: 206, bytes: 3 },
  );
  t.match(
    lines.find((it) => it.status === 404),
    { path: "/none" },
  );
  t.match(
    lines.find((it) => it.method === "HEAD"),
    { status: 200, bytes: 0 },
  );
});

/** A store without a release is not served. */
const ANY = [{ stream: "s", content: { "files/a": "a" } }];

t.test("a busy port is said so, also when it is shared by our own", async (t) => {
  const other = createServer().listen(0, "127.0.0.1");
  await once(other, "listening");
  t.teardown(() => other.close());
  const { port } = other.address() as { port: number };
  for (const workers of [1, 2]) {
    await t.rejects(startServer(t, ANY, { listen: `127.0.0.1:${port}`, workers }), {
      code: "ERR_BUSY",
      hint: /ss -ltnp/,
    });
  }
  if (!LINUX) return;
  // Where both got the port, a client of either would have met the other: plain HTTP where it began a handshake.
  other.close();
  await once(other, "close");
  for (const workers of [1, 2]) {
    const own = { listen: `127.0.0.1:${port}`, listenHttp: [`127.0.0.1:${port}`], workers };
    await t.rejects(startServer(t, ANY, own), { code: "ERR_BUSY" }, `both listeners on one port, ${workers} threads`);
  }
  const { url } = await startProgram(t, 2);
  await t.rejects(startServer(t, ANY, { listen: new URL(url).host, workers: 2 }), { code: "ERR_BUSY" });
  await t.rejects(startServer(t, ANY, { listen: "nowhere" }), { code: "ERR_USAGE" });
  await t.rejects(startServer(t, ANY, { listen: "192.0.2.77:0" }), { code: "ERR_IO", hint: /ip address/ });
});
