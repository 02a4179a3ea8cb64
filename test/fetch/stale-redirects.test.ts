/** Presigned URLs: what upstream redirects to is good for a while only, and the wait for a turn there may be longer. */
import t, { type Test } from "tap";
import { RecordingSink, testFetcher } from "../fixtures/fetching.ts";
import { startUpstream, type Upstream, type UpstreamOptions } from "../fixtures/upstream.ts";

const BODY = Buffer.from("the bytes\n");
const NAMES = ["a", "b", "c"];

async function started(t: Test, options: UpstreamOptions): Promise<Upstream> {
  const upstream = await startUpstream(options);
  t.teardown(() => upstream.close());
  return upstream;
}

/** A registry that signs URLs of a storage, good for `lifeMs`; the storage takes `workMs` for each answer. */
async function presigned(t: Test, lifeMs: number, workMs: number) {
  let refused = 0;
  const storage = await started(t, {
    files: new Map(NAMES.map((name) => [`/${name}`, BODY])),
    behaviour: {
      "*": (request) => {
        const expires = Number(new URL(request.url ?? "", "http://x").searchParams.get("Expires"));
        if (Date.now() <= expires) return { delayMs: workMs };
        refused++;
        return { status: 403 };
      },
    },
  });
  const registry = await started(t, {
    behaviour: {
      "*": (request) => ({ redirect: `${storage.url}${request.url}?Expires=${Date.now() + lifeMs}&Signature=SECRET` }),
    },
  });
  return { registry, storage, refused: () => refused };
}

for (const totalConcurrency of [1, 16]) {
  t.test(`a redirect that waited for its turn is asked for anew, ${totalConcurrency} at a time`, async (t) => {
    const { registry, storage, refused } = await presigned(t, 1000, 1300);
    const fetcher = testFetcher({ concurrency: 1, totalConcurrency, retries: 0 });
    t.teardown(() => fetcher.close());
    const sinks = await Promise.all(
      NAMES.map(async (name) => {
        const sink = new RecordingSink();
        await fetcher.fetchInto({ urls: [`${registry.url}/${name}`], size: BODY.length }, sink);
        return sink;
      }),
    );
    t.ok(sinks.every((sink) => sink.bytes.equals(BODY)));
    t.equal(refused(), 0, "nothing old is sent");
    t.equal(storage.requests.length, NAMES.length);
    t.equal(storage.peak(), 1, "and no more at a time than allowed");
    t.ok(registry.requests.length <= 2 * NAMES.length, "each is asked for anew once at most");
    t.notMatch(JSON.stringify(fetcher.events), /SECRET/);
  });
}

t.test("hosts that redirect to each other keep nobody waiting for ever", async (t) => {
  const files = new Map(NAMES.map((name) => [`/${name}`, BODY]));
  const slow = (other: () => Upstream) => ({ "*": { delayMs: 300 }, ...redirects(other) });
  const redirects = (other: () => Upstream) =>
    Object.fromEntries(
      NAMES.map((name) => [`/to-${name}`, () => ({ redirect: `${other().url}/${name}`, delayMs: 300 })]),
    );
  const one: Upstream = await started(t, { files, behaviour: slow(() => two) });
  const two: Upstream = await started(t, { files, behaviour: slow(() => one) });
  const fetcher = testFetcher({ concurrency: 1, totalConcurrency: 2 });
  t.teardown(() => fetcher.close());
  const all = [one, two].flatMap(({ url }) => NAMES.map((name) => `${url}/to-${name}`));
  const found = await Promise.all(all.map((url) => fetcher.fetchBytes({ urls: [url], maxBytes: 100 })));
  t.equal(found.length, 2 * NAMES.length);
});

for (const status of [400, 401, 403]) {
  t.test(`${status} of a presigned URL: the original URL is asked again, a few times`, async (t) => {
    const storage = await started(t, { files: new Map([["/a", BODY]]), behaviour: { "/a": [{ status }, { status }] } });
    const registry = await started(t, {
      files: new Map([["/b", BODY]]),
      behaviour: {
        "/a": { redirect: `${storage.url}/a?sig=1` },
        "/plain": { redirect: `${storage.url}/a` },
        "/here": { redirect: "/b" },
        "/b": { status },
      },
    });
    const fetcher = testFetcher({ retries: 5 });
    t.teardown(() => fetcher.close());
    const get = (path: string) => fetcher.fetchBytes({ urls: [registry.url + path], maxBytes: 100 });
    t.ok((await get("/a")).bytes.equals(BODY));
    t.equal(registry.of("/a").length, 3, "each time from the start");

    storage.behaviour["/a"] = { status };
    const before = storage.requests.length;
    await t.rejects(get("/a"), {
      code: "ERR_UPSTREAM",
      message: new RegExp(`answered ${status}`),
      hint: new RegExp(`${registry.host} redirects to ${storage.host}, which refuses: check this host's clock`),
    });
    t.equal(storage.requests.length - before, 3);
    await t.rejects(get("/plain"), { code: "ERR_UPSTREAM" });
    t.equal(storage.requests.length - before, 4, "what is not signed has no age");
    await t.rejects(get("/here"), {
      code: "ERR_UPSTREAM",
      hint: status === 400 ? /run the same command later/ : /give credentials/,
    });
    t.equal(registry.of("/b").length, 1, "the origin's own word is final");
  });
}
