/** Secrets stay with the origin they belong to: credentials, cookies, client certificates, redirects, netrc, logs. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import type { Authenticator } from "../../src/http/authenticator.ts";
import { BY_USER } from "../../src/http/named.ts";
import { RecordingSink, testFetcher } from "../fixtures/fetching.ts";
import { makePki } from "../fixtures/pki.ts";
import { startProxy } from "../fixtures/proxy.ts";
import { refusalOf } from "../fixtures/refusal.ts";
import { startUpstream, type Upstream, type UpstreamFile, type UpstreamOptions } from "../fixtures/upstream.ts";

const BODY = Buffer.from("the bytes\n");
const FILES = () => new Map([["/a", BODY]]);

async function started(t: Test, options: UpstreamOptions = {}): Promise<Upstream> {
  const upstream = await startUpstream({ files: FILES(), ...options });
  t.teardown(() => upstream.close());
  return upstream;
}

const basic = (text: string) => `Basic ${Buffer.from(text).toString("base64")}`;
const small = (url: string) => ({ urls: [url], named: BY_USER, maxBytes: 1000 });

t.test("credentials of hosts: go to their host, and to no other that it redirects to", async (t) => {
  const other = await started(t);
  const upstream = await started(t, {
    behaviour: { "/away": { redirect: `${other.url}/a` }, "/here": { redirect: "/a" } },
  });
  const env = { U: "user", P: "päss:word", T: "s3cret-t0ken" };
  for (const [host, entry, expected] of [
    [upstream.host, { username_env: "U", password_env: "P" }, basic("user:päss:word")],
    ["127.0.0.1", { token_env: "T" }, "Bearer s3cret-t0ken"],
  ] as const) {
    const fetcher = testFetcher({ env, hosts: { [host]: entry } });
    t.teardown(() => fetcher.close());
    for (const path of ["/here", "/away"]) {
      const { bytes, finalUrl } = await fetcher.fetchBytes({
        ...small(upstream.url + path),
        headers: { Cookie: "session=1", "X-Api-Key": "k", Accept: "text/x" },
      });
      t.ok(bytes.equals(BODY));
      t.equal(finalUrl, path === "/here" ? `${upstream.url}/a` : `${other.url}/a`);
    }
    t.ok(upstream.requests.length > 0 && upstream.requests.every((it) => it.headers.authorization === expected));
    t.equal(upstream.of("/a").at(-1)?.headers.cookie, "session=1", "its own origin gets the caller's headers");
    const [stranger] = other.requests.splice(0);
    t.equal(stranger?.headers.authorization, undefined);
    t.equal(stranger?.headers.cookie, undefined);
    t.equal(stranger?.headers["x-api-key"], undefined);
    t.equal(stranger?.headers.accept, "text/x");
    upstream.requests.splice(0);
  }
});

t.test("a host that is named itself gets its own credentials, also behind a redirect", async (t) => {
  const other = await started(t);
  const upstream = await started(t, { behaviour: { "/away": { redirect: `${other.url}/a` } } });
  const fetcher = testFetcher({
    env: { ONE: "token-one", TWO: "token-two" },
    hosts: { [upstream.host]: { token_env: "ONE" }, [other.host]: { token_env: "TWO" } },
  });
  t.teardown(() => fetcher.close());
  await fetcher.fetchBytes(small(`${upstream.url}/away`));
  t.equal(upstream.requests[0]?.headers.authorization, "Bearer token-one");
  t.equal(other.requests[0]?.headers.authorization, "Bearer token-two");
});

t.test("a missing variable is named, and nothing is asked", async (t) => {
  const upstream = await started(t);
  const fetcher = testFetcher({ hosts: { [upstream.host]: { token_env: "NOT_SET" } } });
  t.teardown(() => fetcher.close());
  const error = await refusalOf(fetcher.fetchBytes(small(`${upstream.url}/a`)));
  t.equal(error.code, "ERR_USAGE");
  t.match(error.message, /NOT_SET is not set/);
  t.equal(upstream.requests.length, 0);
});

t.test("user:password@ in a URL is sent to that origin, and shown nowhere", async (t) => {
  const other = await started(t);
  const upstream = await started(t, {
    behaviour: {
      "/away": { redirect: `${other.url}/a` },
      "/evil": { redirect: `${other.url.replace("//", "//admin:hunter2@")}/a` },
      "/gone": { status: 404 },
    },
  });
  const fetcher = testFetcher();
  t.teardown(() => fetcher.close());
  const url = upstream.url.replace("//", "//us%40er:p%3Ass@");
  const head = await fetcher.fetchBytes(small(`${url}/a`));
  t.equal(upstream.requests[0]?.headers.authorization, basic("us@er:p:ss"));
  t.notMatch(head.finalUrl, /p%3Ass/);
  await fetcher.fetchBytes(small(`${url}/away`));
  await fetcher.fetchBytes(small(`${url}/evil`));
  t.ok(other.requests.length === 2 && other.requests.every((it) => it.headers.authorization === undefined));
  const error = await refusalOf(fetcher.fetchBytes(small(`${url}/gone`)));
  t.notMatch(
    JSON.stringify([error.message, error.hint, error.path, String(error.cause), fetcher.events]),
    /p%3Ass|p:ss|hunter2/,
  );
  t.match(error.message, /\*\*\*@127\.0\.0\.1/);
});

t.test("netrc is used for its machine only, the default only where it was asked", async (t) => {
  const folder = t.testdir({
    netrc: 'machine other.example login x password y\nmachine 127.0.0.1\n  login me # comment\n  password "my pass"\n',
    default: "default login d password e\n",
  });
  const other = await started(t, { host: "127.0.0.1" });
  const upstream = await started(t, { behaviour: { "/away": { redirect: `${other.url}/a` } } });
  for (const [file, expected] of [
    ["netrc", "me:my pass"],
    ["default", "d:e"],
  ] as const) {
    for (const options of [{ netrc: join(folder, file) }, { netrc: undefined, env: { NETRC: join(folder, file) } }]) {
      const { netrc, ...rest } = options;
      const { createFetcher } = await import("../../src/fetch/fetcher.ts");
      const fetcher = createFetcher({ env: {}, ...(netrc !== undefined && { netrc }), ...rest });
      t.teardown(() => fetcher.close());
      await fetcher.fetchBytes(small(`${upstream.url}/away`));
      t.equal(upstream.requests.pop()?.headers.authorization, basic(expected));
      t.equal(other.requests.pop()?.headers.authorization, undefined);
    }
  }
});

t.test("an Authenticator is asked for its own origin alone, and challenged once", async (t) => {
  const other = await started(t);
  const upstream = await started(t, {
    behaviour: {
      "/a": { authorization: "Bearer new", wwwAuthenticate: 'Bearer realm="r",scope="s"' },
      "/away": { redirect: `${other.url}/a` },
    },
  });
  const asked: string[] = [];
  const challenges: [string, string | undefined][] = [];
  let token = "old";
  const auth: Authenticator = {
    headers: (url) => {
      asked.push(url.origin);
      return Promise.resolve({ Authorization: `Bearer ${token}` });
    },
    challenged: (url, header) => {
      challenges.push([url.href, header]);
      token = "new";
      return Promise.resolve(true);
    },
  };
  const fetcher = testFetcher();
  t.teardown(() => fetcher.close());
  const { bytes } = await fetcher.fetchBytes({ ...small(`${upstream.url}/a`), auth });
  t.ok(bytes.equals(BODY));
  t.same(challenges, [[`${upstream.url}/a`, 'Bearer realm="r",scope="s"']]);
  t.equal(upstream.requests.length, 2);
  await fetcher.fetchBytes({ ...small(`${upstream.url}/away`), auth });
  t.same([...new Set(asked)], [upstream.url]);
  t.equal(other.requests[0]?.headers.authorization, undefined);

  const useless: Authenticator = { ...auth, headers: () => Promise.resolve({}) };
  challenges.length = 0;
  const error = await refusalOf(fetcher.fetchBytes({ ...small(`${upstream.url}/a`), auth: useless }));
  t.match(error.message, /answered 401/);
  t.equal(challenges.length, 1, "not for ever");
  const unwilling: Authenticator = { ...useless, challenged: () => Promise.resolve(false) };
  const before = upstream.requests.length;
  t.match(
    (await refusalOf(fetcher.fetchBytes({ ...small(`${upstream.url}/a`), auth: unwilling }))).message,
    /answered 401/,
  );
  t.equal(upstream.requests.length, before + 1);
});

t.test(
  "an origin behind a redirect may challenge for itself, and gets what the Authenticator has for it",
  async (t) => {
    const other = await started(t, { behaviour: { "/a": { authorization: "Bearer for-other" } } });
    const upstream = await started(t, {
      behaviour: {
        "/away": (request) =>
          request.headers.authorization === "Bearer for-home" ? { redirect: `${other.url}/a` } : { status: 401 },
      },
    });
    const tokens = new Map<string, string>();
    const auth: Authenticator = {
      headers: (url) => {
        const token = tokens.get(url.origin);
        return Promise.resolve(
          token === undefined ? {} : ({ authorization: `Bearer ${token}` } as Record<string, string>),
        );
      },
      challenged: (url) => {
        tokens.set(url.origin, url.origin === upstream.url ? "for-home" : "for-other");
        return Promise.resolve(true);
      },
    };
    const fetcher = testFetcher();
    t.teardown(() => fetcher.close());
    t.ok((await fetcher.fetchBytes({ ...small(`${upstream.url}/away`), auth })).bytes.equals(BODY));
    t.strictSame(
      other.requests.map((it) => it.headers.authorization),
      [undefined, "Bearer for-other"],
    );
  },
);

t.test("an Authenticator may fetch its token with the same fetcher, even when every turn is taken", async (t) => {
  const upstream = await started(t, {
    files: new Map<string, UpstreamFile>([...FILES(), ["/token", "secret"]]),
    behaviour: { "/a": { authorization: "Bearer secret" } },
  });
  const fetcher = testFetcher({ concurrency: 1, totalConcurrency: 1 });
  t.teardown(() => fetcher.close());
  const authenticator = (): Authenticator => {
    let token = "";
    return {
      headers: () => Promise.resolve(token ? { authorization: `Bearer ${token}` } : ({} as Record<string, string>)),
      challenged: async () => {
        token = (await fetcher.fetchBytes(small(`${upstream.url}/token`))).bytes.toString();
        return true;
      },
    };
  };
  const all = await Promise.all(
    [1, 2, 3].map(() => fetcher.fetchBytes({ ...small(`${upstream.url}/a`), auth: authenticator() })),
  );
  t.equal(all.length, 3);
  t.equal(upstream.peak(), 1);
});

t.test(
  "redirects: ten are followed, loops and bad targets are refused, resume starts at the original URL",
  async (t) => {
    const big = Buffer.alloc(100_000, 1);
    const upstream = await started(t, {
      files: new Map([["/end", big]]),
      behaviour: {
        "/loop": { redirect: "/loop" },
        "/ftp": { redirect: "ftp://127.0.0.1/x" },
        "/file": { redirect: "file:///etc/passwd" },
        "/junk": { redirect: "http://[::" },
        "/link": { redirect: "http://169.254.169.254/latest/meta-data", redirectStatus: 307 },
        "/moved": { redirect: "/end?sig=Zm9vYmFy", redirectStatus: 308 },
        "/end": [{ cutEvery: 60_000 }],
        ...Object.fromEntries(
          Array.from({ length: 11 }, (_, i) => [`/r${i}`, { redirect: i === 0 ? "/end" : `/r${i - 1}` }]),
        ),
      },
    });
    upstream.files.set("/end?sig=Zm9vYmFy", big);
    const fetcher = testFetcher();
    t.teardown(() => fetcher.close());
    const sink = new RecordingSink();
    await fetcher.fetchInto({ urls: [`${upstream.url}/r9`] }, sink);
    t.ok(sink.bytes.equals(big));
    t.equal(upstream.of("/r9").length, 2, "the second attempt began at the original URL");
    t.equal(upstream.requests.at(-1)?.range, "bytes=60000-");
    for (const path of ["/loop", "/r10", "/ftp", "/file", "/junk"]) {
      const error = await refusalOf(fetcher.fetchBytes({ urls: [upstream.url + path], maxBytes: 1e6 }));
      t.equal(error.code, "ERR_UPSTREAM_INVALID", `${path}: ${error.message}`);
    }
    const moved = await fetcher.fetchBytes({ urls: [`${upstream.url}/moved`], maxBytes: 1e6 });
    t.equal(moved.finalUrl, `${upstream.url}/end?***`);
    t.notMatch(JSON.stringify(fetcher.events), /Zm9vYmFy/);
  },
);

t.test("a public host cannot send us into a private network or to this host", async (t) => {
  const inside = await started(t);
  const outside = await started(t, { behaviour: { "*": { redirect: `${inside.url}/a` } } });
  const proxy = await startProxy(undefined, { "public.example": outside.host });
  t.teardown(() => proxy.close());
  for (const allowPrivateRedirects of [false, true]) {
    const fetcher = testFetcher({ env: { HTTP_PROXY: proxy.url }, allowPrivateRedirects });
    t.teardown(() => fetcher.close());
    const fetching = fetcher.fetchBytes(small("http://public.example/x"));
    if (allowPrivateRedirects) t.ok((await fetching).bytes.equals(BODY));
    else t.match((await refusalOf(fetching)).message, /redirects into a private network, to "http:\/\/127\.0\.0\.1/);
    t.equal(inside.requests.length, allowPrivateRedirects ? 1 : 0);
  }
});

t.test("client certificates and CAs belong to their host; https never becomes http", async (t) => {
  const pki = await makePki();
  const folder = t.testdir({
    "ca.pem": pki.ca,
    "client.pem": pki.client.cert,
    "client.key": pki.client.key,
    "junk.pem": "junk",
  });
  writeFileSync(join(folder, "both.pem"), pki.client.cert + pki.client.key);
  const tls = { ...pki.server, clientCa: pki.ca };
  const other = await started(t, { tls });
  const plain = await started(t);
  const upstream = await started(t, {
    tls,
    behaviour: { "/away": { redirect: `${other.url}/a` }, "/down": { redirect: `${plain.url}/a` } },
  });
  const trusting = { ca: "ca.pem" };
  for (const entry of [
    { ...trusting, cert: "client.pem", key: "client.key" },
    { ...trusting, cert: "both.pem" },
  ]) {
    const fetcher = testFetcher({ baseDir: folder, hosts: { [upstream.host]: entry, [other.host]: trusting } });
    t.teardown(() => fetcher.close());
    t.ok((await fetcher.fetchBytes(small(`${upstream.url}/away`))).bytes.equals(BODY));
    t.equal(upstream.requests.at(-1)?.clientCertificate, "client");
    t.equal(other.requests.at(-1)?.clientCertificate, undefined, "offered to its own host only");
    const error = await refusalOf(fetcher.fetchBytes(small(`${upstream.url}/down`)));
    t.match(error.message, /redirects from https to http/);
    t.equal(plain.requests.length, 0);
  }
  const stranger = testFetcher();
  t.teardown(() => stranger.close());
  const unknown = await refusalOf(stranger.fetchBytes(small(`${upstream.url}/a`)));
  t.equal(unknown.code, "ERR_UPSTREAM");
  t.match(unknown.hint, /ca: ca\.pem/);
  const extra = testFetcher({ caFile: join(folder, "ca.pem") });
  t.teardown(() => extra.close());
  t.ok((await extra.fetchBytes(small(`${upstream.url}/a`))).bytes.equals(BODY));
  const broken = testFetcher({ baseDir: folder, hosts: { [upstream.host]: { ca: "junk.pem" } } });
  t.teardown(() => broken.close());
  t.equal((await refusalOf(broken.fetchBytes(small(`${upstream.url}/a`)))).code, "ERR_IO");
  const unpaired = testFetcher({ baseDir: folder, hosts: { [upstream.host]: { cert: "client.pem", key: "ca.pem" } } });
  t.teardown(() => unpaired.close());
  t.equal((await refusalOf(unpaired.fetchBytes(small(`${upstream.url}/a`)))).code, "ERR_IO");
});
