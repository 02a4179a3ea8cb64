/** src/sort/recorded-fetcher.ts: what was recorded is answered from there, and nothing else is. */
import { rmSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import type { Fetcher } from "../../src/fetch/types.ts";
import { httpStatusOf } from "../../src/http/failure.ts";
import { BY_USER } from "../../src/http/named.ts";
import { digestOf } from "../../src/io/digest.ts";
import { bodyPath, readRecording } from "../../src/io/web-recording.ts";
import { recordedFetcher } from "../../src/sort/recorded-fetcher.ts";
import { RecordedIndex } from "../../src/sort/recorded-index.ts";
import { record } from "../fixtures/web-recording.ts";

const JSON_TYPE = "application/json";
const AT = "https://h.example";

t.test("answers by URL, variant, redirect and digest", async (t) => {
  const folder = t.testdir();
  record(folder, [
    [`${AT}/a`, "a", { headers: { etag: '"1"', "content-type": "text/plain" } }],
    [`${AT}/v`, "html", { vary: { accept: "text/html" } }],
    [`${AT}/v`, "{}", { headers: { "content-type": JSON_TYPE }, vary: { accept: JSON_TYPE } }],
    [`${AT}/gone`, "no", { status: 404 }],
    [`${AT}/moved`, "", { status: 302, headers: { location: "/a" } }],
    [`${AT}/away`, "", { status: 302, headers: { location: "https://other.example/" } }],
    [`${AT}/round`, "", { status: 302, headers: { location: "/round" } }],
    [`${AT}/tag`, "", { method: "HEAD", headers: { "docker-content-digest": digestOf("a") } }],
    [`${AT}/head`, "", { method: "HEAD", headers: { "content-length": "77" } }],
    [`${AT}/lost`, "lost"],
  ]);
  rmSync(join(folder, bodyPath(digestOf("lost"))));
  const { answers } = await readRecording(folder);
  const index = new RecordedIndex(folder, answers);
  const asked: string[] = [];
  const ask = async ({ urls }: { urls: readonly string[] }): Promise<never> => {
    asked.push(...urls);
    throw new Error("asked upstream");
  };
  const upstream: Fetcher = { head: ask, fetchBytes: ask, fetchInto: ask, close: async () => {} };
  const fetcher = recordedFetcher(index, upstream);
  const target = (...paths: string[]) => ({ urls: paths.map((it) => AT + it), named: BY_USER, maxBytes: 100 });
  const text = async (...paths: string[]) => (await fetcher.fetchBytes(target(...paths))).bytes.toString();
  t.equal(await text("/a"), "a");
  t.match(await fetcher.head(target("/a")), { size: 1, etag: '"1"', contentType: "text/plain" });
  t.equal((await fetcher.fetchBytes({ ...target("/v"), headers: { Accept: JSON_TYPE } })).bytes.toString(), "{}");
  t.equal(await text("/moved"), "a");
  t.equal(await text("/none", "/a"), "a", "a mirror that was not asked does not matter");
  t.equal(await text("/gone", "/a"), "a");
  t.equal(await text("/tag"), "a", "a tag that was asked for by HEAD");
  t.match(await fetcher.head(target("/head")), { size: 77 });
  const known = { ...target("/elsewhere"), integrity: digestOf("a") };
  t.equal((await fetcher.fetchBytes(known)).bytes.toString(), "a", "the same bytes under another URL");
  t.strictSame(asked, []);
  const status = (error: unknown) => httpStatusOf(error);
  t.equal(await fetcher.fetchBytes(target("/gone")).catch(status), 404);
  t.equal(await fetcher.head(target("/gone")).catch(status), 404);
  await t.rejects(fetcher.fetchBytes({ ...target("/a"), maxBytes: 0 }), { code: "ERR_UPSTREAM_SIZE" });
  t.strictSame(asked, []);

  const others: [string, () => Promise<unknown>][] = [
    ["/none", () => fetcher.fetchBytes(target("/none"))],
    ["/away", () => fetcher.fetchBytes(target("/away"))],
    ["/round", () => fetcher.fetchBytes(target("/round"))],
    ["/head", () => fetcher.fetchBytes(target("/head"))],
    ["/lost", () => fetcher.fetchBytes(target("/lost"))],
    ["/a", () => fetcher.fetchBytes({ ...target("/a"), method: "POST" })],
    ["/a", () => fetcher.fetchBytes({ ...target("/a"), integrity: digestOf("b") })],
    ["/gone", () => fetcher.fetchBytes(target("/gone", "/none"))],
  ];
  for (const [path, work] of others) {
    await t.rejects(work(), { message: "asked upstream" }, path);
    t.ok(asked.includes(AT + path));
  }
  symlinkSync("/etc/hostname", join(folder, bodyPath(digestOf("lost"))));
  await t.rejects(index.open(digestOf("lost")), { code: "ERR_PATH_UNSAFE" });
});
