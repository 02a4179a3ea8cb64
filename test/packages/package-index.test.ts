import t from "tap";
import { IndexWriter } from "../../src/packages/index-file.ts";
import { PackageIndex } from "../../src/packages/package-index.ts";
import type { IndexSource } from "../../src/packages/types.ts";

const RELEASE = `sha256:${"1".repeat(64)}` as const;

function sourceOf(bytes: Buffer): IndexSource & { read: number } {
  return {
    size: bytes.length,
    read: 0,
    async fill(target, position) {
      this.read += target.length;
      if (bytes.copy(target, 0, position, position + target.length) < target.length) throw new Error("too short");
    },
  };
}

const one = (name: string, more: object = {}) => ({
  name,
  evr: "1.0-1.el9",
  arch: "x86_64",
  summary: `The ${name} program`,
  href: `Packages/${name}.rpm`,
  size: 10,
  provides: [name, `${name}(x86_64)`],
  ...more,
});

function indexOf(packages: readonly ReturnType<typeof one>[], others: readonly ReturnType<typeof one>[] = []): Buffer {
  const writer = new IndexWriter(RELEASE);
  for (const it of packages) writer.add(it);
  writer.end("rpms/a/");
  writer.end("rpms/empty/");
  for (const it of others) writer.add(it);
  writer.end("isos/dvd/BaseOS/");
  return writer.finish();
}

async function open(bytes: Buffer): Promise<PackageIndex> {
  const index = await PackageIndex.open(sourceOf(bytes), RELEASE);
  if (index === undefined) throw new Error("not an index");
  return index;
}

async function names(index: PackageIndex, query: string, path?: string): Promise<string[]> {
  return (await index.read((await index.search(query, path)).rows)).map((it) => it.name);
}

t.test("search() finds by name, version, summary and what is provided, the best first", async (t) => {
  const index = await open(
    indexOf([
      one("zlib"),
      one("kubeadm", { evr: "1:1.33.4-150500.1", summary: "Tool of the kubelet's friends" }),
      one("kubelet", { summary: "Node agent", provides: ["kubelet", "config(kubelet)", "libfoo.so.3()(64bit)"] }),
      one("kubelet-tools", { summary: "Ümläut" }),
      one("ImageMagick", { summary: "<script>alert(1)</script>\n\tand\u202e more" }),
    ]),
  );
  const expected = new Map([
    ["kubelet", ["kubelet", "kubelet-tools", "kubeadm"]],
    ["KUBELET ", ["kubelet", "kubelet-tools", "kubeadm"]],
    ["elet-t", ["kubelet-tools"]],
    ["kubeadm-1.33.4", ["kubeadm"]],
    ["kubeadm-1:1.33.4-150500.1.x86_64", ["kubeadm"]],
    ["agent node", ["kubelet"]],
    ["agent nobody", []],
    ["libfoo.so.3()(64bit)", ["kubelet"]],
    ["config(", ["kubelet"]],
    ["imagemagick", ["ImageMagick"]],
    ["<script>", ["ImageMagick"]],
    ["ümläut", ["kubelet-tools"]],
    ["\u0000", []],
    ["   ", []],
    ["%", []],
  ]);
  for (const [query, found] of expected) t.strictSame(await names(index, query), found, JSON.stringify(query));
  const [magick] = await index.read([0]);
  t.equal(magick?.summary, "<script>alert(1)</script> and\u202e more", "on one line");
  t.equal((await index.read((await index.search("1.33.4")).rows))[0]?.evr, "1:1.33.4-150500.1");
});

t.test("search() does not take the numbers of rows for text", async (t) => {
  const index = await open(
    indexOf(Array.from({ length: 1300 }, (_, at) => one(`p${"q".repeat(at % 7)}`, { provides: ["!"] }))),
  );
  t.strictSame(await names(index, "z"), []);
  t.strictSame(await names(index, "0k:"), []);
  t.strictSame(await names(index, (1299).toString(36)), []);
});

t.test("list() and search() of one repository", async (t) => {
  const index = await open(indexOf([one("b"), one("a"), one("shared")], [one("shared"), one("c")]));
  t.strictSame(
    index.repositories.map(({ path, packages }) => [path, packages]),
    [
      ["rpms/a/", 3],
      ["rpms/empty/", 0],
      ["isos/dvd/BaseOS/", 2],
    ],
  );
  const listed = async (path: string, from: number, count: number) =>
    (await index.read(index.list(path, from, count))).map((it) => it.name);
  t.strictSame(await listed("rpms/a/", 0, 10), ["a", "b", "shared"]);
  t.strictSame(await listed("rpms/a/", 1, 1), ["b"]);
  t.strictSame(await listed("rpms/a/", 3, 1), []);
  t.strictSame(await listed("isos/dvd/BaseOS/", 0, 1), ["c"]);
  t.strictSame(await listed("rpms/none/", 0, 1), []);
  t.strictSame(
    (await index.search("shared")).rows.map((it) => index.repositoryOf(it).path),
    ["rpms/a/", "isos/dvd/BaseOS/"],
  );
  t.strictSame((await index.search("shared", "isos/dvd/BaseOS/")).rows, [4]);
  t.strictSame((await index.search("shared", "rpms/none/")).rows, []);
});

t.test(
  "search() looks for a thousand, those that begin with the word first, and reads no more than the index",
  async (t) => {
    const many = Array.from({ length: 20_000 }, (_, at) => one(`a-zebra-${at}`, { provides: [`cap-${at}(x)`] }));
    const source = sourceOf(indexOf([...many, one("zebra"), one("zebra-2")]));
    const index = await PackageIndex.open(source, RELEASE);
    source.read = 0;
    const { rows, more } = await index!.search("zebra");
    t.equal(rows.length, 1000);
    t.ok(more);
    t.strictSame(
      (await index!.read(rows.slice(0, 2))).map((it) => it.name),
      ["zebra", "zebra-2"],
    );
    source.read = 0;
    t.strictSame((await index!.search("no such package")).rows, []);
    t.ok(source.read < 2 * source.size, `${source.read} of ${source.size} bytes`);
    source.read = 0;
    t.strictSame((await index!.search("cap-19999(x)")).more, false);
  },
);

t.test("open() refuses what is damaged, cut, or of another release", async (t) => {
  const bytes = indexOf([one("a"), one("b")]);
  t.ok(await PackageIndex.open(sourceOf(bytes), RELEASE));
  t.equal(await PackageIndex.open(sourceOf(bytes), `sha256:${"2".repeat(64)}`), undefined);
  for (let at = 0; at < bytes.length; at++) {
    const damaged = Buffer.from(bytes);
    damaged[at]! ^= 1;
    const opened = await PackageIndex.open(sourceOf(damaged), RELEASE).catch(() => undefined);
    // A path or a count in the header is not covered by the digest of what follows it.
    if (at > bytes.indexOf(10)) t.equal(opened, undefined, `byte ${at}`);
  }
  for (const length of [0, 1, bytes.indexOf(10), bytes.length - 1]) {
    t.equal(await PackageIndex.open(sourceOf(bytes.subarray(0, length)), RELEASE), undefined, `${length} bytes`);
  }
});
