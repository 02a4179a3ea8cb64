/** What `status` tells of a store of which a part is damaged, and that what it says heals the store. */
import { appendFileSync, cpSync, existsSync, mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { prune } from "../src/prune.ts";
import { status } from "../src/status.ts";
import { openStore } from "../src/store/store.ts";
import { unpack } from "../src/unpack.ts";
import { makeBundle, makeKey } from "./fixtures/bundle-maker.ts";
import { flip } from "./fixtures/bundle-tamper.ts";
import { airferry } from "./fixtures/host.ts";
import { scratch } from "./fixtures/program.ts";

const dir = scratch(t);
const key = makeKey();
const trust = [join(dir, "key.pub")];
writeFileSync(join(dir, "key.pub"), key.pem);
const bundle = (stream: string, serial: number, content = `${stream} ${serial}`) => {
  const at = join(dir, `${stream}-${serial}-${content.length}`);
  const made = { files: { "files/a": Buffer.from(content) }, keys: [key], stream, serial };
  if (!existsSync(at)) makeBundle(at, made);
  return at;
};
let count = 0;
const original = join(dir, "original");
async function filled(): Promise<string> {
  const store = join(dir, `store-${count++}`);
  if (existsSync(original)) {
    cpSync(original, store, { recursive: true });
    return store;
  }
  for (const [stream, serial] of [
    ["a", 1],
    ["a", 2],
    ["b", 1],
  ] as const) {
    await unpack([bundle(stream, serial)], { trust, store: original });
  }
  return filled();
}

/** What is done to the current record of stream a. */
const DAMAGES: [string, (release: string) => void][] = [
  ["a byte of the inventory", (it) => flip(join(it, "airferry.json"), 100)],
  ["the digests' file is longer", (it) => appendFileSync(join(it, "SHA256SUMS"), "x")],
  ["a volume's digest is another", (it) => flip(join(it, "SHA256SUMS"), -30)],
  ["no inventory", (it) => rmSync(join(it, "airferry.json"))],
  ["no evidence", (it) => rmSync(join(it, "import.json"))],
  ["evidence that is null", (it) => writeFileSync(join(it, "import.json"), "null")],
  ["signers that are no keys", (it) => writeFileSync(join(it, "import.json"), '{"signers":[1],"importedAt":"x"}')],
  ["an empty folder", (it) => rmSync(it, { recursive: true }) ?? mkdirSync(it)],
  [
    "another stream's record",
    (it) => {
      rmSync(it, { recursive: true });
      renameSync(join(it, "../../b/000001"), it);
      mkdirSync(join(it, "../../b/000001"));
    },
  ],
];

for (const [what, damage] of DAMAGES) {
  t.test(`${what}: that record is named, the rest is shown, and unpacking again heals`, async (t) => {
    const store = await filled();
    damage(join(store, "releases/a/000002"));
    const report = await status(store);
    t.match(report.problems, [{ code: "ERR_STORE_INVALID", path: join(store, "releases/a/000002") }]);
    t.match(report.streams[0], { stream: "a", releases: [{ serial: 1, current: false }] });
    if (!what.startsWith("another")) t.match(report.streams[1], { stream: "b", releases: [{ current: true }] });
    const open = await openStore(store);
    t.same(
      (await open.releases()).map((it) => it.stream),
      what.startsWith("another") ? [] : ["b"],
    );
    t.equal(open.faults[0]?.stream, "a");
    // Another bundle of this serial does not become it, as long as anything tells them apart.
    const other = bundle("a", 2, "another content");
    await t.rejects(unpack([other], { trust, store }), { code: "ERR_EQUIVOCATION" });
    for (const it of [bundle("a", 2), bundle("b", 1)])
      t.match(await unpack([it], { trust, store }), { complete: true });
    t.match(await status(store), { problems: [] });
    t.same(
      readdirSync(join(store, "releases/a")).filter((it) => it.startsWith(".")),
      [],
    );
  });
}

t.test("a current that names nothing is told and mended", async (t) => {
  const store = await filled();
  writeFileSync(join(store, "releases/a/current"), "../../b/000001\n");
  t.match((await status(store)).problems, [{ path: /releases\/a$/, message: /"current" names none/ }]);
  await unpack([bundle("a", 2)], { trust, store });
  t.match(await status(store), { problems: [], streams: [{ releases: [{}, { serial: 2, current: true }] }, {}] });
});

t.test("on the command line: the rest on stdout, the damage on stderr, exit status 1", async (t) => {
  const store = await filled();
  rmSync(join(store, "releases/a/000002/airferry.json"));
  const ran = await airferry(dir, ["status", "--store", store]);
  t.equal(ran.status, 1);
  t.match(ran.stderr, join(store, "releases/a/000002"));
  t.match(ran.stdout, /^a +1 .*\n.*^b +1 \*/ms);
  const json = await airferry(dir, ["status", "--store", store, "--json"]);
  t.equal(json.status, 1);
  t.match(JSON.parse(json.stdout), { problems: [{ path: join(store, "releases/a/000002") }] });
});

t.test("a floor that is damaged stops its stream, and no other", async (t) => {
  for (const broken of ["null", "{}", '{"epoch":1,"serial":"2"}', "[", '{"epoch":1,"serial":2,"digest":"x"}']) {
    const store = await filled();
    writeFileSync(join(store, "releases/a/floor.json"), broken);
    await t.rejects(unpack([bundle("a", 3)], { trust, store }), {
      code: "ERR_STORE_INVALID",
      hint: /rm .*floor\.json/,
    });
    t.match(await unpack([bundle("b", 2)], { trust, store }), { complete: true });
    rmSync(join(store, "releases/a/floor.json"));
    t.match(await unpack([bundle("a", 3)], { trust, store }), { complete: true });
  }
});

t.test("prune keeps its hands off what a damaged record may need, and clears what kills left", async (t) => {
  const store = await filled();
  flip(join(store, "releases/a/000002/airferry.json"), 100);
  await t.rejects(prune(store, { keep: 1 }), { code: "ERR_STORE_INVALID" });
  t.match(await status(store), { blobs: { count: 3 } });
  await unpack([bundle("a", 2)], { trust, store });
  mkdirSync(join(store, "releases/a/.gone-1-2/x"), { recursive: true });
  writeFileSync(join(store, "releases/b/.tmp-0011223344556677"), "torn");
  t.match(await prune(store, { keep: 1, dryRun: true }), { releases: ["a/000001"] });
  t.ok(existsSync(join(store, "releases/a/.gone-1-2")));
  t.match(await prune(store, { keep: 1 }), { releases: ["a/000001"], blobs: 1 });
  t.same(readdirSync(join(store, "releases/a")).sort(), ["000002", "current", "floor.json"]);
  t.same(readdirSync(join(store, "releases/b")).sort(), ["000001", "current", "floor.json"]);
});

t.test("says when the release that is served expires", async (t) => {
  const store = join(dir, "expiring");
  const at = join(dir, "expiring-1");
  const notAfter = new Date(Date.now() + 10 * 86_400_000).toISOString().replace(/\.\d+Z/, "Z");
  makeBundle(at, { files: { "files/a": Buffer.from("a") }, keys: [key], stream: "e", serial: 1, notAfter });
  await unpack([at], { trust, store });
  t.equal((await status(store)).streams[0]?.expiresInDays, 10);
  t.match((await airferry(dir, ["status", "--store", store])).stdout, /^e: expires in 10 days$/m);
  const later = new Date(Date.now() + 12 * 86_400_000);
  t.equal((await status(store, { now: later })).streams[0]?.expiresInDays, -2);
  t.equal((await status(await filled())).streams[0]?.expiresInDays, null);
});
