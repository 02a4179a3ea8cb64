/** src/bundle/small-items.ts: what follows each other in the stream is written at once, and told only when it is in place. */
import t from "tap";
import { type SmallItem, SmallItems } from "../../src/bundle/small-items.ts";
import { headerBytes, layOut } from "../../src/bundle/tar-layout.ts";
import { digestOf } from "../../src/io/digest.ts";
import { seededBytes } from "../fixtures/program.ts";

/** Items of these sizes one behind the other, and the stream that they make. */
function itemsOf(sizes: readonly number[]): { items: SmallItem[]; stream: Buffer } {
  const named = sizes.map((size, index) => ({
    path: `files/${"x".repeat(index * 40)}${index}`,
    size,
    mode: "0644" as const,
  }));
  const { places, streamSize } = layOut(named);
  const stream = Buffer.alloc(streamSize);
  const items = named.map((it, index) => {
    const item = { ...it, ...(places[index] as (typeof places)[number]) };
    const bytes = seededBytes(index + 1, it.size);
    headerBytes(item).copy(stream, item.headerOffset);
    stream.set(bytes, item.offset);
    return { index, item, bytes, digest: digestOf(bytes), journaled: true };
  });
  return { items, stream };
}

t.test("neighbours go in one write with header and padding, in whatever order they come", async (t) => {
  const { items, stream } = itemsOf([0, 1, 511, 512, 513, 20_000, 1024 * 1024]);
  const found = Buffer.alloc(stream.length);
  const writes: number[] = [];
  const told: string[] = [];
  const small = new SmallItems(
    async (position, bytes) => {
      writes.push(position);
      found.set(bytes, position);
    },
    async (written) => {
      told.push(...written.map((it) => it.item.path));
    },
  );
  const [first, second, third, ...rest] = items as [SmallItem, SmallItem, SmallItem, ...SmallItem[]];
  await small.add(third);
  await small.add(first);
  t.strictSame([writes, told], [[], []], "they wait for others");
  await small.flush();
  t.strictSame(writes, [first.item.headerOffset, third.item.headerOffset], "a gap lies between them");
  for (const it of rest.reverse()) await small.add(it);
  await small.add(second);
  await small.flush();
  t.strictSame(told.sort(), items.map((it) => it.item.path).sort());
  t.ok(found.equals(stream));
  t.ok(writes.length <= 5, `${writes.length} writes`);
});

t.test("they do not wait for ever, nor without bound", async (t) => {
  const { items } = itemsOf([100, 1024 * 1024]);
  let release = () => {};
  const written = new Promise<void>((resolve) => {
    release = resolve;
  });
  const small = new SmallItems(
    async () => release(),
    async () => {},
  );
  await small.add(items[0] as SmallItem);
  await written;
  const slow = itemsOf(Array.from({ length: 12 }, () => 1024 * 1024)).items;
  let open = () => {};
  const disk = new Promise<void>((resolve) => {
    open = resolve;
  });
  const behind = new SmallItems(
    () => disk,
    async () => {},
  );
  let taken = 0;
  const adding = (async () => {
    for (const it of slow) {
      await behind.add(it);
      taken++;
    }
  })();
  await new Promise((resolve) => setTimeout(resolve, 50));
  t.ok(taken < slow.length, `${taken} MiB were taken while nothing was written`);
  open();
  await adding;
  await behind.flush();
  t.equal(taken, slow.length);
});

t.test("what is not in place is never told, and the fault shows", async (t) => {
  const { items } = itemsOf([10, 20]);
  const fault = new Error("the disk is full");
  const told: SmallItem[] = [];
  const small = new SmallItems(
    () => Promise.reject(fault),
    async (written) => {
      told.push(...written);
    },
  );
  await small.add(items[0] as SmallItem);
  await t.rejects(small.flush(), fault);
  await t.rejects(small.add(items[1] as SmallItem), fault);
  await t.rejects(small.flush(), fault);
  t.strictSame(told, []);
});
