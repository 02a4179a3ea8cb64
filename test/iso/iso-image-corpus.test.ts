/**
 * The reader on every ISO of Debian's packages and of the libarchive and libcdio sources, beside bsdtar: same names, same
 * sizes, same bytes, and refusals where the image is broken. scripts/lib/iso-corpus.sh collects them.
 */
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { IsoImage } from "../../src/iso/iso-image.ts";
import { absent, needs } from "../fixtures/clients.ts";
import { listOurs, listWithBsdtar, openFile } from "../fixtures/iso-compare.ts";
import { inMemory, seeded } from "../fixtures/iso-maker.ts";

const CORPUS = join(import.meta.dirname, "../../.cache/iso-corpus");
/** Images that must be refused, and why. */
const REFUSED = new Map<string, RegExp>([
  ["malformed.iso", /bad logical block size at byte 32896/],
  ["malformed2.iso", /bad directory record length at byte/],
  ["udf102.iso", /UDF only/],
  ["test_fuzz_1.iso", /directories too deep at byte/],
]);
/** Sizes and bytes differ there, since bsdtar unpacks what zisofs packed and we refuse it. */
const ZISOFS = "test_read_format_iso_zisofs.iso";

const images = existsSync(CORPUS) ? readdirSync(CORPUS).filter((it) => /\.iso/.test(it)) : [];

t.test("the corpus", async (t) => {
  if (images.length === 0) return absent(t, "the ISO corpus (scripts/lib/iso-corpus.sh)");
  if (!needs(t, "bsdtar")) return;
  const parts = {
    Debian: "grub-rescue-cdrom.iso",
    libarchive: "test_read_format_iso_rockridge.iso",
    libcdio: "copying-rr.iso",
  };
  for (const [part, name] of Object.entries(parts)) {
    // A source package may have left the mirror: what it would have given is left out, with a word about it.
    if (images.includes(name)) t.pass(`images of ${part}`);
    else t.pass(`images of ${part}`, { skip: "the mirror does not have them" });
  }
  for (const name of images) {
    const path = join(CORPUS, name);
    const bytes = await openFile(path);
    t.teardown(() => bytes.close());
    const refused = REFUSED.get(name);
    if (refused !== undefined) {
      const reading = IsoImage.open(bytes, name).then(listOurs);
      await t.rejects(reading, { code: "ERR_ISO_INVALID", message: refused }, name);
      continue;
    }
    const image = await IsoImage.open(bytes, name);
    const ours = await listOurs(image);
    if (name === ZISOFS) {
      t.equal(ours.length, listWithBsdtar(path).length, name);
      t.throws(() => image.member({ ...image.root, kind: "file", unreadable: "zisofs" }), { code: "ERR_ISO_INVALID" });
      continue;
    }
    t.strictSame(ours, listWithBsdtar(path), `${name}: ${ours.length} names (${image.tree})`);
    const dir = t.testdir();
    // Its status is not looked at: devices cannot be made everywhere. The bytes are compared below.
    spawnSync("bsdtar", ["-xf", path, "-C", dir, "--no-same-permissions"], {
      env: { ...process.env, LC_ALL: "C.UTF-8" },
      stdio: "ignore",
    });
    let same = 0;
    for await (const { entry, path: inside } of image.walk()) {
      if (entry.kind !== "file") continue;
      const mine = Buffer.from(await image.member(entry).read(0, entry.size));
      if (!mine.equals(readFileSync(join(dir, inside)))) t.fail(`${name}: ${inside} differs`);
      same++;
    }
    t.pass(`${name}: ${same} files byte for byte`);
  }
});

t.test("every byte position of each small image's directories may be wrong without harm", async (t) => {
  if (images.length === 0) return absent(t, "the ISO corpus (scripts/lib/iso-corpus.sh)");
  let rounds = 0;
  for (const name of images) {
    const whole = readFileSync(join(CORPUS, name));
    // Descriptors and directories stand at the start; what comes after is content.
    const seed = whole.subarray(0, Math.min(whole.length, 400 * 1024));
    for (let round = 0; round < 60; round++) {
      const random = seeded(round * 7919 + name.length);
      const bytes = Buffer.from(seed);
      for (let i = 0; i <= random(8); i++) bytes[32768 + random(Math.max(1, bytes.length - 32768))] = random(256);
      for (let i = 0; i <= random(4); i++) bytes[32768 + random(8 * 2048)] = [0, 0xff, random(256)][random(3)]!;
      try {
        const image = await IsoImage.open(inMemory(bytes), name);
        let seen = 0;
        for await (const { entry } of image.walk()) {
          if (entry.kind === "file" && entry.unreadable === undefined) await image.member(entry).read(0, 1);
          if (++seen > 5000) break;
        }
      } catch (error) {
        if ((error as { code?: string }).code !== "ERR_ISO_INVALID")
          throw Object.assign(error as Error, { name, round });
      }
      rounds++;
    }
  }
  t.ok(rounds >= images.length * 60, `${rounds} mutations`);
});
