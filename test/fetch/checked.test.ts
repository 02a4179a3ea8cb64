import t, { type Test } from "tap";
import { AirferryError } from "../../src/errors.ts";
import { fetchChecked } from "../../src/fetch/checked.ts";
import type { Fetcher } from "../../src/fetch/types.ts";
import { BY_USER } from "../../src/http/named.ts";
import { integrityOf, patternBytes, RecordingSink, testFetcher } from "../fixtures/fetching.ts";
import { type Behaviours, startUpstream, type Upstream } from "../fixtures/upstream.ts";

const BYTES = patternBytes(200_000);
const CORRUPT = patternBytes(200_000, 7);
const SRI = integrityOf(BYTES);

const KINDS: Record<string, Behaviours> = {
  good: {},
  corrupt: { body: CORRUPT },
  gone: { status: 404 },
  short: { body: BYTES.subarray(1) },
  unwell: { status: 503 },
  cut: (_, n) => (n === 1 ? { cutEvery: 50_000 } : { status: 404 }),
  // A second body of another file behind the first part.
  mixing: (_, n) => (n === 1 ? { cutEvery: 50_000, etag: false } : { body: CORRUPT, etag: false }),
};

async function run(t: Test, kinds: string[]) {
  const all: Upstream[] = await Promise.all(
    kinds.map((it) => startUpstream({ files: new Map([["/a", BYTES]]), behaviour: { "/a": KINDS[it] as Behaviours } })),
  );
  const fetcher = testFetcher({ retries: 1 });
  t.teardown(async () => {
    await fetcher.close();
    await Promise.all(all.map((it) => it.close()));
  });
  const sink = new RecordingSink();
  const check = (from: string) =>
    Promise.resolve(
      integrityOf(sink.bytes) === SRI
        ? undefined
        : new AirferryError("ERR_UPSTREAM_DIGEST", `wrong digest from ${from}`, { path: from }),
    );
  const target = { urls: all.map((it) => `${it.url}/a`), named: BY_USER, size: BYTES.length, integrity: SRI };
  return { all, sink, result: fetchChecked(fetcher as unknown as Fetcher, target, sink, { check }) };
}

t.test("no mirror's failure is final while another is untried, in any order", async (t) => {
  const bad = Object.keys(KINDS).filter((it) => it !== "good");
  for (const first of bad) {
    for (const second of bad) {
      const kinds = [first, second, "good"];
      const { all, sink, result } = await run(t, kinds);
      const head = await result;
      t.ok(sink.bytes.equals(BYTES), kinds.join(", "));
      t.equal(head?.url, `${all[2]?.url}/a`, kinds.join(", "));
    }
  }
});

t.test("mirrors whose bytes are wrong are asked for the whole once", async (t) => {
  const { all, result } = await run(t, ["corrupt", "corrupt", "good"]);
  await result;
  t.same(
    all.map((it) => it.of("/a").length),
    [1, 1, 1],
  );
});

t.test("when none has it the error lists all of them; what may pass comes first", async (t) => {
  const error = (await (await run(t, ["corrupt", "gone", "unwell"])).result.catch((it) => it)) as AirferryError;
  t.match(error.message, /503.*\(and 2 other mirrors failed\)/);
  t.equal(error.code, "ERR_UPSTREAM");
  t.equal(error.problems.length, 3);
  const wrong = (await (await run(t, ["corrupt", "gone"])).result.catch((it) => it)) as AirferryError;
  t.equal(wrong.code, "ERR_UPSTREAM_DIGEST");
  t.match(wrong.message, /\(and 1 other mirror failed\)$/);
  const only = (await (await run(t, ["corrupt"])).result.catch((it) => it)) as AirferryError;
  t.match(only.message, /^wrong digest from http:\/\/[^ ]+$/);
});
