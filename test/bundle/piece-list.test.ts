import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { checkPieceList, needsPieceList, PieceList, readingFile, writePieceList } from "../../src/bundle/piece-list.ts";
import { digestOf } from "../../src/io/digest.ts";
import { HashPool } from "../../src/io/hash-pool.ts";
import { unpack } from "../../src/unpack.ts";
import { verify } from "../../src/verify.ts";
import { makeBundle, makeKey, noise, piecesFile } from "../fixtures/bundle-maker.ts";

const MIB = 1024 * 1024;
const dir = t.testdir();
const contents = [noise(MIB, 1), noise(MIB + 1, 2), noise(3 * MIB, 3), noise(2 * MIB + 77, 4), noise(9, 5)];
const entries = contents.map((it) => ({ digest: digestOf(it), size: it.length }));
const right = piecesFile(contents) as Buffer;

/** What the hash threads make of some content. */
async function piecesOf(bytes: Buffer): Promise<Uint8Array> {
  const file = join(dir, "content");
  writeFileSync(file, bytes);
  const pool = new HashPool(1);
  try {
    const hasher = pool.openPieces();
    // Cut where no piece ends.
    const cut = Math.min(700_001, bytes.length);
    await hasher.advance({ file, offset: 0, length: cut });
    await hasher.advance({ file, offset: cut, length: bytes.length - cut });
    return await hasher.pieces();
  } finally {
    await pool.close();
  }
}

t.test("writePieceList() writes what docs/format.md says, and checkPieceList() takes exactly that", async (t) => {
  const lists = new Map<string, Uint8Array>();
  for (const it of contents) lists.set(digestOf(it), await piecesOf(it));
  const written = await writePieceList(dir, [...entries, ...entries], (it) => lists.get(it) as Uint8Array);
  const file = join(dir, "data.pieces");
  t.same(readFileSync(file), right);
  t.same(written, { name: "data.pieces", digest: digestOf(right) });
  await checkPieceList(file, digestOf(right), entries);
  const list = new PieceList(entries, readingFile(file));
  for (const [index, it] of contents.entries()) {
    const expected = it.length > MIB ? lists.get(digestOf(it)) : undefined;
    const found = await list.of(digestOf(it));
    t.same(found && Buffer.from(found), expected && Buffer.from(expected), `entry ${index}`);
  }
});

t.test("entries of at most 1 MiB need no list", async (t) => {
  t.notOk(needsPieceList([{ digest: digestOf("x"), size: MIB }]));
  t.ok(needsPieceList(entries));
  t.equal(await writePieceList(dir, entries.slice(0, 1), () => new Uint8Array()), undefined);
});

t.test("verify() and unpack() refuse a signed list that does not belong to the entries", async (t) => {
  const key = makeKey();
  writeFileSync(join(dir, "key.pub"), key.pem);
  const trust = [join(dir, "key.pub")];
  const files = { "files/a": contents[3] as Buffer, "files/b": contents[4] as Buffer };
  const small = { "files/b": contents[4] as Buffer };
  const spoiled = (at: number) => (bytes: Buffer | undefined) => {
    const copy = Buffer.from(bytes as Buffer);
    copy[at] = (copy[at] as number) ^ 1;
    return copy;
  };
  const cases: [string, Record<string, Buffer>, (bytes: Buffer | undefined) => Buffer | undefined][] = [
    ["none, though an entry is above 1 MiB", files, () => undefined],
    ["empty", files, () => Buffer.alloc(0)],
    ["one, though no entry is above 1 MiB", small, () => piecesFile([contents[3] as Buffer])],
    ["another digest", files, spoiled(0)],
    ["another size", files, spoiled(39)],
    ["one digest too few", files, (it) => it?.subarray(0, -32)],
    ["a byte too many", files, (it) => Buffer.concat([it as Buffer, Buffer.alloc(1)])],
    ["a record too many", files, (it) => Buffer.concat([it as Buffer, it as Buffer])],
  ];
  for (const [index, [what, content, spoilPieces]] of cases.entries()) {
    const bundle = join(dir, `bundle-${index}`);
    mkdirSync(bundle);
    makeBundle(bundle, { files: content, keys: [key], spoilPieces });
    const report = await verify([bundle], { trust });
    t.match(report.problems, [{ code: "ERR_BUNDLE_INVALID", path: "data.pieces" }], what);
    t.equal(report.problems.length, 1, what);
    await t.rejects(unpack([bundle], { trust, store: join(dir, "store") }), { code: "ERR_BUNDLE_INVALID" }, what);
  }
});

t.test("a list of more than a read is checked in all of it", async (t) => {
  const many = Array.from({ length: 20_000 }, (_, index) => ({ digest: digestOf(String(index)), size: MIB + 1 }));
  await writePieceList(dir, many, () => new Uint8Array(64));
  const file = join(dir, "data.pieces");
  const bytes = readFileSync(file);
  await checkPieceList(file, digestOf(bytes), many);
  const last = bytes.length - 104;
  bytes[last] = (bytes[last] as number) ^ 1;
  writeFileSync(file, bytes);
  await t.rejects(checkPieceList(file, digestOf(bytes), many), {
    code: "ERR_BUNDLE_INVALID",
    message: /at byte 2079896/,
  });
});
