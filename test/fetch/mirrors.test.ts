import t, { type Test } from "tap";
import { AirferryError } from "../../src/errors.ts";
import { httpStatusOf } from "../../src/http/failure.ts";
import { integrityOf, patternBytes, RecordingSink, testFetcher } from "../fixtures/fetching.ts";
import { refusalOf } from "../fixtures/refusal.ts";
import { type Behaviours, startUpstream, type Upstream } from "../fixtures/upstream.ts";

const BYTES = patternBytes(200_000);
const SRI = integrityOf(BYTES);

async function mirrors(t: Test, ...behaviours: Behaviours[]): Promise<{ all: Upstream[]; urls: string[] }> {
  const all = await Promise.all(
    behaviours.map((it) => startUpstream({ files: new Map([["/a.bin", BYTES]]), behaviour: { "/a.bin": it } })),
  );
  t.teardown(() => Promise.all(all.map((it) => it.close())));
  return { all, urls: all.map((it) => `${it.url}/a.bin`) };
}

t.test("the first good mirror is asked, and no other", async (t) => {
  const { all, urls } = await mirrors(t, {}, {});
  const fetcher = testFetcher();
  t.teardown(() => fetcher.close());
  const head = await fetcher.fetchInto({ urls, size: BYTES.length }, new RecordingSink());
  t.equal(head.url, urls[0]);
  t.equal(all[1]?.requests.length, 0);
});

t.test("a failing mirror is left at once for the next, without waiting out its backoff", async (t) => {
  for (const behaviour of [
    { status: 404 },
    { status: 503, retryAfter: 60 },
    { status: 429, retryAfter: 60 },
    { reset: true },
    { body: BYTES.subarray(1) },
    { gzip: true },
    { redirect: "ftp://127.0.0.1/" },
  ] as Behaviours[]) {
    const { all, urls } = await mirrors(t, behaviour, {});
    const fetcher = testFetcher({ backoffMs: 60_000 });
    t.teardown(() => fetcher.close());
    const sink = new RecordingSink();
    const head = await fetcher.fetchInto({ urls, size: BYTES.length, integrity: SRI }, sink);
    t.ok(sink.bytes.equals(BYTES), JSON.stringify(behaviour));
    t.equal(head.url, urls[1]);
    t.equal(all[1]?.requests.length, 1);
    t.ok(fetcher.events.some((it) => it.type === "failover"));
  }
});

t.test("a mirror that dies mid-file is continued by the next, by plain range, when a digest will tell", async (t) => {
  for (const integrity of [SRI, undefined]) {
    const { all, urls } = await mirrors(t, (_, n) => (n === 1 ? { cutEvery: 120_000 } : { status: 404 }), {
      etag: '"other"',
    });
    const fetcher = testFetcher();
    t.teardown(() => fetcher.close());
    const sink = new RecordingSink();
    const head = await fetcher.fetchInto({ urls, size: BYTES.length, integrity }, sink);
    t.ok(sink.bytes.equals(BYTES));
    const [request] = all[1]?.requests ?? [];
    t.equal(request?.headers["if-range"], undefined, "a validator never goes to another URL");
    t.equal(request?.range, integrity ? "bytes=120000-" : undefined);
    t.equal(head.mixed, integrity ? true : undefined);
    t.equal(sink.restarts, integrity ? 0 : 1);
    t.equal(sink.responses.at(-1)?.url, urls[1]);
  }
});

t.test("a mirror of another size is refused when it should continue", async (t) => {
  const { urls } = await mirrors(
    t,
    (_, n) => (n === 1 ? { cutEvery: 120_000 } : { status: 404 }),
    { body: patternBytes(200_001) },
    {},
  );
  const fetcher = testFetcher();
  t.teardown(() => fetcher.close());
  const sink = new RecordingSink();
  const head = await fetcher.fetchInto({ urls, size: BYTES.length, integrity: SRI }, sink);
  t.ok(sink.bytes.equals(BYTES));
  t.equal(head.url, urls[2]);
});

t.test("when all mirrors fail, the error lists them and says what may pass", async (t) => {
  const { urls } = await mirrors(t, { status: 404 }, { status: 503 }, { status: 403 });
  const fetcher = testFetcher();
  t.teardown(() => fetcher.close());
  const error = await refusalOf(fetcher.fetchInto({ urls }, new RecordingSink()));
  t.ok(error instanceof AirferryError);
  t.match(error.message, /503 Service Unavailable.*\(and 2 other mirrors failed\)/);
  t.equal(error.problems.length, 3);
  t.match(error.problems[0]?.message, /404/);
  t.equal(httpStatusOf(error), 503, "not a 404: one mirror could not say");
  const gone = await mirrors(t, { status: 404 }, { status: 404 });
  t.equal(httpStatusOf(await refusalOf(fetcher.head({ urls: gone.urls }))), 404);
});

t.test("mirrors are taken in turn while all are unsteady, and progress is never lost", async (t) => {
  const { all, urls } = await mirrors(t, { cutEvery: 30_000 }, { cutEvery: 30_000 });
  const fetcher = testFetcher({ retries: 0 });
  t.teardown(() => fetcher.close());
  const sink = new RecordingSink();
  await fetcher.fetchInto({ urls, size: BYTES.length, integrity: SRI }, sink);
  t.ok(sink.bytes.equals(BYTES));
  t.equal((all[0]?.bytesOf("/a.bin") ?? 0) + (all[1]?.bytesOf("/a.bin") ?? 0), BYTES.length);
});

t.test("fetchBytes() takes the next mirror when the digest is wrong", async (t) => {
  const { urls } = await mirrors(t, { body: patternBytes(200_000, 7) }, {});
  const fetcher = testFetcher();
  t.teardown(() => fetcher.close());
  const { bytes, url } = await fetcher.fetchBytes({ urls, maxBytes: 1e6, integrity: SRI });
  t.ok(bytes.equals(BYTES));
  t.equal(url, urls[1]);
  const error = await refusalOf(fetcher.fetchBytes({ urls: [urls[0] as string], maxBytes: 1e6, integrity: SRI }));
  t.equal(error.code, "ERR_UPSTREAM_DIGEST");
  t.match(error.message, /wrong digest of 200000 bytes: expected sha256:[0-9a-f]{64}, got sha256:[0-9a-f]{64}/);
});
