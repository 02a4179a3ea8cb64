/** Blobs are fetched once for all who read, and from memory where nothing can be written. */
import { hash } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { BlobFetcher } from "../../src/cache/blob-fetcher.ts";
import { BucketHealth } from "../../src/cache/bucket-health.ts";
import { CachedBlob } from "../../src/cache/cached-blob.ts";
import { ChunkFolder } from "../../src/cache/chunk-folder.ts";
import type { AskCache, BucketObjects } from "../../src/cache/types.ts";
import { digestOf } from "../../src/io/digest.ts";
import { PIECE_BYTES } from "../../src/io/piece-digests.ts";
import { noise } from "../fixtures/bundle-maker.ts";
import { scratch } from "../fixtures/program.ts";

const dir = scratch(t);
const bytes = noise(70 * PIECE_BYTES + 5, 1);
const digest = digestOf(bytes);
const list = Buffer.concat(
  Array.from({ length: 71 }, (_, at) =>
    hash("sha256", bytes.subarray(at * PIECE_BYTES, (at + 1) * PIECE_BYTES), "buffer"),
  ),
);

/** A cache over a bucket with this content, which answers in some parts. */
async function cacheOf(folder: string, content: Buffer) {
  const ranges: string[] = [];
  const told: unknown[] = [];
  const objects: BucketObjects = {
    name: "s3://bucket/store",
    read: async () => undefined,
    list: async () => [],
    stream: async () => undefined,
    receive: async (_, { start, end }, into) => {
      ranges.push(`${start / PIECE_BYTES}-${end / PIECE_BYTES}`);
      for (let at = start; at < Math.min(end, content.length); ) {
        const memory = into.memory();
        const count = Math.min(300_000, memory.length, end - at);
        memory.set(content.subarray(at, at + count));
        into.took(count);
        at += count;
        await new Promise((resolve) => setImmediate(resolve));
      }
      return content.length;
    },
    presign: async () => "",
    close: () => {},
  };
  const lists = { largeSize: async () => bytes.length, listsOf: async () => [list] };
  const chunks = new ChunkFolder(folder, 2 ** 40);
  const health = new BucketHealth(objects.name);
  const fetcher = new BlobFetcher(objects, chunks, lists, health, (error) => told.push(error));
  const ask: AskCache = async (order) => {
    if (order.kind === "pieces") await fetcher.bring(order.digest, order.first, order.count, order.ahead);
    if (order.kind === "discard") await chunks.discard(order.chunk);
    return undefined;
  };
  const { size, pieces } = await fetcher.open(digest);
  if (pieces === undefined) throw new Error("a large blob");
  const blob = () => new CachedBlob({ digest, size, pieces }, { dir: folder, ask });
  return { blob, ranges, told, fetcher };
}

async function readAll(blob: CachedBlob, begin = 0, end = blob.size): Promise<Buffer> {
  await blob.prepare(begin, end);
  const all = Buffer.alloc(end - begin);
  for (let at = begin; at < end; at += 700_000) {
    const part = all.subarray(at - begin, Math.min(at - begin + 700_000, all.length));
    await blob.fill(part, part.length, at);
  }
  return all;
}

t.test("readers of one blob share what is fetched, in large requests", async (t) => {
  const { blob, ranges } = await cacheOf(join(dir, "shared"), bytes);
  const one = blob();
  const all = await Promise.all([readAll(one), readAll(one), readAll(blob())]);
  for (const it of all) t.ok(it.equals(bytes));
  const pieces = ranges.flatMap((it) => {
    const [first = 0, end = 0] = it.split("-").map(Number);
    return Array.from({ length: Math.ceil(end) - first }, (_, at) => first + at);
  });
  t.equal(pieces.length, 71, "each piece once");
  // How many exactly depends on who is faster.
  t.ok(ranges.length <= 24, `${ranges.length} requests`);
});

t.test("nothing is fetched behind what somebody said to read", async (t) => {
  const { blob, fetcher } = await cacheOf(join(dir, "range"), bytes);
  const [begin, end] = [3 * PIECE_BYTES + 10, 20 * PIECE_BYTES + 10];
  t.ok((await readAll(blob(), begin, end)).equals(bytes.subarray(begin, end)));
  t.equal(fetcher.counts.misses, 18);
});

t.test("where nothing can be written content comes from memory, and that is told", async (t) => {
  const folder = join(dir, "unwritable");
  mkdirSync(folder);
  writeFileSync(join(folder, "blobs"), "a file in the place of the folder");
  const { blob, told } = await cacheOf(folder, bytes);
  const all = await Promise.all([readAll(blob()), readAll(blob())]);
  for (const it of all) t.ok(it.equals(bytes));
  t.match(told[0], { code: "ERR_IO" });
});

t.test("a piece that is not right is never read, others are", async (t) => {
  const altered = Buffer.from(bytes);
  altered[9 * PIECE_BYTES + 1] = ~(altered[9 * PIECE_BYTES + 1] ?? 0);
  const { blob, fetcher } = await cacheOf(join(dir, "altered"), altered);
  const target = Buffer.alloc(10 * PIECE_BYTES);
  await t.rejects(blob().fill(target, target.length, 0), { code: "ERR_STORE_INVALID", message: /piece 9/ });
  t.ok(target.subarray(0, 9 * PIECE_BYTES).equals(bytes.subarray(0, 9 * PIECE_BYTES)));
  t.ok(target.subarray(9 * PIECE_BYTES).every((it) => it === 0));
  t.equal((await readAll(blob(), 10 * PIECE_BYTES)).length, bytes.length - 10 * PIECE_BYTES);
  t.ok(fetcher.counts.refused >= 1);
});

t.test("an object that is too short ends the read", async (t) => {
  const { blob } = await cacheOf(join(dir, "short"), bytes.subarray(0, 12 * PIECE_BYTES + 9));
  await t.rejects(readAll(blob()), { code: "ERR_STORE_INVALID" });
});
