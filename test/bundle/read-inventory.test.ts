import { mkdirSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { formatInventory } from "../../src/bundle/inventory.ts";
import { digestOfInventory, readInventory } from "../../src/bundle/read-inventory.ts";
import { sharedInventory, shareInventory } from "../../src/bundle/shared-inventory.ts";
import { digestOf } from "../../src/io/digest.ts";
import { makeBundle, makeKey, sampleFiles } from "../fixtures/bundle-maker.ts";

const dir = t.testdir();
const { inventory } = makeBundle(join(dir, "b"), {
  files: sampleFiles(),
  keys: [makeKey()],
  spoil: (it) => {
    it.catalog.provenance.push({ path: "files/", kind: "file", source: "here", established: "manifest" });
  },
});
const bytes = formatInventory(inventory);
const file = join(dir, "airferry.json");
writeFileSync(file, bytes);

t.test("an inventory is read from its file", async (t) => {
  const digest = await digestOfInventory(file);
  t.equal(digest, digestOf(bytes));
  const read = await readInventory(file, digest);
  t.ok(formatInventory(read).equals(bytes));
  const without = await readInventory(file, digest, "provenance");
  t.strictSame([...without.entries], [...read.entries]);
  t.equal(without.catalog.provenance.length, 0);
  const there = formatInventory(sharedInventory(structuredClone(shareInventory(read))));
  t.same(JSON.parse(there.toString()), JSON.parse(bytes.toString()), "in another thread");
});

t.test("a file that changes after its digest was compared is refused", async (t) => {
  await t.rejects(readInventory(file, digestOf("other")), { code: "ERR_DIGEST_MISMATCH" });
});

t.test("what is no regular file of a bounded size is refused", async (t) => {
  const hint = /./;
  await t.rejects(digestOfInventory(join(dir, "none")), { code: "ERR_NOT_FOUND", hint });
  await t.rejects(readInventory(join(dir, "none"), digestOf("")), { code: "ERR_NOT_FOUND" });
  mkdirSync(join(dir, "folder"));
  await t.rejects(digestOfInventory(join(dir, "folder")), { code: "ERR_PATH_UNSAFE" });
  symlinkSync(file, join(dir, "link"));
  await t.rejects(digestOfInventory(join(dir, "link")), { code: "ERR_PATH_UNSAFE" });
  const huge = join(dir, "huge");
  writeFileSync(huge, "");
  truncateSync(huge, 128 * 1024 * 1024 + 1);
  await t.rejects(digestOfInventory(huge), { code: "ERR_SIZE_LIMIT" });
  await t.rejects(readInventory(huge, digestOf("")), { code: "ERR_SIZE_LIMIT" });
  writeFileSync(join(dir, "empty"), "");
  await t.rejects(readInventory(join(dir, "empty"), digestOf("")), { code: "ERR_BUNDLE_INVALID" });
});
