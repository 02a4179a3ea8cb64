import { once } from "node:events";
import { Worker } from "node:worker_threads";
import t from "tap";
import { EntryTable, EntryTableWriter, type SharedEntries } from "../../src/bundle/entry-table.ts";
import type { InventoryEntry } from "../../src/bundle/inventory-types.ts";
import { digestOf } from "../../src/io/digest.ts";
import { compareUtf8 } from "../../src/io/text.ts";

/** Some of every kind; `files/ｚ` is above `files/𐐷` in UTF-16, and below it in UTF-8. */
const paths = [
  "a",
  "a b",
  "a/b",
  "a/b.sha256",
  "a/bc",
  "b",
  "files/x",
  "files/ä",
  "files/ｚ",
  "files/𐐷",
  "z".repeat(900),
];
const entries: InventoryEntry[] = paths.map((path, index) => {
  const entry = { path, size: index, mode: index % 2 === 0 ? ("0644" as const) : ("0755" as const) };
  const digest = digestOf(`${index % 7}`);
  const from = [undefined, "bundle" as const, "store" as const, "recipe" as const][index % 4];
  return from === undefined ? { ...entry, digest, offset: 2 ** 40 + index } : { ...entry, digest, from };
});
const many = Array.from({ length: 5000 }, (_, index) => ({
  path: `files/${(index * 7919) % 5000}`,
  size: index,
  mode: "0644" as const,
  digest: digestOf(`${index}`),
  offset: index === 0 ? 0 : 512 * index,
}));

t.test("a table gives back what it took, sorted by the bytes of paths", async (t) => {
  t.strictSame([...EntryTable.from(entries)], entries);
  t.strictSame([...EntryTable.from(entries.toReversed())], entries, "in whatever order it came");
  const sorted = many.toSorted((a, b) => compareUtf8(a.path, b.path));
  t.strictSame([...EntryTable.from(many)], sorted, "and beyond its first memory");
  t.equal(EntryTable.from(many).at(4999).path, "files/999");
  t.strictSame([...EntryTable.from([])], []);
  t.strictSame([...new EntryTableWriter().finish()], []);
});

t.test("a table answers for single values", async (t) => {
  const table = EntryTable.from(entries);
  t.equal(table.length, entries.length);
  for (const [index, it] of entries.entries()) {
    t.strictSame(table.at(index), it);
    t.equal(table.pathAt(index), it.path);
    t.equal(table.pathBytesAt(index), Buffer.byteLength(it.path));
    t.equal(table.sizeAt(index), it.size);
    t.equal(table.modeAt(index), it.mode);
    t.equal(table.digestAt(index), it.digest);
    t.equal(table.offsetAt(index), it.offset);
    t.equal(table.fromAt(index), it.from);
  }
  for (const index of [-1, entries.length]) t.throws(() => table.at(index), { code: "ERR_INTERNAL" });
});

t.test("a table finds paths and prefixes", async (t) => {
  const table = EntryTable.from(entries);
  for (const [index, { path }] of entries.entries()) {
    t.equal(table.find(path), index);
    t.strictSame(table.get(path), entries[index]);
    t.ok(table.has(path));
  }
  for (const absent of ["", "0", "a/", "a/b.", "files/", "files/ö", "zz", "~", "ｚ", "𐐷"]) {
    t.equal(table.find(absent), -1, absent);
    t.equal(table.get(absent), undefined);
    t.notOk(table.has(absent));
  }
  for (const prefix of ["", "a", "a/", "a/b", "b", "b/", "files/", "files/ｚ", "files/𐐷", "z", "zz", "0", "~"]) {
    const first = paths.findIndex((it) => it.startsWith(prefix));
    const [from, to] = table.range(prefix);
    const count = paths.filter((it) => it.startsWith(prefix)).length;
    t.equal(to - from, count, prefix);
    if (count > 0) t.equal(from, first);
  }
  t.equal(EntryTable.from([]).find("a"), -1);
  t.strictSame(EntryTable.from([]).range("a"), [0, 0]);
});

t.test("a table finds digests: of many entries one that carries the bytes", async (t) => {
  const table = EntryTable.from(entries);
  for (const [index, { digest }] of entries.entries()) {
    const carrier = entries.findIndex((it) => it.digest === digest && it.offset !== undefined);
    const first = entries.findIndex((it) => it.digest === digest);
    t.equal(table.findDigest(digest), carrier < 0 ? first : carrier);
    t.equal(table.isCarried(index), carrier >= 0);
    t.equal(table.digestAt(table.sameAs(index)), digest);
    t.equal(table.sameAs(index), table.findDigest(digest));
  }
  t.equal(table.findDigest(digestOf("absent")), -1);
  const large = EntryTable.from(many);
  t.ok(many.every((it) => large.pathAt(large.findDigest(it.digest)) === it.path));
  t.equal(EntryTable.from([]).findDigest(digestOf("")), -1);
});

t.test("a table walks as a list does", async (t) => {
  const table = EntryTable.from(entries);
  t.strictSame(
    table.filter((it) => it.from === "store"),
    entries.filter((it) => it.from === "store"),
  );
  t.ok(table.some((it) => it.path === "b"));
  t.notOk(table.some((it) => it.path === "c"));
});

t.test("another thread has the table without a copy of it", async (t) => {
  const table = EntryTable.from(entries);
  t.equal(table.shared.slots, undefined);
  table.findDigest(digestOf("1"));
  const echo = `const { parentPort } = require("node:worker_threads");
    parentPort.once("message", (it) => { it.sizes[0] = 77; parentPort.postMessage(it); });`;
  const worker = new Worker(echo, { eval: true });
  worker.postMessage(table.shared);
  const [back] = (await once(worker, "message")) as [SharedEntries];
  await worker.terminate();
  t.equal(table.sizeAt(0), 77, "both write to the same memory");
  const there = EntryTable.of(back);
  t.strictSame([...there], [...table]);
  t.equal(there.find("files/𐐷"), 9);
  t.equal(there.findDigest(digestOf("1")), table.findDigest(digestOf("1")));
});
