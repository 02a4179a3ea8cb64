import { randomBytes } from "node:crypto";
import t from "tap";
import { inSegments, SEGMENT_BYTES } from "../../src/fetch/segments.ts";
import { integrityOf, RecordingSink, testFetcher } from "../fixtures/fetching.ts";
import { type Behaviours, startUpstream } from "../fixtures/upstream.ts";

const SIZE = 6 * SEGMENT_BYTES + 12_345;
const BYTES = randomBytes(SIZE);
const SRI = integrityOf(BYTES);

t.test("inSegments() hands on in order, whatever comes first, and stops at the first failure", async (t) => {
  const written: number[] = [];
  let running = 0;
  let most = 0;
  const fetch = async (from: number, to: number) => {
    most = Math.max(most, ++running);
    await new Promise((resolve) => setTimeout(resolve, from % 20 === 0 ? 20 : 1));
    running--;
    return Buffer.from(Array.from({ length: to - from }, (_, i) => from + i));
  };
  const write = (bytes: Uint8Array) => {
    written.push(...bytes);
    return Promise.resolve();
  };
  await inSegments({ from: 3, size: 96, ahead: 3, segmentBytes: 10, fetch, write });
  t.strictSame(
    written,
    Array.from({ length: 93 }, (_, i) => i + 3),
  );
  t.equal(most, 3);

  written.length = 0;
  const failing = (from: number, to: number, signal: AbortSignal) =>
    from === 20
      ? Promise.reject(new Error("broken"))
      : signal.aborted
        ? Promise.reject(signal.reason)
        : fetch(from, to);
  await t.rejects(inSegments({ from: 0, size: 96, ahead: 3, segmentBytes: 10, fetch: failing, write }), /broken/);
  t.equal(written.length, 20, "what comes before the failure is there");
  await inSegments({ from: 7, size: 7, ahead: 3, fetch: failing, write });
});

t.test("fetchInto() fetches one large file by several ranges, each byte once", async (t) => {
  const cases: [string, Behaviours][] = [
    ["good", (request) => ({ delayMs: request.headers.range?.startsWith("bytes=0-") ? 0 : 20 })],
    ["cut", { cutEvery: 3_000_000 }],
  ];
  for (const [name, behaviour] of cases) {
    const upstream = await startUpstream({ files: new Map([["/big", BYTES]]), behaviour: { "/big": behaviour } });
    t.teardown(() => upstream.close());
    const fetcher = testFetcher({ segments: 3 });
    t.teardown(() => fetcher.close());
    const sink = new RecordingSink();
    const head = await fetcher.fetchInto({ urls: [`${upstream.url}/big`], size: SIZE }, sink);
    t.ok(sink.bytes.equals(BYTES), name);
    t.equal(head.size, SIZE);
    t.equal(upstream.bytesOf("/big"), SIZE);
    if (name === "good") t.ok(upstream.peak() > 1, `${upstream.peak()} at a time`);
    t.ok(upstream.requests.every((it) => it.range !== undefined));
    t.ok(upstream.requests.slice(1).every((it) => it.headers["if-range"] === sink.responses[0]?.etag));
    t.equal(sink.restarts, 0);
  }
});

t.test("fetchInto() with segments takes a 200 whole, starts over on change, and continues what is there", async (t) => {
  const start = async (behaviour: Behaviours) => {
    const upstream = await startUpstream({ files: new Map([["/big", BYTES]]), behaviour: { "/big": behaviour } });
    t.teardown(() => upstream.close());
    return upstream;
  };
  const fetcher = testFetcher({ segments: 3 });
  t.teardown(() => fetcher.close());

  const plain = await start({ ignoreRange: true });
  const whole = new RecordingSink();
  await fetcher.fetchInto({ urls: [`${plain.url}/big`], size: SIZE }, whole);
  t.ok(whole.bytes.equals(BYTES));
  t.equal(plain.requests.length, 1, "one GET where ranges are not known");

  const changing = await start((_, n) => (n === 1 ? { etag: '"old"', body: randomBytes(SIZE) } : { etag: '"new"' }));
  const changed = new RecordingSink();
  await fetcher.fetchInto({ urls: [`${changing.url}/big`], size: SIZE }, changed);
  t.ok(changed.bytes.equals(BYTES));
  t.ok(changed.restarts >= 1);

  const steady = await start({});
  const url = `${steady.url}/big`;
  const { etag } = await fetcher.head({ urls: [url] });
  const rest = new RecordingSink(BYTES.subarray(0, 5_000_000), { url, etag: etag as string });
  await fetcher.fetchInto({ urls: [url], size: SIZE }, rest);
  t.ok(rest.bytes.equals(BYTES));
  t.equal(steady.bytesOf("/big"), SIZE - 5_000_000);

  const bare = await start({ etag: false, lastModified: false });
  for (const integrity of [undefined, SRI]) {
    const sink = new RecordingSink();
    await fetcher.fetchInto({ urls: [`${bare.url}/big`], size: SIZE, integrity }, sink);
    t.ok(sink.bytes.equals(BYTES), "without a validator");
    t.equal(bare.requests.at(-1)?.range === undefined, integrity === undefined);
  }
});
