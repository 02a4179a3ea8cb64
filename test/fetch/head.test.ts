import t from "tap";
import type { AirferryError } from "../../src/errors.ts";
import { httpStatusOf } from "../../src/http/failure.ts";
import { patternBytes, testFetcher } from "../fixtures/fetching.ts";
import { startUpstream } from "../fixtures/upstream.ts";

const BYTES = patternBytes(5000);

t.test("head() believes GET where HEAD is refused, whatever the status", async (t) => {
  for (const refuseHead of [400, 403, 404, 405, 406, 410, 500, 501]) {
    const upstream = await startUpstream({ files: new Map([["/a", BYTES]]), behaviour: { "/a": { refuseHead } } });
    const fetcher = testFetcher({ retries: 0 });
    const head = await fetcher.head({ urls: [`${upstream.url}/a`] });
    t.equal(head.size, 5000, String(refuseHead));
    const error = await fetcher.head({ urls: [`${upstream.url}/b`] }).catch((it: AirferryError) => it);
    t.equal(httpStatusOf(error), 404, "what HEAD does not find, GET does not find either");
    await fetcher.close();
    await upstream.close();
  }
});

t.test("head() asks for the whole where ranges are refused too, and reads nothing of it", async (t) => {
  const large = patternBytes(8_000_000);
  const upstream = await startUpstream({
    files: new Map([["/a", large]]),
    handler(request, response) {
      if (request.method === "GET" && request.headers.range === undefined && request.url === "/a") return false;
      response.writeHead(400).end();
      return true;
    },
  });
  const fetcher = testFetcher({ retries: 0 });
  t.teardown(async () => {
    await fetcher.close();
    await upstream.close();
  });
  t.equal((await fetcher.head({ urls: [`${upstream.url}/a`] })).size, large.length);
  const error = await fetcher.head({ urls: [`${upstream.url}/b`] }).catch((it: AirferryError) => it);
  t.equal(httpStatusOf(error), 400, "a server that refuses everything does not have it");
});

t.test("head() follows to addresses that are signed for GET alone", async (t) => {
  const store = await startUpstream({ files: new Map([["/s?sig=1", BYTES]]), behaviour: { "*": { refuseHead: 404 } } });
  const upstream = await startUpstream({
    handler(_, response) {
      response.writeHead(302, { location: `${store.url}/s?sig=1` }).end();
      return true;
    },
  });
  const fetcher = testFetcher({ retries: 0 });
  t.teardown(async () => {
    await fetcher.close();
    await Promise.all([store.close(), upstream.close()]);
  });
  t.equal((await fetcher.head({ urls: [`${upstream.url}/a`] })).size, 5000);
});
