/** XML in other encodings: what libxml2 reads is read, whole and in pieces; what nobody reads is refused by name. */
import t from "tap";
import { cutComps, readComps } from "../../src/rpm/comps.ts";
import { findInFilelists } from "../../src/rpm/filelists.ts";
import { Primary } from "../../src/rpm/primary.ts";
import { forEachAdvisory } from "../../src/rpm/updateinfo.ts";
import { parseXml } from "../../src/rpm/xml.ts";
import { sliceBlocks } from "../../src/rpm/xml-blocks.ts";
import { toUtf8, Utf8Converter } from "../../src/rpm/xml-encoding.ts";

type Encode = (text: string) => Buffer;

const latin1: Encode = (text) => Buffer.from(text, "latin1");
const utf16le: Encode = (text) => Buffer.from(text, "utf16le");
const utf16be: Encode = (text) => Buffer.from(text, "utf16le").swap16();
const utf8: Encode = (text) => Buffer.from(text);
/** Codes by character, for the single-byte encodings. */
const singleByte =
  (codes: Record<string, number>): Encode =>
  (text) =>
    Buffer.from([...text].map((it) => codes[it] ?? it.charCodeAt(0)));

const FORMS: [label: string, encode: Encode, word: string][] = [
  ["ISO-8859-1", latin1, "m\u00fcll"],
  ["iso-8859-1", latin1, "m\u00fcll\u0085"],
  ["latin1", latin1, "m\u00fcll"],
  ["UTF-16", (it) => utf16le(`\ufeff${it}`), "m\u00fcll\u{1f4e6}"],
  ["UTF-16", (it) => utf16be(`\ufeff${it}`), "m\u00fcll\u{1f4e6}"],
  ["UTF-16LE", utf16le, "m\u00fcll"],
  ["UTF-16BE", utf16be, "m\u00fcll"],
  ["windows-1252", singleByte({ "\u20ac": 0x80 }), "m\u00fcll\u20ac"],
  ["ISO-8859-15", singleByte({ "\u20ac": 0xa4 }), "m\u00fcll\u20ac"],
  ["ISO-8859-2", singleByte({ "\u0151": 0xf5 }), "k\u0151"],
  ["KOI8-R", singleByte({ "\u0430": 0xc1 }), "\u0430"],
  ["Shift_JIS", (it) => Buffer.from(it.replaceAll("\u3042", "\u0082\u00a0"), "latin1"), "\u3042"],
  ["US-ASCII", latin1, "mull"],
  ["UTF-8", (it) => utf8(`\ufeff${it}`), "m\u00fcll"],
  ["UTF-16", utf8, "m\u00fcll"],
  ["ISO-8859-1", (it) => utf8(`\ufeff${it}`), "m\u00fcll"],
];

const HASH = "0".repeat(64);
const declared = (label: string, text: string) => `<?xml version="1.0" encoding="${label}"?>\n${text}\n`;
const primaryOf = (word: string) =>
  `<metadata xmlns="http://linux.duke.edu/metadata/common" xmlns:rpm="http://linux.duke.edu/metadata/rpm" packages="1">
<package type="rpm"><name>${word}</name><arch>noarch</arch><version epoch="0" ver="1" rel="1"/>
<checksum type="sha256" pkgid="YES">${HASH}</checksum><time file="1" build="1"/><size package="9"/><location href="${word}.rpm"/>
<format><rpm:provides><rpm:entry name="lib(${word})"/></rpm:provides><file>/usr/${word}</file></format></package>
</metadata>`;
const filelistsOf = (word: string) =>
  `<filelists xmlns="http://linux.duke.edu/metadata/filelists" packages="1">
<package pkgid="${HASH}" name="x" arch="noarch"><file>/usr/${word}</file></package>
</filelists>`;

t.test("names, provides, locations and file lists in every encoding", async (t) => {
  for (const [label, encode, word] of FORMS) {
    const primary = await Primary.read(encode(declared(label, primaryOf(word))), label);
    const [entry] = primary.packages;
    if (!entry) throw new Error(label);
    t.equal(entry.name, word, label);
    t.equal(primary.details(entry).href, `${word}.rpm`, label);
    const bytes = (text: string) => Buffer.from(text).toString("latin1");
    t.equal(primary.relations(entry, "provides")[0]?.name, bytes(`lib(${word})`), label);
    t.match(primary.block(entry).toString(), `<name>${word}</name>`, `${label}: the block is UTF-8`);
    t.notMatch(primary.frame.head, /encoding="(?!utf-8)/i, `${label}: and its head says so`);
    const found: string[] = [];
    const path = bytes(`/usr/${word}`);
    const lists = encode(declared(label, filelistsOf(word)));
    await findInFilelists([lists], label, new Set([path]), (pkgid) => found.push(pkgid));
    t.same(found, [HASH], label);
  }
});

t.test("groups and advisories, and what is cut of them", async (t) => {
  for (const [label, encode, word] of FORMS) {
    const group = (name: string) =>
      `<group><id>${name}</id><name>${name}</name><packagelist><packagereq>${name}</packagereq></packagelist></group>`;
    const comps = encode(declared(label, `<comps>${group(word)}${group("other")}</comps>`));
    t.same(
      (await readComps(comps, label)).groups.map((it) => it.name),
      [word, "other"],
      label,
    );
    const cut = await cutComps(comps, label, (name) => name === word);
    t.equal(cut.toString(), declared("UTF-8", `<comps>${group(word)}</comps>`), label);
    const ids: string[] = [];
    const updates = encode(declared(label, `<updates><update type="security"><id>${word}</id></update></updates>`));
    await forEachAdvisory(updates, label, (it) => ids.push(it.id));
    t.same(ids, [word], label);
  }
});

t.test("pieces of any length give the same", async (t) => {
  for (const [label, encode, word] of FORMS) {
    const whole = encode(declared(label, filelistsOf(word.repeat(700))));
    const expected = toUtf8(whole, label);
    t.match(expected.toString(), word.repeat(700), label);
    for (const size of [1, 7, 1023, 1025]) {
      const converter = new Utf8Converter(label);
      const pieces: Buffer[] = [];
      for (let at = 0; at < whole.length; at += size) pieces.push(...converter.push(whole.subarray(at, at + size)));
      pieces.push(...converter.end());
      t.ok(Buffer.concat(pieces).equals(expected), `${label} by ${size}`);
    }
    let blocks = 0;
    await sliceBlocks([whole.subarray(0, 5), whole.subarray(5)], "package", label, () => blocks++);
    t.equal(blocks, 1, label);
  }
});

t.test("UTF-8 passes as it is", async (t) => {
  const bytes = Buffer.from(declared("utf-8", "<a/>"));
  t.equal(toUtf8(bytes, "x").buffer, bytes.buffer, "no copy");
  t.same(toUtf8(Buffer.alloc(0), "x"), Buffer.alloc(0));
});

t.test("what nobody reads is refused by name", async (t) => {
  const bad: [what: string, bytes: Buffer, message: RegExp][] = [
    ["UTF-32", Buffer.from([0, 0, 0, 0x3c, 0, 0, 0, 0x3f]), /UTF-32/],
    ["UTF-32 with a mark", Buffer.from([0xff, 0xfe, 0, 0, 0x3c, 0, 0, 0]), /UTF-32/],
    ["EBCDIC", Buffer.from([0x4c, 0x6f, 0xa7, 0x94]), /EBCDIC/],
    ["an unknown one", latin1(declared("nonsense-1", "<a/>")), /it is in nonsense-1: expected UTF-8/],
    ["one of browsers alone", latin1(declared("x-user-defined", "<a/>")), /x-user-defined/],
    ["no ASCII", latin1(declared("US-ASCII", "<a>\u00fc</a>")), /bytes that are invalid in its encoding/],
    [
      "half a character",
      Buffer.concat([utf16le("\ufeff<a/>"), Buffer.from([0x20])]),
      /bytes that are invalid in its encoding/,
    ],
  ];
  for (const [what, bytes, message] of bad) {
    t.throws(() => parseXml(bytes, "r: repomd.xml"), { code: "ERR_UPSTREAM_INVALID", message }, what);
  }
  const wrong = latin1(declared("UTF-8", primaryOf("m\u00fcll")));
  await t.rejects(Primary.read(wrong, "r: primary.xml"), { code: "ERR_UPSTREAM_INVALID", message: /not UTF-8/ });
});
