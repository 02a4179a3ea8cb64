/** RPM headers: every package of the fixtures beside rpm itself, and what a hostile header gets. */
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import t from "tap";
import { AirferryError } from "../../src/errors.ts";
import { archiveSizeOf, decodeText, isSourcePackage, readRpmFile } from "../../src/rpm/header.ts";
import { packageInfoOf } from "../../src/rpm/package-info.ts";
import { formatPackageXml } from "../../src/rpm/package-xml.ts";
import { needs } from "../fixtures/clients.ts";
import {
  expected,
  fixtureRpms,
  inMemory,
  int32,
  MINIMAL,
  makeHeader,
  makeRpm,
  REGION,
  RPM_FIXTURES,
  readFixture,
  text,
  texts,
  withRegion,
} from "../fixtures/rpm-files.ts";
import { mutated, seeded } from "../fixtures/seeded.ts";

const QUERY = [
  "%{NAME}",
  "%{EPOCHNUM}",
  "%{VERSION}",
  "%{RELEASE}",
  "%{ARCH}",
  "%{LONGSIZE}",
  "%{LONGARCHIVESIZE}",
  "%{BUILDTIME}",
  "%{MODULARITYLABEL}",
  "[%{FILENAMES};]",
  "[%{PROVIDENAME};]",
  "[%{REQUIRENAME} %{REQUIREFLAGS} %{REQUIREVERSION};]",
  "[%{CHANGELOGTIME};]",
].join("\\t");

t.test("readRpmFile() reads what rpm reads from every package", async (t) => {
  if (!needs(t, "rpm")) return;
  const paths = fixtureRpms();
  t.ok(paths.length > expected(590, 100), `${paths.length} packages`);
  const files = paths.map((it) => join(RPM_FIXTURES, it));
  const options = ["-qp", "--nosignature", "--nodigest", "--qf", `${QUERY}\\n`];
  const asked = spawnSync("rpm", [...options, ...files], {
    encoding: "latin1",
    env: { ...process.env, LC_ALL: "C" },
    maxBuffer: 1 << 26,
  });
  const answers = asked.stdout.split("\n").slice(0, -1);
  t.equal(answers.length, paths.length, asked.stderr);
  for (const [i, path] of paths.entries()) {
    const file = await readRpmFile(inMemory(readFixture(path)), path);
    const { header } = file;
    const info = packageInfoOf(file);
    const listed = (values: readonly (string | number)[]) => values.map((it) => `${it};`).join("") || "(none)";
    const flags = header.numbers(1048);
    const versions = header.strings(1050);
    const requires = header.strings(1049).map((name, at) => `${name} ${flags[at]} ${versions[at]}`);
    const ours = [
      info.name,
      info.epoch,
      info.version,
      info.release,
      header.string(1022) ?? "(none)",
      info.installedSize,
      archiveSizeOf(file) || "(none)",
      info.buildTime,
      info.modularityLabel ?? "(none)",
      listed(info.files.map((it) => it.path)),
      listed(header.strings(1047)),
      listed(requires),
      listed(header.numbers(1080)),
    ];
    // What is no UTF-8 is taken for ISO 8859-1, as rpm hands it out: bytes.
    const theirs = decodeText(Buffer.from(answers[i] as string, "latin1")).split("\t");
    const isEmpty = (value: unknown) => value === "(none)" || value === "0" || value === 0 || value === "";
    for (const [at, value] of ours.entries()) {
      if (isEmpty(value) && isEmpty(theirs[at])) continue;
      if (String(value) !== theirs[at]) t.equal(String(value), theirs[at], `${path}, field ${at}`);
    }
  }
});

t.test("readRpmFile() takes what is right", async (t) => {
  const plain = await readRpmFile(inMemory(makeRpm()), "made.rpm");
  t.equal(plain.header.string(1000), "ferry");
  t.equal(plain.headerEnd, makeRpm().length - "payload".length);
  t.notOk(isSourcePackage(plain));
  const region = withRegion(REGION(MINIMAL.length + 1), MINIMAL);
  t.equal((await readRpmFile(inMemory(makeRpm({ header: region })), "region.rpm")).header.string(1022), "noarch");
  const source = makeHeader(MINIMAL.filter((it) => it.tag !== 1044));
  t.ok(isSourcePackage(await readRpmFile(inMemory(makeRpm({ header: source })), "src.rpm")));
});

t.test("readRpmFile() refuses hostile headers, and says where", async (t) => {
  const good = makeRpm();
  const bad = new Map<string, [Buffer, RegExp]>([
    ["nothing", [Buffer.alloc(0), /ends early, at byte 0/]],
    ["a lead cut off", [good.subarray(0, 95), /ends early/]],
    ["a signature header cut off", [good.subarray(0, 110), /ends early/]],
    ["a header cut off", [good.subarray(0, good.length - 20), /ends early/]],
    ["no RPM", [Buffer.from("<html>".padEnd(200)), /not an RPM package/]],
    ["a lead of the future", [makeRpm({ leadVersion: 9 }), /unknown package version 9/]],
    ["four billion entries", [makeRpm({ header: makeHeader(MINIMAL, { entries: 0xffffffff }) }), /4294967295 entries/]],
    [
      "65,535 entries that are not there",
      [makeRpm({ header: makeHeader(MINIMAL, { entries: 65_535 }) }), /ends early/],
    ],
    ["no entries", [makeRpm({ header: makeHeader([]) }), /0 entries/]],
    [
      "four billion bytes",
      [makeRpm({ header: makeHeader(MINIMAL, { data: 0xffffffff }) }), /4294967295 bytes of data/],
    ],
    ["60 MB that are not there", [makeRpm({ header: makeHeader(MINIMAL, { data: 60_000_000 }) }), /ends early/]],
    [
      "a huge signature header",
      [makeRpm({ signature: makeHeader([], { entries: 2000 }) }), /2000 entries in the signature/],
    ],
    [
      "an unknown type",
      [makeRpm({ header: makeHeader([{ tag: 1000, type: 10, count: 1 }]) }), /unknown type 10 in tag 1000/],
    ],
    [
      "no values",
      [makeRpm({ header: makeHeader([...MINIMAL, { tag: 1009, type: 4, count: 0 }]) }), /no values in tag 1009/],
    ],
    [
      "an offset outside",
      [makeRpm({ header: makeHeader([...MINIMAL, { ...int32(1009, 1), offset: 1 << 28 }]) }), /outside the data/],
    ],
    [
      "a count outside",
      [makeRpm({ header: makeHeader([...MINIMAL, { ...int32(1009, 1), count: 100 }]) }), /outside the data/],
    ],
    [
      "a count that overflows",
      [makeRpm({ header: makeHeader([...MINIMAL, { ...int32(1009, 1), count: 0x40000001 }]) }), /outside the data/],
    ],
    [
      "a misaligned number",
      [makeRpm({ header: makeHeader([...MINIMAL, { ...int32(1009, 1), offset: 1 }]) }), /misaligned/],
    ],
    [
      "a string without end",
      [
        makeRpm({ header: makeHeader([{ tag: 1000, type: 6, count: 1, data: Buffer.from("x") }]) }),
        /string without end/,
      ],
    ],
    [
      "strings that run out",
      [makeRpm({ header: makeHeader([{ ...texts(1117, ["a", "b"]), count: 3 }]) }), /string without end/],
    ],
    [
      "a string that is two",
      [makeRpm({ header: makeHeader([{ ...text(1000, "a\0b"), count: 2 }]) }), /string with a count/],
    ],
    ["a tag twice", [makeRpm({ header: makeHeader([...MINIMAL, text(1000, "other")]) }), /tag 1000 twice/]],
    [
      "entries outside the region",
      [makeRpm({ header: withRegion(REGION(2, { entries: 2 }), MINIMAL) }), /not the whole header/],
    ],
    [
      "a region of another tag",
      [makeRpm({ header: withRegion(REGION(MINIMAL.length + 1, { tag: 62 }), MINIMAL) }), /not the whole header/],
    ],
    [
      "a region in the middle",
      [makeRpm({ header: makeHeader([...MINIMAL, REGION(MINIMAL.length + 1)]) }), /malformed region/],
    ],
    [
      "a region that is no bytes",
      [makeRpm({ header: makeHeader([text(63, "x"), ...MINIMAL]) }), /region of the wrong type/],
    ],
  ]);
  for (const [what, [bytes, fault]] of bad) {
    const source = inMemory(bytes);
    await t.rejects(
      readRpmFile(source, "bad.rpm"),
      { code: "ERR_UPSTREAM_INVALID", path: "bad.rpm", message: fault },
      what,
    );
    t.ok(source.asked <= 4 * 65_536, `${what}: asked for ${source.asked} bytes`);
  }
});

t.test("readRpmFile() survives ten thousand damaged headers", async (t) => {
  const random = seeded(20260722);
  const packages = [makeRpm(), makeRpm({ header: withRegion(REGION(MINIMAL.length + 1), MINIMAL) })];
  const real = fixtureRpms().filter((it) => /time-1.7-45|basic-2.3.4-5.el9.noarch|iso88591|empty-signed-rsa/.test(it));
  for (const path of real) {
    const bytes = readFixture(path);
    packages.push(bytes.subarray(0, (await readRpmFile(inMemory(bytes), path)).headerEnd + 16));
  }
  const outcomes = { read: 0, refused: 0 };
  for (let i = 0; i < 10_000; i++) {
    let bytes = packages[i % packages.length] as Buffer;
    for (let changes = 1 + random(3); changes > 0; changes--) bytes = mutated(bytes, random);
    if (random(20) === 0) bytes = bytes.subarray(0, random(bytes.length));
    try {
      const info = packageInfoOf(await readRpmFile(inMemory(bytes), "fuzz.rpm"));
      formatPackageXml(info, { digest: `sha256:${"0".repeat(64)}`, href: "fuzz.rpm", fileTime: 0 });
      outcomes.read++;
    } catch (error) {
      if (!(error instanceof AirferryError && error.code === "ERR_UPSTREAM_INVALID")) {
        t.fail(`change ${i}`, { error });
        return;
      }
      outcomes.refused++;
    }
  }
  t.ok(outcomes.read > 1000 && outcomes.refused > 1000, JSON.stringify(outcomes));
});
