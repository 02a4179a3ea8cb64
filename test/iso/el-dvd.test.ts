/** The reader on an Enterprise Linux DVD made with the real tools, with a member of 5 GiB; media check beside isomd5sum. */
import { execFileSync, spawnSync } from "node:child_process";
import { open, readFile } from "node:fs/promises";
import { join } from "node:path";
import t from "tap";
import { readInstallTree } from "../../src/iso/install-tree.ts";
import { IsoImage } from "../../src/iso/iso-image.ts";
import { readMediaCheck, verifyMediaCheck } from "../../src/iso/media-check.ts";
import { needs } from "../fixtures/clients.ts";
import { EL_DVD_TOOLS, makeElDvd, shortDir, xorriso } from "../fixtures/el-dvd.ts";
import { listOurs, listWithBsdtar, openFile } from "../fixtures/iso-compare.ts";

const GIB = 2 ** 30;

t.test("a DVD with a member of 5 GiB", async (t) => {
  if (!needs(t, ...EL_DVD_TOOLS, "bsdtar", "implantisomd5", "checkisomd5")) return;
  const dir = await shortDir(t);
  const { iso, tree } = await makeElDvd(dir, { bigBytes: 5 * GIB });
  const bytes = await openFile(iso);
  t.teardown(() => bytes.close());
  const image = await IsoImage.open(bytes, "dvd.iso");
  t.equal(image.tree, "rock-ridge");
  t.ok(bytes.size > 5 * GIB);

  await t.test("the same files as bsdtar", async (t) => {
    t.strictSame(await listOurs(image), listWithBsdtar(iso));
  });
  await t.test("the big member, over its seam and at its end", async (t) => {
    const big = (await image.find("big.bin"))!.entry;
    t.equal(big.size, 5 * GIB);
    t.ok(big.extents.length > 1, "it has several extents");
    const member = image.member(big);
    t.equal(Buffer.from(await member.read(5 * GIB - 7, 100)).toString(), "the end");
    const seam = big.extents[0]!.size;
    t.equal((await member.read(seam - 4096, 8192)).length, 8192);
  });
  await t.test("every other file byte for byte", async (t) => {
    for await (const { entry, path } of image.walk()) {
      if (entry.kind !== "file" || path === "big.bin") continue;
      const ours = Buffer.from(await image.member(entry).read(0, entry.size));
      t.ok(ours.equals(await readFile(join(tree, path))), path);
    }
  });
  await t.test("repositories, kernel and keys are found", async (t) => {
    const { keyTexts, ...found } = await readInstallTree(image);
    t.strictSame([...keyTexts.keys()], ["RPM-GPG-KEY-Airferry-Test-9"]);
    t.match(keyTexts.get("RPM-GPG-KEY-Airferry-Test-9"), /^-----BEGIN PGP PUBLIC KEY BLOCK-----/);
    t.strictSame(found, {
      repositories: [
        { id: "AppStream", path: "AppStream" },
        { id: "BaseOS", path: "BaseOS" },
      ],
      keys: ["RPM-GPG-KEY-Airferry-Test-9"],
      arch: "x86_64",
      family: "Airferry Test",
      version: "9.6",
      kernel: "images/pxeboot/vmlinuz",
      initrd: "images/pxeboot/initrd.img",
      stage2: "images/install.img",
    });
  });
});

t.test("media check, beside checkisomd5", async (t) => {
  if (!needs(t, "xorriso", "implantisomd5", "checkisomd5")) return;
  const dir = t.testdir({ tree: { a: "a".repeat(3_000_000), b: { c: "c".repeat(700_001) } } });
  const iso = join(dir, "check.iso");
  await xorriso(join(dir, "tree"), iso);
  const bytes = await openFile(iso);
  t.teardown(() => bytes.close());
  t.equal(await readMediaCheck(bytes), undefined, "none before it is implanted");
  execFileSync("implantisomd5", ["--supported-iso", iso]);
  const check = (await readMediaCheck(bytes))!;
  t.match(check, { skipSectors: 15, fragmentCount: 20, supported: true });
  t.match(execFileSync("checkisomd5", ["--md5sumonly", iso]).toString(), check.md5);
  t.strictSame(await verifyMediaCheck(bytes, check), { ok: true, md5: check.md5 });

  const handle = await open(iso, "r+");
  t.teardown(() => handle.close());
  const size = bytes.size;
  for (const [place, at] of new Map([
    ["the start", 5],
    ["the middle", Math.floor(size / 2)],
    ["the last covered sector", size - 16 * 2048],
  ])) {
    const { buffer: old } = await handle.read(Buffer.alloc(1), 0, 1, at);
    await handle.write(Buffer.from([old[0]! ^ 1]), 0, 1, at);
    const theirs = spawnSync("checkisomd5", [iso]).status;
    t.equal(
      (await verifyMediaCheck(bytes, check)).ok,
      theirs === 0,
      `a byte in ${place} is seen as checkisomd5 sees it`,
    );
    t.equal(theirs, 1);
    await handle.write(old, 0, 1, at);
  }
  await handle.write(Buffer.from([1]), 0, 1, size - 1);
  t.equal((await verifyMediaCheck(bytes, check)).ok, true, "the last 15 sectors are not covered: no reason to trust");
});
