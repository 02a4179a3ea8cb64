/** One rule for every URL that upstream names: our secrets stay, https stays, and no name leads to a nearer network. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import type { Lookup } from "../../src/http/guarded-lookup.ts";
import { BY_USER, byUpstream, namerOf, reachOf, stepFault } from "../../src/http/named.ts";
import { testFetcher } from "../fixtures/fetching.ts";
import { refusalOf } from "../fixtures/refusal.ts";
import { startUpstream } from "../fixtures/upstream.ts";

const BODY = Buffer.from("the bytes\n");

async function started(t: Test, behaviour = {}) {
  const upstream = await startUpstream({ files: new Map([["/a", BODY]]), behaviour });
  t.teardown(() => upstream.close());
  return upstream;
}

/** Names and the addresses that they have in these tests. */
const lookupIn =
  (names: Record<string, string>): Lookup =>
  (host, options, answer) => {
    const address = names[host];
    if (address === undefined) return answer(Object.assign(new Error(`no ${host}`), { code: "ENOTFOUND" }));
    if ((options as { all?: boolean }).all) answer(null, [{ address, family: 4 }]);
    else answer(null, address, 4);
  };

t.test("namerOf() takes for the user's what is at an origin that the user named, and nothing else", async (t) => {
  const user = ["https://a.example/r/", "http://b.example:8080/x"];
  for (const [urls, expected] of [
    [["https://a.example/other"], BY_USER],
    [["https://a.example/x", "http://b.example:8080/y"], BY_USER],
    [["http://a.example/x"], byUpstream(user[0])],
    [["https://a.example:444/x"], byUpstream(user[0])],
    [["https://a.example/x", "https://evil.example/x"], byUpstream(user[0])],
  ] as const)
    t.strictSame(namerOf(urls, user), expected, urls.join(" "));
  t.strictSame(namerOf(["https://a.example/"], []), byUpstream(undefined), "a local file names places too");
});

t.test("stepFault() lets nobody down from https or nearer", async (t) => {
  const fault = (from: string | undefined, to: string) => {
    const url = from === undefined ? undefined : new URL(from);
    return stepFault(url, new URL(to), url ? reachOf(url, url.hostname) : () => Promise.resolve(0));
  };
  for (const [from, to, expected] of [
    ["https://a.example/", "https://b.example/", undefined],
    ["http://a.example/", "https://b.example/", undefined],
    ["http://10.0.0.1/", "http://192.168.0.1/", undefined],
    ["http://127.0.0.1/", "http://localhost:81/", undefined],
    [undefined, "http://b.example/", undefined],
    ["https://a.example/", "http://a.example/", /from https to http/],
    ["https://a.example/", "file:///etc/passwd", /neither http nor https/],
    ["http://a.example/", "http://10.0.0.1/", /private network/],
    ["http://a.example/", "http://localhost/", /private network/],
    ["http://10.0.0.1/", "http://169.254.169.254/", /private network/],
    ["http://a.example/", "http://2852039166/", /private network/],
    ["http://a.example/", "http://[::ffff:169.254.169.254]/", /private network/],
    ["http://a.example/", "http://[64:ff9b::a9fe:a9fe]/", /private network/],
    ["http://a.example/", "http://[2002:7f00:1::]/", /private network/],
    [undefined, "http://127.0.0.1/", /private network/],
  ] as const) {
    const said = await fault(from, to);
    if (expected === undefined) t.equal(said, undefined, `${from} ${to}`);
    else t.match(said, expected, `${from} ${to}`);
  }
});

t.test("what upstream names gets no secret but that of its very origin", async (t) => {
  const other = await started(t);
  const upstream = await started(t);
  const netrc = join(t.testdir({}), "netrc");
  writeFileSync(netrc, `default login d password NETRC\nmachine 127.0.0.1 login m password NETRC\n`);
  const via = upstream.url.replace("//", "//u:URLPASS@");
  for (const options of [
    { netrc },
    { env: { T: "TOKEN" }, hosts: { "127.0.0.1": { token_env: "T" } } },
    { env: { T: "TOKEN" }, hosts: { [upstream.host]: { token_env: "T" } } },
  ]) {
    const fetcher = testFetcher(options);
    t.teardown(() => fetcher.close());
    const ask = (url: string) => fetcher.fetchBytes({ urls: [url], named: byUpstream(via), maxBytes: 1000 });
    await ask(`${other.url}/a`);
    await ask(`${other.url.replace("//", "//x:y@")}/a`);
    for (const request of other.requests.splice(0)) t.equal(request.headers.authorization, undefined);
    await ask(`${upstream.url}/a`);
    t.ok(upstream.requests.pop()?.headers.authorization, "the origin that was asked gets what is for it");
  }
  const named = testFetcher({ env: { T: "TOKEN" }, hosts: { [other.host]: { token_env: "T" } } });
  t.teardown(() => named.close());
  await named.fetchBytes({ urls: [`${other.url}/a`], named: byUpstream(via), maxBytes: 1000 });
  t.equal(other.requests.pop()?.headers.authorization, "Bearer TOKEN", "an origin of hosts: gets its own");
});

t.test("what upstream names may be rewritten, and is the user's then", async (t) => {
  const corp = await started(t);
  const fetcher = testFetcher({
    env: { T: "TOKEN" },
    hosts: { "127.0.0.1": { token_env: "T" } },
    rewrites: [{ from: "https://mirror.example/", to: `${corp.url}/` }],
  });
  t.teardown(() => fetcher.close());
  const named = byUpstream("https://public.example/list");
  await fetcher.fetchBytes({ urls: ["https://mirror.example/a"], named, maxBytes: 1000 });
  t.equal(corp.requests.pop()?.headers.authorization, "Bearer TOKEN");
});

t.test("a name that upstream leads to is judged by the address it has", async (t) => {
  const near = await started(t);
  const port = new URL(near.url).port;
  const names = { "public.example": "93.184.216.34", "evil.example": "127.0.0.1", "corp.example": "127.0.0.1" };
  const fetcher = testFetcher({ lookup: lookupIn(names), retries: 0 });
  t.teardown(() => fetcher.close());
  const ask = (url: string, via?: string) =>
    fetcher.fetchBytes({ urls: [url], named: byUpstream(via), maxBytes: 1000 });
  for (const via of ["http://public.example/list", undefined, "http://93.184.216.34/"]) {
    const error = await refusalOf(ask(`http://evil.example:${port}/a`, via));
    t.equal(error.code, "ERR_UPSTREAM_INVALID");
    t.match(error.message, /private network: evil\.example has the address 127\.0\.0\.1/);
  }
  t.equal(near.requests.length, 0, "nothing was asked there");
  await ask(`http://evil.example:${port}/a`, "http://corp.example/list");
  await fetcher.fetchBytes({ urls: [`http://evil.example:${port}/a`], named: BY_USER, maxBytes: 1000 });
  t.equal(near.requests.length, 2, "from as near, and by the user, it may be");
});

t.test("a redirect to a name is judged by its address too", async (t) => {
  const near = await started(t);
  const evil = `http://evil.example:${new URL(near.url).port}`;
  const upstream = await started(t, { "/away": { redirect: `${evil}/a` } });
  const fetcher = testFetcher({ lookup: lookupIn({ "evil.example": "169.254.169.254" }), retries: 0 });
  t.teardown(() => fetcher.close());
  const error = await refusalOf(fetcher.fetchBytes({ urls: [`${upstream.url}/away`], named: BY_USER, maxBytes: 1000 }));
  t.match(error.message, /private network: evil\.example has the address 169\.254\.169\.254/);
});
