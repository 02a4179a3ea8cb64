/** src/server/process/wanted-notes.ts: a server's list, from the threads to the file and the page. */
import { mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import type { IncomingMessage } from "node:http";
import { join } from "node:path";
import t from "tap";
import { type WantedBatch, WantedKeeper, WantedNotes } from "../../../src/server/process/wanted-notes.ts";
import { readWanted } from "../../../src/wanted/wanted-file.ts";
import { scratch } from "../../fixtures/program.ts";
import { startServer } from "../../fixtures/serving.ts";

const request = (url: string, headers: Record<string, string> = { host: "repo:9000" }, more: object = {}) =>
  ({ method: "GET", url, headers, socket: {}, ...more }) as unknown as IncomingMessage;

t.test("of a request only method and URL are noted, and no query", async (t) => {
  const batches: WantedBatch[] = [];
  const notes = new WantedNotes((batch) => batches.push(batch));
  const now = new Date("2026-11-30T10:00:00.900Z");
  const rows: [IncomingMessage, string | undefined][] = [
    [request("/files/a?token=s#f"), "http://repo:9000/files/a"],
    [request("/files/a", { host: "REPO:9000" }, { socket: { encrypted: true } }), "https://repo:9000/files/a"],
    [request("/a%2fb/%7ec+d"), "http://repo:9000/a%2Fb/~c+d"],
    [request("http://origin.example/x?y"), "http://origin.example/x"],
    [request("http://user:pass@origin.example/x"), undefined],
    [request("/v2/a/manifests/1?ns=docker.io&token=s"), "http://repo:9000/v2/a/manifests/1?ns=docker.io"],
    [request("/v2/a/manifests/1?ns=a/b%20c"), "http://repo:9000/v2/a/manifests/1"],
    [request("/files/x?ns=docker.io"), "http://repo:9000/files/x"],
    [request("/files/a", {}), undefined],
    [request("/files/a", { host: "a b" }), undefined],
    [request("*"), undefined],
    [request("/favicon.ico"), undefined],
    [request(`/${"x".repeat(9000)}`), undefined],
  ];
  for (const [req, expected] of rows) {
    batches.length = 0;
    notes.note(req, now);
    notes.flush();
    t.strictSame(
      batches.flatMap((it) => it.entries.map(({ url }) => url)),
      expected === undefined ? [] : [expected],
      String(req.url).slice(0, 60),
    );
  }
  notes.note(request("/x", undefined, { method: "HEAD" }), now);
  notes.flush();
  const time = "2026-11-30T10:00:00Z";
  t.strictSame(batches.at(-1), {
    entries: [{ method: "HEAD", url: "http://repo:9000/x", count: 1, first: time, last: time }],
    dropped: 0,
  });
});

t.test("the file goes on after a restart, and a page shows it", async (t) => {
  const dir = scratch(t);
  const file = join(dir, "list");
  for (const round of [1, 2]) {
    const server = await startServer(t, [{ stream: "a", content: { "files/x": "x" } }], { wanted: file });
    t.equal((await fetch(`${server.url}/files/x`)).status, 200);
    t.equal(
      (await fetch(`${server.url}/files/%3Cscript%3Ealert(1)%3C/script%3E`, { headers: { Host: "h" } })).status,
      404,
    );
    if (round === 2) {
      const page = await (await fetch(`${server.url}/wanted`)).text();
      t.match(
        page,
        /<td class="number">1<\/td><td>20\S+Z<\/td><td class="mono">http:\/\/127.0.0.1:\d+\/files\/%3Cscript%3Ealert\(1\)%3C\/script%3E<\/td>/,
      );
      t.match(await (await fetch(`${server.url}/metrics`)).text(), /^airferry_wanted_urls [12]$/m);
    } else {
      t.match(await (await fetch(`${server.url}/wanted`)).text(), "Nothing so far.");
    }
    await server.serving.close();
  }
  const { wanted } = await readWanted(file);
  t.equal(
    wanted.reduce((sum, it) => sum + it.count, 0),
    2,
    "both rounds, each port a URL",
  );
  t.strictSame(readdirSync(dir).sort(), ["list"], "no temporary file is left");
});

t.test("a server without the list has no page and no gauge", async (t) => {
  const { url } = await startServer(t, [{ stream: "a", content: { "files/x": "x" } }]);
  t.equal((await fetch(`${url}/wanted`)).status, 404);
  t.notMatch(await (await fetch(`${url}/metrics`)).text(), "airferry_wanted");
});

t.test("what cannot be the list's file is refused before anything is served", async (t) => {
  const dir = scratch(t);
  writeFileSync(join(dir, "other"), "important\n");
  mkdirSync(join(dir, "folder"));
  const rows: [string, string][] = [
    ["other", "ERR_USAGE"],
    ["folder", "ERR_PATH_UNSAFE"],
    ["no/such/folder", "ERR_IO"],
  ];
  for (const [name, code] of rows) {
    await t.rejects(
      startServer(t, [{ stream: "a", content: { "files/x": "x" } }], { wanted: join(dir, name) }),
      { code },
      name,
    );
  }
  t.equal(readFileSync(join(dir, "other"), "utf8"), "important\n");
});

t.test("a disk that fails is reported once, and the list is written when it is back", async (t) => {
  const dir = scratch(t);
  mkdirSync(join(dir, "d"));
  const messages: string[] = [];
  const keeper = await WantedKeeper.open(join(dir, "d/list"), (it) => messages.push(it));
  renameSync(join(dir, "d"), join(dir, "away"));
  const time = "2026-11-30T10:00:00Z";
  keeper.add({ entries: [{ method: "GET", url: "http://a/x", count: 1, first: time, last: time }], dropped: 2 });
  await keeper.close();
  await keeper.close();
  t.match(messages, [/^cannot write ".*list"/]);
  t.equal(messages.length, 1);
  renameSync(join(dir, "away"), join(dir, "d"));
  await keeper.close();
  t.match(await readWanted(join(dir, "d/list")), { dropped: 2, wanted: [{ url: "http://a/x" }] });
});
