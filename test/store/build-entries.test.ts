/** What an earlier run left of an entry that is built, in any state, and sources in any. */
import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import t, { type Test } from "tap";
import { EntryTable } from "../../src/bundle/entry-table.ts";
import { formatRecipes } from "../../src/bundle/recipe-bytes.ts";
import { parseRecipes, type Recipe, type RecipeRange } from "../../src/bundle/recipe-list.ts";
import { digestOf } from "../../src/io/digest.ts";
import { HashPool } from "../../src/io/hash-pool.ts";
import { buildEntries, SourceDamage } from "../../src/store/build-entries.ts";
import { Committer } from "../../src/store/committer.ts";
import { Incoming } from "../../src/store/incoming.ts";
import { openStore, type Store } from "../../src/store/store.ts";
import { scratch, seededBytes } from "../fixtures/program.ts";

/** Larger than what is passed to a thread at a time, and than its buffers. */
const LARGE = seededBytes(1, 5_000_000);
const SMALL = seededBytes(2, 3000);

function put(store: Store, bytes: Buffer): string {
  const path = store.blobPath(digestOf(bytes));
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, bytes);
  return path;
}

/** A recipe of parts, and what it gives: zeros of a length, or a part of some content. */
async function recipeOf(parts: readonly (number | [of: Buffer, offset: number, length: number])[]) {
  const ranges = parts.map((it): RecipeRange => {
    if (typeof it === "number") return { offset: 0, length: it };
    const [of, offset, length] = it;
    return { source: { digest: digestOf(of), size: of.length }, offset, length };
  });
  const bytes = Buffer.concat(
    parts.map((it) => (typeof it === "number" ? Buffer.alloc(it) : it[0].subarray(it[1], it[1] + it[2]))),
  );
  const [digest, size] = [digestOf(bytes), bytes.length];
  const entries = EntryTable.from([{ path: "x", mode: "0644", size, digest, from: "recipe" }]);
  const parsed = await parseRecipes(formatRecipes([{ digest, size, ranges }]), entries);
  return { recipe: parsed.get(digest) as Recipe, bytes };
}

async function open(t: Test) {
  const store = await openStore(join(scratch(t), "st"), { create: true });
  const incoming = await Incoming.open(store.dir, digestOf("bundle"));
  const pool = new HashPool(1);
  t.teardown(() => pool.close());
  const counts = { progress: 0, written: 0 };
  const build = async (recipe: Recipe) => {
    const committer = new Committer(store.dir, () => {});
    counts.progress = counts.written = 0;
    await buildEntries([recipe], {
      store,
      incoming,
      committer,
      pool,
      own: new Map(),
      progress: (bytes) => {
        counts.progress += bytes;
      },
      written: (bytes) => {
        counts.written += bytes;
      },
    });
    await committer.finish();
  };
  return { store, incoming, build, counts };
}

t.test("an entry is built of many short and long ranges, at any places", async (t) => {
  const { store, build, counts } = await open(t);
  put(store, LARGE);
  put(store, SMALL);
  const short = Array.from({ length: 3000 }, (_, at): [Buffer, number, number] => [
    at % 2 === 0 ? SMALL : LARGE,
    at % 1000,
    1 + (at % 700),
  ]);
  const { recipe, bytes } = await recipeOf([
    7,
    [LARGE, 13, 4_900_000],
    ...Array.from({ length: 9000 }, (_, at): [Buffer, number, number] => [SMALL, (7 * at) % 3000, 1]),
    3_000_000,
    ...short,
    1,
    [SMALL, 0, 3000],
    [LARGE, 0, 5_000_000],
  ]);
  t.equal(recipe.lengthOf(0, 1), 7);
  t.equal(recipe.lengthOf(4_900_000, 4096), 7 + 4095, "of the range that it is in, only the rest");
  t.equal(recipe.lengthOf(bytes.length - 1, 9), 1);
  await build(recipe);
  t.ok(readFileSync(store.blobPath(recipe.digest)).equals(bytes));
  t.same(counts, { progress: bytes.length, written: bytes.length });
});

t.test("what an earlier run left is continued, and dropped where it is torn", async (t) => {
  const { store, incoming, build, counts } = await open(t);
  put(store, LARGE);
  const { recipe, bytes } = await recipeOf([[LARGE, 0, 4_000_000], 5000, [LARGE, 1_000_000, 3_500_001]]);
  const part = incoming.partFile(recipe.digest);
  const states: [string, Buffer, number][] = [
    ["nothing", bytes.subarray(0, 0), bytes.length],
    ["a byte", bytes.subarray(0, 1), bytes.length - 1],
    ["within zeros", bytes.subarray(0, 4_002_000), bytes.length - 4_002_000],
    ["all", bytes, 0],
    ["torn", Buffer.concat([bytes.subarray(0, 100_000), Buffer.alloc(50_000, 1)]), 2 * bytes.length - 150_000],
    ["too much", Buffer.concat([bytes, Buffer.from("more")]), bytes.length],
  ];
  for (const [name, left, written] of states) {
    writeFileSync(part, left);
    await build(recipe);
    t.ok(readFileSync(store.blobPath(recipe.digest)).equals(bytes), name);
    t.same(counts, { progress: bytes.length, written }, name);
    t.notOk(existsSync(part));
    rmSync(store.blobPath(recipe.digest), { force: true });
  }
});

t.test("sources that are damaged, short or gone are named; a recipe that lies names none", async (t) => {
  const { store, incoming, build } = await open(t);
  const damagedBy = async (recipe: Recipe) => {
    try {
      await build(recipe);
    } catch (error) {
      if (error instanceof SourceDamage) return error.damaged.map((it) => it.digest);
      throw error;
    }
    return undefined;
  };
  const { recipe } = await recipeOf([[LARGE, 0, 5_000_000], 10, [SMALL, 5, 100]]);
  const [large, small] = [put(store, LARGE), put(store, SMALL)];
  const wrong = Buffer.from(LARGE);
  wrong.writeUInt8((LARGE.readUInt8(2_000_000) + 1) % 256, 2_000_000);
  writeFileSync(large, wrong);
  t.same(await damagedBy(recipe), [digestOf(LARGE)]);
  t.notOk(existsSync(incoming.partFile(recipe.digest)), "wrong bytes are no beginning");
  truncateSync(large, 4_999_999);
  t.same(await damagedBy(recipe), [digestOf(LARGE)]);
  writeFileSync(large, LARGE);
  rmSync(small);
  t.same(await damagedBy(recipe), [digestOf(SMALL)]);
  mkdirSync(small);
  t.same(await damagedBy(recipe), [digestOf(SMALL)], "a folder in its place");
  rmSync(small, { recursive: true });
  writeFileSync(small, SMALL);
  // Damage outside of what is used does not matter.
  const { recipe: part } = await recipeOf([[LARGE, 0, 1_000_000]]);
  chmodSync(large, 0o644);
  writeFileSync(large, wrong);
  t.equal(await damagedBy(part), undefined);
  writeFileSync(large, LARGE);
  const { digest, size } = recipe;
  const lying = [{ source: { digest: digestOf(SMALL), size: SMALL.length }, offset: 0, length: 1 }];
  const rest = { offset: 0, length: size - 1 };
  const entries = EntryTable.from([{ path: "x", mode: "0644", size, digest, from: "recipe" }]);
  const parsed = await parseRecipes(formatRecipes([{ digest, size, ranges: [...lying, rest] }]), entries);
  t.same(await damagedBy(parsed.get(digest) as Recipe), []);
  t.equal(await damagedBy(recipe), undefined);
});
