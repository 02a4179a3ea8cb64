import t from "tap";
import { AirferryError } from "../../src/errors.ts";
import { isExempt, proxyFor } from "../../src/http/proxy.ts";
import { integrityOf, patternBytes, RecordingSink, testFetcher } from "../fixtures/fetching.ts";
import { makePki } from "../fixtures/pki.ts";
import { startProxy } from "../fixtures/proxy.ts";
import { startUpstream } from "../fixtures/upstream.ts";

const BYTES = patternBytes(150_000);

t.test("proxyFor() picks by scheme, lower case first, and refuses what it cannot speak", (t) => {
  const https = new URL("https://h.example/");
  const http = new URL("http://h.example/");
  t.equal(proxyFor(https, {}), undefined);
  t.equal(proxyFor(https, { HTTPS_PROXY: "http://p:1" }), "http://p:1");
  t.equal(proxyFor(https, { HTTPS_PROXY: "http://p:1", https_proxy: "http://q:2" }), "http://q:2");
  t.equal(proxyFor(https, { HTTPS_PROXY: "http://p:1", https_proxy: "" }), undefined, "an empty one switches off");
  t.equal(proxyFor(https, { http_proxy: "http://p:1" }), undefined);
  t.equal(proxyFor(http, { HTTP_PROXY: "p:1" }), "http://p:1");
  t.equal(proxyFor(http, { ALL_PROXY: "http://p:1" }), "http://p:1");
  t.equal(proxyFor(http, { HTTP_PROXY: "http://p:1", NO_PROXY: "h.example" }), undefined);
  t.throws(() => proxyFor(http, { HTTP_PROXY: "socks5://u:secret@p:1" }), {
    code: "ERR_USAGE",
    message: /socks5:\/\/(?!u:secret)/,
  });
  t.end();
});

t.test("isExempt() reads NO_PROXY as curl and Go do", (t) => {
  const yes: [string, string][] = [
    ["http://h.example/", "*"],
    ["http://h.example/", "h.example"],
    ["http://h.example/", "x, H.EXAMPLE"],
    ["http://a.h.example/", "h.example"],
    ["http://a.h.example/", ".h.example"],
    ["http://a.h.example/", "*.h.example"],
    ["http://h.example:8080/", "h.example:8080"],
    ["https://h.example/", "h.example:443"],
    ["http://10.1.2.3/", "10.0.0.0/8"],
    ["http://10.1.2.3/", "10.1.2.3"],
    ["http://[fd00::1]/", "fd00::/8"],
    ["http://[fd00::1]:81/", "[fd00::1]:81"],
    ["http://[::1]/", "::1"],
  ];
  const no: [string, string][] = [
    ["http://h.example/", ""],
    ["http://xh.example/", "h.example"],
    ["http://h.example/", "a.h.example"],
    ["http://h.example:8081/", "h.example:8080"],
    ["http://11.1.2.3/", "10.0.0.0/8"],
    ["http://110.1.2.3/", "10.1.2.3"],
    ["http://1.10.1.2/", "10.1.2"],
    ["http://h.example/", "10.0.0.0/8"],
    ["http://10.1.2.3/", "10.0.0.0/99"],
    ["http://[fd00::1]/", "10.0.0.0/8"],
  ];
  for (const [url, rule] of yes) t.ok(isExempt(new URL(url), rule), `${rule} exempts ${url}`);
  for (const [url, rule] of no) t.notOk(isExempt(new URL(url), rule), `${rule} does not exempt ${url}`);
  t.end();
});

t.test(
  "requests go through a real proxy: CONNECT for https, absolute form for http, with resume and login",
  async (t) => {
    const pki = await makePki();
    const folder = t.testdir({ "ca.pem": pki.ca, "client.pem": pki.client.cert, "client.key": pki.client.key });
    const proxy = await startProxy("me:p@ss");
    t.teardown(() => proxy.close());
    const files = new Map([["/a.bin", BYTES]]);
    const behaviour = () => ({ "/a.bin": [{ cutEvery: 60_000 }] });
    const secure = await startUpstream({ files, behaviour: behaviour(), tls: { ...pki.server, clientCa: pki.ca } });
    t.teardown(() => secure.close());
    const plain = await startUpstream({ files, behaviour: behaviour() });
    t.teardown(() => plain.close());
    const proxyUrl = proxy.url.replace("//", "//me:p%40ss@");
    const options = {
      env: { HTTP_PROXY: proxyUrl, https_proxy: proxyUrl },
      baseDir: folder,
      hosts: { [secure.host]: { ca: "ca.pem", cert: "client.pem", key: "client.key" } },
    };
    const fetcher = testFetcher(options);
    t.teardown(() => fetcher.close());
    for (const upstream of [secure, plain]) {
      const sink = new RecordingSink();
      await fetcher.fetchInto(
        { urls: [`${upstream.url}/a.bin`], size: BYTES.length, integrity: integrityOf(BYTES) },
        sink,
      );
      t.ok(sink.bytes.equals(BYTES));
      t.equal(upstream.bytesOf("/a.bin"), BYTES.length);
    }
    t.equal(secure.requests[0]?.clientCertificate, "client", "through the tunnel");
    t.equal(plain.requests[0]?.headers["proxy-authorization"], undefined, "upstream never sees the proxy's password");
    t.same([...new Set(proxy.requests)], [`CONNECT ${secure.host}`, `GET ${plain.url}/a.bin`]);

    const before = proxy.requests.length;
    const direct = testFetcher({ ...options, env: { ...options.env, NO_PROXY: "127.0.0.0/8" } });
    t.teardown(() => direct.close());
    await direct.fetchBytes({ urls: [`${plain.url}/a.bin`], maxBytes: 1e6 });
    t.equal(proxy.requests.length, before, "NO_PROXY is honoured");

    for (const upstream of [secure, plain]) {
      const stranger = testFetcher({
        ...options,
        env: { ALL_PROXY: proxy.url.replace("//", "//me:wr0ng@") },
        retries: 0,
      });
      t.teardown(() => stranger.close());
      const error = await stranger.fetchBytes({ urls: [`${upstream.url}/a.bin`], maxBytes: 1e6 }).then(
        () => undefined,
        (thrown) => thrown,
      );
      t.ok(error instanceof AirferryError && error.code === "ERR_UPSTREAM", error?.message);
      t.match(`${error.message} ${error.hint}`, /407|proxy/i);
      t.notMatch(`${error.message} ${error.hint} ${error.cause}`, /wr0ng/);
    }
  },
);

t.test("a proxy that is missing is named, without its password", async (t) => {
  const upstream = await startUpstream({ files: new Map([["/a.bin", BYTES]]) });
  t.teardown(() => upstream.close());
  const gone = await startProxy();
  await gone.close();
  const fetcher = testFetcher({ env: { http_proxy: gone.url.replace("//", "//u:s3cret@") }, retries: 0 });
  t.teardown(() => fetcher.close());
  const error = await fetcher.head({ urls: [`${upstream.url}/a.bin`] }).then(
    () => undefined,
    (thrown) => thrown,
  );
  t.match(error.message, /connection refused \(ECONNREFUSED\) through the proxy http:\/\/\*\*\*@127\.0\.0\.1/);
  t.notMatch(`${error.message} ${error.hint} ${error.cause}`, /s3cret/);
  t.equal(upstream.requests.length, 0);
});
