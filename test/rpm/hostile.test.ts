/** Metadata made to take long: what reads it takes time that grows with its size alone, or says that it is too much. */
import { type Test, test } from "tap";
import { documentOf, type MadePackage, packageBlock } from "../../scripts/fuzz-parts/solver/packages.ts";
import { type Closure, closureOf } from "../../src/rpm/closure.ts";
import type { ModuleDocument } from "../../src/rpm/modulemd.ts";
import { cutModules, ModuleIndex } from "../../src/rpm/modules.ts";
import { Pool } from "../../src/rpm/pool.ts";
import { Primary } from "../../src/rpm/primary.ts";
import { parseTreeinfo, rewriteTreeinfo } from "../../src/rpm/treeinfo.ts";

/** Each takes a tenth of it on a quiet machine; what grows with the square of the size takes minutes. */
const LIMIT_SECONDS = 8;

const many = <T>(count: number, make: (n: number) => T) => Array.from({ length: count }, (_it, n) => make(n));

/** Runs it, and holds the processor's time against the limit: other work on the machine does not count. */
async function soon<T>(t: Test, name: string, work: () => T | Promise<T>): Promise<T> {
  const before = process.cpuUsage();
  const value = await work();
  const { user, system } = process.cpuUsage(before);
  t.ok((user + system) / 1e6 < LIMIT_SECONDS, `${name}: ${((user + system) / 1e6).toFixed(2)} s`);
  return value;
}

const made = (name: string, sections: MadePackage["sections"] = {}, evr = "0:1-1", arch = "x86_64") =>
  packageBlock({ name, evr, arch, sections });

async function solved(t: Test, name: string, blocks: string[]): Promise<Closure> {
  const primary = await Primary.read(Buffer.from(documentOf(blocks)), "r");
  return soon(t, name, async () => {
    const pool = new Pool("x86_64");
    await pool.addRepository("r", primary);
    const request = { label: "app", candidates: pool.byName.get("app") ?? [] };
    return closureOf(pool, [request], { recommends: true, findFiles: async () => false });
  });
}

test("treeinfo of 20,000 lines", async (t) => {
  const texts = {
    variants: many(9_900, (n) => `[variant-v${n}]\nuid = v-${n}-x`),
    "one long section": [`[images-${"x".repeat(500_000)}]`, ...many(19_000, (n) => `k${n} = v`)],
    "names within names": many(6_000, (n) => `[variant-${"a-".repeat(n % 120)}${n}]\nk = v`),
  };
  for (const [name, lines] of Object.entries(texts)) {
    const text = ["[general]", "family = x", ...lines].join("\n");
    const { variants } = await soon(t, `${name} read`, () => parseTreeinfo(text, "t"));
    const places = new Map(variants.map((it, n) => [it.uid, n % 2 ? null : { repository: "x", packages: "y" }]));
    await soon(t, `${name} written`, () => rewriteTreeinfo(text, { variants: places }, "t"));
  }
  t.throws(() => parseTreeinfo(`[general]\n[variant-${"x".repeat(256)}]\n`, "t"), /a variant's name of over 255/);
});

function moduleOf(module: string, stream: string, version: number, needs: [string, string[]][]): ModuleDocument {
  const text = `---\nname: ${module}\nstream: "${stream}"\n`;
  const artifacts = [`${module}-0:${stream}.${version}-1.x86_64`];
  const requires = [new Map(needs)];
  const rest = { context: "c", arch: "x86_64", profiles: new Map(), format: 2, version: BigInt(version) };
  return { kind: "modulemd", text, module, stream, artifacts, requires, ...rest };
}

test("20,000 module documents", async (t) => {
  const byDefault = (module: string): ModuleDocument => ({
    ...moduleOf(module, "", 1, []),
    kind: "modulemd-defaults",
    defaultStream: "1",
  });
  const indexes: Record<string, ModuleDocument[]> = {
    "streams of one": many(20_000, (n) => moduleOf("a", `${n}`, 1, [["a", []]])),
    "versions of one": many(20_000, (n) => moduleOf("a", "1", n, [["b", ["-1"]]])),
    "defaults that need each other": many(10_000, (n) => [
      moduleOf(`a${n}`, "1", 1, [[`a${(n * 7) % 10_000}`, ["1"]]]),
      byDefault(`a${n}`),
    ]).flat(),
    "defaults that exclude each other": [
      ...many(8_000, (n) => [moduleOf(`a${n}`, "1", 1, [["z", [`${n}`]]]), byDefault(`a${n}`)]).flat(),
      ...many(4_000, (n) => moduleOf("z", `${n}`, 1, [])),
    ],
    "a chain": many(20_000, (n) => moduleOf(`a${n}`, "1", 1, [[`a${n + 1}`, []]])),
  };
  for (const [name, documents] of Object.entries(indexes)) {
    await soon(t, name, () => {
      const index = new ModuleIndex(documents);
      index.newestArtifacts();
      for (const { module } of documents) index.defaultStream(module);
      index.inactiveArtifacts(index.activate([]));
      return cutModules(documents, new Set(documents.map((it) => it.artifacts[0] as string)));
    });
  }
});

test("packages by the hundred thousand", async (t) => {
  const app = made("app", { requires: ["v"] });
  const all = await solved(t, "one provides a name in 100,000 versions", [
    app,
    made("b", { provides: many(100_000, (n) => `v = ${n}`) }),
  ]);
  t.equal(all.packages.length, 2);
  const each = await solved(t, "50,000 provide one name, and replace each other", [
    app,
    ...many(50_000, (n) => made(`p${n}`, { provides: ["v"], obsoletes: [`p${n + 1}`] })),
  ]);
  t.equal(each.packages.length, 2);
  const versions = await solved(t, "50,000 versions of one name", [
    made("app", { requires: ["p"] }),
    ...many(50_000, (n) => made("p", {}, `0:${n}-1`)),
  ]);
  t.equal(versions.packages.length, 2);
  const chain = await solved(t, "a chain of 5,000", [
    made("app", { requires: ["p0"] }),
    ...many(5_000, (n) => made(`p${n}`, { requires: [`p${(n + 1) % 5_000}`] })),
  ]);
  t.equal(chain.packages.length, 5_001);
  t.equal(Math.max(...[...chain.why.values()].map((it) => it.length)), 100, "reasons are cut");
  const weak = await solved(t, "5,000 that come in by themselves", [
    made("app"),
    ...many(5_000, (n) => made(`p${n}`, { supplements: [n === 0 ? "app" : `p${n - 1}`] })),
  ]);
  t.equal(weak.packages.length, 5_001);
});

test("expressions that explode are refused, all of them together too", async (t) => {
  const or = (n: number) => `(${many(40, (k) => `(v${(n + k) % 50} and v${(k + n + 1) % 50})`).join(" or ")})`;
  const closure = await solved(t, "500 of them", [
    made("app", { requires: many(500, or) }),
    ...many(1_000, (n) => made(`p${n}`, { provides: [`v${n % 50}`] })),
  ]);
  t.equal(closure.unresolved.length, 1);
});
