/** src/io/held-files.ts: reads from open files only while they are as they were. */
import { appendFileSync, mkdirSync, openSync, renameSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { HeldBytes, type HeldExtent, HeldFiles } from "../../src/io/held-files.ts";
import { openBytes, readBytes } from "../../src/io/open-bytes.ts";
import { scratch } from "../fixtures/program.ts";

t.test("reads parts of several files as one", async (t) => {
  const dir = scratch(t);
  const held = new HeldFiles();
  t.teardown(() => held.close());
  const extents: HeldExtent[] = [];
  for (const [index, text] of ["xxabc", "def", "ghixx"].entries()) {
    writeFileSync(join(dir, String(index)), text);
    extents.push({ held: await held.open(join(dir, String(index))), offset: index === 0 ? 2 : 0, size: 3 });
  }
  const all = "abcdefghi";
  const bytes = new HeldBytes(extents);
  t.equal(bytes.size, 9);
  for (let from = 0; from <= 9; from++) {
    for (let length = 0; from + length <= 10; length++) {
      const [a, b] = [Buffer.alloc(12, "."), Buffer.alloc(12, ".")];
      const expected = all.slice(from, from + length);
      t.equal(await bytes.fill(a, length, from), expected.length);
      t.equal(bytes.fillNow(b, 1, length, from), expected.length);
      t.equal(a.toString(), expected.padEnd(12, "."));
      t.equal(b.toString(), `.${expected}`.padEnd(12, "."));
    }
  }
  t.equal((await readBytes(extents)).toString(), all);
  const { bytes: opened, close } = await openBytes(extents);
  t.equal(Buffer.from(await opened.read(2, 100)).toString(), "cdefghi");
  await close();
  t.equal((await readBytes([])).length, 0);
  renameSync(join(dir, "1"), join(dir, "elsewhere"));
  t.equal(bytes.fillNow(Buffer.alloc(2), 0, 2, 0), 2, "the rest is as it was");
  t.throws(() => bytes.fillNow(Buffer.alloc(9), 0, 9, 0), { code: "ERR_BUNDLE_INVALID" }, "also when only renamed");
});

t.test("refuses what changed, what cannot be read and what is no file", async (t) => {
  const dir = scratch(t);
  const held = new HeldFiles();
  t.teardown(() => held.close());
  const file = join(dir, "a");
  writeFileSync(file, "abc");
  const it = await held.open(file);
  appendFileSync(file, "d");
  const changed = {
    code: "ERR_BUNDLE_INVALID",
    path: file,
    message: `cannot read "${file}": it changed after it was verified`,
  };
  await t.rejects(readBytes([{ held: it, offset: 0, size: 3 }]), changed);
  await t.rejects(readBytes([{ held: it, offset: 3, size: 3 }]), { message: /ends early since it was verified/ });
  // What a medium that is gone does: the descriptor is good, reads fail.
  const gone = { ...it, fd: openSync(dir, "r") };
  const fault = {
    code: "ERR_BUNDLE_INVALID",
    message: /^cannot read ".*": EISDIR: the medium is damaged, or no longer/,
  };
  await t.rejects(readBytes([{ held: gone, offset: 0, size: 3 }]), fault);
  t.throws(() => new HeldBytes([{ held: gone, offset: 0, size: 3 }]).fillNow(Buffer.alloc(3), 0, 3, 0), fault);
  symlinkSync(file, join(dir, "link"));
  mkdirSync(join(dir, "folder"));
  for (const name of ["link", "folder"]) await t.rejects(held.open(join(dir, name)), { code: "ERR_PATH_UNSAFE" });
  await t.rejects(held.open(join(dir, "none")), { code: "ERR_NOT_FOUND" });
});
