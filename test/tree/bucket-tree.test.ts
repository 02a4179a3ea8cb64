/** What airferry knows of a tree in a bucket: what is said before it is written, and in which order old objects go. */
import t, { type Test } from "tap";
import { digestOf } from "../../src/io/digest.ts";
import { Bucket } from "../../src/s3/bucket.ts";
import { parseS3Target } from "../../src/s3/s3-target.ts";
import { BucketTree } from "../../src/tree/bucket-tree.ts";
import { STEPS } from "../../src/tree/object-plan.ts";
import { digestOfPlan, type ObjectRecord } from "../../src/tree/object-record.ts";
import { needs } from "../fixtures/clients.ts";
import { scratch } from "../fixtures/program.ts";
import { startGateway } from "../fixtures/s3-gateway.ts";

const skip = !needs(t, "versitygw");
const gateway = skip ? undefined : await startGateway(scratch(t, "af-tree-state"));
t.teardown(() => gateway?.stop());
Object.assign(process.env, gateway?.env);
const NOTHING: ReadonlyMap<string, unknown> = new Map();

function record(key: string, step: number = STEPS.content): ObjectRecord {
  return { key, size: 1, digest: digestOf(key), step, headers: { contentType: "x".repeat(100) } };
}

async function opened(t: Test, prefix: string): Promise<BucketTree> {
  const tree = await BucketTree.open(parseS3Target(gateway?.name(prefix) ?? "", process.env, "tree"));
  t.teardown(() => tree.close());
  return tree;
}

async function keysOf({ bucket }: BucketTree): Promise<string[]> {
  const keys: string[] = [];
  for await (const { key } of bucket.list("")) keys.push(key);
  return keys;
}

t.test("more than a next run could list or read is refused before anything is written", { skip }, async (t) => {
  const tree = await opened(t, "large");
  const digest = digestOf("plan");
  const refused = (planned: ObjectRecord[], there: ReadonlySet<string>, message: RegExp) =>
    t.rejects(tree.begin(planned, digest, there), { code: "ERR_USAGE", message, hint: /--isos none/ });
  const names = Array.from({ length: 999_995 }, (_, it) => `${it}`);
  const planned = ["a", "b", "1"].map((it) => record(it));
  await refused(planned, new Set(names), /expected at most 1000000 with what is there, got 1000001/);
  const one = record("0");
  await refused(
    names.map((key) => ({ ...one, key })),
    new Set(),
    /expected a list of at most 268435456 bytes, got more/,
  );
  t.strictSame(await keysOf(tree), [".airferry/lock"]);
  await tree.begin(planned, digest, new Set(names.slice(1)));
});

t.test("a run that is tried again says once what it will write", { skip }, async (t) => {
  const tree = await opened(t, "again");
  const [first, second] = [[record("a"), record("b")], [record("a")]];
  for (const plan of [first, [...first].reverse(), second, second, first])
    await tree.begin(plan, digestOfPlan(plan), NOTHING);
  const lists = (await keysOf(tree)).filter((it) => it.startsWith(".airferry/lists/"));
  t.equal(lists.length, 3, "one more for each other plan");
});

t.test("what leads somewhere is removed first, and content a generation later", { skip }, async (t) => {
  const tree = await opened(t, "order");
  const removed: string[] = [];
  const { remove } = Bucket.prototype;
  t.intercept(Bucket.prototype, "remove", {
    value: function (this: Bucket, ...args: Parameters<typeof remove>) {
      removed.push(...args[0].filter((it) => !it.startsWith(".airferry/")));
      return remove.apply(this, args);
    },
  });
  // In the order of no step: what was right comes before what was written.
  const old = [
    record("index.html", STEPS.pages),
    record("file"),
    record("repomd.xml", STEPS.index),
    record("v1", STEPS.tags),
  ];
  const generations: [ObjectRecord[], string[]][] = [
    [old, []],
    [[record("next")], ["index.html", "v1", "repomd.xml"]],
    [[record("last")], ["file"]],
  ];
  const there = new Set<string>();
  for (const [plan, gone] of generations) {
    removed.length = 0;
    const digest = digestOfPlan(plan);
    await tree.begin(plan, digest, there);
    t.match(await tree.finish(plan, digest, there), { files: gone.length, bytes: gone.length });
    t.strictSame(removed, gone);
    for (const { key } of plan) there.add(key);
    for (const it of gone) there.delete(it);
  }
});
