/** src/wanted/wanted-file.ts and wanted-list.ts: bounded, in both forms, and believing nothing that they read. */
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import {
  formatWantedList,
  formatWantedUrls,
  readWanted,
  readWantedList,
  wantedUrls,
} from "../../src/wanted/wanted-file.ts";
import { MAX_WANTED, MAX_WANTED_URL_LENGTH, type Wanted, WantedList } from "../../src/wanted/wanted-list.ts";
import { wanted as readVerb } from "../../src/wanted.ts";
import { scratch } from "../fixtures/program.ts";

const one = (url: string, more: Partial<Wanted> = {}): Wanted => ({
  method: "GET",
  url,
  count: 1,
  first: "2026-11-30T10:00:00Z",
  last: "2026-11-30T10:00:00Z",
  ...more,
});

t.test("counts, and keeps the first and the last time", async (t) => {
  const list = new WantedList();
  list.add(one("http://a/x", { first: "2026-11-30T11:00:00Z", last: "2026-11-30T11:00:00Z" }));
  list.add(one("http://a/x", { count: 2 }));
  list.add(one("http://a/x", { method: "HEAD" }));
  t.strictSame(list.entries(), [
    one("http://a/x", { count: 3, last: "2026-11-30T11:00:00Z" }),
    one("http://a/x", { method: "HEAD" }),
  ]);
  t.equal(list.size, 2);
});

t.test("has bounds that no client moves", async (t) => {
  const list = new WantedList();
  for (let i = 0; i < MAX_WANTED + 50; i++) list.add(one(`http://a/${i}`));
  t.match([list.size, list.dropped], [MAX_WANTED * 0.9 + 50, MAX_WANTED * 0.1]);
  t.ok(list.add(one("http://a/10001")), "what is in it still counts");
  const long = new WantedList();
  t.notOk(long.add(one(`http://a/${"x".repeat(MAX_WANTED_URL_LENGTH)}`)));
  for (let i = 0; i < MAX_WANTED; i++) long.add(one(`http://a/${String(i).padEnd(1000, "x")}`));
  t.ok(long.size < 4200 && formatWantedList(long).length < 6 * 1024 * 1024, `${long.size} URLs of 1,009 characters`);
});

t.test("junk costs nobody's wants but its own", async (t) => {
  const list = new WantedList();
  const time = (i: number) => new Date(Date.UTC(2026, 10, 30) + i * 1000).toISOString().replace(".000", "");
  const at = (i: number) => ({ first: time(i), last: time(i) });
  list.add(one("https://dl.example.com/once", at(0)));
  list.add(one("http://192.0.2.10:9000/files/often", { count: 2, ...at(0) }));
  for (let i = 1; i <= 3 * MAX_WANTED; i++) list.add(one(`http://192.0.2.10:9000/${i}`, at(i)));
  const urls = () => new Set(list.entries().map((it) => it.url));
  t.ok(urls().has("https://dl.example.com/once"), "of another host");
  t.ok(urls().has("http://192.0.2.10:9000/files/often"), "of the same host, asked for twice");
  t.ok(urls().has(`http://192.0.2.10:9000/${3 * MAX_WANTED}`), "the newest");
  t.notOk(urls().has("http://192.0.2.10:9000/1"), "the oldest");
  for (let i = 1; i <= 2 * MAX_WANTED; i++) list.add(one(`http://${i}.example.net/`, at(i)));
  t.ok(list.size <= MAX_WANTED && urls().has("http://192.0.2.10:9000/files/often"), "of more hosts than there is room");
  t.equal(list.size + list.dropped, 5 * MAX_WANTED + 2, "all are counted");
});

t.test("both forms, to a file and back", async (t) => {
  const dir = scratch(t);
  const list = new WantedList();
  for (const url of ["https://b.example/z?ns=quay.io", "http://a/x"]) list.add(one(url));
  list.add(one("http://a/x", { method: "HEAD", count: 4 }));
  list.dropped = 7;
  const file = join(dir, "list");
  writeFileSync(file, formatWantedList(list));
  t.strictSame((await readWantedList(file)).entries(), list.entries());
  t.equal((await readWantedList(file)).dropped, 7);
  t.equal((await readWantedList(join(dir, "none"))).size, 0, "a server begins with none");
  const report = await readVerb(file, { out: join(dir, "out.json") });
  t.match(report, { dropped: 7, out: { urls: 2 }, wanted: [{ url: "http://a/x", count: 4 }, {}, {}] });
  const out = readFileSync(join(dir, "out.json"), "utf8");
  t.equal(
    out,
    '{"wantedVersion":1,"dropped":7,"wanted":[\n{"url":"http://a/x","count":5},\n{"url":"https://b.example/z?ns=quay.io","count":1}\n]}\n',
  );
  t.equal(formatWantedUrls(7, wantedUrls(await readWanted(join(dir, "out.json")))), out, "the same again");
  await t.rejects(readVerb(file, { out: file }), { code: "ERR_USAGE", message: /it exists/ });
  await t.resolves(readVerb(file, { out: join(dir, "out.json"), force: true }));
  await t.rejects(readVerb(file, { out: join(dir, "no/such/folder") }), { code: "ERR_IO" });
});

t.test("refuses whatever else it is given", async (t) => {
  const dir = scratch(t);
  const file = join(dir, "f");
  const wanted = (...it: unknown[]) => JSON.stringify({ wantedVersion: 1, dropped: 0, wanted: it });
  const rows: [string, RegExp][] = [
    ["", /not JSON/],
    ["{}", /missing/],
    ['{"wantedVersion":2}', /version 2: expected 1/],
    [wanted({ url: "http://a/x", count: 0 }), /wanted\[0\].count/],
    [wanted({ url: "http://a/x", count: 1e300 }), /wanted\[0\].count/],
    [wanted({ url: "http://a/x", count: 1, token: "s" }), /unknown "token"/],
    [wanted({ url: "http://u:p@a/x", count: 1 }), /expected a URL in normal form/],
    [wanted({ url: "HTTP://a/x", count: 1 }), /expected a URL in normal form/],
    [wanted({ url: "file:///etc/passwd", count: 1 }), /expected a URL in normal form/],
    [wanted({ url: "http://a/\u001b[31m", count: 1 }), /expected a URL in normal form/],
    [wanted({ url: `http://a/${"x".repeat(2000)}`, count: 1 }), /wanted\[0\].url/],
    [wanted({ url: "http://a/x", count: 1, last: "yesterday" }), /wanted\[0\].last/],
    [wanted(...Array.from({ length: MAX_WANTED + 1 }, (_, i) => ({ url: `http://a/${i}`, count: 1 }))), /wanted/],
    [`{"__proto__":{"a":1},"wantedVersion":1,"dropped":0,"wanted":[]}`, /__proto__/],
  ];
  for (const [text, message] of rows) {
    writeFileSync(file, text);
    await t.rejects(readWanted(file), { code: "ERR_USAGE", message }, text.slice(0, 80));
  }
  writeFileSync(file, " ".repeat(17 * 1024 * 1024));
  await t.rejects(readWanted(file), { code: "ERR_SIZE_LIMIT" });
  await t.rejects(readWanted(join(dir, "none")), { code: "ERR_NOT_FOUND" });
  execFileSync("mkfifo", [join(dir, "fifo")]);
  symlinkSync(file, join(dir, "link"));
  mkdirSync(join(dir, "folder"));
  for (const name of ["fifo", "link", "folder"]) {
    await t.rejects(readWanted(join(dir, name)), { code: "ERR_PATH_UNSAFE" }, name);
  }
});
