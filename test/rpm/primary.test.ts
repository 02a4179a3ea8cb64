/** primary.xml in memory: blocks as they are or compressed, and documents that come cut anywhere. */
import { randomBytes } from "node:crypto";
import t from "tap";
import { BlockStore } from "../../src/rpm/block-store.ts";
import { Primary } from "../../src/rpm/primary.ts";

const HEAD =
  '<?xml version="1.0" encoding="UTF-8"?>\n<metadata xmlns="http://linux.duke.edu/metadata/common" xmlns:rpm="http://linux.duke.edu/metadata/rpm" packages="3">\n';
const blockOf = (name: string, summary = "a summary") =>
  `<package type="rpm"><name>${name}</name><arch>noarch</arch><version epoch="0" ver="1" rel="2"/>` +
  `<checksum type="sha256" pkgid="YES">${"ab".repeat(32)}</checksum><summary>${summary}</summary>` +
  `<time file="1" build="7"/><size package="123" installed="1" archive="1"/><location href="p/${name}.rpm"/>` +
  "<format><rpm:sourcerpm>s.src.rpm</rpm:sourcerpm></format></package>";
const NAMES = ["alpha", "beta", "gämma"];
const DOCUMENT = Buffer.from(`${HEAD}${NAMES.map((it) => blockOf(it, `${it} ü 😀`)).join("\n")}\n</metadata>\n`);

async function* cut(bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

t.test("BlockStore gives back blocks of all sizes, plain or compressed", async (t) => {
  const sizes = [1, 100, 70_000, 256 * 1024, 256 * 1024 + 1, 1_000_000, 3];
  for (const plainBytes of [0, 300_000, 1e9]) {
    const store = new BlockStore(plainBytes);
    const blocks = sizes.flatMap((size) => [randomBytes(size), Buffer.alloc(size, `text ${size} `)]);
    const places = blocks.map((it) => store.add(it));
    store.close();
    for (const order of [places, [...places].reverse()]) {
      t.ok(order.every((it) => store.read(it).equals(blocks[places.indexOf(it)] as Buffer)));
    }
  }
});

t.test("Primary.read() reads the same from pieces of any size", async (t) => {
  const whole = await Primary.read(DOCUMENT, "r");
  t.strictSame(
    whole.packages.map((it) => it.name),
    NAMES,
  );
  for (const size of [1, 2, 3, 7, 64, 511, 1000]) {
    const pieced = await Primary.read(cut(DOCUMENT, size), "r", { plainBytes: 0 });
    t.strictSame(pieced.packages, whole.packages, `${size}`);
    t.ok(
      pieced.packages.every((it, index) => {
        const same = whole.packages[index];
        return same !== undefined && pieced.block(it).equals(whole.block(same));
      }),
    );
  }
});

t.test("Primary.read() refuses what is not UTF-8, however it is cut", async (t) => {
  for (const wrong of [[0xfc], [0xc3, 0x28], [0xe2, 0x82], [0xf0, 0x9f, 0x98]]) {
    const text = DOCUMENT.toString("latin1")
      .replace("a summary", "")
      .replace("alpha", `alpha${String.fromCharCode(...wrong)}`);
    for (const size of [1, 3, 64, 100_000])
      await t.rejects(Primary.read(cut(Buffer.from(text, "latin1"), size), "r"), { message: /not UTF-8/ });
  }
  const cutShort = Buffer.concat([DOCUMENT, Buffer.from([0xe2, 0x82])]);
  await t.rejects(Primary.read(cut(cutShort, 50), "r"), { code: "ERR_UPSTREAM_INVALID" });
});

t.test("Primary.read() keeps the details of packages without their blocks", async (t) => {
  const whole = await Primary.read(DOCUMENT, "r");
  const lean = await Primary.read(DOCUMENT, "r", { detailsOnly: true });
  t.ok(whole.hasBlocks);
  t.notOk(lean.hasBlocks);
  for (const [index, it] of whole.packages.entries()) {
    const same = lean.packages[index];
    t.strictSame(same && lean.details(same), whole.details(it), it.name);
  }
  const [first] = lean.packages;
  t.notMatch(first && lean.text(first), "summary");
  const bad = Buffer.from(DOCUMENT.toString().replace('package="123"', 'package="x"'));
  const read = await Primary.read(bad, "r", { detailsOnly: true });
  const [wrong] = read.packages;
  t.throws(() => wrong && read.details(wrong), { message: /no size of package alpha/ });
});
