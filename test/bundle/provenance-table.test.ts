import t from "tap";
import { EntryTable } from "../../src/bundle/entry-table.ts";
import type { Provenance } from "../../src/bundle/inventory-types.ts";
import { ProvenanceTable, ProvenanceWriter } from "../../src/bundle/provenance-table.ts";
import { digestOf } from "../../src/io/digest.ts";
import { atOnce } from "../../src/io/pace.ts";

const paths = ["files/a", 'files/b"c', "files/ü", "rpms/base/repodata/repomd.xml", "rpms/base/x.rpm"];
const entries = EntryTable.from(
  paths.map((path) => ({ path, size: 1, mode: "0644", digest: digestOf(path), from: "store" })),
);
const line = (path: string, source: string): Provenance => ({ path, kind: "file", source, established: "manifest" });

function tableOf(lines: readonly Provenance[]): { table: ProvenanceTable; strange: string[] } {
  const writer = new ProvenanceWriter();
  for (const it of lines) writer.add(it);
  const strange: string[] = [];
  return { table: atOnce(writer.finish(entries, (path) => strange.push(path))), strange };
}

t.test("lines come back in their order, each when it is asked for", async (t) => {
  const lines = [...paths.toReversed(), "rpms/base/", "rpms/"].map((path) => line(path, `of ${path}`));
  const { table, strange } = tableOf(lines);
  t.strictSame([...table], lines);
  t.equal(JSON.stringify({ table }), JSON.stringify({ table: lines }));
  t.equal(table.length, lines.length);
  t.strictSame(table.at(1), lines[1]);
  t.throws(() => table.at(lines.length), { code: "ERR_INTERNAL" });
  t.strictSame(strange, []);
  const many = Array.from({ length: 3000 }, (_, it) => line("files/a", `${it}`));
  t.strictSame([...tableOf(many).table], many, "beyond its first memory");
  t.strictSame([...tableOf([]).table], []);
});

t.test("a path has its own line, else that of the longest prefix", async (t) => {
  const own = ["files/a", 'files/b"c', "files/ü", "rpms/base/x.rpm"].map((path) => line(path, "own"));
  const { table } = tableOf([...own, line("rpms/", "far"), line("rpms/base/", "near")]);
  for (const { path } of own) t.equal(table.of(path)?.source, "own", path);
  t.equal(table.of("rpms/base/repodata/repomd.xml")?.source, "near");
  t.equal(table.of("rpms/base/")?.source, "near");
  t.equal(table.of("rpms/other/x")?.source, "far");
  t.equal(table.of("isos/x"), undefined);
  t.equal(tableOf([line("files/a", "first"), line("files/a", "last")]).table.of("files/a")?.source, "last");
});

t.test("a line whose path does not come first is found as well", async (t) => {
  const odd = { kind: "file", source: "s", path: "files/a", established: "manifest" } as const;
  const { table } = tableOf([odd]);
  t.same(table.of("files/a"), odd);
  // JavaScript puts members with such names first whatever is assigned.
  const unknown = JSON.parse(
    '{"0":"files/z","path":"files/a","kind":"file","source":"","established":"manifest","__proto__":{"a":1}}',
  );
  const later = tableOf([unknown]);
  t.strictSame(later.strange, []);
  t.equal(JSON.stringify(later.table.of("files/a")), JSON.stringify(unknown));
  t.equal(JSON.stringify([...later.table]), JSON.stringify([unknown]), "as it was read");
});

t.test("lines of what is not there are reported", async (t) => {
  t.strictSame(tableOf(["files/", "files/z", "isos/", "isos", "rpms/base"].map((it) => line(it, ""))).strange, [
    "files/z",
    "isos/",
    "isos",
    "rpms/base",
  ]);
});

t.test("another thread has the same lines", async (t) => {
  const lines = [line("files/a", "x"), line("rpms/", "y")];
  const there = ProvenanceTable.of(structuredClone(tableOf(lines).table.shared), entries);
  t.strictSame([...there], lines);
  t.equal(there.of("rpms/base/x.rpm")?.source, "y");
});
