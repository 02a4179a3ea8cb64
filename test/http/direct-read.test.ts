import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import t, { type Test } from "tap";
import { AirferryError } from "../../src/errors.ts";
import type { FetchSink } from "../../src/fetch/types.ts";
import { SharedPieces } from "../../src/io/shared-pieces.ts";
import { integrityOf, patternBytes, RecordingSink, testFetcher } from "../fixtures/fetching.ts";
import { makePki } from "../fixtures/pki.ts";
import { startUpstream, type UpstreamOptions } from "../fixtures/upstream.ts";

/** Just enough to be read directly, and no multiple of anything. */
const BYTES = patternBytes(64 * 1024 * 1024 + 12_345);
const SRI = integrityOf(BYTES);
const SMALL = patternBytes(1000);

async function upstreamOf(t: Test, options: UpstreamOptions = {}) {
  const upstream = await startUpstream({
    files: new Map([
      ["/large", BYTES],
      ["/small", SMALL],
    ]),
    ...options,
  });
  t.teardown(() => upstream.close());
  return upstream;
}

/** A sink as pack's: it lends memory that threads share, and has two pieces, so that the socket has to wait for it. */
class LendingSink implements FetchSink {
  readonly #pieces = new SharedPieces(2);
  #lent: ReturnType<SharedPieces["take"]> | undefined;
  /** How often memory was asked for again before it was written. */
  asksTwice = 0;
  readonly received = Buffer.alloc(BYTES.length);
  position = 0;
  restarts = 0;
  validator: FetchSink["validator"];

  async lend(): Promise<Uint8Array> {
    if (this.#lent !== undefined) this.asksTwice++;
    this.#lent ??= this.#pieces.take();
    // Not of whole blocks, as behind an odd header.
    return (await this.#lent).bytes.subarray(512);
  }

  async write(chunk: Uint8Array): Promise<void> {
    const piece = await (this.#lent as ReturnType<SharedPieces["take"]>);
    if (chunk.buffer !== piece.bytes.buffer || chunk.byteOffset !== piece.bytes.byteOffset + 512) {
      throw new Error("bytes are not in the memory that was lent");
    }
    this.#lent = undefined;
    const at = this.position;
    this.position += chunk.length;
    // Written later, and it must not have changed by then.
    void sleep(at % 3).then(() => {
      this.received.set(chunk, at);
      this.#pieces.giveBack(piece);
    });
  }

  restart(): Promise<void> {
    this.position = 0;
    this.restarts++;
    return Promise.resolve();
  }

  began(response: NonNullable<FetchSink["validator"]>): void {
    this.validator = response;
  }
}

t.test("a large body arrives whole in memory that the sink lends, and its connection is closed", async (t) => {
  const upstream = await upstreamOf(t);
  const fetcher = testFetcher();
  t.teardown(() => fetcher.close());
  const sink = new LendingSink();
  await fetcher.fetchInto({ urls: [`${upstream.url}/large`], size: BYTES.length, integrity: SRI }, sink);
  await sleep(50);
  t.ok(sink.received.equals(BYTES));
  t.equal(sink.restarts, 0);
  t.equal(sink.asksTwice, 0);
  const small = new RecordingSink();
  await fetcher.fetchInto({ urls: [`${upstream.url}/small`] }, small);
  await fetcher.fetchInto({ urls: [`${upstream.url}/small`] }, new RecordingSink());
  t.ok(small.bytes.equals(SMALL));
  t.same(
    upstream.requests.map((it) => it.connection),
    [1, 2, 2],
    "only a large body ends its connection: it was read past the parser",
  );
});

t.test("a large body arrives whole in a sink that lends nothing and is slow", async (t) => {
  const upstream = await upstreamOf(t);
  const fetcher = testFetcher();
  t.teardown(() => fetcher.close());
  const sink = new RecordingSink();
  sink.onWrite = (chunk) => sleep(chunk.length % 2);
  await fetcher.fetchInto({ urls: [`${upstream.url}/large`] }, sink);
  t.ok(sink.bytes.equals(BYTES));
  t.equal(upstream.requests.length, 1);
});

t.test("memory into which the next bytes of a large body are read is not handed on", async (t) => {
  // When the first write ends, what came behind it is due, and more is to come into the same memory.
  const slow = { drip: { bytes: 1_200_000, everyMs: 1600 }, cutEvery: 2_600_000 };
  const upstream = await upstreamOf(t, { behaviour: { "/large": [slow] } });
  const fetcher = testFetcher();
  t.teardown(() => fetcher.close());
  const sink = new RecordingSink();
  sink.onWrite = () => sleep(sink.position === 0 ? 1200 : 0);
  await fetcher.fetchInto({ urls: [`${upstream.url}/large`], size: BYTES.length, integrity: SRI }, sink);
  t.ok(sink.bytes.equals(BYTES));
});

t.test("a large body over TLS arrives whole", async (t) => {
  const pki = await makePki();
  const ca = join(t.testdir({ "ca.pem": pki.ca }), "ca.pem");
  const upstream = await upstreamOf(t, { tls: pki.server });
  const fetcher = testFetcher({ caFile: ca });
  t.teardown(() => fetcher.close());
  const sink = new LendingSink();
  await fetcher.fetchInto({ urls: [`${upstream.url}/large`], size: BYTES.length, integrity: SRI }, sink);
  await sleep(50);
  t.ok(sink.received.equals(BYTES));
});

t.test("a large body that is cut goes on at the byte after", async (t) => {
  const upstream = await upstreamOf(t, { behaviour: { "/large": [{ cutEvery: 30_000_001 }] } });
  const fetcher = testFetcher();
  t.teardown(() => fetcher.close());
  const sink = new LendingSink();
  await fetcher.fetchInto({ urls: [`${upstream.url}/large`], size: BYTES.length, integrity: SRI }, sink);
  await sleep(50);
  t.ok(sink.received.equals(BYTES));
  t.equal(sink.restarts, 0);
  t.equal(upstream.bytesOf("/large"), BYTES.length, "no byte twice");
});

t.test("a large body that stops is given up, and nothing more is written", async (t) => {
  const upstream = await upstreamOf(t, {
    behaviour: { "/large": (_, n) => (n === 1 ? { stallAfter: 20_000_000 } : { reset: true }) },
  });
  const fetcher = testFetcher({ stallTimeoutMs: 200, retries: 0 });
  t.teardown(() => fetcher.close());
  const sink = new LendingSink();
  await t.rejects(
    fetcher.fetchInto({ urls: [`${upstream.url}/large`], size: BYTES.length, integrity: SRI }, sink),
    AirferryError,
  );
  const { position } = sink;
  await sleep(50);
  t.equal(sink.position, position);
  t.ok(sink.received.subarray(0, position).equals(BYTES.subarray(0, position)));
});

t.test("a large body is given up at once when the work is aborted", async (t) => {
  const upstream = await upstreamOf(t);
  const fetcher = testFetcher();
  t.teardown(() => fetcher.close());
  const stop = new AbortController();
  const sink = new RecordingSink();
  sink.onWrite = () => {
    if (sink.position > 10_000_000) stop.abort(new Error("enough"));
  };
  await t.rejects(fetcher.fetchInto({ urls: [`${upstream.url}/large`] }, sink, stop.signal), { message: "enough" });
  const { position } = sink;
  await sleep(50);
  t.ok(position < BYTES.length);
  t.equal(sink.position, position);
});

t.test("a failure of the sink in a large body is thrown as it is", async (t) => {
  const upstream = await upstreamOf(t);
  const fetcher = testFetcher();
  t.teardown(() => fetcher.close());
  const sink = new RecordingSink();
  sink.onWrite = () => {
    if (sink.position > 10_000_000) throw new Error("the disk is full");
  };
  await t.rejects(fetcher.fetchInto({ urls: [`${upstream.url}/large`] }, sink), { message: "the disk is full" });
});
