/** src/store/release-record.ts and store.ts: a release read back, and a store or record that is not what it should be. */
import { chmodSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { readImport, readRelease } from "../../src/store/release-record.ts";
import { openStore } from "../../src/store/store.ts";
import { unpack } from "../../src/unpack.ts";
import { makeBundle, makeKey, noise } from "../fixtures/bundle-maker.ts";
import { scratch } from "../fixtures/program.ts";

async function imported(t: Test) {
  const dir = scratch(t);
  const key = makeKey();
  writeFileSync(join(dir, "key.pub"), key.pem);
  const { digest } = makeBundle(join(dir, "bundle"), { files: { "files/a": noise(700, 1) }, keys: [key], serial: 4 });
  const store = join(dir, "store");
  await unpack([join(dir, "bundle")], { trust: [join(dir, "key.pub")], store });
  return { dir, store, folder: join(store, "releases/test/000004"), key, digest };
}

t.test("readRelease() gives what was signed, by whom, and every entry by its path", async (t) => {
  const { folder, key, digest } = await imported(t);
  const release = await readRelease(folder);
  t.match(release, { stream: "test", serial: 4, signers: [key.keyid] });
  t.ok(release.digest.includes(digest.replace("sha256:", "")), "the digest of SHA256SUMS");
  t.equal(release.entries.get("files/a")?.size, 700);
  t.match(await readImport(folder), { threshold: 1, signers: [key.keyid], importedAt: /^\d{4}-.*Z$/ });
});

t.test("readRelease() refuses a record that changed, and distinguishes a missing one", async (t) => {
  const { folder } = await imported(t);
  const damage: readonly (readonly [file: string, change: (text: string) => string, message: RegExp])[] = [
    ["airferry.json", (it) => it.replace('"serial":4', '"serial":5'), /digest mismatch in airferry\.json/],
    ["airferry.json", () => "", /digest mismatch/],
    ["SHA256SUMS", (it) => it.slice(1), /SHA256SUMS|cannot/],
    ["import.json", () => "{}", /cannot read record ".*import\.json": digest: missing/],
    ["import.json", (it) => it.slice(0, 20), /cannot read release/],
  ];
  for (const [name, change, message] of damage) {
    const file = join(folder, name);
    const before = readFileSync(file, "utf8");
    const after = change(before);
    t.not(after, before, `${name} is changed`);
    chmodSync(file, 0o644);
    writeFileSync(file, after);
    await t.rejects(
      readRelease(folder),
      { code: "ERR_STORE_INVALID", path: folder, message, hint: /again into the same store/ },
      name,
    );
    writeFileSync(file, before);
  }
  t.equal((await readRelease(folder)).serial, 4, "as it was, it is good again");
  rmSync(join(folder, "import.json"));
  await t.rejects(readRelease(folder), { code: "ERR_NOT_FOUND" });
});

t.test("openStore() makes a store of nothing or an empty folder only, and opens what is one", async (t) => {
  const { dir, store } = await imported(t);
  t.equal((await openStore(store)).dir, store);
  await t.rejects(openStore(join(dir, "nope")), { code: "ERR_NOT_FOUND", message: /no such folder/ });
  await t.rejects(openStore(join(dir, "key.pub")), { code: "ERR_NOT_FOUND", message: /it is a file/ });
  await t.rejects(openStore(dir), {
    code: "ERR_NOT_FOUND",
    message: /not a store but another folder/,
    hint: /give --store .*store/,
  });
  await t.rejects(openStore(dir, { create: true }), { code: "ERR_STORE_INVALID", message: /the folder is not empty/ });
  mkdirSync(join(dir, "empty"));
  for (const name of ["new/one", "empty"]) {
    t.same(await (await openStore(join(dir, name), { create: true })).releases(), []);
    t.same(JSON.parse(readFileSync(join(dir, name, "airferry-store.json"), "utf8")), { storeVersion: 1 });
  }
  for (const text of ['{"storeVersion":2}', "{}", "half"]) {
    writeFileSync(join(dir, "empty/airferry-store.json"), text);
    await t.rejects(openStore(join(dir, "empty")), { code: "ERR_STORE_INVALID", message: /expected 1/ }, text);
  }
});
