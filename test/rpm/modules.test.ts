/** src/rpm/modules.ts, modulemd.ts and module-contexts.ts: which streams and contexts are active, and which documents a mirror keeps. */
import t from "tap";
import { parseModules } from "../../src/rpm/modulemd.ts";
import { cutModules, ModuleIndex, parseModuleSpec } from "../../src/rpm/modules.ts";

interface Build {
  id: string;
  version?: string;
  context?: string;
  requires?: string;
  format?: number;
}

function build({ id, version = "1", context = "c", requires = "", format = 2 }: Build): string {
  const [name, stream] = id.split(":");
  return `---
document: modulemd
version: ${format}
data:
  name: ${name}
  stream: "${stream}"
  version: ${version}
  context: ${context}
  arch: x86_64
  dependencies: [ { requires: { platform: [el8]${requires && `, ${requires}`} } } ]
  artifacts: { rpms: ["${name}-0:${stream}-${version}.${context}.x86_64"] }
...
`;
}

const fallback = (id: string) => `---
document: modulemd-defaults
version: 1
data: { module: ${id.split(":")[0]}, stream: "${id.split(":")[1]}" }
...
`;

const indexOf = (...texts: string[]) => new ModuleIndex(parseModules(Buffer.from(texts.join("")), "modules.yaml"));
const active = (index: ModuleIndex, ...specs: string[]) =>
  [...index.activeArtifacts(index.activate(specs.map(parseModuleSpec)))].sort();

const PERL = [
  build({ id: "perl:5.24", context: "a" }),
  build({ id: "perl:5.26", context: "b" }),
  build({ id: "DBI:1", context: "a", requires: 'perl: ["5.24"]' }),
  build({ id: "DBI:1", context: "b", requires: 'perl: ["5.26"]' }),
  build({ id: "Pg:3", context: "a", requires: 'perl: ["5.24"], DBI: ["1"]' }),
  build({ id: "Pg:3", context: "b", requires: 'perl: ["5.26"], DBI: ["1"]' }),
];

t.test("of the builds of a stream that context counts which fits the streams of what it needs", async (t) => {
  const index = indexOf(...PERL, fallback("perl:5.26"), fallback("DBI:1"));
  t.same(active(index), ["DBI-0:1-1.b.x86_64", "perl-0:5.26-1.b.x86_64"], "defaults");
  const all = ["DBI-0:1-1.b.x86_64", "Pg-0:3-1.b.x86_64", "perl-0:5.26-1.b.x86_64"];
  t.same(active(index, "Pg:3"), all, "across modules");
  const older = ["DBI-0:1-1.a.x86_64", "perl-0:5.24-1.a.x86_64"];
  t.same(active(index, "perl:5.24"), older, "a selected stream goes before the default");
  t.same(active(index, "Pg:3", "perl:5.24"), active(index, "perl:5.24", "Pg:3"), "in any order");
});

t.test("a default stream that does not fit what is selected gives way", async (t) => {
  const index = indexOf(
    ...PERL.slice(0, 2),
    build({ id: "old:1", requires: 'perl: ["5.24"]' }),
    build({ id: "new:1", requires: 'perl: ["5.26"]' }),
    ...["perl:5.26", "new:1"].map(fallback),
  );
  t.same(active(index, "old:1"), ["old-0:1-1.c.x86_64", "perl-0:5.24-1.a.x86_64"], "with what needs it");
  t.throws(() => active(index, "old:1", "new:1"), {
    code: "ERR_UNRESOLVED",
    message: /different streams of one module/,
  });
  t.throws(() => active(index, "perl:5.24", "perl:5.26"), {
    code: "ERR_UNRESOLVED",
    message: /one stream of a module/,
  });
});

t.test("a stream that needs what nobody has cannot be selected, and is no default", async (t) => {
  const index = indexOf(build({ id: "a:1", requires: "absent: [x]" }), fallback("a:1"), build({ id: "b:1" }));
  t.same(active(index), []);
  t.throws(() => active(index, "a:1"), {
    code: "ERR_UNRESOLVED",
    message: /needs a module that no repository.*absent:x/s,
  });
});

t.test("all versions of a context are active; versions are whole numbers of 64 bits", async (t) => {
  const index = indexOf(
    build({ id: "a:1", version: "8030120210208205000" }),
    build({ id: "a:1", version: "8030120210208205200" }),
  );
  t.equal(active(index, "a:1").length, 2);
  t.same(
    index.newestBuilds("a", "1").map((it) => it.version),
    [8030120210208205200n],
  );
});

t.test("-stream takes any other; of format 3 contexts are what they are called", async (t) => {
  const index = indexOf(
    build({ id: "base:1" }),
    build({ id: "base:2" }),
    build({ id: "a:1", requires: 'base: ["-1"]' }),
    build({ id: "b:1", context: "x", format: 3 }),
    build({ id: "b:1", context: "y", format: 3 }),
  );
  t.same(active(index, "a:1"), ["a-0:1-1.c.x86_64", "base-0:2-1.c.x86_64"]);
  t.same(active(index, "b:1"), ["b-0:1-1.x.x86_64"]);
});

t.test("many modules that do not fit are an answer, not a search without end", async (t) => {
  const builds = Array.from({ length: 40 }, (_, n) =>
    ["x", "y"].map((it) => build({ id: `m${n}:1`, context: it, requires: `z: [${it}]` })),
  );
  const index = indexOf(
    ...builds.flat(),
    build({ id: "z:x" }),
    build({ id: "z:y" }),
    build({ id: "q:1", requires: "z: [n]" }),
  );
  const wanted = Array.from({ length: 40 }, (_, n) => `m${n}:1`);
  t.equal(active(index, ...wanted).length, 41);
  t.throws(() => active(index, ...wanted, "q:1"), { code: "ERR_UNRESOLVED" });
});

t.test("cutModules() keeps what kept builds need, though no package of that is carried", async (t) => {
  const documents = parseModules(Buffer.from([...PERL, fallback("perl:5.26"), fallback("DBI:1")].join("")), "m");
  const cut = cutModules(documents, new Set(["DBI-0:1-1.b.x86_64"])) ?? "";
  const kept = new ModuleIndex(parseModules(Buffer.from(cut), "m"));
  t.same([...kept.allArtifacts()].sort(), ["DBI-0:1-1.b.x86_64", "perl-0:5.26-1.b.x86_64"]);
  t.equal(kept.defaultStream("perl"), "5.26");
  t.equal(cutModules(documents, new Set()), undefined);
});

t.test("documents are cut at the next marker, whether `...` ends them or not", async (t) => {
  const texts = PERL.map((it) => it.replace(/\.\.\.\n$/, ""));
  const documents = parseModules(Buffer.from(texts.join("")), "m");
  t.same(
    documents.map((it) => it.text),
    texts,
  );
  const mixed = `# head\n${PERL[0]}ignored\n${texts[1]}`;
  t.same(
    parseModules(Buffer.from(mixed), "m").map((it) => it.text),
    [texts[0], texts[1]],
  );
});
