/** The recording proxy between curl and an upstream by TLS: what clients get, and what is written down. */
import { createHash } from "node:crypto";
import { once } from "node:events";
import { appendFileSync, existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import type { ServerResponse } from "node:http";
import { connect, createServer } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { gzipSync } from "node:zlib";
import t from "tap";
import { readRecording } from "../../src/io/web-recording.ts";
import { startRecorder } from "../../src/record/proxy-recorder.ts";
import { needs } from "../fixtures/clients.ts";
import { runClient } from "../fixtures/container-clients.ts";
import { startProxy } from "../fixtures/proxy.ts";
import { bodyIn, curl, everythingIn, startRecording, startTlsUpstream } from "../fixtures/recording.ts";

const BIG = Buffer.alloc(24 * 1024 * 1024, "0123456789abcdef");
const sha256 = (bytes: Uint8Array | string) => `sha256:${createHash("sha256").update(bytes).digest("hex")}`;

/** Sends as fast as the client reads. */
function send(response: ServerResponse, bytes: Buffer): void {
  for (let at = 0; at < bytes.length; ) {
    const isTaken = response.write(bytes.subarray(at, at + 65536));
    at += 65536;
    if (!isTaken && at < bytes.length) {
      const rest = bytes.subarray(at);
      response.once("drain", () => send(response, rest));
      return;
    }
  }
  response.end();
}

t.test("what curl gets by HTTP/1.1 and h2 is recorded as it is", async (t) => {
  if (!needs(t, "curl")) return;
  const asked: string[] = [];
  const up = await startTlsUpstream(t, ["up.test", "127.0.0.1"], (request, response) => {
    asked.push(`${request.method} ${request.url} ${request.headers.range ?? ""}${request.headers["accept-encoding"]}`);
    const { pathname } = new URL(request.url ?? "", "https://up.test");
    if (pathname === "/big") {
      response.writeHead(200, { "content-length": BIG.length, etag: '"b"', "content-type": "application/x-big" });
      if (request.method === "HEAD") response.end();
      else send(response, BIG);
    } else if (pathname === "/chunked") response.writeHead(200).end("in chunks, of unknown length");
    else if (pathname === "/gzip") response.writeHead(200, { "content-encoding": "gzip" }).end(gzipSync("plain text"));
    else if (pathname === "/x.tar.gz") response.writeHead(200, { "content-encoding": "x-gzip" }).end(gzipSync("a tar"));
    else if (pathname === "/type") {
      const isJson = request.headers.accept === "application/json";
      response.writeHead(200, { vary: "Accept, Cookie", "content-type": isJson ? "application/json" : "text/html" });
      response.end(isJson ? '{"a":1}' : "<p>a");
    } else if (pathname === "/moved") response.writeHead(302, { location: "/chunked" }).end();
    else if (pathname === "/gone") response.writeHead(410).end("gone");
    else if (pathname === "/broken") {
      response.writeHead(200, { "content-length": 100 });
      response.write("half", () => response.destroy());
    } else if (pathname === "/busy") response.writeHead(503).end("later");
    else response.writeHead(404).end("nothing here");
  });
  const lab = await startRecording(t, up.ca.cert);
  const at = `https://up.test:${up.port}`;
  const status = ["-w", " %{http_code} %{http_version}"];

  await t.test("clients", async (t) => {
    t.equal(await curl(lab, ...status, `${at}/chunked`), "in chunks, of unknown length 200 2");
    t.equal(await curl(lab, ...status, "--http1.1", `${at}/chunked`), "in chunks, of unknown length 200 1.1");
    t.equal(await curl(lab, ...status, "-L", `${at}/moved`), "in chunks, of unknown length 200 2");
    t.equal(await curl(lab, ...status, `${at}/a%2bb%7e`), "nothing here 404 2");
    t.equal(await curl(lab, ...status, "--http1.1", `${at}/gone`), "gone 410 1.1");
    t.equal(await curl(lab, "--compressed", `${at}/gzip`), "plain text");
    await curl(lab, "-o", "/dev/null", `${at}/x.tar.gz`);
    t.equal(await curl(lab, `${at}/type`), "<p>a");
    t.equal(await curl(lab, "-H", "Accept: application/json", `${at}/type`), '{"a":1}');
    t.match(await curl(lab, "-I", `${at}/big`), /^content-length: 25165824\r$/m);
    t.match(await curl(lab, `${at}/broken`), /^exit \d+: half/, "a cut answer is cut");
    t.equal(await curl(lab, ...status, `${at}/busy`), "later 503 2");
    t.equal(await curl(lab, ...status, "-d", "abc", `${at}/chunked`), "in chunks, of unknown length 200 2");
    t.equal(await curl(lab, `https://127.0.0.1:${up.port}/chunked`), "in chunks, of unknown length", "an address");
    const direct = async (path: string) => (await fetch(`${lab.proxy}${path}`)).text();
    t.match(await direct("/"), /airferry record: this is a proxy/);
    t.equal(await direct("/ca.crt"), lab.recorder.ca);
  });

  await t.test("parts of one download", async (t) => {
    const before = asked.length;
    const parts = await Promise.all([
      curl(lab, ...status, "-r", "16-31", `${at}/big`),
      curl(lab, ...status, "--http1.1", "-r", "-4", `${at}/big`),
      curl(lab, ...status, "-r", `${BIG.length - 2}-`, `${at}/big`),
      curl(lab, ...status, "-r", `${BIG.length}-`, `${at}/big`),
      curl(lab, ...status, "-r", "3-11", `${at}/chunked`),
      curl(lab, ...status, "-L", "-r", "0-1", `${at}/moved`),
    ]);
    t.strictSame(parts, [
      "0123456789abcdef 206 2",
      "cdef 206 1.1",
      "ef 206 2",
      " 416 2",
      "chunks, o 206 2",
      "in 206 2",
    ]);
    t.equal(asked.slice(before).filter((it) => it.startsWith("GET /big ")).length, 1, "upstream is asked once");
    t.ok(
      asked.every((it) => it.endsWith(" identity") || it.startsWith("POST")),
      "for the whole, as it is",
    );
  });

  const answers = await lab.end();
  const of = (path: string, method = "GET") =>
    answers.filter((it) => it.url === `${at}${path}` && it.method === method);
  t.match(of("/big"), [{ status: 200, size: BIG.length, digest: sha256(BIG), headers: { etag: '"b"' } }]);
  t.match(of("/big", "HEAD"), [{ size: 0, headers: { "content-length": String(BIG.length) } }]);
  t.match(of("/moved"), [{ status: 302, headers: { location: "/chunked" } }]);
  t.match(of("/a+b~"), [{ status: 404, digest: sha256("nothing here") }], "in its normal form");
  t.match(of("/gone"), [{ status: 410 }]);
  t.match(of("/gzip"), [{ digest: sha256("plain text") }]);
  t.match(of("/x.tar.gz"), [{ digest: sha256(gzipSync("a tar")) }], "a file whose name says that it is compressed");
  t.strictSame(
    of("/type").map((it) => [it.vary, bodyIn(lab.folder, it).toString()]),
    [
      [{ accept: "*/*" }, "<p>a"],
      [{ accept: "application/json" }, '{"a":1}'],
    ],
  );
  t.strictSame([of("/broken"), of("/busy")], [[], []]);
  t.match(lab.recorder.tally.hosts().find((it) => it.host === `up.test:${up.port}`)?.missed, {
    "incomplete: the connection broke": 1,
    "status 503": 1,
    POST: 1,
  });
  t.strictSame((await readRecording(lab.folder)).answers, answers, "whoever packs reads the same");
});

t.test("a client that leaves early, and one that is slow", async (t) => {
  if (!needs(t, "curl")) return;
  const up = await startTlsUpstream(t, ["up.test"], (_, response) => {
    response.writeHead(200, { "content-length": BIG.length });
    send(response, BIG);
  });
  const lab = await startRecording(t, up.ca.cert);
  const slow = ["--limit-rate", "100k", "--max-time", "1", "-o", "/dev/null"];
  const left = await Promise.all([
    curl(lab, ...slow, `https://up.test:${up.port}/h2`),
    curl(lab, "--http1.1", ...slow, `https://up.test:${up.port}/1`),
  ]);
  t.match(left, [/^exit 28/, /^exit 28/]);
  const answers = await lab.end();
  t.strictSame(
    answers.map((it) => it.digest),
    [sha256(BIG), sha256(BIG)],
    "recorded whole",
  );
});

t.test("a client that stops for a while gets the rest from the file", async (t) => {
  if (!needs(t, "curl")) return;
  const up = await startTlsUpstream(t, ["up.test"], (_, response) => {
    response.writeHead(200, { "content-length": BIG.length });
    send(response, BIG);
  });
  const lab = await startRecording(t, up.ca.cert, { patienceMs: 100 });
  const paused = (version: string) => {
    const line = `curl -sS ${version} --noproxy '' -x ${lab.proxy} --cacert ${lab.caFile} https://up.test:${up.port}/x`;
    const reader =
      "dd bs=1 count=5 status=none >/dev/null; for i in 1 2 3 4 5 6 7 8 9 10; do [ -s answered ] && break; sleep 0.2; done; wc -c";
    return runClient("sh", ["-c", `cd ${lab.dir}; ${line} | (${reader})`]);
  };
  const running = [paused("--http1.1"), paused("--http2")];
  const stored = async () => readFileSync(join(lab.folder, "answers.jsonl"), "utf8");
  for (let tries = 0; tries < 50 && (await stored()) === ""; tries++) await sleep(100);
  t.match(await stored(), sha256(BIG), "recorded while they wait");
  writeFileSync(join(lab.dir, "answered"), "yes");
  for (const { out } of await Promise.all(running)) t.equal(Number(out), BIG.length - 5);
});

t.test("nothing that grants access is written", async (t) => {
  if (!needs(t, "curl")) return;
  const up = await startTlsUpstream(t, ["a.test", "b.test"], (request, response) => {
    const { pathname } = new URL(request.url ?? "", "https://up.test");
    if (pathname === "/signed") {
      const target = `https://b.test:${up.port}/blob?X-Amz-Signature=SECRET-IN-URL-1&b=2`;
      response.writeHead(307, { location: target }).end(`<a href="${target}">here</a>`);
    } else if (pathname === "/blob") response.end("the blob");
    else if (pathname === "/again") response.writeHead(302, { location: "/cdn/x?ticket=SECRET-IN-URL-2" }).end();
    else if (pathname === "/cdn/x") response.writeHead(302, { location: "/cdn/y?v=SECRET1IN0URL2LONG4ENOUGH" }).end();
    else if (pathname === "/cdn/y") response.end("found in the end");
    else if (pathname === "/token") {
      response.writeHead(200, { "content-type": "application/json" }).end('{"token":"SECRET-TOKEN","expires_in":300}');
    } else if (pathname === "/echo") response.end(JSON.stringify(request.headers));
    else {
      response.writeHead(200, { "set-cookie": "s=SECRET-COOKIE", link: '</x?token=SECRET-LINK>; rel="next"' });
      response.end("public");
    }
  });
  const lab = await startRecording(t, up.ca.cert);
  const a = `https://a.test:${up.port}`;
  const login = ["-H", "Authorization: Bearer SECRET-BEARER", "-H", "Cookie: c=SECRET-SENT"];
  t.equal(await curl(lab, "-L", ...login, `${a}/signed`), "the blob");
  t.equal(await curl(lab, "-L", `${a}/again`), "found in the end");
  t.match(await curl(lab, `${a}/token?service=x`), /SECRET-TOKEN/);
  t.match(await curl(lab, ...login, `${a}/echo`), /SECRET-SENT/);
  t.equal(await curl(lab, ...login, `${a}/page`), "public");
  t.equal(await curl(lab, `${a}/page?token=SECRET-ASKED`), "public");
  t.equal(await curl(lab, `https://me:SECRET-USER@a.test:${up.port}/user`), "public");
  const answers = await lab.end();
  t.strictSame(
    answers.map((it) => [it.url.slice(a.length), bodyIn(lab.folder, it).toString()]),
    [
      ["/again", "found in the end"],
      ["/page", "public"],
      ["/signed", "the blob"],
      ["/user", "public"],
    ],
    "what is behind a signed redirect is the answer to the question",
  );
  const written = everythingIn(lab.folder);
  t.notMatch(written, /SECRET|PRIVATE KEY/i);
  t.notMatch(written, new RegExp(Buffer.from("me:SECRET-USER").toString("base64")));
  t.match(lab.recorder.tally.hosts()[0]?.missed, {
    login: 1,
    "an answer with a credential in it": 1,
    "a URL that grants access": 1,
  });
});

t.test("what it cannot read goes through, and is listed", async (t) => {
  if (!needs(t, "curl")) return;
  const up = await startTlsUpstream(t, ["up.test"], (_, response) => response.end("x"));
  up.server.on("upgrade", (request, socket) => {
    socket.write("HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n");
    socket.on("error", () => {});
    socket.write(`hello from ${request.url}`);
    socket.pipe(socket);
  });
  const greeter = createServer((socket) => {
    socket.on("error", () => {});
    socket.once("data", (bytes) => socket.end(`you said ${bytes}`));
  });
  await once(greeter.listen(0, "127.0.0.1"), "listening");
  t.teardown(() => greeter.close());
  const { port } = greeter.address() as { port: number };
  const lab = await startRecording(t, up.ca.cert);

  const tunnel = connect(lab.recorder.address.port, "127.0.0.1");
  tunnel.write(`CONNECT other.test:${port} HTTP/1.1\r\nHost: other.test\r\n\r\n`);
  await once(tunnel, "data");
  tunnel.write("\x00\x01 what is this");
  const [said] = await once(tunnel, "data");
  t.equal(String(said), "you said \x00\x01 what is this");
  tunnel.destroy();

  const headers = ["-H", "Connection: Upgrade", "-H", "Upgrade: echo"];
  const upgraded = await curl(lab, "--http1.1", "-N", "--max-time", "1", ...headers, `https://up.test:${up.port}/chat`);
  t.match(upgraded, /hello from \/chat/);
  const hosts = lab.recorder.tally.hosts();
  t.match(hosts.find((it) => it.host.startsWith("other.test"))?.missed, { "neither TLS nor HTTP": 1 });
  t.match(hosts.find((it) => it.host.startsWith("up.test"))?.missed, { "upgrade to echo": 1 });
});

t.test("a client with certificates of its own is let through from its second connection on", async (t) => {
  if (!needs(t, "curl")) return;
  const up = await startTlsUpstream(t, ["pinned.test"], (_, response) => response.end("only mine"));
  const lab = await startRecording(t, up.ca.cert);
  const own = join(lab.dir, "own.crt");
  writeFileSync(own, up.ca.cert);
  const url = `https://pinned.test:${up.port}/`;
  t.match(await curl(lab, "--cacert", own, url), /^exit 60/);
  await sleep(50);
  t.equal(await curl(lab, "--cacert", own, url), "only mine");
  t.strictSame(await lab.end(), []);
  t.match(lab.recorder.tally.hosts()[0]?.missed, {
    "the client refuses the recording's certificate": 1,
    "its clients accept only its own certificate": 1,
  });
});

t.test("an upstream that cannot be trusted or reached is an answer with the reason", async (t) => {
  if (!needs(t, "curl")) return;
  const up = await startTlsUpstream(t, ["up.test"], (_, response) => response.end("x"));
  const other = await startTlsUpstream(t, ["other.test"], (_, response) => response.end("x"));
  const lab = await startRecording(t, up.ca.cert);
  const text = await curl(lab, "-w", "%{http_code}", `https://other.test:${other.port}/x`);
  t.match(
    text,
    /the certificate of other\.test:\d+ does not verify: .*\nGive the CA that signed it with --ca FILE\.\n502$/,
  );
  t.match(await curl(lab, `https://wrong-name.test:${up.port}/`), /does not verify: .*wrong-name\.test/);
  t.match(
    await curl(lab, "-w", "%{http_code}", "http://up.test:1/"),
    /cannot reach up\.test:1: .*ECONNREFUSED.*\n502$/,
  );
  t.equal(await curl(lab, `https://up.test:${up.port}/`), "x", "the recording goes on");
});

t.test("who listens for others leads nobody to this host, however its address is spelled", async (t) => {
  if (!needs(t, "curl")) return;
  const up = createServer((socket) => socket.end("HTTP/1.0 200 OK\r\n\r\nprivate")).listen(0, "127.0.0.1");
  await once(up, "listening");
  t.teardown(() => up.close());
  const { port } = up.address() as { port: number };
  for (const host of ["0.0.0.0", "::0", "::ffff:0.0.0.0"]) {
    const lab = await startRecording(t, "", { dir: t.testdir(), host });
    t.match(await curl(lab, `http://127.0.0.1:${port}/`), /address of the recording host itself/, host);
    await lab.end();
  }
});

t.test("nothing is left of a recording that cannot begin, and no link is written through", async (t) => {
  const dir = t.testdir({ full: { "b.recording": { mine: "x" } } });
  const taken = createServer().listen(0, "127.0.0.1");
  t.teardown(() => taken.close());
  await once(taken, "listening");
  const { port } = taken.address() as { port: number };
  const options = { host: "127.0.0.1", port, trusted: "", env: {}, report: () => {} };
  for (const it of ["empty", "full"]) {
    const folder = join(dir, it, "b.recording");
    await t.rejects(startRecorder({ ...options, dir: folder }), { code: "ERR_BUSY" });
    t.equal(existsSync(folder), it === "full");
  }
  t.equal(everythingIn(join(dir, "full")), "b.recording\n\nmine\nx");
  const folder = join(dir, "linked", "b.recording");
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(dir, "theirs"), "");
  symlinkSync(join(dir, "theirs"), join(folder, "answers.jsonl"));
  await t.rejects(startRecorder({ ...options, port: 0, dir: folder }), { code: "ERR_PATH_UNSAFE" });
  await t.rejects(readRecording(folder), { message: /not a regular file/ });
});

t.test("a repository that is cloned under both of its URLs is recorded once", async (t) => {
  const lab = await startRecording(t, "");
  const oid = "a".repeat(40);
  const repository = {
    format: "sha1" as const,
    head: "refs/heads/main",
    refs: [{ name: "refs/heads/main", oid }],
    time: "2026-01-01T00:00:00Z",
  };
  const pack = Buffer.from("PACK");
  for (const url of ["https://h.example/a/r", "https://h.example/a/r.git", "https://h.example/a/r.git.git"])
    await lab.recorder.addRepository({ ...repository, url }, pack);
  const other = { ...repository, refs: [{ name: "refs/heads/main", oid: "b".repeat(40) }] };
  await lab.recorder.addRepository({ ...other, url: "https://h.example/b" }, pack);
  await lab.recorder.addRepository({ ...repository, url: "https://h.example/b.git" }, pack);
  const urls = lab.recorder.repositories().map((it) => it.url);
  t.strictSame(urls, [
    "https://h.example/a/r",
    "https://h.example/a/r.git.git",
    "https://h.example/b",
    "https://h.example/b.git",
  ]);
  await lab.end();
});

t.test("a second recording adds, and a torn line is cut off", async (t) => {
  if (!needs(t, "curl")) return;
  let count = 0;
  const up = await startTlsUpstream(t, ["up.test"], (request, response) => response.end(`${request.url} ${++count}`));
  const first = await startRecording(t, up.ca.cert);
  await curl(first, `https://up.test:${up.port}/a`);
  await curl(first, `https://up.test:${up.port}/b`);
  await first.end();
  const file = join(first.folder, "answers.jsonl");
  appendFileSync(file, '{"url":"https://up.test/torn');
  const second = await startRecording(t, up.ca.cert, { dir: first.dir });
  t.equal(second.recorder.before, 2);
  await t.rejects(startRecording(t, up.ca.cert, { dir: first.dir }), { code: "ERR_BUSY" });
  await curl(second, `https://up.test:${up.port}/b`);
  await curl(second, `https://up.test:${up.port}/c`);
  const answers = await second.end();
  t.strictSame(
    answers.map((it) => bodyIn(first.folder, it).toString()),
    ["/a 1", "/b 3", "/c 4"],
  );
  t.equal(readFileSync(file, "utf8").split("\n").length, 4, "a line for each, and no torn one");
});

t.test("upstream is behind a proxy", async (t) => {
  if (!needs(t, "curl")) return;
  const up = await startTlsUpstream(t, ["127.0.0.1"], (_, response) => response.end("through both"));
  const corporate = await startProxy("me:pw");
  t.teardown(() => corporate.close());
  const env = { HTTPS_PROXY: corporate.url.replace("//", "//me:pw@"), NO_PROXY: "direct.test" };
  const lab = await startRecording(t, up.ca.cert, { env });
  t.equal(await curl(lab, `https://127.0.0.1:${up.port}/`), "through both");
  t.strictSame(corporate.requests, [`CONNECT 127.0.0.1:${up.port}`]);
});
