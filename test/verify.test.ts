import { sign } from "node:crypto";
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import t from "tap";
import { AirferryError, ERROR_CODES, EXIT } from "../src/errors.ts";
import { readTrustedKeys } from "../src/sign/keys.ts";
import { verifySums } from "../src/sign/verify-sums.ts";
import { unpack } from "../src/unpack.ts";
import { verify } from "../src/verify.ts";
import { type MadeInventory, makeBundle, makeKey, sampleFiles, writeSignature } from "./fixtures/bundle-maker.ts";
import { flip, TAMPERS } from "./fixtures/bundle-tamper.ts";

const root = t.testdir();
const key = makeKey();
const other = makeKey();
const trust = [join(root, "key.pub")];
writeFileSync(join(root, "key.pub"), key.pem);
writeFileSync(join(root, "other.pub"), other.pem);
const good = join(root, "good");
const notes = { "bin/airferry-linux-x64": Buffer.alloc(3000, 7), "BOM.html": Buffer.alloc(2000, 8) };
makeBundle(good, { files: sampleFiles(), keys: [key], volumeSize: 1_000_000, notes });
let count = 0;

/** A fresh copy of the good bundle. */
function copyOf(bundle: string): string {
  const dir = join(root, `copy-${count++}`, "bundle");
  cpSync(bundle, dir, { recursive: true });
  return dir;
}

function filesOf(dir: string): string[] {
  return readdirSync(dir, { recursive: true, withFileTypes: true })
    .filter((it) => it.isFile())
    .map((it) => join(it.parentPath, it.name).slice(dir.length + 1))
    .sort();
}

t.test("progress ends at its total, with one copy, with two, and with a part of the volumes", async (t) => {
  const part = copyOf(good);
  rmSync(join(part, "data.tar.0001"));
  for (const [media, partial] of [
    [[good], false],
    [[good, copyOf(good)], false],
    [[part], true],
  ] as const) {
    const seen: [done: number, total: number][] = [];
    await verify(media, { trust, partial, progress: (...it) => seen.push(it) });
    const [done, total = 0] = seen.at(-1) ?? [];
    t.ok(total > 0);
    t.equal(done, total);
  }
});

t.test("verify() finds nothing wrong with a good bundle", async (t) => {
  const report = await verify([good], { trust });
  t.match(report, {
    ok: true,
    stream: "test",
    serial: 1,
    signers: [key.keyid],
    problems: [],
    volumes: { missing: [] },
  });
  t.equal(report.entries, Object.keys(sampleFiles()).length);
});

t.test("verify() and unpack() refuse every way to spoil every file", async (t) => {
  const names = filesOf(good);
  t.equal(
    names.length,
    15,
    "SHA256SUMS, identity, inventory, entries, pieces, two notes, program, page, two signatures, four volumes",
  );
  let tried = 0;
  // Volumes in the middle are like the first.
  for (const name of names.filter((it) => !/data\.tar\.000[12]/.test(it))) {
    for (const [what, tamper] of TAMPERS) {
      const dir = copyOf(good);
      if (tamper(dir, name) === false) continue;
      tried++;
      const report = await verify([dir], { trust });
      const codes = report.problems.map((it) => it.code);
      if (report.ok || codes.length === 0 || !codes.every((it) => ERROR_CODES[it] === EXIT.refused)) {
        t.fail(`verify: ${what}: ${name}`, { report });
      }
      const store = join(dir, "..", "store");
      let caught: unknown;
      try {
        const done = await unpack([dir], { trust, store });
        // A volume that is missing is one that may still come: nothing has become current.
        if (!done.complete && what === "drop" && name.startsWith("data.tar.")) caught = "to come";
      } catch (error) {
        caught = error;
      }
      const refused = caught instanceof AirferryError && ERROR_CODES[caught.code] === EXIT.refused;
      if (caught !== "to come" && !refused) t.fail(`unpack: ${what}: ${name}`, { caught });
      if (existsSync(join(store, "releases")) && readdirSync(join(store, "releases")).length > 0)
        t.fail(`store untouched: ${what}: ${name}`);
      rmSync(join(dir, ".."), { recursive: true });
    }
  }
  t.ok(tried >= 120, `${tried} spoilt bundles refused`);
});

t.test("verify() finds a flipped byte in every header, padding and content", async (t) => {
  const one = join(root, "one");
  const { inventory } = makeBundle(one, { files: sampleFiles(), keys: [key] });
  const positions = new Set([inventory.streamSize - 1, inventory.streamSize - 1024]);
  for (const { offset = 0, size } of inventory.entries) {
    positions.add(offset - 512);
    positions.add(offset - 1);
    if (size > 0) positions.add(offset).add(offset + size - 1);
    if (size % 512 > 0) positions.add(offset + size);
  }
  const volume = join(one, "data.tar.0000");
  let turn = 0;
  for (const position of positions) {
    flip(volume, position);
    const { ok, problems } = await verify([one], { trust });
    t.match(
      [ok, problems.map((it) => [it.code, it.path])],
      [false, [["ERR_DIGEST_MISMATCH", "data.tar.0000"]]],
      `${position}`,
    );
    if (turn++ % 4 === 0) {
      await t.rejects(unpack([one], { trust, store: join(root, `flip-${position}`) }), { code: "ERR_DIGEST_MISMATCH" });
    }
    flip(volume, position);
  }
  t.equal((await verify([one], { trust })).ok, true);
});

t.test("verify() names the bad volume, the place and the entries, and lets the other volumes be", async (t) => {
  const dir = copyOf(good);
  flip(join(dir, "data.tar.0002"), 1234);
  const { problems } = await verify([dir], { trust });
  t.equal(problems.length, 1);
  t.match(problems[0], {
    code: "ERR_DIGEST_MISMATCH",
    path: "data.tar.0002",
    message: /bytes 0 to 180736 \(piece 1 of "isos\/big\.iso"\); touches "isos\/big\.iso"/,
  });
});

t.test("verify() names what a truncated volume takes with it, and what is lost beside it", async (t) => {
  const dir = copyOf(good);
  const volume = join(dir, "data.tar.0002");
  truncateSync(volume, statSync(volume).size - 1);
  const { problems } = await verify([dir], { trust });
  t.match(problems, [
    { code: "ERR_SIZE_MISMATCH", path: "data.tar.0002", message: /got 999935; touches "isos\/big\.iso"$/ },
  ]);
  t.equal(problems.length, 1);
});

t.test("verify() sees swapped volumes", async (t) => {
  const dir = copyOf(good);
  renameSync(join(dir, "data.tar.0001"), join(dir, "x"));
  renameSync(join(dir, "data.tar.0002"), join(dir, "data.tar.0001"));
  renameSync(join(dir, "x"), join(dir, "data.tar.0002"));
  const { problems } = await verify([dir], { trust });
  t.same(
    problems.map((it) => it.path),
    ["data.tar.0001", "data.tar.0002"],
  );
});

t.test("verify() passes over what operating systems leave, with a notice", async (t) => {
  const dir = copyOf(good);
  for (const name of [".DS_Store", "._data.tar.0000", "Thumbs.db", "desktop.ini"]) writeFileSync(join(dir, name), "x");
  for (const name of ["System Volume Information", "lost+found", ".Trash-1000", "$RECYCLE.BIN"]) {
    mkdirSync(join(dir, name));
    writeFileSync(join(dir, name, "x"), "x");
  }
  symlinkSync("/etc", join(dir, ".Trashes"));
  const notices: string[] = [];
  const { ok } = await verify([dir], { trust, notice: (line) => notices.push(line) });
  t.equal(ok, true);
  t.equal(notices.length, 9);
});

t.test("verify() refuses a folder, a hidden file and a name that would disturb a terminal", async (t) => {
  for (const name of ["extra.txt", ".hidden", "a\u001b[2Jb", "autorun.inf"]) {
    const dir = copyOf(good);
    writeFileSync(join(dir, name), "x");
    const { ok, problems } = await verify([dir], { trust });
    t.match([ok, problems.map((it) => it.code)], [false, ["ERR_BUNDLE_EXTRA"]], JSON.stringify(name));
    t.notMatch(JSON.stringify(problems), "\\u001b");
  }
  const dir = copyOf(good);
  mkdirSync(join(dir, "folder"));
  t.match((await verify([dir], { trust })).problems, [{ code: "ERR_BUNDLE_EXTRA", path: "folder" }]);
});

t.test("verify() asks for enough distinct trusted keys, and parses nothing before", async (t) => {
  const codes = async (options: Parameters<typeof verify>[1], dir = good) => {
    const report = await verify([dir], options);
    if (!report.signers.length) t.equal(report.stream, null, "nothing was read");
    return report.problems.map((it) => it.code);
  };
  t.same(await codes({ trust: [join(root, "other.pub")] }), ["ERR_KEY_UNTRUSTED"]);
  t.same(await codes({ trust: [...trust, ...trust], threshold: 2 }), ["ERR_THRESHOLD"]);
  const unsigned = join(root, "unsigned");
  makeBundle(unsigned, { files: { "files/a": Buffer.from("a") }, keys: [] });
  t.same(await codes({ trust }, unsigned), ["ERR_SIGNATURE_MISSING"]);
  await t.rejects(unpack([unsigned], { trust, store: join(root, "never") }), { code: "ERR_SIGNATURE_MISSING" });
  t.throws(() => readdirSync(join(root, "never")), { code: "ENOENT" }, "not even an empty store");
  const both = join(root, "both");
  makeBundle(both, { files: { "files/a": Buffer.from("a") }, keys: [key, other] });
  t.same(await codes({ trust: [...trust, join(root, "other.pub")], threshold: 2 }, both), []);
  await t.rejects(verify([good], { trust, threshold: 0 }), { code: "ERR_USAGE" });
  await t.rejects(verify([join(root, "nowhere")], { trust }), { code: "ERR_NOT_FOUND" });
});

t.test("verify() refuses signed inventories that lie", async (t) => {
  const cases: [string, Parameters<typeof makeBundle>[1]["spoil"], string][] = [
    [
      "traversal",
      (it) => {
        it.entries[0]!.path = "../../etc/cron.d/x";
      },
      "ERR_PATH_UNSAFE",
    ],
    [
      "absolute",
      (it) => {
        it.entries[0]!.path = "/etc/passwd";
      },
      "ERR_PATH_UNSAFE",
    ],
    [
      "overlap",
      (it) => {
        it.entries[1]!.offset = it.entries[0]!.offset!;
      },
      "ERR_BUNDLE_INVALID",
    ],
    [
      "duplicate",
      (it) => {
        it.entries[1] = { ...it.entries[0]! };
      },
      "ERR_PATH_UNSAFE",
    ],
    [
      "size",
      (it) => {
        it.entries[1]!.size += 4096;
      },
      "ERR_BUNDLE_INVALID",
    ],
    ["volume", (it) => void it.volumes.pop(), "ERR_BUNDLE_EXTRA"],
    [
      "digest of an entry",
      (it) => {
        it.entries[1]!.digest = `sha256:${"0".repeat(64)}`;
      },
      "ERR_BUNDLE_INVALID",
    ],
    [
      "digest of a volume",
      (it) => {
        it.volumes[0]!.digest = `sha256:${"0".repeat(64)}`;
      },
      "ERR_BUNDLE_INVALID",
    ],
    [
      "version",
      (it) => {
        it.mediaType = "application/vnd.airferry.inventory.v9+json" as never;
      },
      "ERR_BUNDLE_VERSION",
    ],
    ["not JSON", () => Buffer.from("{"), "ERR_BUNDLE_INVALID"],
    [
      "an ISO's name in the builder's folder",
      (it) => {
        it.builder = { flavor: "spectro-capi", imageconfig: { iso_name: "../victim/cron" } };
      },
      "ERR_PATH_UNSAFE",
    ],
    [
      "a script of the builder",
      (it) => {
        it.builder = { flavor: "spectro-capi", custom_scripts: { pre: ["a/../../b.sh"] } };
      },
      "ERR_PATH_UNSAFE",
    ],
    [
      "a stream that is a folder above",
      (it) => {
        it.stream = "..";
      },
      "ERR_BUNDLE_INVALID",
    ],
  ];
  for (const [what, spoil, code] of cases) {
    const dir = join(root, `lie-${what}`);
    makeBundle(dir, {
      files: { "files/a": Buffer.from("a"), "files/b": Buffer.from("b") },
      keys: [key],
      ...(spoil && { spoil }),
    });
    const report = await verify([dir], { trust });
    // A volume's wrong digest in a signed list is only seen by those who hash volumes: entries are right, so nothing is lost.
    if (what === "digest of a volume") {
      t.match((await verify([dir], { trust })).ok, true);
      continue;
    }
    t.equal(report.problems[0]?.code, code, what);
    await t.rejects(unpack([dir], { trust, store: join(root, `lie-store-${what}`) }), { code }, what);
  }
});

t.test("verify() refuses a stream that stock tar would read differently", async (t) => {
  const dir = join(root, "smuggle");
  makeBundle(dir, {
    files: { "files/a": Buffer.from("a"), "files/b": Buffer.from("b") },
    keys: [key],
    // The first header turns into a link, checksum and all: digests of entries stay right.
    spoilStream: (bytes) => {
      bytes[156] = 0x32;
      const sum = bytes.subarray(0, 512).reduce((total, byte, at) => total + (at >= 148 && at < 156 ? 32 : byte), 0);
      bytes.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
    },
  });
  t.match((await verify([dir], { trust })).problems, [{ code: "ERR_BUNDLE_INVALID" }]);
  await t.rejects(unpack([dir], { trust, store: join(root, "smuggle-store") }), { code: "ERR_BUNDLE_INVALID" });
});

t.test("verify() takes the folders of a set in any order, one missing or not", async (t) => {
  const set = join(root, "set");
  const { folders } = makeBundle(set, { files: sampleFiles(), keys: [key], volumeSize: 500_000, perMedium: 2 });
  t.equal(folders.length, 4);
  t.match(await verify(folders.toReversed(), { trust }), { ok: true });
  t.match(await verify([set], { trust }), { ok: true }, "the folder of folders");
  const some = await verify([folders[1]!, folders[3]!], { trust });
  t.same(
    some.problems.map((it) => [it.code, it.path]),
    ["data.tar.0000", "data.tar.0001", "data.tar.0004", "data.tar.0005"].map((it) => ["ERR_BUNDLE_INCOMPLETE", it]),
  );
  t.match(await verify([folders[1]!], { trust, partial: true }), { ok: true, volumes: { total: 7 } });
  flip(join(folders[1]!, "data.tar.0003"), 99);
  t.match((await verify([folders[1]!], { trust, partial: true })).problems, [
    { code: "ERR_DIGEST_MISMATCH", path: "data.tar.0003", message: /isos\/big\.iso/ },
  ]);
  t.match((await verify([good, folders[0]!], { trust })).problems, [{ code: "ERR_BUNDLE_INVALID" }], "of two bundles");
});

t.test("verify() and unpack() judge the signatures of each medium, however they were made", async (t) => {
  const set = join(root, "one-by-one");
  const { folders } = makeBundle(set, { files: sampleFiles(), keys: [key], volumeSize: 500_000, perMedium: 2 });
  const sums = readFileSync(join(folders[0]!, "SHA256SUMS"));
  // ECDSA is random: every medium gets another signature.
  for (const it of folders) writeSignature(it, other, sums, sign("sha256", sums, other.privateKey));
  const both = { trust: [...trust, join(root, "other.pub")], threshold: 2 };
  t.match(await verify(folders, both), { ok: true, signers: [key.keyid, other.keyid].sort() });
  const store = join(root, "one-by-one-store");
  t.match(await unpack(folders, { ...both, store }), { complete: true });
  const kept = join(store, "releases/test/000001/signatures");
  t.equal(readdirSync(kept).length, 4);
  t.same(
    verifySums(
      sums,
      readdirSync(kept).map((name) => ({ name, bytes: readFileSync(join(kept, name)) })),
      await readTrustedKeys(both.trust),
      2,
    ).problems,
    [],
    "the record holds pairs",
  );
  t.match(await verify(folders, { trust }), { ok: true, signers: [key.keyid] }, "an unknown signer is let be");
  // A signer of one medium signed the bundle; a bad signature on any of them is refused.
  rmSync(join(folders[2]!, "signatures", `${other.keyid.slice(0, 16)}.sig`));
  rmSync(join(folders[2]!, "signatures", `${other.keyid.slice(0, 16)}.sigstore.json`));
  t.match(await verify(folders, both), { ok: true });
  writeSignature(folders[2]!, other, sums, sign("sha256", Buffer.from("x"), other.privateKey));
  t.match((await verify(folders, both)).problems, [{ code: "ERR_SIGNATURE_INVALID", message: /medium-3-of-4/ }]);
  await t.rejects(unpack(folders, { ...both, store }), { code: "ERR_SIGNATURE_INVALID" });
  rmSync(join(folders[2]!, "signatures", `${other.keyid.slice(0, 16)}.sig`));
  t.match((await verify(folders, both)).problems, [{ code: "ERR_SIGNATURE_MISSING" }], "half a pair on one of them");
});

t.test("verify() and unpack() refuse names that are no UTF-8, wherever they stand", async (t) => {
  for (const at of ["", "signatures", "bin"]) {
    const dir = copyOf(good);
    writeFileSync(Buffer.concat([Buffer.from(`${join(dir, at)}/`), Buffer.from([0x61, 0xff, 0xfe])]), "");
    const { problems } = await verify([dir], { trust });
    t.match(problems, [{ code: "ERR_PATH_UNSAFE", message: /not UTF-8/ }], at);
    await t.rejects(unpack([dir], { trust, store: join(root, "no-utf8") }), { code: "ERR_PATH_UNSAFE" }, at);
  }
});

t.test("verify() and unpack() hold an empty entry's digest against no bytes", async (t) => {
  const lies = new Map<string, (it: MadeInventory) => unknown>([
    ["another digest", (it) => Object.assign(it.entries[0]!, { digest: `sha256:${"0".repeat(64)}` })],
    ["the digest of nothing, for something", (it) => Object.assign(it.entries[1]!, { digest: it.entries[0]!.digest })],
  ]);
  for (const [what, spoil] of lies) {
    const dir = join(root, `empty-${what}`);
    makeBundle(dir, { files: { "files/a": Buffer.alloc(0), "files/b": Buffer.from("b") }, keys: [key], spoil });
    t.match((await verify([dir], { trust })).problems, [{ code: "ERR_BUNDLE_INVALID" }], what);
    await t.rejects(unpack([dir], { trust, store: join(root, "empty-store") }), { code: "ERR_BUNDLE_INVALID" }, what);
  }
});

t.test("verify() tells that a bundle has expired", async (t) => {
  const dir = join(root, "old");
  makeBundle(dir, { files: { "files/a": Buffer.from("a") }, keys: [key], notAfter: "2026-02-01T00:00:00Z" });
  t.match((await verify([dir], { trust, at: new Date("2026-02-02") })).problems, [{ code: "ERR_EXPIRED" }]);
  t.match((await verify([dir], { trust, at: new Date("2026-01-02") })).problems, []);
});
