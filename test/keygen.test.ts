/** The verb keygen: four files, for their owner alone, never over others. */
import { mkdirSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { keygen } from "../src/keygen.ts";
import { readTrustedKeys } from "../src/sign/keys.ts";
import { readRpmKey } from "../src/sign/openpgp-sign.ts";
import { readPrivateKey } from "../src/sign/private-key.ts";
import { scratch } from "./fixtures/program.ts";

const root = scratch(t);
const passphrase = async () => "pw";
const ann = await keygen({ out: join(root, "keys", "ann"), password: "pw" });
await keygen({ out: join(root, "keys", "bob"), password: "", allowEmpty: true, rpm: false });
const key = (name: string) => join(root, "keys", `${name}.key`);
const pub = (name: string) => join(root, "keys", `${name}.pub`);

t.test("keygen() writes four files, the private ones for their owner alone", async (t) => {
  t.same(readdirSync(join(root, "keys")).sort(), [
    "ann.key",
    "ann.pub",
    "ann.rpm.key",
    "ann.rpm.pub",
    "bob.key",
    "bob.pub",
  ]);
  t.same(
    ann.files.map((it) => statSync(it).mode & 0o777),
    [0o600, 0o644, 0o600, 0o644],
  );
  t.equal((await readTrustedKeys([pub("ann")]))[0]!.keyid, ann.keyid);
  await readPrivateKey(key("ann"), passphrase);
  t.equal((await readRpmKey(join(root, "keys/ann.rpm.key"), passphrase)).fingerprint, ann.rpmFingerprint);
  t.match(readFileSync(join(root, "keys/ann.rpm.pub"), "utf8"), /^-----BEGIN PGP PUBLIC KEY BLOCK-----/);
  t.notMatch(readFileSync(join(root, "keys/ann.rpm.pub"), "utf8"), /PRIVATE/);
});

t.test("keygen() never overwrites, and leaves nothing behind when it refuses", async (t) => {
  for (const suffix of [".key", ".pub", ".rpm.key", ".rpm.pub"]) {
    const dir = join(root, `taken${suffix}`);
    mkdirSync(dir);
    const taken = join(dir, `site${suffix}`);
    if (suffix === ".pub") symlinkSync("nowhere", taken);
    else writeFileSync(taken, "mine");
    await t.rejects(keygen({ out: join(dir, "site"), password: "pw" }), { code: "ERR_USAGE", path: taken });
    t.same(readdirSync(dir), [`site${suffix}`]);
    if (suffix !== ".pub") t.equal(readFileSync(taken, "utf8"), "mine");
  }
  await t.rejects(keygen({ out: `${root}/`, password: "" }), { code: "ERR_USAGE" });
  await t.rejects(keygen({ out: join(key("ann"), "x"), password: "pw", rpm: false }), Error, "a file for a folder");
});
