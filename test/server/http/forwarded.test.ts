/** Whom `serve` believes about a client's address, and what. */
import { readFileSync } from "node:fs";
import type { IncomingMessage } from "node:http";
import { join } from "node:path";
import t from "tap";
import { unitFile } from "../../../src/serve.ts";
import { TrustedProxies } from "../../../src/server/http/forwarded.ts";
import { sendRaw, startServer } from "../../fixtures/serving.ts";

function said(proxies: TrustedProxies, peer: string, headers: Record<string, string>) {
  const named = Object.fromEntries(Object.entries(headers).map(([name, it]) => [`x-forwarded-${name}`, it]));
  const req = { headers: named, socket: { remoteAddress: peer } } as unknown as IncomingMessage;
  return { ...proxies.addressOf(req), fault: proxies.fault(req) };
}

t.test("addresses", async (t) => {
  const proxies = new TrustedProxies(["10.0.0.5,192.168.7.9/24", "fd00:1::/64", "loopback", "::ffff:172.16.0.0/108"]);
  for (const it of [
    "10.0.0.5",
    "::ffff:10.0.0.5",
    "::FFFF:10.0.0.5",
    "192.168.7.200",
    "fd00:1::7",
    "fd00:1:0:0::1%eth0",
    "127.0.0.1",
    "127.8.8.8",
    "::1",
    "172.17.3.4",
  ])
    t.equal(proxies.has(it), true, it);
  for (const it of [
    "10.0.0.6",
    "::ffff:10.0.0.6",
    "192.168.8.1",
    "fd00:1:0:1::1",
    "::2",
    "172.32.0.1",
    "",
    "unknown",
    undefined,
  ])
    t.equal(proxies.has(it), false, String(it));
  for (const it of [
    "",
    "10.0.0",
    "10.0.0.5:80",
    "proxy.example",
    "10.0.0.0/33",
    "10.0.0.0/",
    "0.0.0.0/0",
    "::/0",
    "fd00::/129",
    "10.0.0.5,,",
    "::ffff:1.2.3.4/96",
  ])
    t.throws(() => new TrustedProxies([it]), { code: "ERR_USAGE", hint: /--trust-proxy/ }, it);
});

t.test("what is believed, and of whom", async (t) => {
  const proxies = new TrustedProxies(["10.0.0.0/24"]);
  const [near, far, client] = ["10.0.0.1", "10.0.0.2", "203.0.113.9"];
  const plain = { proto: "https", host: "repo.example:8443" };
  t.same(said(proxies, near, plain), { scheme: "https", host: "repo.example:8443", fault: undefined });
  t.same(said(proxies, "::ffff:10.0.0.1", plain), { scheme: "https", host: "repo.example:8443", fault: undefined });
  t.same(said(proxies, client, plain), { fault: undefined }, "spoofed by somebody else: nothing");
  t.same(said(proxies, client, { proto: "x", host: "<>" }), { fault: undefined }, "not even a fault");
  t.same(said(proxies, near, { proto: "HTTPS" }), { scheme: "https", fault: undefined });
  t.same(said(proxies, near, { host: "[fd00::1]:443" }), { host: "[fd00::1]:443", fault: undefined });
  t.same(said(proxies, near, { proto: "", host: " " }), { fault: undefined }, "empty is nothing");
  // Proxies that add to what the client sent.
  t.same(said(proxies, near, { host: "evil.example, repo.example", for: client }), {
    host: "repo.example",
    fault: undefined,
  });
  // Two in a row: the outer one's word, wherever the client's own is before it.
  const two = {
    proto: "http, https, http",
    host: "evil.example, repo.example, inner",
    for: `1.2.3.4, ${client}, ${far}`,
  };
  t.same(said(proxies, near, two), { scheme: "https", host: "repo.example", fault: undefined });
  // The inner one replaces instead.
  t.same(said(proxies, near, { ...plain, for: `${client}, ${far}` }), {
    scheme: "https",
    host: "repo.example:8443",
    fault: undefined,
  });
  for (const host of [
    "a b",
    "a/b",
    "a@b",
    "é",
    "a:99999",
    "a:b",
    "x\u0000y",
    "[::1",
    `${"a".repeat(300)}`,
    "http://a",
    ",",
  ])
    t.match(said(proxies, near, { host }), { host: undefined, fault: /X-Forwarded-Host/ }, host);
  for (const proto of ["ftp", "https:", "javascript", "http\t", ","].filter((it) => it.trim() !== "http"))
    t.match(said(proxies, near, { proto }), { scheme: undefined, fault: /X-Forwarded-Proto/ }, proto);
  t.match(said(proxies, near, { host: `${"a,".repeat(5000)}b` }), { host: "b" });
});

t.test("who asked", async (t) => {
  const proxies = new TrustedProxies(["10.0.0.0/24", "fd00::/64"]);
  const rows: [peer: string, list: string | undefined, client: string][] = [
    ["203.0.113.9", "1.2.3.4", "203.0.113.9"],
    ["10.0.0.1", undefined, "10.0.0.1"],
    ["10.0.0.1", "203.0.113.9", "203.0.113.9"],
    ["10.0.0.1", "1.2.3.4, 203.0.113.9", "203.0.113.9"],
    ["10.0.0.1", "1.2.3.4, 203.0.113.9, 10.0.0.2", "203.0.113.9"],
    ["::ffff:10.0.0.1", "203.0.113.9:5555", "203.0.113.9"],
    ["fd00::1", "[2001:db8::7]:5555", "2001:db8::7"],
    ["fd00::1", "2001:db8::7", "2001:db8::7"],
    ["10.0.0.1", "::ffff:203.0.113.9", "203.0.113.9"],
    ["10.0.0.1", "unknown", "10.0.0.1"],
    ["10.0.0.1", "1.2.3.4, _hidden", "10.0.0.1"],
    ["10.0.0.1", '"><script>', "10.0.0.1"],
    ["10.0.0.1", "999.1.1.1", "10.0.0.1"],
    ["10.0.0.1", `${"10.0.0.2,".repeat(5000)}`, "10.0.0.1"],
    ["10.0.0.1", "10.0.0.2", "10.0.0.2"],
  ];
  for (const [peer, list, client] of rows)
    t.equal(proxies.clientOf(peer, list), client, `${peer} ${list?.slice(0, 60)}`);
});

const RELEASE = {
  stream: "a",
  content: { "files/a": "a", "rpms/r/repodata/repomd.xml": "<repomd/>" },
  catalog: { rpms: [{ name: "r", path: "rpms/r", mode: "exact", keys: [], packages: 0, gpgcheck: false }] },
} as unknown as Parameters<typeof startServer>[1][number];

t.test("a server, behind a proxy and not", async (t) => {
  const log = join(t.testdir(), "log");
  const headers = "X-Forwarded-Host: repo.example:8443\r\nX-Forwarded-Proto: https\r\nX-Forwarded-For: 203.0.113.9\r\n";
  const ask = (port: number, path: string, more: string) =>
    sendRaw(port, `GET ${path} HTTP/1.1\r\nHost: inner:9000\r\nConnection: close\r\n${more}\r\n`, 300);
  const behind = await startServer(t, [RELEASE], { trustProxy: ["loopback"], accessLog: log });
  const repo = "/config/airferry.repo";
  t.match(await ask(behind.port, repo, headers), /^baseurl=https:\/\/repo\.example:8443\/rpms\/r$/m);
  t.match(await ask(behind.port, repo, ""), /^baseurl=http:\/\/inner:9000\//m, "without a word: its own");
  t.match(await ask(behind.port, "/", headers), /https:\/\/repo\.example:8443/, "pages too");
  const hostile = 'X-Forwarded-Host: a"b\r\n';
  for (const path of [repo, "/files/a"]) t.match(await ask(behind.port, path, hostile), /^HTTP\/1\.1 400 /, path);
  t.match(await ask(behind.port, "/files/a", "X-Forwarded-Proto: gopher\r\n"), /^HTTP\/1\.1 400 /);
  t.match(
    await sendRaw(behind.port, "GET / HTTP/1.1\r\nHost: a b\r\nX-Forwarded-Host: ok\r\n\r\n", 300),
    /^HTTP\/1\.1 400 /,
    "the Host itself is checked as ever",
  );
  // By the fast path, and by Node's HTTP.
  await sendRaw(behind.port, `GET /files/a HTTP/1.1\r\nHost: x\r\n${headers}\r\n`, 300);
  await ask(behind.port, "/files/a", headers);
  await ask(behind.port, "/files/a", "");
  await behind.serving.close();
  const lines = readFileSync(log, "utf8")
    .trim()
    .split("\n")
    .map((it) => JSON.parse(it) as Record<string, unknown>);
  for (const it of lines.slice(-3, -1))
    t.match(it, { client: "203.0.113.9", proxy: "127.0.0.1", host: String, status: 200 });
  t.match(lines.at(-1), { client: "127.0.0.1", proxy: undefined });

  const other = await startServer(t, [RELEASE], { trustProxy: ["10.0.0.5"] });
  const none = await startServer(t, [RELEASE]);
  for (const { port } of [other, none]) {
    t.match(await ask(port, repo, headers), /^baseurl=http:\/\/inner:9000\//m, "spoofed");
    t.match(await ask(port, "/files/a", hostile), /^HTTP\/1\.1 200 /, "and nobody's business");
  }
  const set = await startServer(t, [RELEASE], { trustProxy: ["loopback"], url: "https://set.example" });
  t.match(await ask(set.port, repo, headers), /^baseurl=https:\/\/set\.example\//m, "--url goes first");
});

t.test("flags", async (t) => {
  await t.rejects(startServer(t, [RELEASE], { trustProxy: ["proxy.example"] }), { code: "ERR_USAGE" });
  t.throws(() => unitFile("service", { store: "/s", trustProxy: ["x"] }), { code: "ERR_USAGE" });
  t.match(
    unitFile("service", { store: "/s", trustProxy: ["10.0.0.5,::1", "loopback"] }),
    / --trust-proxy 10\.0\.0\.5,::1 --trust-proxy loopback/,
  );
});
