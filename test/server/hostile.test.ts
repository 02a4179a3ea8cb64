/** Requests that no honest client sends, over raw sockets: refused in words, and the server goes on. */
import { connect } from "node:net";
import t from "tap";
import { patterned, sendRaw, startServer } from "../fixtures/serving.ts";

const CONTENT = { "files/x": "content of x", "files/big": patterned(8 * 1024 * 1024) };

t.test("targets", async (t) => {
  const { port } = await startServer(t, [{ stream: "a", content: CONTENT }]);
  const cases: [string, RegExp][] = [
    ["GET /files/x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", /^HTTP\/1.1 200/],
    [
      "GET http://other.example/files/x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
      /^HTTP\/1.1 200[\s\S]*content of x/,
    ],
    ["GET /files/../../../../etc/passwd HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", /^HTTP\/1.1 404/],
    ["GET /files/%2e%2e/%2e%2e/etc/passwd HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", /^HTTP\/1.1 400/],
    ["GET /files/..%2f..%2fetc/passwd HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", /^HTTP\/1.1 400/],
    ["GET /files/%c0%ae%c0%ae/x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", /^HTTP\/1.1 400/],
    ["GET /files/x%00.txt HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", /^HTTP\/1.1 400/],
    ["GET /%zz HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", /^HTTP\/1.1 400/],
    ["GET /__proto__ HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", /^HTTP\/1.1 404/],
    ["GET /s/__proto__/constructor HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", /^HTTP\/1.1 404/],
    ["OPTIONS * HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", /^HTTP\/1.1 405/],
    ["GET /files/x HTTP/1.1\r\nConnection: close\r\n\r\n", /^HTTP\/1.1 400/],
    [`GET /${"a".repeat(20_000)} HTTP/1.1\r\nHost: h\r\n\r\n`, /^HTTP\/1.1 431/],
    [`GET / HTTP/1.1\r\nHost: h\r\nX-Big: ${"a".repeat(20_000)}\r\n\r\n`, /^HTTP\/1.1 431/],
    ["NONSENSE\r\n\r\n", /^HTTP\/1.1 400/],
    [
      "GET /files/x HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
      /^HTTP\/1.1 400/,
    ],
    ["CONNECT other:443 HTTP/1.1\r\nHost: h\r\n\r\n", /^$/],
  ];
  for (const [request, expected] of cases) {
    t.match(await sendRaw(port, request, 3000), expected, request.slice(0, 60).replaceAll("\r\n", " "));
  }
  t.notMatch(await sendRaw(port, "GET /files/../../../../etc/passwd HTTP/1.0\r\n\r\n"), "root:");
});

t.test("other methods", async (t) => {
  const { url, port } = await startServer(t, [{ stream: "a", content: CONTENT }]);
  for (const method of ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND"]) {
    const answer = await fetch(`${url}/files/x`, {
      method,
      ...(method === "POST" ? { body: "x".repeat(100_000) } : {}),
    });
    t.equal(answer.status, 405, method);
    t.equal(answer.headers.get("allow"), "GET, HEAD");
    t.match(await answer.text(), "read-only");
  }
  // A client that announces an endless body is answered at once and not read for ever.
  const got = await sendRaw(port, "PUT /files/x HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999999\r\n\r\nabc", 3000);
  t.match(got, /^HTTP\/1.1 405[\s\S]*Connection: close/);
});

t.test("pipelined requests are answered in order", async (t) => {
  const { port } = await startServer(t, [{ stream: "a", content: CONTENT }]);
  const one = (path: string, more = "") => `GET ${path} HTTP/1.1\r\nHost: h\r\n${more}\r\n`;
  const got = await sendRaw(
    port,
    one("/files/x") +
      one("/files/big", "Range: bytes=0-3\r\n") +
      one("/none") +
      one("/files/x", "Connection: close\r\n"),
    3000,
  );
  t.same(got.match(/HTTP\/1.1 \d+/g), ["HTTP/1.1 200", "HTTP/1.1 206", "HTTP/1.1 404", "HTTP/1.1 200"]);
  const big = await sendRaw(
    port,
    one("/files/big") + one("/files/big") + one("/files/x", "Connection: close\r\n"),
    5000,
  );
  t.ok(big.length > 16 * 1024 * 1024 && big.endsWith("content of x"), "large answers, one behind the other");
});

t.test("pipelining clients that vanish leave the server well", async (t) => {
  const { url, port } = await startServer(t, [{ stream: "a", content: CONTENT }]);
  const request = "GET /files/big HTTP/1.1\r\nHost: h\r\n\r\n";
  await Promise.all(
    Array.from({ length: 30 }, (_, i) => {
      return new Promise<void>((resolve) => {
        const socket = connect(port, "127.0.0.1", () => socket.write(request.repeat(20)));
        socket.on("error", () => {});
        socket.on("close", () => resolve());
        setTimeout(() => (i % 2 === 0 ? socket.destroy() : socket.resetAndDestroy()), 20 + i * 5);
      });
    }),
  );
  t.equal(await (await fetch(`${url}/files/x`)).text(), "content of x");
  await new Promise((resolve) => setTimeout(resolve, 200));
  t.match(
    await (await fetch(`${url}/metrics`)).text(),
    /airferry_faults_total 0/,
    "a broken connection is no fault of ours",
  );
});

t.test("host names of clients do not get into pages unescaped", async (t) => {
  const { port } = await startServer(t, [{ stream: "a", content: CONTENT, catalog: { files: [{ path: "files/x" }] } }]);
  const got = await sendRaw(port, 'GET / HTTP/1.1\r\nHost: "><script>\r\nConnection: close\r\n\r\n');
  t.notMatch(got, "<script>");
  t.match(got, `http://127.0.0.1:${port}/files/x`);
});
