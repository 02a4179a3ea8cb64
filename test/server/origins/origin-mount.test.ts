/** Clients that ask under the names of the origins, and those that ask for anything else; raw, byte for byte. */

import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { connect as connectTls } from "node:tls";
import t, { type Test } from "tap";
import type { Catalog } from "../../../src/bundle/inventory-types.ts";
import { digestOf } from "../../../src/io/digest.ts";
import { patterned, sendRaw, startServer, temporaryDir } from "../../fixtures/serving.ts";

const BIG = patterned(300_000);
const MANIFEST = JSON.stringify({
  schemaVersion: 2,
  mediaType: "application/vnd.oci.image.manifest.v1+json",
  config: { mediaType: "application/vnd.oci.image.config.v1+json", digest: digestOf("{}"), size: 2 },
  layers: [],
});
const CONTENT = {
  "files/tool": "the tool",
  "isos/big.iso": BIG,
  [`images/blobs/sha256/${digestOf(MANIFEST).slice(7)}`]: MANIFEST,
  [`images/blobs/sha256/${digestOf("{}").slice(7)}`]: "{}",
};
const CATALOG: Partial<Catalog> = {
  files: [{ path: "files/tool" }],
  images: [
    {
      reference: "docker.io/library/thing:1",
      digest: digestOf(MANIFEST),
      mediaType: "application/vnd.oci.image.manifest.v1+json",
      size: MANIFEST.length,
      platforms: [],
      manifests: [digestOf(MANIFEST)],
    },
  ],
  provenance: [
    { path: "files/tool", kind: "file", source: "https://dl.example.com/v1/tool", established: "first-sight" },
    { path: "isos/big.iso", kind: "iso", source: "http://192.0.2.7/big.iso", established: "first-sight" },
  ],
};

/** Web answers: one URL with several queries, by both schemes. */
const WEB = ["https://dl.example.com/q", "http://dl.example.com/q", "http://odd.example.com:8080/q"].flatMap((url) =>
  ["?a=1&b=2", "?a=2", ""].map((query) => ({ url: `${url}${query}`, path: `web/x/${query.length}` })),
);
const ANSWER = { method: "GET", status: 200, headers: { "content-type": "text/plain" } };
const WEB_RELEASE = {
  stream: "w",
  content: {
    "web/index.json": JSON.stringify({ answers: WEB.map((it) => ({ ...it, ...ANSWER })) }),
    ...Object.fromEntries(WEB.map(({ path }) => [path, `body ${path}`])),
  },
  catalog: {
    web: [
      {
        name: "w",
        answers: WEB.length,
        origins: ["http://dl.example.com", "http://odd.example.com:8080", "https://dl.example.com"],
      },
    ],
  },
};

async function origins(t: Test, more: (typeof WEB_RELEASE)[] = []) {
  const tlsDir = await temporaryDir(t);
  const server = await startServer(t, [{ stream: "a", content: CONTENT, catalog: CATALOG }, ...more], {
    origins: true,
    listenHttp: ["127.0.0.1:0", "127.0.0.1:0"],
    listenHttps: ["127.0.0.1:0"],
    proxy: "127.0.0.1:0",
    tlsDir: join(tlsDir, "keys"),
  });
  const portOf = (url: string | undefined) => Number(new URL(url ?? "").port);
  const { serving } = server;
  const https = portOf(serving.origins?.httpsUrls[0]);
  const ports = {
    https,
    http: portOf(serving.httpUrls[0]),
    second: portOf(serving.httpUrls[1]),
    proxy: portOf(serving.origins?.proxyUrl),
  };
  const main = server.url;
  const ca = async () => await (await fetch(`${main}/config/origins/ca.crt`)).text();
  return { ...server, ...ports, ca };
}

const get = (target: string, host: string, more = "") =>
  `GET ${target} HTTP/1.1\r\nHost: ${host}\r\n${more}Connection: close\r\n\r\n`;

/** What comes back over TLS to a host; the error's code where the handshake fails. */
function overTls(port: number, servername: string, ca: string, bytes: string): Promise<string> {
  const socket = connectTls({
    port,
    host: "127.0.0.1",
    servername,
    ca,
    ...(servername === "" && { checkServerIdentity: () => undefined }),
  });
  let got = "";
  socket.setEncoding("latin1");
  socket.on("data", (text: string) => {
    got += text;
  });
  socket.on("secureConnect", () => socket.write(bytes));
  return new Promise((resolve) => {
    socket.on("error", (error: NodeJS.ErrnoException) =>
      resolve(error.code === "UNSPECIFIED" ? error.message : (error.code ?? error.message)),
    );
    socket.on("close", () => resolve(got));
  });
}

/** For whom the certificate is that a client gets which names no host. */
function unnamedFor(port: number): Promise<string | undefined> {
  return new Promise((resolve, reject) => {
    const socket = connectTls({ port, host: "127.0.0.1", servername: "", rejectUnauthorized: false }, () => {
      resolve(socket.getPeerCertificate().subjectaltname);
      socket.end();
    });
    socket.on("error", reject);
  });
}

t.test("an https origin answers to its own name, on the fast path and on the other", async (t) => {
  const { https, ca } = await origins(t);
  const trusted = await ca();
  const ask = (servername: string, request: string) => overTls(https, servername, trusted, request);
  const keep = get("/v1/tool", "dl.example.com").replace("Connection: close\r\n", "");
  t.match(
    await ask("dl.example.com", keep + get("/v1/tool", "dl.example.com")),
    /200 OK[\s\S]*the tool[\s\S]*200 OK[\s\S]*the tool/,
  );
  t.match(await ask("dl.example.com", get("/v1/tool", "DL.Example.com.:443")), /200 OK[\s\S]*the tool/);
  t.match(
    await ask("dl.example.com", get("/v1/tool", "dl.example.com", "Range: bytes=4-\r\n")),
    /206 Partial[\s\S]*\r\n\r\ntool$/,
  );
  t.match(await ask("dl.example.com", get("/v1/%2e%2e/tool", "dl.example.com")), "HTTP/1.1 400 ");
  t.match(
    await ask("dl.example.com", get("/v1/tool", "dl.example.com").replace("GET", "HEAD")),
    /200 OK[\s\S]*Content-Length: 8\r\n/,
  );
  t.match(
    await ask("dl.example.com", "POST /v1/tool HTTP/1.1\r\nHost: dl.example.com\r\nConnection: close\r\n\r\n"),
    "405 Method",
  );
});

t.test("no other name does", async (t) => {
  const { https, ca, messages } = await origins(t);
  const trusted = await ca();
  const ask = (servername: string, request: string) => overTls(https, servername, trusted, request);
  for (const name of ["evil.example.org", "example.com", "x.dl.example.com", "localhost"]) {
    t.match(await ask(name, get("/v1/tool", name)), "ECONNRESET", name);
  }
  const text = /HTTP\/1.1 421 [\s\S]*no release here has anything of evil.example.org; nothing is forwarded/;
  t.match(await ask("dl.example.com", get("/v1/tool", "evil.example.org")), text);
  t.match(await ask("dl.example.com", get("/v1/tool", "dl.example.com:8443")), "421 ", "another port");
  t.match(await ask("dl.example.com", get("/v2/", "registry-1.docker.io")), /421 [\s\S]*another host/);
  t.match(
    await ask("dl.example.com", get("http://dl.example.com/v1/tool", "dl.example.com")),
    "421 ",
    "another scheme",
  );
  t.match(
    await ask("dl.example.com", get("https://evil.example.org/v1/tool", "dl.example.com")),
    "421 ",
    "absolute form",
  );
  t.match(
    await ask("dl.example.com", get("/v1/tool", "dl.example.com", "Host: evil.example.org\r\n")),
    "400 ",
    "two hosts",
  );
  t.strictSame(messages, []);
});

t.test("a client that connects to an address names no host", async (t) => {
  const { http, https, ca } = await origins(t);
  t.match(await sendRaw(http, get("/big.iso", "192.0.2.7", "Range: bytes=0-3\r\n")), "206 Partial");
  const trusted = await ca();
  t.match(
    await overTls(https, "", trusted, get("/big.iso", "192.0.2.7")),
    /404 [\s\S]*it is here as http:\/\/192.0.2.7/,
  );
  t.match(await overTls(https, "", trusted, get("/v1/tool", "dl.example.com")), "421 ");
});

t.test("the plain listener has origins and, at its own name, what leads to them", async (t) => {
  const { http } = await origins(t);
  t.match(await sendRaw(http, get("/v1/tool", "dl.example.com")), /404 [\s\S]*it is here as https:/);
  t.match(await sendRaw(http, get("/config/origins/hosts", "mirror.site")), /200 OK[\s\S]*127.0.0.1 dl.example.com\n/);
  t.match(await sendRaw(http, get("/config/origins/ca.crt", "mirror.site")), "BEGIN CERTIFICATE");
  t.match(await sendRaw(http, get("/config/imageconfig", "mirror.site")), "421 ");
  t.match(await sendRaw(http, get("/files/tool", "mirror.site")), "421 ");
});

t.test("registries need no login, and give everybody the same token", async (t) => {
  const { https, ca } = await origins(t);
  const trusted = await ca();
  const hub = "registry-1.docker.io";
  t.match(await overTls(https, hub, trusted, get("/v2/", hub)), /200 OK[\s\S]*{}/);
  t.match(
    await overTls(https, hub, trusted, get("/v2/library/thing/manifests/1", hub)),
    /200 OK[\s\S]*"schemaVersion":2/,
  );
  t.match(await overTls(https, hub, trusted, get("/v2/library/thing/tags/list?n=1", hub)), /"tags":\["1"\]/);
  t.match(await overTls(https, hub, trusted, get("/v2/other/manifests/1", hub)), /404 [\s\S]*NAME_UNKNOWN/);
  const auth = "auth.docker.io";
  t.match(
    await overTls(https, auth, trusted, get("/token?service=x&scope=y", auth)),
    /200 OK[\s\S]*"token":"anonymous"/,
  );
});

t.test("the proxy answers for origins, and connects with nobody else", async (t) => {
  const { proxy, ca } = await origins(t);
  const connectTo = (authority: string) => `CONNECT ${authority} HTTP/1.1\r\nHost: ${authority}\r\n\r\n`;
  t.match(await sendRaw(proxy, get("http://192.0.2.7/big.iso", "whatever", "Range: bytes=0-3\r\n")), "206 Partial");
  t.match(await sendRaw(proxy, get("https://dl.example.com/v1/tool", "dl.example.com")), /200 OK[\s\S]*the tool/);
  t.match(await sendRaw(proxy, get("http://evil.example.org/", "192.0.2.7")), /421 [\s\S]*nothing is forwarded/);
  t.match(await sendRaw(proxy, get("/healthz", "mirror.site")), "ok: 1 release");
  for (const authority of ["evil.example.org:443", "dl.example.com", "dl.example.com:22", "127.0.0.1:9000", "*"]) {
    t.match(await sendRaw(proxy, connectTo(authority)), /^HTTP\/1.1 4\d\d /, authority);
  }
  const plain = await sendRaw(proxy, connectTo("192.0.2.7:80") + get("/big.iso", "192.0.2.7", "Range: bytes=0-3\r\n"));
  t.match(plain, /^HTTP\/1.1 200 Connection Established\r\n\r\nHTTP\/1.1 206 /);
  const trusted = await ca();
  t.match(trusted, "BEGIN CERTIFICATE");
});

t.test("recorded answers with queries answer under every scheme, and in every way to ask", async (t) => {
  const { http, second, https, proxy, ca, serving, url } = await origins(t, [WEB_RELEASE]);
  const trusted = await ca();
  const connectTo = (authority: string) => `CONNECT ${authority} HTTP/1.1\r\nHost: ${authority}\r\n\r\n`;
  const asked = new Map([
    ["/q?a=1&b=2", /200 OK[\s\S]*body web\/x\/8$/],
    ["/q?%61=2", /200 OK[\s\S]*body web\/x\/4$/],
    ["/q", /200 OK[\s\S]*body web\/x\/0$/],
    ["/q?b=2&a=1", /^HTTP\/1.1 404 |\r\n\r\nHTTP\/1.1 404 /],
    ["/v1/tool?a=1", /^HTTP\/1.1 404 |\r\n\r\nHTTP\/1.1 404 /],
  ]);
  for (const [target, answer] of asked) {
    const odd = get(target, "odd.example.com:8080");
    t.match(await overTls(https, "dl.example.com", trusted, get(target, "dl.example.com")), answer, target);
    t.match(await sendRaw(http, get(target, "dl.example.com")), answer, target);
    for (const port of [http, second]) t.match(await sendRaw(port, odd), answer, target);
    t.match(await sendRaw(proxy, get(`https://dl.example.com${target}`, "dl.example.com")), answer, target);
    t.match(await sendRaw(proxy, get(`http://odd.example.com:8080${target}`, "odd.example.com:8080")), answer, target);
    t.match(await sendRaw(proxy, connectTo("odd.example.com:8080") + odd), answer, `CONNECT ${target}`);
  }
  t.strictSame(serving.origins?.unreached, ["http://odd.example.com:8080"], "no listener has its port");
  t.strictSame(serving.origins?.reaching, ["--listen-http 0.0.0.0:8080"]);
  const list = await (await fetch(`${url}/config/origins/origins.txt`)).text();
  t.match(list, "\n# TCP ports of their clients: http 80, 8080; https 443\n");
  t.match(list, "\nhttp://odd.example.com:8080  # nobody listens there: serve needs --listen-http 0.0.0.0:8080 too\n");
  t.match(list, "\nhttps://dl.example.com\n");
});

t.test("origins of releases that come later are noted too, once, where nobody listens for them", async (t) => {
  const { store, messages, url } = await origins(t, [WEB_RELEASE]);
  const image = { ...(CATALOG.images?.[0] ?? {}), reference: "lab.example.com:5000/thing:1", insecure: true as const };
  await store.put({ stream: "late", content: CONTENT, catalog: { ...CATALOG, images: [image] } as Partial<Catalog> });
  const notes = () => messages.filter((it) => it.includes("nobody listens"));
  for (const end = Date.now() + 5000; notes().length === 0 && Date.now() < end; await sleep(50))
    await fetch(`${url}/config/origins/origins.txt`);
  t.strictSame(notes(), [
    "nobody listens at the ports of http://lab.example.com:5000, so only the proxy answers for them; add: --listen-http 0.0.0.0:5000",
  ]);
});

t.test("a stop ends tunnels that are open, within its time", async (t) => {
  const { proxy, serving } = await origins(t);
  const ends = ["192.0.2.7:80", "dl.example.com:443"].map(
    (authority) =>
      new Promise<void>((resolve, reject) => {
        const socket = connect(proxy, "127.0.0.1", () =>
          socket.write(`CONNECT ${authority} HTTP/1.1\r\nHost: ${authority}\r\n\r\n`),
        );
        socket.once("data", () => socket.on("close", () => resolve()));
        socket.on("error", reject);
      }),
  );
  await new Promise((resolve) => setTimeout(resolve, 100));
  const startedMs = performance.now();
  await serving.close();
  await Promise.all(ends);
  t.ok(performance.now() - startedMs < 5000);
});

t.test("a new release brings new hosts, and a CA for them", async (t) => {
  const { store, https, ca, messages } = await origins(t);
  const before = await ca();
  const source = "https://new.example.net/x";
  t.equal(await unnamedFor(https), "IP Address:192.0.2.7");
  await store.put({
    stream: "b",
    content: { "files/x": "new" },
    catalog: {
      provenance: [{ path: "files/x", kind: "file", source, established: "first-sight" }],
      origins: [{ path: "files/x", url: "https://10.0.0.5/x" }],
    },
  });
  await new Promise((resolve) => setTimeout(resolve, 1100));
  // Each of these finds a view that is not fresh, or the others that wait for it; some are gone before.
  const gone = Array.from({ length: 20 }, () =>
    connect(https, "127.0.0.1", function (this: Socket) {
      this.resetAndDestroy();
    }),
  );
  await Promise.all(gone.map((it) => new Promise((resolve) => it.on("close", resolve))));
  const after = await ca();
  t.not(after, before);
  t.match(await overTls(https, "new.example.net", after, get("/x", "new.example.net")), /200 OK[\s\S]*new$/);
  t.match(
    await overTls(https, "dl.example.com", before, get("/v1/tool", "dl.example.com")),
    "200 OK",
    "trusted before",
  );
  t.match(await overTls(https, "new.example.net", before, ""), "permitted subtree violation", "not by the earlier CA");
  t.match(messages.join("\n"), "the CA of the origins was renewed for");
  t.equal(await unnamedFor(https), "IP Address:10.0.0.5, IP Address:192.0.2.7");
  t.match(await overTls(https, "", after, get("/x", "10.0.0.5")), /200 OK[\s\S]*new$/);
});
