/** What clients that ask for much and take little cost the server: bounded memory, and others are answered meanwhile. */
import { connect } from "node:net";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import t, { type Test } from "tap";
import { MAX_PENDING_BYTES } from "../../../src/server/http/pending-responses.ts";
import { MAX_PIPELINED_REQUESTS } from "../../../src/server/http/pipeline-queue.ts";
import { patterned, sendRaw, startServer } from "../../fixtures/serving.ts";

const MIB = 1024 * 1024;

/** A directory whose page is several hundred kilobytes. */
function manyFiles(count: number, length = 60): Record<string, string> {
  return Object.fromEntries(
    Array.from({ length: count }, (_, i) => [`files/${"n".repeat(length)}-${String(i).padStart(5, "0")}`, "x"]),
  );
}

/** Sends bytes and reads nothing. */
function sendAndStare(t: Test, port: number, bytes: string): void {
  const socket = connect({ port, host: "127.0.0.1" }, () => socket.write(bytes));
  socket.pause();
  socket.on("error", () => {});
  t.teardown(() => socket.destroy());
}

setFlagsFromString("--expose-gc");
const collectGarbage = runInNewContext("gc") as () => void;
const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
const get = (path: string, more = "") => `GET ${path} HTTP/1.1\r\nHost: h\r\n${more}\r\n`;

t.test("requests that are pipelined by the thousand are not answered in memory", async (t) => {
  const { url, port } = await startServer(t, [
    { stream: "a", content: { ...manyFiles(1500), "files/big": patterned(MIB) } },
  ]);
  await (await fetch(`${url}/files/`)).text();
  const before = process.memoryUsage.rss();
  for (const request of [
    get("/files/"),
    get("/files/?after=x"),
    get("/"),
    get("/files/big"),
    get("/v2/_catalog"),
    get("/none"),
  ]) {
    for (let i = 0; i < 4; i++) sendAndStare(t, port, request.repeat(1500));
  }
  const started = performance.now();
  await (await fetch(`${url}/files/`)).text();
  const waited = performance.now() - started;
  await sleep(500);
  const grown = (process.memoryUsage.rss() - before) / MIB;
  t.ok(grown < 200, `memory grew by ${grown.toFixed(0)} MiB`);
  t.ok(waited < 6000, `another client waited ${waited.toFixed(0)} ms`);
  t.match(await (await fetch(`${url}/metrics`)).text(), /airferry_faults_total 0/);
});

t.test("as many as an honest client pipelines are all answered, in order", async (t) => {
  const { port } = await startServer(t, [
    { stream: "a", content: { "files/x": "content of x", "files/big": patterned(2 * MIB) } },
  ]);
  const paths = ["/files/x", "/files/big", "/none", "/", "/files/x", "/v2/"];
  const wanted = Array.from({ length: MAX_PIPELINED_REQUESTS }, (_, i) => paths[i % paths.length]!);
  const requests = wanted.map((path) => get(path)).join("") + get("/files/x", "Connection: close\r\n");
  const got = await sendRaw(port, requests, 10_000);
  const expected = [...wanted, "/files/x"].map((path) => (path === "/none" ? "404" : "200"));
  t.same(
    [...got.matchAll(/HTTP\/1.1 (\d+)/g)].map((match) => match[1]),
    expected,
  );
});

t.test("a connection that asks for more than it can wait for is cut, and takes nobody with it", async (t) => {
  const { url, port } = await startServer(t, [{ stream: "a", content: { "files/x": "content of x" } }]);
  const got = await sendRaw(port, get("/files/x").repeat(2000), 5000);
  t.ok((got.match(/HTTP\/1.1 200/g) ?? []).length <= MAX_PIPELINED_REQUESTS + 1);
  t.equal(await (await fetch(`${url}/files/x`)).text(), "content of x");
});

t.test("generated answers that nobody takes have a limit over all connections; the oldest is cut", async (t) => {
  const { url, port } = await startServer(t, [{ stream: "a", content: manyFiles(1000, 240) }]);
  const page = Number((await fetch(`${url}/files/`)).headers.get("content-length"));
  const count = Math.ceil(MAX_PENDING_BYTES / page) + 20;
  // What the kernel takes off each connection's hands is not ours.
  const requests = get("/files/").repeat(MAX_PIPELINED_REQUESTS);
  const before = process.memoryUsage.rss();
  for (let i = 0; i < count; i++) {
    sendAndStare(t, port, requests);
    await sleep(5);
  }
  await sleep(1000);
  const metrics = await (await fetch(`${url}/metrics`)).text();
  const left = Number(/airferry_http_connections (\d+)/.exec(metrics)?.[1]);
  t.ok(left > count / 2 && left < count, `${left} of ${count} connections are left`);
  t.match(metrics, "airferry_faults_total 0");
  const grown = (process.memoryUsage.rss() - before) / MIB;
  t.ok(grown < 350, `memory grew by ${grown.toFixed(0)} MiB for ${((count * page) / MIB).toFixed(0)} MiB of pages`);
  t.equal((await fetch(`${url}/files/`)).status, 200);
});

t.test("names that clients make up are not remembered", async (t) => {
  const { url } = await startServer(t, [{ stream: "a", content: { "files/x": "x" } }]);
  const ask = async (from: number) => {
    for (let i = from; i < from + 3000; i += 50) {
      const many = Array.from({ length: 50 }, (_, k) => fetch(`${url}/s/${"n".repeat(200)}${i + k}/v2/a/tags/list`));
      for (const answer of await Promise.all(many)) await answer.text();
    }
  };
  await ask(0);
  collectGarbage();
  const before = process.memoryUsage().heapUsed;
  await ask(3000);
  collectGarbage();
  const grown = (process.memoryUsage().heapUsed - before) / MIB;
  t.ok(grown < 20, `3,000 streams that are not there took ${grown.toFixed(1)} MiB`);
});

t.test("requests must arrive in time; answers may take theirs", async (t) => {
  const { url, port } = await startServer(t, [{ stream: "a", content: { "files/big": patterned(24 * MIB) } }]);
  // A download that stops for longer than requests may take, and then goes on.
  const slow = await fetch(`${url}/files/big`);
  const began = performance.now();
  const [silent, dripping] = await Promise.all([
    sendRaw(port, "", 40_000).then(() => performance.now() - began),
    new Promise<number>((resolve) => {
      const socket = connect(port, "127.0.0.1", () => socket.write("GET /files/big HTTP/1.1\r\n"));
      const drip = setInterval(() => socket.write("X"), 1000);
      socket.on("error", () => {});
      socket.resume();
      socket.on("close", () => {
        clearInterval(drip);
        resolve(performance.now() - began);
      });
    }),
  ]);
  t.ok(silent < 30_000, `a client that says nothing is cut after ${(silent / 1000).toFixed(0)} s`);
  t.ok(dripping < 30_000, `one that drips its headers after ${(dripping / 1000).toFixed(0)} s`);
  t.equal((await slow.arrayBuffer()).byteLength, 24 * MIB, "the slow download is whole");
});
