/** Requests that no honest client sends, over raw sockets: refused in words, and the server goes on. */
import { connect } from "node:net";
import t from "tap";
import { patterned, sendRaw, startServer } from "../../fixtures/serving.ts";

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

t.test("a Host that no URL can have is the client's mistake, and no fault", async (t) => {
  const { url, port, messages } = await startServer(t, [
    { stream: "a", content: CONTENT, catalog: { files: [{ path: "files/x" }] } },
  ]);
  const bad = [
    '"><script>',
    "256.256.256.256",
    "1.2.3.4.5",
    "x:70000",
    "x:",
    "x:8o",
    "[:::::]",
    "[::1",
    "a b",
    "a/b",
    "user@x",
    "a%2fb",
    "x?y",
    "h\u00e9",
    "-".repeat(300),
  ];
  // /files/x twice: the second answer may come the short way.
  for (const path of ["/", "/v2/", "/config/airferry.repo", "/files/x", "/files/x", "/none", "/metrics"]) {
    await (await fetch(`${url}${path}`)).text();
    for (const host of bad) {
      if (host === "x:" && path !== "/") continue;
      const got = await sendRaw(port, `GET ${path} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`);
      t.match(got, host === "x:" ? /^HTTP\/1.1 200/ : /^HTTP\/1.1 400/, `${path} for ${host.slice(0, 20)}`);
      t.notMatch(got, '"><script>');
    }
    const two = await sendRaw(port, `GET ${path} HTTP/1.1\r\nHost: a\r\nhOST: a\r\n\r\n`);
    t.match(two, /^HTTP\/1.1 400[\s\S]*more than one Host/, `${path} with two`);
  }
  t.match(await (await fetch(`${url}/metrics`)).text(), /airferry_faults_total 0/);
  t.strictSame(messages, []);
});

t.test("whom a request is for: Host, the authority of an absolute target, or the socket's own address", async (t) => {
  const { port } = await startServer(t, [{ stream: "a", content: CONTENT, catalog: { files: [{ path: "files/x" }] } }]);
  const cases: [string, string][] = [
    ["GET / HTTP/1.1\r\nHost: mirror.example:9000\r\nConnection: close\r\n\r\n", "http://mirror.example:9000/files/x"],
    ["GET / HTTP/1.1\r\nHost: [::1]:9000\r\nConnection: close\r\n\r\n", "http://[::1]:9000/files/x"],
    ["GET / HTTP/1.1\r\nHost: mirror_1\r\nConnection: close\r\n\r\n", "http://mirror_1/files/x"],
    ["GET http://a.example:81/ HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n", "http://a.example:81/files/x"],
    ["GET / HTTP/1.1\r\nHost:\r\nConnection: close\r\n\r\n", `http://127.0.0.1:${port}/files/x`],
    ["GET / HTTP/1.0\r\n\r\n", `http://127.0.0.1:${port}/files/x`],
  ];
  for (const [request, expected] of cases) t.match(await sendRaw(port, request), expected, request.slice(0, 50));
  for (const target of [
    "http:///files/x",
    "http://u@h/files/x",
    "http://h:99999/files/x",
    "https://a b/",
    "ftp://h/files/x",
  ]) {
    const got = await sendRaw(port, `GET ${target} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n`);
    t.match(got, /^HTTP\/1.1 400/, target);
  }
});

t.test("nothing can be taken for a second request", async (t) => {
  const { port } = await startServer(t, [{ stream: "a", content: CONTENT }]);
  const hidden = "GET /files/x HTTP/1.1\r\nHost: h\r\n\r\n";
  const refused = [
    `GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\n${hidden}`,
    `GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 4, 5\r\n\r\n${hidden}`,
    `GET / HTTP/1.1\r\nHost: h\r\nContent-Length: +4\r\n\r\n${hidden}`,
    `GET / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: xchunked\r\n\r\n${hidden}`,
    `GET / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n${hidden}`,
    `GET / HTTP/1.1\r\nHost: h\rX: y\r\n\r\n${hidden}`,
    `GET / HTTP/1.1\r\nHost : h\r\n\r\n${hidden}`,
    `GET / HTTP/1.1\r\nHost: h\r\nX: a\0b\r\n\r\n${hidden}`,
    `GET / HTTP/1.1\r\nHost: h\r\n X: folded\r\n\r\n${hidden}`,
    `GET /a\0b HTTP/1.1\r\nHost: h\r\n\r\n${hidden}`,
    `GET / HTTP/1.1 \r\nHost: h\r\n\r\n${hidden}`,
    `GET / HTTP/3.7\r\nHost: h\r\n\r\n${hidden}`,
  ];
  for (const request of refused) {
    const got = await sendRaw(port, request, 2000);
    t.match(got, /^HTTP\/1.1 (?:400|5\d\d)/, JSON.stringify(request.slice(0, 70)));
    t.notMatch(got, "content of x", "what stands behind it is not answered");
  }
  // A body is legal with GET and means nothing: the connection ends behind the answer, so that nothing in it is a request.
  for (const framing of [
    `Content-Length: ${hidden.length}\r\n\r\n${hidden}`,
    "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
  ]) {
    for (const path of ["/files/x", "/files/x", "/", "/v2/", "/none"]) {
      const got = await sendRaw(port, `GET ${path} HTTP/1.1\r\nHost: h\r\n${framing}${hidden}`, 2000);
      t.equal(got.match(/HTTP\/1.1 \d/g)?.length, 1, `${path} with a body has one answer`);
      t.match(got, /\r\nConnection: close\r\n/i);
    }
  }
});
