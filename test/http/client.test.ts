/** src/http/client.ts: one request and its answer, at hosts that the site itself names, and where those lead. */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo } from "node:net";
import { Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import t, { type Test } from "tap";
import { AirferryError } from "../../src/errors.ts";
import type { Authenticator } from "../../src/http/authenticator.ts";
import { type Call, type ClientOptions, HttpClient } from "../../src/http/client.ts";
import type { AttemptFailure } from "../../src/http/failure.ts";
import { byUpstream } from "../../src/http/named.ts";
import { makePki } from "../fixtures/pki.ts";

type Handle = (req: IncomingMessage, res: ServerResponse, body: Buffer) => void;

async function serve(t: Test, handle: Handle): Promise<string> {
  const server = createServer(async (req, res) => handle(req, res, await buffer(req).catch(() => Buffer.alloc(0))));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

function clientOf(t: Test, options: ClientOptions = {}): HttpClient {
  const client = new HttpClient(options);
  t.teardown(() => client.close());
  return client;
}

/** What a request fails with. */
const failureOf = (sent: Promise<unknown>): Promise<AttemptFailure> =>
  sent.then(
    () => t.fail("there is an answer") as never,
    (error) => error,
  );

const get = (url: string, more: Partial<Call> = {}): Call => ({
  method: "GET",
  url,
  follow: true,
  maxBytes: 1000,
  ...more,
});

t.test("an answer is told whatever its status, never decoded, and never larger than allowed", async (t) => {
  const url = await serve(t, (req, res) => {
    if (req.url === "/gone") res.writeHead(404, { "x-a": "b" }).end("no such thing");
    else res.writeHead(200, { "content-length": "1001" }).end(Buffer.alloc(1001));
  });
  const client = clientOf(t);
  const gone = await client.send(get(`${url}/gone`));
  t.match(gone, { status: 404, said: "404 Not Found", headers: { "x-a": "b" } });
  t.equal(String(gone.body), "no such thing");
  t.equal(gone.url.href, `${url}/gone`);
  const large = await failureOf(client.send(get(`${url}/large`)));
  t.match(large, { fault: "the answer is larger than 1000 bytes", transient: false });
  t.equal((await client.send(get(`${url}/large`, { maxBytes: 1001 }))).body.length, 1001);
  const head = await client.send(get(`${url}/large`, { method: "HEAD", maxBytes: 0 }));
  t.strictSame([head.status, head.headers["content-length"], head.body.length], [200, "1001", 0]);
});

t.test("a request that could have a body says that it has none", async (t) => {
  const seen: (string | undefined)[] = [];
  const url = await serve(t, (req, res) => {
    seen.push(`${req.method} ${req.headers["content-length"]} ${req.headers["transfer-encoding"]}`);
    res.end();
  });
  const client = clientOf(t);
  for (const method of ["POST", "PUT", "PATCH", "GET"] as const) await client.send(get(url, { method }));
  t.strictSame(seen, ["POST 0 undefined", "PUT 0 undefined", "PATCH 0 undefined", "GET undefined undefined"]);
});

const CONTENT = Buffer.alloc(300_000, 7);
const LENGTH = { "content-length": String(CONTENT.length) };

t.test("a stream is made anew for each time that it has to be sent", async (t) => {
  const received: number[] = [];
  const url = await serve(t, (req, res, body) => {
    received.push(body.length);
    res.writeHead(req.headers.authorization === "Bearer good" ? 202 : 401, { "www-authenticate": "Bearer" }).end();
  });
  let header: Record<string, string> = {};
  const auth: Authenticator = {
    headers: async () => header,
    challenged: async () => {
      header = { authorization: "Bearer good" };
      return true;
    },
  };
  let made = 0;
  const body = () => {
    made++;
    return Readable.from([CONTENT]);
  };
  const answer = await clientOf(t).send(get(url, { method: "PATCH", body, headers: LENGTH, auth }));
  t.strictSame([answer.status, made, received], [202, 2, [CONTENT.length, CONTENT.length]]);
});

t.test("what a stream fails with is thrown as it is", async (t) => {
  const url = await serve(t, (_, res) => res.end());
  const fault = new AirferryError("ERR_STORE_INVALID", "the blob is damaged");
  const body = () =>
    Readable.from(
      (async function* () {
        yield CONTENT.subarray(0, 1000);
        throw fault;
      })(),
    );
  await t.rejects(clientOf(t).send(get(url, { method: "PATCH", body, headers: LENGTH })), {
    code: "ERR_STORE_INVALID",
  });
});

t.test("who answers before the end of a request does not get the rest", async (t) => {
  const server = createServer((_, res) => res.writeHead(413).end("too large"));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  let isClosed = false;
  const endless = () => {
    const stream = new Readable({
      read() {
        setImmediate(() => this.push(Buffer.alloc(64 * 1024)));
      },
    });
    stream.on("close", () => {
      isClosed = true;
    });
    return stream;
  };
  const headers = { "content-length": String(2 ** 40) };
  const answer = await clientOf(t).send(get(url, { method: "PATCH", body: endless, headers }));
  t.strictSame([answer.status, String(answer.body)], [413, "too large"]);
  for (let waits = 0; !isClosed && waits < 100; waits++) await new Promise((resolve) => setTimeout(resolve, 20));
  t.ok(isClosed, "the stream is closed");
});

t.test("a body that is asked for first is held until the server wants it, refuses it, or says nothing", async (t) => {
  const bytes = Buffer.alloc(300_000, 1);
  const received: Record<string, number> = {};
  const server = createServer().on("checkContinue", async (req, res) => {
    if (req.url === "/refuses") return res.writeHead(403, { connection: "close" }).end("no");
    if (req.url === "/wants") res.writeContinue();
    received[req.url ?? ""] = (await buffer(req)).length;
    res.end();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.teardown(() => server.close());
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const client = clientOf(t);
  const closed: boolean[] = [];
  const put = async (path: string) => {
    let read = 0;
    const body = () => {
      const stream = Readable.from(
        (function* () {
          for (let at = 0; at < bytes.length; at += 100_000) {
            read++;
            yield bytes.subarray(at, at + 100_000);
          }
        })(),
        { objectMode: false },
      );
      stream.once("close", () => closed.push(true));
      return stream;
    };
    const headers = { expect: "100-continue", "content-length": String(bytes.length) };
    const { status } = await client.send(get(`${url}/${path}`, { method: "PUT", body, headers, follow: false }));
    return { status, read };
  };
  t.same(await put("wants"), { status: 200, read: 3 });
  t.same(await put("refuses"), { status: 403, read: 0 });
  const started = performance.now();
  t.same(await put("silent"), { status: 200, read: 3 });
  t.ok(performance.now() - started > 900, "after a second");
  t.same(received, { "/wants": bytes.length, "/silent": bytes.length });
  await new Promise((resolve) => setTimeout(resolve, 50));
  t.equal(closed.length, 3, "no stream is left open");
});

t.test("no byte for too long is a failure, but not while a stream is being sent", async (t) => {
  const url = await serve(t, (req, res) => {
    if (req.method === "PATCH") res.end("done");
  });
  const client = clientOf(t, { patienceMs: 150 });
  t.match(await failureOf(client.send(get(url))), { fault: /no byte for/, transient: true });
  const slow = () =>
    Readable.from(
      (async function* () {
        for (let part = 0; part < 3; part++) {
          await new Promise((resolve) => setTimeout(resolve, 200));
          yield CONTENT.subarray(0, 100_000);
        }
      })(),
    );
  const answer = await client.send(get(url, { method: "PATCH", body: slow, headers: LENGTH }));
  t.equal(String(answer.body), "done");
});

t.test("redirects are followed only where that is wanted, and never down from https", async (t) => {
  const plain = await serve(t, (req, res) => {
    if (req.url === "/from") res.writeHead(307, { location: "/to" }).end();
    else res.end("here");
  });
  const client = clientOf(t);
  t.equal(String((await client.send(get(`${plain}/from`))).body), "here");
  const kept = await client.send(get(`${plain}/from`, { follow: false }));
  t.strictSame([kept.status, kept.headers.location], [307, "/to"]);

  const pki = await makePki();
  const server = createTlsServer(pki.server, (_, res) => res.writeHead(307, { location: `${plain}/to` }).end());
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  const secure = `https://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  t.match(await failureOf(client.send(get(secure))), { code: /^UNABLE_TO_VERIFY|^SELF_SIGNED/, transient: false });
  const trusting = clientOf(t, { trust: { ca: pki.ca } });
  t.match(await failureOf(trusting.send(get(secure))), { fault: /from https to http/ });
  process.env["NODE_TLS_REJECT_UNAUTHORIZED"] = "0";
  t.teardown(() => delete process.env["NODE_TLS_REJECT_UNAUTHORIZED"]);
  t.match(await failureOf(clientOf(t).send(get(secure))), { code: /^UNABLE_TO_VERIFY|^SELF_SIGNED/ }, "by no variable");
  const { ca: other } = await makePki();
  const alone = clientOf(t, { trust: { ca: other, isCaAlone: true } });
  t.match(await failureOf(alone.send(get(secure))), { transient: false });
  t.equal(
    (await clientOf(t, { trust: { ca: pki.ca, isCaAlone: true } }).send(get(secure, { follow: false }))).status,
    307,
  );
});

t.test("a stream that fails ends its request, with its own fault", async (t) => {
  const url = await serve(t, (_, res) => res.end());
  const fault = new AirferryError("ERR_DIGEST_MISMATCH", "cannot send it");
  const body = () =>
    Readable.from(
      (async function* () {
        yield CONTENT;
        throw fault;
      })(),
    );
  const sent = clientOf(t).send(get(url, { method: "PUT", body, headers: { "content-length": "900000" } }));
  t.equal((await failureOf(sent)) as unknown, fault);
});

t.test("what an answer names gets nothing of ours, and leads no nearer than it is itself", async (t) => {
  const seen: (string | undefined)[] = [];
  const url = await serve(t, (req, res) => {
    seen.push(req.headers.authorization);
    res.end();
  });
  const auth: Authenticator = {
    headers: async (it): Promise<Record<string, string>> =>
      it.origin === "http://registry.example" ? { authorization: "Bearer ours" } : {},
  };
  const client = clientOf(t, {
    lookup: (_, options, answer) => {
      const found = [{ address: "192.0.2.1", family: 4 }];
      if ((options as { all?: boolean }).all) answer(null, found);
      else answer(null, "192.0.2.1", 4);
    },
  });
  const named = byUpstream("http://registry.example/v2/");
  t.match(await failureOf(client.send(get(url, { named, auth }))), { fault: /into a private network/ });
  t.strictSame(seen, []);
  const near = byUpstream(`${url.replace("127.0.0.1", "localhost")}/v2/`);
  t.equal((await client.send(get(url, { named: near, auth }))).status, 200);
  t.strictSame(seen, [undefined]);
});

t.test("an answer that drips without end is given up, whoever is to read it", async (t) => {
  const url = await serve(t, (_req, res) => {
    res.writeHead(200);
    const timer = setInterval(() => res.write("x"), 20);
    res.once("close", () => clearInterval(timer));
  });
  const client = clientOf(t, { patienceMs: 500 });
  const endless = { maxBytes: Number.POSITIVE_INFINITY };
  t.match(await failureOf(client.send(get(url, endless))), { fault: /too slow/, transient: true });
  const read = client.read(get(url, endless), { write: async () => {} });
  t.match(await failureOf(read), { fault: /too slow/ });
});
