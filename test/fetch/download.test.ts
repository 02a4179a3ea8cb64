import t, { type Test } from "tap";
import { httpStatusOf } from "../../src/http/failure.ts";
import type { Integrity } from "../../src/io/integrity.ts";
import { integrityOf, patternBytes, RecordingSink, testFetcher } from "../fixtures/fetching.ts";
import { refusalOf } from "../fixtures/refusal.ts";
import { type Behaviours, startUpstream, type UpstreamOptions } from "../fixtures/upstream.ts";

const BYTES = patternBytes(200_000);
const SRI = integrityOf(BYTES);

async function upstreamWith(t: Test, behaviour?: Behaviours, options: UpstreamOptions = {}) {
  const upstream = await startUpstream({
    files: new Map([["/a.bin", BYTES]]),
    ...(behaviour && { behaviour: { "/a.bin": behaviour } }),
    ...options,
  });
  t.teardown(() => upstream.close());
  return upstream;
}

t.test("fetchInto() asks once, without ranges, and takes the body as it is", async (t) => {
  const upstream = await upstreamWith(t);
  const fetcher = testFetcher();
  t.teardown(() => fetcher.close());
  const sink = new RecordingSink();
  const head = await fetcher.fetchInto({ urls: [`${upstream.url}/a.bin`], size: BYTES.length }, sink);
  t.ok(sink.bytes.equals(BYTES));
  t.equal(sink.restarts, 0);
  t.equal(head.size, BYTES.length);
  t.equal(head.mixed, undefined);
  t.equal(upstream.requests.length, 1, "one GET");
  const [request] = upstream.requests;
  t.equal(request?.method, "GET");
  t.equal(request?.range, undefined);
  t.equal(request?.headers["accept-encoding"], "identity");
  t.match(request?.headers["user-agent"], /^airferry\//);
  t.equal(sink.responses.length, 1);
  t.match(sink.responses[0], { url: `${upstream.url}/a.bin`, etag: /^"/, lastModified: /GMT$/, size: BYTES.length });
});

t.test("fetchInto() takes an empty body", async (t) => {
  const upstream = await upstreamWith(t, undefined, { files: new Map([["/empty", Buffer.alloc(0)]]) });
  const fetcher = testFetcher();
  t.teardown(() => fetcher.close());
  const sink = new RecordingSink();
  await fetcher.fetchInto({ urls: [`${upstream.url}/empty`], size: 0 }, sink);
  t.equal(sink.position, 0);
  t.equal(upstream.requests.length, 1);
});

t.test("fetchInto() continues at the byte after each cut, without waiting", async (t) => {
  for (const cutEvery of [1, 1000, 65_536, 199_999]) {
    const bytes = cutEvery === 1 ? BYTES.subarray(0, 60) : BYTES;
    const upstream = await upstreamWith(t, { cutEvery }, { files: new Map([["/a.bin", bytes]]) });
    const fetcher = testFetcher({ backoffMs: 60_000, retries: 0 });
    t.teardown(() => fetcher.close());
    const sink = new RecordingSink();
    await fetcher.fetchInto({ urls: [`${upstream.url}/a.bin`], size: bytes.length }, sink);
    t.ok(sink.bytes.equals(bytes), `cut every ${cutEvery}`);
    t.equal(sink.restarts, 0);
    t.equal(upstream.bytesOf("/a.bin"), bytes.length, "no byte twice");
    const etag = sink.responses[0]?.etag;
    t.ok(
      upstream.requests.slice(1).every((it) => it.headers["if-range"] === etag),
      "each continued under the ETag",
    );
  }
});

t.test("fetchInto() without an ETag continues with Last-Modified; with a weak ETag too", async (t) => {
  for (const etag of [false, 'W/"weak"'] as const) {
    const upstream = await upstreamWith(t, { cutEvery: 150_000, etag });
    const fetcher = testFetcher();
    t.teardown(() => fetcher.close());
    const sink = new RecordingSink();
    await fetcher.fetchInto({ urls: [`${upstream.url}/a.bin`] }, sink);
    t.ok(sink.bytes.equals(BYTES));
    t.match(upstream.requests[1]?.headers["if-range"], /GMT$/);
  }
});

t.test("fetchInto() without validators starts over, unless a digest will tell", async (t) => {
  const once: Behaviours = (_, n) => ({ etag: false, lastModified: false, ...(n === 1 && { cutEvery: 150_000 }) });
  for (const integrity of [undefined, SRI]) {
    const upstream = await upstreamWith(t, once);
    const fetcher = testFetcher();
    t.teardown(() => fetcher.close());
    const sink = new RecordingSink();
    await fetcher.fetchInto({ urls: [`${upstream.url}/a.bin`], size: BYTES.length, integrity }, sink);
    t.ok(sink.bytes.equals(BYTES));
    t.equal(sink.restarts, integrity ? 0 : 1);
    t.equal(upstream.requests[1]?.range, integrity ? "bytes=150000-" : undefined);
    t.equal(upstream.requests[1]?.headers["if-range"], undefined);
  }
});

t.test("fetchInto() continues what an earlier run left, if it is still the same", async (t) => {
  const upstream = await upstreamWith(t);
  const fetcher = testFetcher();
  t.teardown(() => fetcher.close());
  const url = `${upstream.url}/a.bin`;
  const { etag } = await fetcher.head({ urls: [url] });
  const same = new RecordingSink(BYTES.subarray(0, 120_000), { url, etag: etag as string });
  const head = await fetcher.fetchInto({ urls: [url], size: BYTES.length }, same);
  t.ok(same.bytes.equals(BYTES));
  t.equal(head.mixed, true);
  t.equal(upstream.bytesOf("/a.bin"), 80_000, "only the rest was sent");

  const other = new RecordingSink(Buffer.alloc(120_000), { url, etag: '"of another day"' });
  await fetcher.fetchInto({ urls: [url], size: BYTES.length }, other);
  t.ok(other.bytes.equals(BYTES));
  t.equal(other.restarts, 1);

  const unknown = new RecordingSink(Buffer.alloc(120_000));
  await fetcher.fetchInto({ urls: [url] }, unknown);
  t.ok(unknown.bytes.equals(BYTES), "bytes of unknown origin are not continued");

  const whole = new RecordingSink(BYTES, { url, etag: etag as string });
  const before = upstream.requests.length;
  await fetcher.fetchInto({ urls: [url], size: BYTES.length }, whole);
  t.equal(upstream.requests.length, before, "nothing is asked when everything is there");
  await fetcher.fetchInto({ urls: [url] }, whole);
  t.equal(upstream.requests.at(-1)?.status, 416, "without a known size the 416 tells that everything is there");
  t.equal(whole.restarts, 0);

  const beyond = new RecordingSink(Buffer.concat([BYTES, BYTES]), { url, etag: etag as string });
  await fetcher.fetchInto({ urls: [url] }, beyond);
  t.ok(beyond.bytes.equals(BYTES), "more than upstream has: started over");
});

t.test("fetchInto() starts the sink over when a Range is answered with 200", async (t) => {
  const upstream = await upstreamWith(t, (_, n) => ({
    ignoreRange: true,
    ...(n < 3 && { cutEvery: 100_000 * n - 50_000 }),
  }));
  const fetcher = testFetcher();
  t.teardown(() => fetcher.close());
  const sink = new RecordingSink();
  await fetcher.fetchInto({ urls: [`${upstream.url}/a.bin`], size: BYTES.length }, sink);
  t.ok(sink.bytes.equals(BYTES));
  t.equal(upstream.requests.length, 3);
  t.equal(sink.restarts, 2);
});

t.test("fetchInto() gives up on an upstream that cuts at the same byte of every whole answer", async (t) => {
  const upstream = await upstreamWith(t, { ignoreRange: true, cutEvery: 1000 });
  const fetcher = testFetcher();
  t.teardown(() => fetcher.close());
  const error = await refusalOf(
    fetcher.fetchInto({ urls: [`${upstream.url}/a.bin`], size: BYTES.length }, new RecordingSink()),
  );
  t.equal(error.code, "ERR_UPSTREAM");
  t.match(error.message, /cut: expected 200000 bytes, got 1000 bytes/);
  t.equal(upstream.requests.length, 5, "the first, which made progress, and the four that did not");
});

t.test("fetchInto() refuses a 206 that does not fit, and takes the whole instead", async (t) => {
  const lies = [
    "bytes 0-199999/200000",
    "bytes 150001-199999/200000",
    "bytes 150000-199998/200000",
    "bytes 150000-200000/200001",
    "bytes 150000-199999/*x",
    "bytes 150000-140000/200000",
    "items 150000-199999/200000",
    "",
  ];
  for (const contentRange of lies) {
    const upstream = await upstreamWith(t, (_, n) => (n === 1 ? { cutEvery: 150_000 } : { contentRange }));
    const fetcher = testFetcher();
    t.teardown(() => fetcher.close());
    const sink = new RecordingSink();
    await fetcher.fetchInto({ urls: [`${upstream.url}/a.bin`] }, sink);
    t.ok(sink.bytes.equals(BYTES), `Content-Range: ${contentRange}`);
    t.equal(upstream.requests[2]?.range, undefined, "then the whole is asked for");
  }
});

t.test("fetchInto() starts over when the ETag changes, also where If-Range is ignored", async (t) => {
  for (const ignoreIfRange of [false, true]) {
    const upstream = await upstreamWith(t, (_, n) =>
      n === 1 ? { cutEvery: 100_000, etag: '"old"', body: patternBytes(200_000, 9) } : { etag: '"new"', ignoreIfRange },
    );
    const fetcher = testFetcher();
    t.teardown(() => fetcher.close());
    const sink = new RecordingSink();
    await fetcher.fetchInto({ urls: [`${upstream.url}/a.bin`], size: BYTES.length }, sink);
    t.ok(sink.bytes.equals(BYTES), `If-Range ${ignoreIfRange ? "ignored" : "honoured"}`);
    t.equal(sink.restarts, 1);
  }
});

t.test("fetchInto() counts progress anew after a change", async (t) => {
  for (const ignoreIfRange of [false, true]) {
    const upstream = await upstreamWith(t, (_, n) =>
      n === 1
        ? { cutEvery: 190_000, etag: '"old"', body: patternBytes(200_000, 9) }
        : { etag: '"new"', cutEvery: 20_000, ignoreIfRange },
    );
    const fetcher = testFetcher({ retries: 0, backoffMs: 60_000 });
    t.teardown(() => fetcher.close());
    const sink = new RecordingSink();
    await fetcher.fetchInto({ urls: [`${upstream.url}/a.bin`], size: BYTES.length }, sink);
    t.ok(sink.bytes.equals(BYTES));
  }
});

t.test("fetchInto() gives up on an upstream that changes all the time", async (t) => {
  const upstream = await upstreamWith(t, (_, n) => ({ cutEvery: 100_000, etag: `"${n}"`, ignoreIfRange: true }));
  const fetcher = testFetcher();
  t.teardown(() => fetcher.close());
  const error = await refusalOf(fetcher.fetchInto({ urls: [`${upstream.url}/a.bin`] }, new RecordingSink()));
  t.match(error.code, /^ERR_UPSTREAM/);
  t.ok(upstream.requests.length < 60, `after ${upstream.requests.length} requests`);
});

t.test("fetchInto() refuses a wrong Content-Length before it takes a byte", async (t) => {
  const upstream = await upstreamWith(t);
  const fetcher = testFetcher();
  t.teardown(() => fetcher.close());
  const sink = new RecordingSink();
  const error = await refusalOf(fetcher.fetchInto({ urls: [`${upstream.url}/a.bin`], size: 199_999 }, sink));
  t.equal(error.code, "ERR_UPSTREAM_SIZE");
  t.match(error.message, /cannot fetch ".*\/a\.bin": wrong size: expected 199999 bytes, got 200000 bytes/);
  t.match(error.hint, /lock MANIFEST --update/);
  t.equal(sink.writes, 0);
  t.equal(upstream.requests.length, 1, "not asked again");
  const capped = await refusalOf(fetcher.fetchInto({ urls: [`${upstream.url}/a.bin`], maxBytes: 100 }, sink));
  t.equal(capped.code, "ERR_UPSTREAM_SIZE");
  t.match(capped.message, /at most 100 bytes, got 200000 bytes/);
  t.equal(sink.writes, 0);
  const drifted = await refusalOf(
    fetcher.fetchInto({ urls: [`${upstream.url}/a.bin`], size: 5, etag: '"locked"' }, sink),
  );
  t.match(drifted.message, /changed since it was locked/);
});

t.test("fetchInto() never takes a byte beyond the size, and refuses a body that is too short", async (t) => {
  const cases = new Map<string, [Behaviours, number]>([
    ["chunked, one byte more", [{ contentLength: false }, 199_999]],
    ["chunked, one byte less", [{ contentLength: false }, 200_001]],
    ["endless", [{ endless: true }, 1_000_000]],
    ["endless with a fitting length", [{ endless: true, contentLength: 1_000_000 }, 100]],
  ]);
  for (const [name, [behaviour, size]] of cases) {
    const upstream = await upstreamWith(t, behaviour);
    const fetcher = testFetcher();
    t.teardown(() => fetcher.close());
    const sink = new RecordingSink();
    let most = 0;
    sink.onWrite = (chunk) => {
      most = Math.max(most, sink.position + chunk.length);
    };
    const error = await refusalOf(fetcher.fetchInto({ urls: [`${upstream.url}/a.bin`], size }, sink));
    t.equal(error.code, "ERR_UPSTREAM_SIZE", name);
    t.ok(most <= size, `${name}: at most ${size} bytes were written`);
    t.equal(sink.position, 0, "what came is not kept");
    t.ok(upstream.requests.length <= 2, name);
  }
});

t.test("fetchInto() without a size stops an endless body at maxBytes", async (t) => {
  const upstream = await upstreamWith(t, { endless: true });
  const fetcher = testFetcher();
  t.teardown(() => fetcher.close());
  const error = await refusalOf(
    fetcher.fetchInto({ urls: [`${upstream.url}/a.bin`], maxBytes: 3_000_000 }, new RecordingSink()),
  );
  t.equal(error.code, "ERR_UPSTREAM_SIZE");
  t.match(error.message, /expected at most 3000000 bytes/);
});

t.test(
  "fetchInto() takes chunked and close-delimited bodies, and continues the latter when they end early",
  async (t) => {
    for (const behaviour of [{ contentLength: false }, { closeDelimited: true }] as const) {
      const upstream = await upstreamWith(t, behaviour);
      const fetcher = testFetcher();
      t.teardown(() => fetcher.close());
      const sink = new RecordingSink();
      await fetcher.fetchInto({ urls: [`${upstream.url}/a.bin`] }, sink);
      t.ok(sink.bytes.equals(BYTES), JSON.stringify(behaviour));
    }
    const upstream = await upstreamWith(t, (_, n) => (n === 1 ? { closeDelimited: true, cutEvery: 70_000 } : {}));
    const fetcher = testFetcher();
    t.teardown(() => fetcher.close());
    const sink = new RecordingSink();
    await fetcher.fetchInto({ urls: [`${upstream.url}/a.bin`], size: BYTES.length }, sink);
    t.ok(sink.bytes.equals(BYTES));
    t.equal(upstream.bytesOf("/a.bin"), BYTES.length);
  },
);

t.test("fetchInto() continues a chunked body that is cut, size unknown", async (t) => {
  const upstream = await upstreamWith(t, (_, n) => ({ contentLength: false, ...(n === 1 && { cutEvery: 70_000 }) }));
  const fetcher = testFetcher();
  t.teardown(() => fetcher.close());
  const sink = new RecordingSink();
  await fetcher.fetchInto({ urls: [`${upstream.url}/a.bin`] }, sink);
  t.ok(sink.bytes.equals(BYTES));
});

t.test("fetchInto() tries again after 408, 429, 5xx and resets, and not after other answers", async (t) => {
  for (const status of [408, 425, 429, 500, 502, 503, 504]) {
    const upstream = await upstreamWith(t, [{ status }, { reset: true }]);
    const fetcher = testFetcher();
    t.teardown(() => fetcher.close());
    const sink = new RecordingSink();
    await fetcher.fetchInto({ urls: [`${upstream.url}/a.bin`], size: BYTES.length }, sink);
    t.ok(sink.bytes.equals(BYTES), String(status));
    t.equal(upstream.requests.length, 3);
  }
  for (const status of [202, 204, 400, 401, 403, 404, 410, 416, 304, 206]) {
    const upstream = await upstreamWith(t, { status });
    const fetcher = testFetcher();
    t.teardown(() => fetcher.close());
    const error = await refusalOf(
      fetcher.fetchInto({ urls: [`${upstream.url}/a.bin`], size: BYTES.length }, new RecordingSink()),
    );
    t.match(error.code, /^ERR_UPSTREAM/);
    if (status !== 206) {
      t.match(error.message, new RegExp(`answered ${status} `));
      t.equal(httpStatusOf(error), status);
    }
    t.equal(upstream.requests.length, 1, `${status} is final`);
  }
});

t.test("fetchInto() gives up after the retries and says what it saw last", async (t) => {
  const upstream = await upstreamWith(t, { status: 503 });
  const fetcher = testFetcher({ retries: 2 });
  t.teardown(() => fetcher.close());
  const error = await refusalOf(fetcher.fetchInto({ urls: [`${upstream.url}/a.bin`] }, new RecordingSink()));
  t.match(error.message, /answered 503 Service Unavailable/);
  t.equal(upstream.requests.length, 3);
  t.equal(httpStatusOf(error), 503);
});

t.test("fetchInto() honours Retry-After in seconds and as a date, and caps it", async (t) => {
  for (const status of [429, 503]) {
    for (const [asked, least, most] of [
      ["1", 900, 10_000],
      ["date", 900, 10_000],
      ["86400", 250, 10_000],
    ] as const) {
      // HTTP dates have no fractions of a second.
      const retryAfter = asked === "date" ? new Date(Date.now() + 2100).toUTCString() : asked;
      const upstream = await upstreamWith(t, [{ status, retryAfter }]);
      const fetcher = testFetcher({ maxRetryAfterMs: retryAfter === "86400" ? 300 : 120_000 });
      t.teardown(() => fetcher.close());
      const started = performance.now();
      await fetcher.fetchInto({ urls: [`${upstream.url}/a.bin`] }, new RecordingSink());
      const took = performance.now() - started;
      t.ok(took >= least && took <= most, `${status} with Retry-After ${retryAfter} took ${Math.round(took)} ms`);
    }
  }
});

t.test("fetchInto() notices a stalled transfer and continues it elsewhere in time", async (t) => {
  const upstream = await upstreamWith(t, [{ stallAfter: 50_000 }, { stallAfter: 50_000 }, {}]);
  const fetcher = testFetcher({ stallTimeoutMs: 200 });
  t.teardown(() => fetcher.close());
  const sink = new RecordingSink();
  await fetcher.fetchInto({ urls: [`${upstream.url}/a.bin`], size: BYTES.length }, sink);
  t.ok(sink.bytes.equals(BYTES));
  t.equal(upstream.bytesOf("/a.bin"), BYTES.length);
  t.match(fetcher.events.find((it) => it.type === "retry")?.reason, /stalled: no byte for/);
});

t.test("fetchInto() gives up on an upstream that never answers or only drips", async (t) => {
  for (const [behaviour, fault] of [
    [{ delayMs: 3000 }, /no byte for/],
    [{ drip: { bytes: 1, everyMs: 30 } }, /too slow: \d+ B in/],
  ] as const) {
    const upstream = await upstreamWith(t, behaviour);
    const fetcher = testFetcher({ stallTimeoutMs: 200, retries: 1 });
    t.teardown(() => fetcher.close());
    const error = await refusalOf(
      fetcher.fetchInto({ urls: [`${upstream.url}/a.bin`], size: BYTES.length }, new RecordingSink()),
    );
    t.equal(error.code, "ERR_UPSTREAM");
    t.match(error.message, fault);
    t.equal(upstream.requests.length, 2);
  }
});

t.test("fetchInto() outlasts any number of stalls that come after progress", async (t) => {
  const bytes = patternBytes(800_000);
  const upstream = await upstreamWith(t, { stallAfter: 100_000 }, { files: new Map([["/a.bin", bytes]]) });
  const fetcher = testFetcher({ stallTimeoutMs: 250, retries: 1 });
  t.teardown(() => fetcher.close());
  const sink = new RecordingSink();
  await fetcher.fetchInto({ urls: [`${upstream.url}/a.bin`], size: bytes.length }, sink);
  t.ok(sink.bytes.equals(bytes));
  t.equal(upstream.requests.length, 8);
});

t.test("fetchInto() says why nobody answers", async (t) => {
  const fetcher = testFetcher({ retries: 0 });
  t.teardown(() => fetcher.close());
  const upstream = await startUpstream();
  await upstream.close();
  for (const [url, fault] of [
    [`${upstream.url}/x`, /connection refused \(ECONNREFUSED\)/],
    [`${upstream.url.replace("127.0.0.1", "localhost")}/x`, /connection refused \(ECONNREFUSED\)/],
    ["http://does-not-exist.invalid/x", /host name/],
  ] as const) {
    const error = await refusalOf(fetcher.fetchInto({ urls: [url] }, new RecordingSink()));
    t.equal(error.code, "ERR_UPSTREAM");
    t.match(error.message, fault);
  }
});

t.test("fetchInto() does not blame upstream for a slow sink", async (t) => {
  const bytes = patternBytes(4_000_000);
  const upstream = await upstreamWith(t, undefined, { files: new Map([["/a.bin", bytes]]) });
  const fetcher = testFetcher({ stallTimeoutMs: 300 });
  t.teardown(() => fetcher.close());
  const sink = new RecordingSink();
  sink.onWrite = () => new Promise((resolve) => setTimeout(resolve, 400));
  await fetcher.fetchInto({ urls: [`${upstream.url}/a.bin`], size: bytes.length }, sink);
  t.ok(sink.bytes.equals(bytes));
  t.equal(upstream.requests.length, 1);
  t.ok(sink.writes < 30, `${sink.writes} writes: what waits is written in large pieces`);
});

t.test("fetchInto() takes little from the socket while the sink is busy", async (t) => {
  const upstream = await upstreamWith(t, { endless: true });
  const fetcher = testFetcher();
  t.teardown(() => fetcher.close());
  const sink = new RecordingSink();
  const stop = new AbortController();
  sink.onWrite = () => new Promise((resolve) => stop.signal.addEventListener("abort", () => resolve(), { once: true }));
  const fetching = fetcher.fetchInto({ urls: [`${upstream.url}/a.bin`], maxBytes: 1e9 }, sink, stop.signal);
  await new Promise((resolve) => setTimeout(resolve, 400));
  const sent = upstream.bytesOf("/a.bin");
  t.ok(sent > 0 && sent < 30e6, `${sent} bytes were sent into the socket`);
  stop.abort(new Error("enough"));
  await t.rejects(fetching, /enough/);
});

t.test("fetchInto() keeps the bytes of connections apart whose sinks are slow", async (t) => {
  const contents = Array.from({ length: 8 }, (_, at) => Buffer.alloc(6_000_000, at + 1));
  const files = new Map(contents.map((bytes, at) => [`/${at}.bin`, bytes]));
  const upstream = await upstreamWith(t, undefined, { files });
  const fetcher = testFetcher();
  t.teardown(() => fetcher.close());
  const fetched = contents.map(async (bytes, at) => {
    const sink = new RecordingSink();
    sink.onWrite = () => new Promise((resolve) => setTimeout(resolve, 5 + at));
    await fetcher.fetchInto({ urls: [`${upstream.url}/${at}.bin`], size: bytes.length }, sink);
    return sink.bytes.equals(bytes);
  });
  t.strictSame(
    await Promise.all(fetched),
    contents.map(() => true),
  );
});

t.test("fetchInto() throws what the sink throws, and asks no more", async (t) => {
  const upstream = await upstreamWith(t);
  const fetcher = testFetcher();
  t.teardown(() => fetcher.close());
  const sink = new RecordingSink();
  sink.onWrite = () => Promise.reject(Object.assign(new Error("disk full"), { code: "ENOSPC" }));
  await t.rejects(fetcher.fetchInto({ urls: [`${upstream.url}/a.bin`] }, sink), { code: "ENOSPC" });
  t.equal(upstream.requests.length, 1);
});

t.test("fetchInto() stops at an abort: before, while waiting, while reading, between attempts", async (t) => {
  const reason = new Error("interrupted");
  for (const behaviour of [{}, { delayMs: 5000 }, { stallAfter: 10 }, { status: 503, retryAfter: 60 }] as const) {
    const upstream = await upstreamWith(t, behaviour);
    const fetcher = testFetcher({ stallTimeoutMs: 60_000 });
    t.teardown(() => fetcher.close());
    const stop = new AbortController();
    if (Object.keys(behaviour).length === 0) stop.abort(reason);
    else setTimeout(() => stop.abort(reason), 100);
    await t.rejects(
      fetcher.fetchInto({ urls: [`${upstream.url}/a.bin`] }, new RecordingSink(), stop.signal),
      /interrupted/,
    );
  }
});

t.test("fetchInto() refuses encoded bodies, and takes compressed files that are only labelled so", async (t) => {
  const upstream = await upstreamWith(t, undefined, {
    files: new Map([
      ["/a.bin", BYTES],
      ["/a.tar.gz", BYTES],
      ["/a.xz", BYTES],
    ]),
    behaviour: {
      "/a.bin": (_request, n) => (n === 3 ? { headers: { "content-encoding": "x-gzip" } } : { gzip: true }),
      "/a.tar.gz": { headers: { "content-encoding": "x-gzip" } },
    },
  });
  const fetcher = testFetcher();
  t.teardown(() => fetcher.close());
  const sink = new RecordingSink();
  for (const size of [undefined, BYTES.length]) {
    const error = await refusalOf(fetcher.fetchInto({ urls: [`${upstream.url}/a.bin`], size }, sink));
    t.equal(error.code, "ERR_UPSTREAM_INVALID");
    t.match(error.message, /expected no Content-Encoding, got Content-Encoding: gzip/);
    t.equal(sink.writes, 0);
  }
  await fetcher.fetchInto({ urls: [`${upstream.url}/a.bin`], size: BYTES.length }, sink);
  t.ok(sink.bytes.equals(BYTES), "the size says that these are the bytes");
  const labelled = new RecordingSink();
  await fetcher.fetchInto({ urls: [`${upstream.url}/a.tar.gz`] }, labelled);
  t.ok(labelled.bytes.equals(BYTES));
});

t.test("fetchInto() lets a known digest decide about labels, and labels that are no codings say nothing", async (t) => {
  const upstream = await upstreamWith(t, (request) => ({
    headers: { "content-encoding": decodeURIComponent(request.url?.split("?")[1] ?? "") },
    contentLength: false,
  }));
  const fetcher = testFetcher();
  t.teardown(() => fetcher.close());
  const take = async (label: string, integrity?: Integrity) => {
    const sink = new RecordingSink();
    const url = `${upstream.url}/a.bin?${encodeURIComponent(label)}`;
    await fetcher.fetchInto({ urls: [url], integrity }, sink);
    t.ok(sink.bytes.equals(BYTES), label);
  };
  for (const label of ["identity", "aws-chunked", "none", "binary", "utf-8", "8bit", "none, identity"])
    await take(label);
  for (const label of ["gzip", "br", "aws-chunked, gzip"]) {
    await take(label, SRI);
    t.equal((await refusalOf(take(label))).code, "ERR_UPSTREAM_INVALID", `${label}, and nothing known`);
  }
});

for (const status of [304, 400, 403, 405, 501]) {
  t.test(
    `fetchInto() asks for the whole after a Range was answered ${status}, and keeps what it has until that comes`,
    async (t) => {
      const upstream = await upstreamWith(t, (request, n) =>
        request.headers.range !== undefined
          ? { status }
          : n === 1
            ? { cutEvery: 80_000 }
            : n === 3
              ? { reset: true }
              : {},
      );
      const fetcher = testFetcher();
      t.teardown(() => fetcher.close());
      const sink = new RecordingSink();
      await fetcher.fetchInto({ urls: [`${upstream.url}/a.bin`], size: BYTES.length, integrity: SRI }, sink);
      t.ok(sink.bytes.equals(BYTES));
      t.equal(sink.restarts, 1, "once, when the whole came");
      t.strictSame(
        upstream.requests.map((it) => it.range !== undefined),
        [false, true, false, false],
      );
    },
  );
}

t.test("fetchInto() fails where the whole is refused, too, and what is in place stays", async (t) => {
  const upstream = await upstreamWith(t, (_, n) => (n === 1 ? { cutEvery: 80_000 } : { status: 403 }));
  const fetcher = testFetcher();
  t.teardown(() => fetcher.close());
  const sink = new RecordingSink();
  const error = await refusalOf(
    fetcher.fetchInto({ urls: [`${upstream.url}/a.bin`], size: BYTES.length, integrity: SRI }, sink),
  );
  t.equal(httpStatusOf(error), 403);
  t.equal(sink.restarts, 0);
  t.equal(upstream.requests.length, 3);
});

t.test("fetchInto() asks again at once when a kept connection had died", async (t) => {
  const upstream = await upstreamWith(t, (_, n) => (n === 2 ? { reset: true } : {}));
  const fetcher = testFetcher({ retries: 0, backoffMs: 60_000 });
  t.teardown(() => fetcher.close());
  for (let i = 0; i < 2; i++) {
    const sink = new RecordingSink();
    await fetcher.fetchInto({ urls: [`${upstream.url}/a.bin`] }, sink);
    t.ok(sink.bytes.equals(BYTES));
  }
  t.equal(upstream.requests.length, 3);
});
