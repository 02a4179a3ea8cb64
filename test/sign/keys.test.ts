/** Key material: ids are of the key, not of its file; what is refused. */
import { createHash, createPublicKey, generateKeyPairSync } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t from "tap";
import {
  generateSigningKey,
  keyidOf,
  MAX_KEY_FILE_BYTES,
  parsePublicKeys,
  publicKeyPem,
  readTrustedKeys,
} from "../../src/sign/keys.ts";

const { privateKey, publicKey } = generateSigningKey();

t.test("keyidOf() is the SHA-256 of the SPKI, the same for both halves", async (t) => {
  const spki = publicKey.export({ type: "spki", format: "der" });
  t.equal(keyidOf(publicKey), createHash("sha256").update(spki).digest("hex"));
  t.equal(keyidOf(privateKey), keyidOf(publicKey));
});

t.test("keyidOf() does not change with the point form of the file", async (t) => {
  const spki = publicKey.export({ type: "spki", format: "der" });
  const x = spki.subarray(27, 59);
  const y = spki.subarray(59);
  const head = Buffer.from("3039301306072a8648ce3d020106082a8648ce3d030107032200", "hex");
  const compressed = Buffer.concat([head, Buffer.of(2 + (y[31]! & 1)), x]);
  const twin = createPublicKey({ key: compressed, format: "der", type: "spki" });
  t.equal(keyidOf(twin), keyidOf(publicKey));
  t.equal(publicKeyPem(twin), publicKey.export({ type: "spki", format: "pem" }));
  const pem = `-----BEGIN PUBLIC KEY-----\n${compressed.toString("base64")}\n-----END PUBLIC KEY-----\n`;
  const dir = mkdtempSync(join(tmpdir(), "airferry-keys-"));
  t.teardown(() => rmSync(dir, { recursive: true }));
  writeFileSync(join(dir, "a.pub"), publicKeyPem(publicKey));
  writeFileSync(join(dir, "b.pub"), pem);
  t.equal((await readTrustedKeys([join(dir, "a.pub"), join(dir, "b.pub"), join(dir, "a.pub")])).length, 1);
});

t.test("readTrustedKeys() reads several blocks of one file and keeps their order", async (t) => {
  const dir = mkdtempSync(join(tmpdir(), "airferry-keys-"));
  t.teardown(() => rmSync(dir, { recursive: true }));
  const kinds = [
    publicKey,
    generateKeyPairSync("ec", { namedCurve: "P-384" }).publicKey,
    generateKeyPairSync("ed25519").publicKey,
    generateKeyPairSync("rsa", { modulusLength: 2048 }).publicKey,
  ];
  const file = join(dir, "all.pub");
  writeFileSync(file, `# site keys\r\n${kinds.map(publicKeyPem).join("\n").replaceAll("\n", "\r\n")}`);
  const keys = await readTrustedKeys([file]);
  t.same(
    keys.map((it) => it.kind),
    ["p256", "p384", "ed25519", "rsa"],
  );
  t.same(
    keys.map((it) => it.keyid),
    kinds.map(keyidOf),
  );
  for (const it of keys) t.equal(it.keyid16, it.keyid.slice(0, 16));
  await t.rejects(readTrustedKeys([join(dir, "none.pub")]), { code: "ERR_NOT_FOUND" });
  await t.rejects(readTrustedKeys([dir]), { code: "ERR_IO" });
  await t.rejects(readTrustedKeys(["/dev/zero"]), { code: "ERR_KEY_INVALID" }, "an endless file");
});

t.test("parsePublicKeys() refuses what is no signing key", async (t) => {
  const pem = (key: ReturnType<typeof generateSigningKey>["publicKey"]) => key.export({ type: "spki", format: "pem" });
  const good = publicKeyPem(publicKey);
  const bad = new Map<string, string | Buffer>([
    ["an empty file", ""],
    ["no PEM", "cosign.pub"],
    ["a private key", privateKey.export({ type: "pkcs8", format: "pem" })],
    ["a good key and then a private one", good + privateKey.export({ type: "pkcs8", format: "pem" })],
    ["a cut block", good.replace(/.{8}\n-----END/, "\n-----END")],
    ["another curve", pem(generateKeyPairSync("ec", { namedCurve: "secp256k1" }).publicKey)],
    ["P-521", pem(generateKeyPairSync("ec", { namedCurve: "P-521" }).publicKey)],
    ["a short RSA key", pem(generateKeyPairSync("rsa", { modulusLength: 1024 }).publicKey)],
    ["RSA-PSS", pem(generateKeyPairSync("rsa-pss", { modulusLength: 2048 }).publicKey)],
    ["X25519", pem(generateKeyPairSync("x25519").publicKey)],
    ["too large", Buffer.alloc(MAX_KEY_FILE_BYTES + 1, "a")],
    ["an OpenPGP key", "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nmQ==\n-----END PGP PUBLIC KEY BLOCK-----\n"],
  ]);
  for (const [reason, text] of bad) {
    t.throws(() => parsePublicKeys(Buffer.from(text), "x.pub"), { code: "ERR_KEY_INVALID", path: "x.pub" }, reason);
  }
});
