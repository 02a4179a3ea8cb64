/** src/iso/iso-image.ts over images made in code: what it reads, and what it refuses with which offset. */
import t from "tap";
import { IsoImage } from "../../src/iso/iso-image.ts";
import {
  both32,
  CE,
  CL,
  descriptor,
  directory,
  dots,
  inMemory,
  makeIso,
  NM,
  PX,
  RE,
  type RecordSpec,
  record,
  SECTOR,
  SL,
  SP,
  seeded,
  susp,
  terminator,
} from "../fixtures/iso-maker.ts";

const FILE = Buffer.from("content of the file\n");
const file = (id: string, use?: Buffer, extra: Partial<RecordSpec> = {}): RecordSpec => ({
  id,
  block: 30,
  size: FILE.length,
  ...(use === undefined ? {} : { use }),
  ...extra,
});
const withFile = (more: [number, Buffer][] = []) => new Map<number, Buffer>([[30, FILE], ...more]);

async function listing(bytes: Buffer): Promise<string[]> {
  const image = await IsoImage.open(inMemory(bytes), "t.iso");
  const out: string[] = [];
  for await (const { entry, path } of image.walk()) {
    out.push(`${path}${entry.kind === "directory" ? "/" : entry.kind === "symlink" ? ` -> ${entry.link}` : ""}`);
  }
  return out;
}

async function refusal(bytes: Buffer): Promise<{ code?: string; message: string }> {
  try {
    const image = await IsoImage.open(inMemory(bytes), "t.iso");
    for await (const { entry } of image.walk()) if (entry.kind === "file") image.member(entry);
  } catch (error) {
    return error as Error & { code: string };
  }
  return { message: "not refused" };
}

t.test("reads Rock Ridge names, symbolic links, modes and times", async (t) => {
  const bytes = makeIso(
    [
      file("README.;1", Buffer.concat([PX(0o100644), NM("read.me")])),
      file("LONG.;1", Buffer.concat([NM("first-", 1), NM("second")])),
      {
        id: "LINK",
        block: 0,
        size: 0,
        use: Buffer.concat([PX(0o120777), NM("link"), SL([0, "dir"], [4, ""], [0, "read.me"])]),
      },
      { id: "DIR", block: 25, size: SECTOR, flags: 2, use: Buffer.concat([PX(0o40755), NM("dir")]) },
    ],
    withFile([[25, directory([...dots(25, 20), file("IN.;1", NM("Inside"))])]]),
  );
  t.strictSame(await listing(bytes), ["read.me", "first-second", "link -> dir/../read.me", "dir/", "dir/Inside"]);
  const image = await IsoImage.open(inMemory(bytes), "t.iso");
  t.equal(image.tree, "rock-ridge");
  t.equal(image.volumeId, "TEST");
  const found = await image.find("//dir/../link");
  t.equal(found?.path, "read.me");
  t.equal(found?.entry.mode, 0o644);
  t.equal(found?.entry.mtime, Date.UTC(2025, 5, 15, 10, 30, 45) / 1000);
  t.same(Buffer.from(await image.member(found!.entry).read(0, 99)), FILE);
  t.equal((await image.find("dir/inside")) === undefined, true, "letter case matters where names have it");
  t.equal(await image.find("../etc/passwd"), undefined);
  t.equal(await image.find("read.me/x"), undefined);
});

t.test("follows continuation areas and joins what they hold", async (t) => {
  const more = Buffer.concat([NM("ued", 0), CE(26, 100, 44)]);
  const area = Buffer.alloc(SECTOR);
  more.copy(area, 7);
  PX(0o100755).copy(area, 100);
  const bytes = makeIso(
    [file("C.;1", Buffer.concat([NM("contin", 1), CE(26, 7, more.length)]))],
    withFile([[26, area]]),
  );
  t.strictSame(await listing(bytes), ["continued"]);
});

t.test("puts relocated directories back where they belong", async (t) => {
  const deep = directory([...dots(28, 27, SECTOR), file("F.;1", NM("f"))]);
  const bytes = makeIso(
    [
      { id: "A", block: 25, size: SECTOR, flags: 2, use: NM("a") },
      { id: "RR_MOVED", block: 27, size: SECTOR, flags: 2, use: NM("rr_moved") },
    ],
    withFile([
      [25, directory([...dots(25, 20), { id: "DEEP", block: 0, size: 0, use: Buffer.concat([NM("deep"), CL(28)]) }])],
      [
        27,
        directory([
          ...dots(27, 20),
          { id: "DEEP", block: 28, size: SECTOR, flags: 2, use: Buffer.concat([NM("deep"), RE()]) },
        ]),
      ],
      [28, deep],
    ]),
  );
  t.strictSame(await listing(bytes), ["a/", "a/deep/", "a/deep/f", "rr_moved/"]);
});

t.test("reads plain names, versions off, and finds them in any letter case", async (t) => {
  const bytes = makeIso([file("BOOT.CFG;2"), file("BOOT.CFG;1"), file("NOEXT.;1")], withFile(), { rockRidge: false });
  t.strictSame(await listing(bytes), ["BOOT.CFG", "NOEXT"]);
  const image = await IsoImage.open(inMemory(bytes), "t.iso");
  t.equal(image.tree, "iso9660");
  t.equal((await image.find("boot.cfg"))?.path, "BOOT.CFG");
});

t.test("reads Joliet where there is no Rock Ridge", async (t) => {
  const name = Buffer.from("Größe 测试.txt;1", "utf16le").swap16().toString("latin1");
  const joliet = directory([...dots(24, 24), file(name)]);
  const plain = makeIso([file("GR.TXT;1")], withFile([[24, joliet]]), {
    rockRidge: false,
    descriptors: [
      descriptor(1, 40, record({ id: 0, block: 20, size: SECTOR, flags: 2 })),
      descriptor(2, 40, record({ id: 0, block: 24, size: SECTOR, flags: 2 }), "%/E"),
      terminator(),
    ],
  });
  t.strictSame(await listing(plain), ["Größe 测试.txt"]);
});

t.test("joins files of several extents, and reads across their seams", async (t) => {
  const first = Buffer.alloc(SECTOR, 1);
  const bytes = makeIso(
    [
      { id: "BIG.;1", block: 30, size: SECTOR, flags: 0x80, use: NM("big") },
      { id: "BIG.;1", block: 33, size: SECTOR, flags: 0x80, use: NM("big") },
      { id: "BIG.;1", block: 31, size: 10, use: NM("big") },
    ],
    new Map([
      [30, first],
      [33, Buffer.alloc(SECTOR, 2)],
      [31, Buffer.alloc(10, 3)],
    ]),
  );
  const image = await IsoImage.open(inMemory(bytes), "t.iso");
  const big = (await image.find("big"))!.entry;
  t.equal(big.size, 2 * SECTOR + 10);
  const member = image.member(big);
  t.same([...(await member.read(SECTOR - 1, 2))], [1, 2]);
  t.same([...(await member.read(2 * SECTOR - 1, 99))], [2, ...new Array(10).fill(3)]);
  t.equal((await member.read(member.size, 5)).length, 0);
  t.equal((await member.read(0, 1e9)).length, member.size);
});

t.test("reads a name in Latin-1 where it is not UTF-8", async (t) => {
  const bytes = makeIso([file("X.;1", susp("NM", [0, 0x67, 0xe9]))], withFile());
  t.strictSame(await listing(bytes), ["gé"]);
});

t.test("refuses, with the offset", async (t) => {
  const rootAt = 20 * SECTOR;
  const firstAt = rootAt + directoryDotsLength();
  const cases = new Map<string, [Buffer, RegExp]>([
    ["an empty file", [Buffer.alloc(0), /not an ISO 9660 image at byte 32768/]],
    [
      "text",
      [Buffer.alloc(64 * SECTOR, "text"), /not an ISO 9660 image at byte 32768: expected "CD001", got "exttt?e?/],
    ],
    [
      "UDF only",
      [
        (() => {
          const image = Buffer.alloc(64 * SECTOR);
          for (const [i, id] of ["BEA01", "NSR02", "TEA01"].entries()) image.write(id, (16 + i) * SECTOR + 1, "latin1");
          return image;
        })(),
        /UDF only/,
      ],
    ],
    [
      "a descriptor without end",
      [
        Buffer.concat([
          Buffer.alloc(16 * SECTOR),
          ...Array.from({ length: 70 }, () =>
            descriptor(1, 200, record({ id: 0, block: 100, size: SECTOR, flags: 2 })),
          ),
        ]),
        /no end of the volume descriptors/,
      ],
    ],
    ["a root outside the image", [withRoot(5000, SECTOR), /root directory outside the image at byte 32924/]],
    ["an empty root", [withRoot(20, 0), /root directory outside the image/]],
    [
      "an extent outside the image",
      [
        makeIso([file("F.;1", NM("f"), { size: 4e9 })], withFile()),
        new RegExp(`extent of "f" outside the image at byte ${firstAt}`),
      ],
    ],
    [
      "a block far outside",
      [makeIso([file("F.;1", NM("f"), { block: 0xffffffff })], withFile()), /extent of "f" outside/],
    ],
    [
      "a record longer than its sector",
      [
        makeIso([file("F.;1", NM("f"), { length: 20 }), { id: "Z", block: 0, size: 0, length: 3 }], withFile()),
        /record length at byte/,
      ],
    ],
    ["a slash in a name", [makeIso([file("F.;1", NM("a/b"))], withFile()), /bad name/]],
    ["a NUL in a name", [makeIso([file("F.;1", NM("a\0b"))], withFile()), /bad name/]],
    ["..", [makeIso([file("F.;1", NM(".."))], withFile()), /bad name/]],
    ["the name twice", [makeIso([file("F.;1", NM("a")), file("G.;1", NM("a"))], withFile()), /"a" occurs twice/]],
    [
      "an extent missing",
      [makeIso([file("F.;1", NM("a"), { flags: 0x80 })], withFile()), /file cut short.*end of the directory/],
    ],
    [
      "an extent of another file",
      [makeIso([file("F.;1", NM("a"), { flags: 0x80 }), file("G.;1", NM("b"))], withFile()), /file cut short.*"b"/],
    ],
    [
      "a directory in itself",
      [makeIso([{ id: "D", block: 20, size: SECTOR, flags: 2, use: NM("d") }]), /"d" is reached twice/],
    ],
    [
      "a relocation to an ancestor",
      [makeIso([{ id: "D", block: 0, size: 0, use: Buffer.concat([NM("d"), CL(20)]) }]), /"d" is reached twice/],
    ],
    [
      "a relocation to nowhere",
      [
        makeIso([{ id: "D", block: 0, size: 0, use: Buffer.concat([NM("d"), CL(9000)]) }]),
        /relocated directory "d" outside/,
      ],
    ],
    [
      "a relocation to a file",
      [
        makeIso(
          [{ id: "D", block: 0, size: 0, use: Buffer.concat([NM("d"), CL(30)]) }],
          new Map([[30, record({ id: 0, block: 31, size: 5 })]]),
        ),
        /does not begin with itself/,
      ],
    ],
    [
      "a continuation of itself",
      [
        makeIso([file("F.;1", Buffer.concat([NM("a"), CE(26, 0, 28)]))], withFile([[26, CE(26, 0, 28)]])),
        /too many continuation areas/,
      ],
    ],
    [
      "a continuation outside",
      [
        makeIso([file("F.;1", Buffer.concat([NM("a"), CE(0xffffff, 0, 28)]))], withFile()),
        /continuation area out of bounds/,
      ],
    ],
    [
      "a huge continuation",
      [
        makeIso([file("F.;1", Buffer.concat([NM("a"), CE(20, 0, 4e9)]))], withFile()),
        /continuation area out of bounds/,
      ],
    ],
    [
      "a System Use entry too long",
      [makeIso([file("F.;1", Buffer.from("NM\xff\x01\x00abcd", "latin1"))], withFile()), /bad System Use entry/],
    ],
    [
      "a symbolic link too long",
      [
        makeIso(
          [file("F.;1", Buffer.concat([NM("a"), CE(26, 0, 20000)]))],
          withFile([[26, Buffer.concat(Array.from({ length: 80 }, () => SL([0, "x".repeat(240)])))]]),
        ),
        /symbolic link too long/,
      ],
    ],
    [
      "a name too long",
      [
        makeIso(
          [file("F.;1", CE(26, 0, 3000))],
          withFile([[26, Buffer.concat(Array.from({ length: 12 }, () => NM("x".repeat(200), 1)))]]),
        ),
        /name too long/,
      ],
    ],
    [
      "a file compressed by zisofs",
      [
        makeIso(
          [
            file(
              "F.;1",
              Buffer.concat([NM("z"), susp("ZF", Buffer.concat([Buffer.from("pz"), Buffer.from([4, 15]), both32(1)]))]),
            ),
          ],
          withFile(),
        ),
        /zisofs/,
      ],
    ],
    ["an interleaved file", [makeIso([file("F.;1", NM("i"), { unitSize: 1 })], withFile()), /interleaved/]],
    [
      "an absurd directory",
      [makeIso([{ id: "D", block: 21, size: 0xf0000000, flags: 2, use: NM("d") }]), /"d" outside the image/],
    ],
  ]);
  for (const [what, [bytes, expected]] of cases) {
    const { code, message } = await refusal(bytes);
    t.match(message, expected, what);
    t.equal(code, "ERR_ISO_INVALID", what);
    t.match(message, /at byte \d+/, what);
  }
});

t.test("gives nothing for links that circle or leave the image", async (t) => {
  const link = (id: string, ...parts: [number, string][]): RecordSpec => ({
    id,
    block: 0,
    size: 0,
    use: Buffer.concat([PX(0o120777), NM(id.toLowerCase()), SL(...parts)]),
  });
  const bytes = makeIso(
    [
      link("A", [0, "b"]),
      link("B", [0, "a"]),
      link("UP", [4, ""], [4, ""], [0, "etc"]),
      link("ABS", [8, ""], [0, "f"]),
      file("F.;1", NM("f")),
    ],
    withFile(),
  );
  const image = await IsoImage.open(inMemory(bytes), "t.iso");
  t.equal(await image.find("a"), undefined);
  t.equal(await image.find("up"), undefined);
  t.equal((await image.find("abs"))?.path, "f");
});

t.test("two thousand seeded mutations end in a listing or ERR_ISO_INVALID, soon", async (t) => {
  const seed = makeIso(
    [
      file("README.;1", Buffer.concat([PX(0o100644), NM("read.me")])),
      { id: "LINK", block: 0, size: 0, use: Buffer.concat([PX(0o120777), NM("link"), SL([0, "dir"], [4, ""])]) },
      file("C.;1", Buffer.concat([NM("contin", 1), CE(26, 7, 30)])),
      { id: "DIR", block: 25, size: SECTOR, flags: 2, use: Buffer.concat([PX(0o40755), NM("dir")]) },
      { id: "DEEP", block: 0, size: 0, use: Buffer.concat([NM("deep"), CL(28)]) },
    ],
    withFile([
      [25, directory([...dots(25, 20), file("IN.;1", NM("Inside"))])],
      [26, Buffer.concat([Buffer.alloc(7), NM("ued", 0)])],
      [28, directory([...dots(28, 20), file("F.;1", NM("f"))])],
    ]),
  );
  const places = [16 * SECTOR + 80, 20 * SECTOR, 25 * SECTOR, 26 * SECTOR, 28 * SECTOR];
  let listed = 0;
  let refused = 0;
  const started = Date.now();
  for (let round = 0; round < 2000; round++) {
    const random = seeded(round);
    const bytes = Buffer.from(seed);
    for (let i = random(6); i >= 0; i--) {
      const at = places[random(places.length)]! + random(400);
      bytes[at] = [0, 1, 2, 0x80, 0xff, random(256)][random(6)]!;
    }
    try {
      const image = await IsoImage.open(inMemory(bytes), "m.iso");
      for await (const { entry, path } of image.walk()) {
        if (entry.kind === "file" && entry.unreadable === undefined) await image.member(entry).read(0, 64);
        await image.find(path);
      }
      listed++;
    } catch (error) {
      const { code } = error as { code?: string };
      if (code !== "ERR_ISO_INVALID") throw Object.assign(error as Error, { round });
      refused++;
    }
  }
  t.ok(listed > 100, `${listed} listed`);
  t.ok(refused > 100, `${refused} refused`);
  t.ok(Date.now() - started < 20_000, "no mutation runs long");
});

function directoryDotsLength(): number {
  return dots(20, 20, SECTOR, Buffer.concat([SP, PX(0o40755)])).reduce((sum, it) => sum + record(it).length, 0);
}

function withRoot(block: number, size: number): Buffer {
  return makeIso([], new Map(), {
    descriptors: [descriptor(1, 40, record({ id: 0, block, size, flags: 2 })), terminator()],
  });
}
