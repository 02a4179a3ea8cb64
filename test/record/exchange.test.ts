/** Requests that lie about their target, and answers that are odd: what goes upstream, to clients, and into the recording. */
import { once } from "node:events";
import { createServer, type IncomingHttpHeaders, type IncomingMessage, type RequestListener, request } from "node:http";
import { connect as connectH2, constants } from "node:http2";
import type { AddressInfo, Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import { brotliCompressSync, gzipSync } from "node:zlib";
import t, { type Test } from "tap";
import { bodyIn, everythingIn, startRecording, startTlsUpstream } from "../fixtures/recording.ts";

type Lab = Awaited<ReturnType<typeof startRecording>>;
interface Answer {
  status: number | undefined;
  headers: IncomingHttpHeaders;
  body: string;
}

/** An upstream without TLS, and a recording of it. */
async function startPlain(t: Test, listener: RequestListener): Promise<{ lab: Lab; at: string }> {
  const server = createServer(listener);
  await once(server.listen(0, "127.0.0.1"), "listening");
  t.teardown(() => {
    server.close();
    server.closeAllConnections();
  });
  return { lab: await startRecording(t, ""), at: `http://up.test:${(server.address() as AddressInfo).port}` };
}

/** Asks for a URL through the proxy; what comes, also if it is cut. */
async function get(lab: Lab, url: string, headers: Record<string, string> = {}): Promise<Answer> {
  const { host, port } = lab.recorder.address;
  const all = { host: new URL(url).host, ...headers };
  const sent = request({ host, port, path: url, headers: all, agent: false }).end();
  const [answer] = (await once(sent, "response")) as [IncomingMessage];
  let body = "";
  try {
    for await (const chunk of answer) body += chunk;
  } catch {
    body += "(cut)";
  }
  return { status: answer.statusCode, headers: answer.headers, body };
}

/** An HTTP/2 connection to `host`. */
async function openH2(t: Test, lab: Lab, host: string) {
  const { address, ca } = lab.recorder;
  const sent = request({ host: address.host, port: address.port, method: "CONNECT", path: host, agent: false }).end();
  const [, socket] = (await once(sent, "connect")) as [IncomingMessage, Socket];
  const name = host.replace(/:.*/, "");
  const session = connectH2(`https://${host}`, {
    createConnection: () => connectTls({ socket, servername: name, ca, ALPNProtocols: ["h2"] }),
  });
  t.teardown(() => session.destroy());
  return session;
}

/** Asks by HTTP/2 on a connection to `host`. */
async function askH2(t: Test, lab: Lab, host: string, headers: Record<string, string>) {
  const stream = (await openH2(t, lab, host)).request(headers);
  const [head] = await once(stream, "response");
  let body = "";
  for await (const chunk of stream) body += chunk;
  return { status: head[":status"], headers: head, body };
}

t.test("a request for another target than its connection's", async (t) => {
  const asked: string[] = [];
  const up = await startTlsUpstream(t, ["github.co", "up.test"], (request, response) => {
    asked.push(`${request.headers.host}${request.url}`);
    response.end("evil");
  });
  const lab = await startRecording(t, up.ca.cert);
  const host = `up.test:${up.port}`;
  for (const headers of [
    { ":path": "m/evil", ":scheme": "foo" },
    { ":path": "/x", ":scheme": "http" },
    { ":path": "/x", ":authority": "github.com" },
    { ":path": "/x", ":authority": host, host: "github.com" },
  ])
    t.match(await askH2(t, lab, host, headers), {
      status: 400,
      body: /^airferry record: this connection is to up\.test/,
    });
  t.strictSame(asked, []);
  t.match(await askH2(t, lab, host, { ":path": "/good", ":authority": `UP.test:${up.port}` }), { status: 200 });
  t.strictSame(
    (await lab.end()).map((it) => it.url),
    [`https://${host}/good`],
  );
  t.match(lab.recorder.tally.hosts()[0]?.missed, {
    'refused: a path without "/" at its start': 1,
    "refused: the scheme of another connection": 1,
    "refused: the host of another connection": 2,
  });
});

t.test("the absolute form wins over Host, and another Host in a tunnel is not recorded", async (t) => {
  const { lab, at } = await startPlain(t, (request, response) => response.end(`host ${request.headers.host}`));
  t.equal((await get(lab, `${at}/a`, { host: "b.test" })).body, `host ${new URL(at).host}`);
  const { address } = lab.recorder;
  const tunnel = { host: address.host, port: address.port, method: "CONNECT", path: new URL(at).host, agent: false };
  const [, socket] = (await once(request(tunnel).end(), "connect")) as [IncomingMessage, Socket];
  socket.write("GET /b HTTP/1.1\r\nHost: b.test\r\nConnection: close\r\n\r\n");
  let text = "";
  for await (const chunk of socket) text += chunk;
  t.match(text, /host b\.test$/m);
  t.strictSame(
    (await lab.end()).map((it) => it.url),
    [`${at}/a`],
  );
});

t.test("no credentials are recorded, whatever part of them a client asks for", async (t) => {
  const { lab, at } = await startPlain(t, ({ url, headers }, response) => {
    if (url === "/oidc") response.end('{"count":1,"value":"eyJhbGciOiJub25lIn0.eyJhIjoiU0VDUkVUIn0.U0VDUkVU"}');
    else if (url === "/login") response.end('{"scopes":["a"],"access_token":"SECRET-TOKEN"}');
    else if (url === "/large") response.end(`${headers["job-token"]}${"x".repeat(300_000)}`);
    else if (url === "/header") response.writeHead(200, { etag: `"${headers["x-vault-token"]}"` }).end("fine");
    else response.end(`you are ${headers["x-vault-token"] ?? headers["private-token"]}`);
  });
  for (const range of [{}, { range: "bytes=0-" }] as Record<string, string>[]) {
    t.match(await get(lab, `${at}/oidc`, range), { body: /^\{"count".*\}$/ });
    t.match(await get(lab, `${at}/login`, range), { body: /^\{"scopes".*\}$/, status: range["range"] ? 206 : 200 });
    t.match(await get(lab, `${at}/me`, { ...range, "x-vault-token": "SECRET-SENT" }), { body: "you are SECRET-SENT" });
    t.match(await get(lab, `${at}/you`, { ...range, "private-token": "SECRET-OWN" }), { body: "you are SECRET-OWN" });
    t.match(await get(lab, `${at}/header`, { ...range, "x-vault-token": "SECRET-SENT" }), { body: "fine" });
  }
  await get(lab, `${at}/large`, { "job-token": "SECRET-JOB" });
  await get(lab, `${at}/x/SECRET-%4aOB`);
  const answers = await lab.end();
  t.match(answers, [{ url: `${at}/header`, headers: {} }]);
  t.notMatch(everythingIn(lab.folder), /SECRET|eyJ/);
  t.match(lab.recorder.tally.hosts()[0]?.missed, { login: 4, "an answer with a credential in it": 5 });
});

t.test("headers that upstream repeats", async (t) => {
  const up = await startTlsUpstream(t, ["up.test"], (request, response) => {
    const nosniff = ["X-Content-Type-Options", "nosniff"];
    const cookies = ["Set-Cookie", "a=1", "Set-Cookie", "b=2"];
    response.writeHead(request.url === "/odd" ? 700 : 200, [
      ...nosniff,
      ...nosniff,
      ...cookies,
      "ETag",
      '"1"',
      "ETag",
      '"2"',
    ]);
    response.end("whole");
  });
  const lab = await startRecording(t, up.ca.cert);
  const host = `up.test:${up.port}`;
  const got = await askH2(t, lab, host, { ":path": "/x" });
  t.match(got, { status: 200, body: "whole", headers: { etag: '"1"', "set-cookie": ["a=1", "b=2"] } });
  t.equal(got.headers["x-content-type-options"], "nosniff, nosniff");
  await t.rejects(askH2(t, lab, host, { ":path": "/odd" }), "what HTTP/2 does not have is cut");
  t.match(await lab.end(), [{ url: `https://${host}/x`, size: 5 }]);
  t.match(lab.recorder.tally.hosts()[0]?.missed, { "not passed to its client: ERR_HTTP2_STATUS_INVALID": 1 });
});

t.test("parts of an answer that upstream encodes unasked", async (t) => {
  const plain = "0123456789".repeat(5000);
  const { lab, at } = await startPlain(t, (_, response) => {
    const bytes = gzipSync(plain);
    response.writeHead(200, { "content-encoding": "gzip", "content-length": bytes.length }).end(bytes);
  });
  const part = await get(lab, `${at}/x`, { range: "bytes=40000-49998" });
  t.match(part, { status: 206, headers: { "content-range": "bytes 40000-49998/50000", "content-length": "9999" } });
  t.equal(part.body, plain.slice(40000, 49999));
  t.equal(part.headers["content-encoding"], undefined);
  t.match(await lab.end(), [{ size: plain.length }]);
});

t.test("an encoding that is not known is passed on, and not recorded; heads tell no encoded length", async (t) => {
  const { lab, at } = await startPlain(t, ({ url, method }, response) => {
    const encoding = url === "/known" ? "gzip, br" : "exi";
    const body = url === "/known" ? brotliCompressSync(gzipSync("plain")) : Buffer.from("???");
    response.writeHead(200, { "content-encoding": encoding, "content-length": body.length });
    response.end(method === "HEAD" ? undefined : body);
  });
  t.match(await get(lab, `${at}/odd`), { body: "???", headers: { "content-encoding": "exi" } });
  t.match(await get(lab, `${at}/odd`, { range: "bytes=0-1" }), { body: "???", status: 200 });
  t.match(await get(lab, `${at}/known`), { headers: { "content-encoding": "gzip, br" } });
  const { host, port } = lab.recorder.address;
  const head = request({ host, port, method: "HEAD", path: `${at}/known`, headers: { host: new URL(at).host } }).end();
  await once(head, "response");
  const answers = await lab.end();
  t.match(answers, [
    { url: `${at}/known`, method: "GET", size: 5 },
    { method: "HEAD", headers: { "content-length": undefined } },
  ]);
  t.equal(answers.length, 2);
  t.equal(bodyIn(lab.folder, answers[0] as (typeof answers)[0]).toString(), "plain");
  t.match(lab.recorder.tally.hosts()[0]?.missed, { "the encoding exi": 2 });
});

t.test("parts are shared only between requests that are alike", async (t) => {
  const asked: string[] = [];
  const { lab, at } = await startPlain(t, ({ headers }, response) => {
    asked.push(`${headers.cookie} ${headers["accept-language"]}`);
    response.end(`${asked.at(-1)}`);
  });
  const of = async (headers: Record<string, string>) =>
    (await get(lab, `${at}/x`, { range: "bytes=0-", ...headers })).body;
  t.equal(await of({ cookie: "s=A" }), "s=A undefined");
  t.equal(await of({ cookie: "s=B" }), "s=B undefined");
  t.equal(await of({ cookie: "s=B", "accept-language": "de" }), "s=B de");
  t.equal(await of({ "user-agent": "a" }), "undefined undefined");
  t.equal(await of({ "user-agent": "b" }), "undefined undefined");
  t.equal(await of({ "user-agent": "b", range: "bytes=3-5", "if-range": '"x"' }), "undefined undefined");
  t.equal(await of({ "user-agent": "b", range: "bytes=3-5" }), "efi");
  t.equal(asked.length, 5);
});

t.test("several URLs lead to one signed target", async (t) => {
  const { lab, at } = await startPlain(t, ({ url }, response) => {
    if (url?.startsWith("/o")) response.end("the object");
    else response.writeHead(302, { location: "/o?digest=abcdef0123456789abcdef0123" }).end();
  });
  const target = `${at}/o?digest=abcdef0123456789abcdef0123`;
  for (const url of [`${at}/a`, `${at}/b`, target, target, `${at}/c`]) await get(lab, url);
  await get(lab, target, { range: "bytes=0-2" });
  t.strictSame(
    (await lab.end()).map((it) => [it.url, bodyIn(lab.folder, it).toString()]),
    ["/a", "/b", "/c"].map((it) => [at + it, "the object"]),
  );
});

t.test("a connection lasts for thousands of answers, of which clients leave many early", async (t) => {
  const up = await startTlsUpstream(t, ["up.test"], (_request, response) => response.end("here"));
  const lab = await startRecording(t, up.ca.cert);
  const session = await openH2(t, lab, `up.test:${up.port}`);
  let closed = 0;
  for (let count = 0; count < 1500; count++) {
    const stream = session.request({ ":path": "/x", ":scheme": "http" });
    stream.on("error", () => {});
    const end = once(stream, "close");
    stream.close(constants.NGHTTP2_CANCEL);
    await end;
    closed++;
  }
  t.equal(closed, 1500);
  const last = session.request({ ":path": "/last" });
  t.match(await once(last, "response"), [{ ":status": 200 }]);
  last.close();
});
