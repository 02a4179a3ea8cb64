/** The journal of a store: what is written of each deed, what breaks the chain, and what a power loss leaves. */
import { appendFileSync, cpSync, readFileSync, rmSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { fsck } from "../../src/fsck.ts";
import { digestOf } from "../../src/io/digest.ts";
import { readLines, verifyJournal } from "../../src/journal.ts";
import { prune } from "../../src/prune.ts";
import { rollback } from "../../src/rollback.ts";
import { formatLine, MAX_LINE_BYTES, readJournal } from "../../src/store/journal-line.ts";
import { blobPathIn } from "../../src/store/layout.ts";
import { openStore } from "../../src/store/store.ts";
import { recordDeed } from "../../src/store/store-journal.ts";
import { unpack } from "../../src/unpack.ts";
import { makeBundle, makeKey } from "../fixtures/bundle-maker.ts";
import { scratch } from "../fixtures/program.ts";
import { document, makeSigner, signedTrust, writeTrust } from "../fixtures/trust-maker.ts";

const dir = scratch(t);
const key = makeKey();
const trust = [join(dir, "key.pub")];
writeFileSync(join(dir, "key.pub"), key.pem);
const bundles = [1, 2, 3].map((serial) => {
  const bundle = join(dir, `b${serial}`);
  makeBundle(bundle, { files: { "files/x": Buffer.from(`serial ${serial}\n`) }, keys: [key], serial });
  return bundle;
});
const bundleOf = (serial: number) => bundles[serial - 1] as string;
let count = 0;
async function storeWith(...serials: number[]): Promise<string> {
  const store = join(dir, `store-${count++}`);
  for (const it of serials) await unpack([bundleOf(it)], { trust, store });
  return store;
}
const fileOf = (store: string) => join(store, "journal.jsonl");
const linesOf = (store: string) => readFileSync(fileOf(store), "utf8").split("\n").slice(0, -1);
const write = (store: string, lines: readonly string[]) =>
  writeFileSync(fileOf(store), lines.map((it) => `${it}\n`).join(""));
const deeds = async (store: string) => (await readLines(store)).lines.map((it) => `${it.action} ${it.result}`);

t.test("every deed is a line: who, when, from what, which bundle, signed by whom, with what result", async (t) => {
  const store = await storeWith(1, 2);
  await unpack([bundleOf(2)], { trust, store });
  await t.rejects(unpack([bundleOf(1)], { trust, store }), { code: "ERR_ROLLBACK" });
  const stranger = join(dir, "stranger");
  makeBundle(stranger, { files: { "files/x": Buffer.from("no\n") }, keys: [makeKey()], serial: 3 });
  await t.rejects(unpack([stranger], { trust, store }), { code: "ERR_KEY_UNTRUSTED" });
  await rollback(store);
  await t.rejects(rollback(store), { code: "ERR_NOT_FOUND" });
  writeFileSync(join(dir, "junk"), "");
  rmSync(blobPathIn(store, digestOf("serial 1\n")));
  await fsck(store, { repairFrom: [bundleOf(1)], trust });
  await unpack([bundleOf(2)], { trust, store, allowRollback: true });
  await prune(store, { keep: 1, dryRun: true });
  await prune(store, { keep: 1 });
  const { lines } = await readLines(store);
  t.strictSame(await deeds(store), [
    "unpack done",
    "unpack done",
    "unpack already",
    "unpack refused",
    "unpack refused",
    "rollback done",
    "rollback failed",
    "fsck done",
    "unpack already",
    "prune done",
  ]);
  const root = digestOf(readFileSync(join(bundleOf(2), "SHA256SUMS")));
  t.match(lines[1], {
    n: 2,
    by: { uid: process.getuid?.() ?? -1, host: /./, user: /./ },
    tool: /^airferry /,
    media: [{ folder: bundleOf(2) }],
    bundle: { stream: "test", epoch: 1, serial: 2, digest: root },
    signers: [key.keyid],
  });
  t.match(lines[3], { code: "ERR_ROLLBACK", message: /newer release/, bundle: { serial: 1 } });
  t.match(lines[4], { code: "ERR_KEY_UNTRUSTED", signers: [] });
  t.notOk(lines[4]?.bundle?.stream, "what a stranger says of his bundle is not repeated");
  t.match(lines[5], { from: { epoch: 1, serial: 2 }, bundle: { serial: 1 } });
  t.match(lines[6], { code: "ERR_NOT_FOUND" });
  t.match(lines[7], { blobs: 1, problems: 0, bundle: { serial: 1 } });
  t.match(lines[9], { removed: ["test/000001"], blobs: 1 });
  t.match(await verifyJournal(store), { lines: 10, torn: 0, missing: [] });
});

t.test("a trust root that a store follows is a line of its own", async (t) => {
  const [ann, bob] = [makeSigner("ann"), makeSigner("bob")];
  const roles = { signers: ["ann", "bob"], threshold: 2 };
  const root = document([ann, bob], { expires: "2099-01-01T00:00:00Z", roles: { root: roles, release: roles } });
  writeTrust(join(dir, "root"), [signedTrust(root, [...ann.keys, ...bob.keys])]);
  const bundle = join(dir, "rooted");
  makeBundle(bundle, { files: { "files/x": Buffer.from("x") }, keys: [...ann.keys, ...bob.keys] });
  const store = join(dir, "rooted-store");
  await unpack([bundle], { trust: [join(dir, "root/trust.1.json")], store });
  t.strictSame(await deeds(store), ["trust done", "unpack done"]);
  t.match((await readLines(store)).lines[0], { trust: { version: 1, digest: /^sha256:/ } });
  t.match(await verifyJournal(store), { missing: [] });
});

t.test("any change of any line is found, and which", async (t) => {
  const store = await storeWith(1, 2, 3);
  const good = linesOf(store);
  const [one = "", two = "", three = ""] = good;
  const cases: Record<string, [string[], RegExp]> = {
    edited: [[one.replace('"serial":1', '"serial":9'), two, three], /line 2 does not follow/],
    "edited in the middle": [[one, two.replace(/"user":"[^"]*"/, '"user":"nobody"'), three], /line 3 does not follow/],
    swapped: [[two, one, three], /line 1 does not follow/],
    doubled: [[one, one, two, three], /line 2 does not follow/],
    "without the first": [[two, three], /line 1 does not follow/],
    "without the middle": [[one, three], /line 2 does not follow/],
    "not JSON": [[one, "x", three], /line 2 not JSON/],
    empty: [[one, "", two, three], /line 2 not JSON/],
    spaced: [[one.replace('"n":1', '"n": 1'), two, three], /line 1 not canonical/],
    "a key twice": [[one.replace('{"n":1', '{"n":1,"n":1'), two, three], /line 1 not canonical/],
    "a control character": [[one.replace('"user":"', '"user":"\u009b'), two, three], /line 1 characters/],
    "not UTF-8": [[one.replace('"user":"', '"user":"\ufffd'), two, three], /line 2 does not follow/],
    "a number as text": [[one.replace('"n":1', '"n":"1"'), two, three], /line 1 not a line of a journal: n/],
    "too long": [[one, "x".repeat(MAX_LINE_BYTES + 1), three], /line 2 longer than/],
  };
  for (const [name, [lines, message]] of Object.entries(cases)) {
    write(store, lines);
    await t.rejects(verifyJournal(store), { code: "ERR_JOURNAL", message }, name);
  }
  write(store, good);
  t.match(await verifyJournal(store), { lines: 3 });
  const other = { ...JSON.parse(three), n: 5 };
  write(store, [one, two, formatLine(other).trimEnd()]);
  await t.rejects(verifyJournal(store), {
    code: "ERR_JOURNAL",
    message: /line 3 has the wrong number: expected 3, got 5/,
  });
});

t.test("a paper finds lines that are gone from the end, and a journal that was written anew", async (t) => {
  const store = await storeWith(1, 2, 3);
  const lines = linesOf(store);
  const { head } = await verifyJournal(store);
  const paper = (head ?? "")
    .replace(/[0-9a-f]{8}(?=.)/g, "$& ")
    .toUpperCase()
    .replace("SHA", "sha");
  t.match(await verifyJournal(store, paper), { expectedAt: 3 });
  const first = digestOf(lines[0] as string);
  t.match(await verifyJournal(store, first), { expectedAt: 1, lines: 3 }, "an older paper stays good");
  write(store, lines.slice(0, 2));
  t.match(await verifyJournal(store), { lines: 2, missing: [{ what: "appeared", serial: 3 }, { what: "served" }] });
  await t.rejects(verifyJournal(store, paper), { code: "ERR_JOURNAL_HEAD" });
  rmSync(fileOf(store));
  await t.rejects(verifyJournal(store, paper), { code: "ERR_JOURNAL_HEAD", message: /got no line/ });
  await rollback(store, { to: "3" });
  await t.rejects(verifyJournal(store, paper), { code: "ERR_JOURNAL_HEAD" });
  for (const it of ["", "12", "sha256:0", `sha256:${"0".repeat(64)}`, "md5:x"])
    await t.rejects(verifyJournal(store, it), { code: "ERR_USAGE" }, it);
});

t.test("after a power loss between an import and its line a rerun completes the journal", async (t) => {
  const store = await storeWith(1, 2);
  const lines = linesOf(store);
  write(store, lines.slice(0, 1));
  t.match(await verifyJournal(store), {
    missing: [
      { what: "appeared", serial: 2 },
      { what: "served", serial: 2 },
    ],
  });
  const notices: string[] = [];
  await unpack([bundleOf(2)], { trust, store, notice: (it) => notices.push(it) });
  t.strictSame(notices, [], "the rerun's own line says it");
  t.strictSame(await deeds(store), ["unpack done", "unpack already"]);
  t.match(await verifyJournal(store), { missing: [] });
  // Whoever comes next notes it as well.
  write(store, lines.slice(0, 1));
  await rollback(store, { notice: (it) => notices.push(it) });
  t.strictSame(await deeds(store), ["unpack done", "found appeared", "rollback done"]);
  t.match(notices, [/lacks 1 line of earlier work/]);
  rmSync(join(store, "releases/test/000002"), { recursive: true });
  await unpack([bundleOf(3)], { trust, store });
  t.strictSame((await deeds(store)).slice(3), ["found gone", "unpack done"]);
  t.match(await verifyJournal(store), { missing: [] });
});

t.test("a torn line is told and mended at each length", async (t) => {
  const store = await storeWith(1);
  const [line = ""] = linesOf(store);
  const before = join(dir, "torn");
  for (const length of [1, 40, line.length - 1, line.length]) {
    rmSync(before, { recursive: true, force: true });
    cpSync(store, before, { recursive: true });
    appendFileSync(fileOf(before), line.slice(0, length));
    t.match(await verifyJournal(before), { lines: 1, torn: length });
    const notices: string[] = [];
    await rollback(before, { to: "1", notice: (it) => notices.push(it) });
    t.match(notices, [/the last line of the journal was torn/]);
    t.match((await readLines(before)).lines[1], { n: 2, torn: length, result: "already" });
    t.match(await verifyJournal(before), { lines: 2, torn: 0 });
  }
  // The first line ever, and one that ends in zeros.
  truncateSync(fileOf(before), 30);
  await rollback(before, { to: "1" });
  t.strictSame(await deeds(before), ["rollback already"]);
  appendFileSync(fileOf(before), Buffer.alloc(4096));
  await rollback(before, { to: "1" });
  t.match(await verifyJournal(before), { lines: 2, torn: 0 });
});

t.test("a broken chain stays broken, and work goes on", async (t) => {
  const store = await storeWith(1, 2);
  const [one = "", two = ""] = linesOf(store);
  write(store, [one.replace('"serial":1', '"serial":2'), two]);
  appendFileSync(fileOf(store), "x".repeat(MAX_LINE_BYTES * 2));
  const notices: string[] = [];
  await unpack([bundleOf(3)], { trust, store, notice: (it) => notices.push(it) });
  t.match(notices[0], /changed at line 2: airferry journal verify --store/);
  await t.rejects(verifyJournal(store), { code: "ERR_JOURNAL", message: /line 2/ });
  t.equal((await readLines(store)).lines.at(-1)?.bundle?.serial, 3);
  t.match(await readLines(store, 1), { total: 5, lines: [{ bundle: { serial: 3 } }], fault: /line 2/ });
});

t.test("what is foreign and long does not make a line that cannot be read", async (t) => {
  const store = await openStore(await storeWith(1));
  const wild = `\u001b[2J\u202e\n"\\${"\u{10ffff}é".repeat(5000)}`;
  const lock = await store.lock();
  await recordDeed(
    store,
    { action: "unpack", result: "refused", code: "ERR_IO", message: wild, signers: Array(500).fill("f".repeat(64)) },
    { folders: Array(30).fill(`/${wild.replaceAll("\n", "/")}`) },
  );
  const removed = Array.from({ length: 1000 }, (_, at) => `${"s".repeat(60)}/e99999-${100_000 + at}`);
  await recordDeed(store, { action: "prune", result: "done", removed, blobs: 7, bytes: 9 });
  await lock.release();
  t.match(await verifyJournal(store.dir), { lines: 27 });
  const { lines } = await readLines(store.dir);
  t.equal(lines.flatMap((it) => it.removed ?? []).length, 1000);
  t.equal(lines.filter((it) => it.blobs === 7).length, 1);
  for (const it of linesOf(store.dir)) t.ok(Buffer.byteLength(it) <= MAX_LINE_BYTES);
});

t.test("a link or a folder in its place is refused before anything is imported", async (t) => {
  const store = await storeWith(1);
  rmSync(fileOf(store));
  symlinkSync(join(dir, "elsewhere"), fileOf(store));
  await t.rejects(unpack([bundleOf(2)], { trust, store }), { code: "ERR_STORE_INVALID", message: /not a file/ });
  await t.rejects(verifyJournal(store), { code: "ERR_PATH_UNSAFE" });
  t.equal((await openStore(store).then((it) => it.releases()))[0]?.serial, 1);
});

t.test("while another process writes, a refusal is told but not noted", async (t) => {
  const store = await storeWith(2);
  const lock = await (await openStore(store)).lock();
  const notices: string[] = [];
  await t.rejects(unpack([join(dir, "stranger")], { trust, store, notice: (it) => notices.push(it) }), {
    code: "ERR_KEY_UNTRUSTED",
  });
  t.match(notices, [/this is not in the journal of the store: .*is working on it/]);
  await lock.release();
  t.strictSame(await deeds(store), ["unpack done"]);
  t.equal(await readJournal(join(dir, "none")), undefined);
});
