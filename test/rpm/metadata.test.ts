/** Every repository of the fixtures through repomd, primary, modules, comps and updateinfo; expressions; cutting by bytes. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { gzipSync } from "node:zlib";
import t from "tap";
import { AirferryError } from "../../src/errors.ts";
import { clausesOf } from "../../src/rpm/clauses.ts";
import { decompress } from "../../src/rpm/codecs.ts";
import { cutComps, readComps } from "../../src/rpm/comps.ts";
import { type Dependency, parseRich, relationsIn } from "../../src/rpm/dependency.ts";
import { parseModules } from "../../src/rpm/modulemd.ts";
import { cutModules } from "../../src/rpm/modules.ts";
import { formatNevra, Primary } from "../../src/rpm/primary.ts";
import { parseRepomd } from "../../src/rpm/repomd.ts";
import { cutUpdateinfo, forEachAdvisory } from "../../src/rpm/updateinfo.ts";
import { sliceBlocks } from "../../src/rpm/xml-blocks.ts";
import { expected, RPM_FIXTURES, withLargeFixtures } from "../fixtures/rpm-files.ts";

const all = readdirSync(RPM_FIXTURES, { recursive: true, encoding: "utf8" }).sort();
/** Opens a file in any codec; undefined for what is none (zchunk) or damaged on purpose. */
async function open(path: string): Promise<Buffer | undefined> {
  return decompress(readFileSync(path), { name: path, maxBytes: 1 << 28 }).catch((error: unknown) => {
    if (error instanceof AirferryError) return undefined;
    throw error;
  });
}

t.test("every repomd.xml of the fixtures is read or refused with a reason", async (t) => {
  let read = 0;
  let packages = 0;
  const refused: string[] = [];
  for (const path of all.filter((it) => it.endsWith("repomd.xml"))) {
    const file = join(RPM_FIXTURES, path);
    try {
      const { records } = parseRepomd(readFileSync(file), path);
      read++;
      const record = records.find((it) => it.type === "primary");
      const primary = join(dirname(dirname(file)), record?.href ?? "");
      const bytes = existsSync(primary) ? await open(primary) : undefined;
      if (bytes === undefined) continue;
      const parsed = await Primary.read(bytes, path);
      for (const it of parsed.packages) {
        parsed.details(it);
        for (const kind of ["requires", "provides", "obsoletes"] as const) parsed.relations(it, kind);
        const block = parsed.block(it).toString();
        if (!/^<package[\s>][\s\S]*<\/package>$/.test(block)) t.fail(`${path}: ${formatNevra(it)}: not one block`);
        packages++;
      }
    } catch (error) {
      if (!(error instanceof AirferryError)) throw error;
      t.equal(error.code, "ERR_UPSTREAM_INVALID", `${path}: ${error.message}`);
      refused.push(path);
    }
  }
  t.ok(read >= expected(60, 4), `${read} read`);
  t.ok(packages > expected(18_000, 30), `${packages} packages`);
  t.ok(refused.length >= expected(1, 0) && refused.length < 25, `${refused.length} refused: ${refused.join(", ")}`);
});

t.test("a dialect without rpm: prefixes is read by the real parser", withLargeFixtures, async (t) => {
  const path = join(RPM_FIXTURES, "bazeldnf/testdata/libvirt-devel-el8.xml");
  const parsed = await Primary.read(readFileSync(path), path);
  t.equal(parsed.packages.length, 598);
  const withRequires = parsed.packages.filter((it) => parsed.relations(it, "requires").length > 0);
  t.ok(withRequires.length > 300, `${withRequires.length} have dependencies`);
});

t.test("every modules.yaml is read; kept documents are upstream's bytes", async (t) => {
  let documents = 0;
  for (const path of all.filter((it) => /modules[^/]*\.yaml(\.\w+)?$/.test(it) && !it.includes("libmodulemd"))) {
    const bytes = await open(join(RPM_FIXTURES, path));
    if (bytes === undefined) continue;
    try {
      const parsed = parseModules(bytes, path);
      documents += parsed.length;
      const text = bytes.toString();
      for (const it of parsed) {
        const body = it.text.replace(/^---\n?/, "").trimEnd();
        if (!text.includes(body)) t.fail(`${path}: ${it.module}: not verbatim`);
      }
      const every = new Set(parsed.flatMap((it) => it.artifacts));
      const kept = cutModules(parsed, every);
      if (every.size > 0 && kept !== undefined) {
        const again = parseModules(Buffer.from(kept), path);
        t.ok(again.length <= parsed.length && again.length > 0, `${path}: ${again.length} of ${parsed.length}`);
      }
      t.equal(cutModules(parsed, new Set()), undefined, `${path}: nothing shipped, nothing kept`);
    } catch (error) {
      if (!(error instanceof AirferryError)) throw error;
      t.equal(error.code, "ERR_UPSTREAM_INVALID", `${path}: ${error.message}`);
    }
  }
  t.ok(documents > expected(500, 5), `${documents} documents`);
});

t.test("comps and advisories are cut without touching what stays", async (t) => {
  let seen = 0;
  for (const path of all.filter((it) => /comps[^/]*\.xml(\.gz|\.xz)?$/.test(it))) {
    const bytes = await open(join(RPM_FIXTURES, path));
    if (bytes === undefined) continue;
    const whole = await readComps(bytes, path);
    t.same(await readComps(await cutComps(bytes, path, () => true), path), whole, `${path}: all shipped, nothing cut`);
    const half = await readComps(await cutComps(bytes, path, (name) => name < "m"), path);
    t.ok(half.groups.every((it) => it.members.every((member) => member.name < "m")));
    const groups = new Set(half.groups.map((it) => it.id));
    const known = new Set(whole.groups.map((it) => it.id));
    t.ok(half.environments.every((it) => it.groups.every((id) => groups.has(id) || !known.has(id))));
    seen++;
  }
  t.ok(seen > expected(20, 0), `${seen} comps files`);
  let advisories = 0;
  for (const path of all.filter((it) => /updateinfo[^/]*\.xml(\.gz)?$/.test(it))) {
    const bytes = await open(join(RPM_FIXTURES, path));
    if (bytes === undefined) continue;
    try {
      const ids: string[] = [];
      await forEachAdvisory(bytes, path, (it) => {
        ids.push(it.id);
      });
      const again: string[] = [];
      const cut = await cutUpdateinfo(bytes, path, () => true);
      if (cut) await forEachAdvisory(cut, path, (it) => again.push(it.id));
      t.ok(again.every((id) => ids.includes(id)));
      advisories += ids.length;
    } catch (error) {
      if (!(error instanceof AirferryError)) throw error;
    }
  }
  t.ok(advisories > expected(30, 3), `${advisories} advisories`);
});

t.test("blocks are the same whatever the pieces", async (t) => {
  const text =
    '<?xml version="1.0"?>\n<r xmlns="x" packages="2">\n<package a="1">é</package>\n<package>\n</package>\n</r>\n';
  const bytes = Buffer.from(text);
  const cutAt = async (size: number) => {
    const pieces: Buffer[] = [];
    for (let at = 0; at < bytes.length; at += size) pieces.push(bytes.subarray(at, at + size));
    const found: string[] = [];
    await sliceBlocks(pieces, "package", "x", (block, offset) => {
      found.push(`${offset} ${block}`);
      t.equal(bytes.subarray(offset, offset + block.length).compare(block), 0);
    });
    return found;
  };
  const whole = await cutAt(bytes.length);
  t.same(whole.length, 2);
  for (const size of [1, 2, 7, 64]) t.same(await cutAt(size), whole, `pieces of ${size}`);
  for (const bad of [text.slice(0, -6), text.replace("</package>\n<", "<"), `${text}<x/>`, "<r><package></r>", ""]) {
    await t.rejects(
      sliceBlocks([Buffer.from(bad)], "package", "x", () => {}),
      { code: "ERR_UPSTREAM_INVALID" },
      bad,
    );
  }
  t.same((await sliceBlocks([Buffer.from("<r packages='0'/>")], "package", "x", () => {})).root, "r");
  t.ok(gzipSync(bytes).length > 0);
});

const RICH = new Map<string, number[][] | undefined>([
  ["(a or b)", [[1, 2]]],
  ["(a and b)", [[1], [2]]],
  ["(a if b)", [[-2, 1]]],
  [
    "(a if b else c)",
    [
      [-2, 1],
      [2, 3],
    ],
  ],
  ["(a unless b)", [[1], [-2]]],
  [
    "(a if (b or c))",
    [
      [-2, 1],
      [-3, 1],
    ],
  ],
  ["(a if (b and c))", [[-3, -2, 1]]],
  ["((a or b) and c)", [[1, 2], [3]]],
  ["(ab with b)", [[12]]],
  ["(ab without b)", [[1]]],
  ["(a >= 1.0-1 or perl(X::Y))", [[1, 9]]],
  ["(a or)", undefined],
  ["(a and b or c)", undefined],
  ["(a b)", undefined],
  ["(a", undefined],
]);

t.test("rich dependencies become clauses", async (t) => {
  const ids: Record<string, number[]> = { a: [0], b: [1], c: [2], ab: [0, 11], "perl(X::Y)": [8] };
  ids.b = [1];
  for (const [text, expected] of RICH) {
    const parsed = parseRich(text);
    const provides = text.includes("with") ? { ...ids, b: [1, 11] } : ids;
    const clauses = parsed && clausesOf(parsed, (it) => (provides as Record<string, number[]>)[it.name] ?? []);
    t.same(clauses, expected, text);
  }
  t.same(
    relationsIn(parseRich("(a if (b >= 1 or c))") as Dependency).map((it) => it.name),
    ["a", "b", "c"],
  );
  t.equal(parseRich(`${"(".repeat(50)}a${")".repeat(50)}`), undefined, "too deep");
});
