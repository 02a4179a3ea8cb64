/** External signers: real openssl as the command, and commands that go wrong. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t from "tap";
import { generateSigningKey, publicKeyPem, trustedKeyOf } from "../../src/sign/keys.ts";
import { commandSigner, openSigner, signatureFiles } from "../../src/sign/signer.ts";
import { verifySums } from "../../src/sign/verify-sums.ts";
import { needs } from "../fixtures/clients.ts";

const dir = mkdtempSync(join(tmpdir(), "airferry-signer-"));
t.teardown(() => rmSync(dir, { recursive: true }));
const { privateKey, publicKey } = generateSigningKey();
const keyFile = join(dir, "plain.key");
const pubFile = join(dir, "signer.pub");
writeFileSync(keyFile, privateKey.export({ type: "pkcs8", format: "pem" }), { mode: 0o600 });
writeFileSync(pubFile, publicKeyPem(publicKey));
const sums = Buffer.from(`${"b".repeat(64)}  airferry.json\n`);
const passphrase = async () => "";
const openssl = `openssl dgst -sha256 -sign '${keyFile}'`;

t.test("a command that prints DER, base64, or lines of it", async (t) => {
  if (!needs(t, "openssl")) return;
  for (const command of [
    openssl,
    `${openssl} | base64`,
    `${openssl} | base64 -w 20`,
    `${openssl} | openssl base64 -A`,
  ]) {
    const signer = await openSigner({ signer: command, signerKey: pubFile, passphrase });
    const verdict = verifySums(sums, await signatureFiles(sums, signer), [trustedKeyOf(publicKey, pubFile)], 1);
    t.same(verdict.problems, [], command);
  }
});

t.test("a command that prints r||s: it is written as DER", async (t) => {
  const script = join(dir, "raw.mjs");
  writeFileSync(
    script,
    `import { createPrivateKey, sign } from "node:crypto"; import { readFileSync } from "node:fs";
     const key = createPrivateKey(readFileSync(${JSON.stringify(keyFile)}));
     process.stdout.write(sign("sha256", readFileSync(0), { key, dsaEncoding: "ieee-p1363" }));`,
  );
  const signer = commandSigner(`'${process.execPath}' '${script}'`, publicKey, pubFile);
  // Several, because numbers with leading zeros and high bits are coded differently.
  for (let round = 0; round < 12; round++) {
    const bytes = Buffer.from(`round ${round}\n`);
    const files = await signatureFiles(bytes, signer);
    t.equal(files[1]!.bytes[0], 0x30);
    t.same(verifySums(bytes, files, [trustedKeyOf(publicKey, pubFile)], 1).problems, []);
  }
});

t.test("commands that go wrong", async (t) => {
  const bad = new Map([
    ["fails", "exit 3"],
    ["prints nothing", "true"],
    ["prints something else", "echo hello"],
    ["prints too much", "yes"],
    ["is missing", "/nowhere/signer"],
    ["signs other bytes", `echo x | ${openssl}`],
    ["is killed", "kill -9 $$"],
  ]);
  for (const [reason, command] of bad) {
    await t.rejects(commandSigner(command, publicKey, pubFile).sign(sums), { code: "ERR_SIGNER" }, reason);
  }
  await t.rejects(commandSigner("sleep 30", publicKey, pubFile, 200).sign(sums), { code: "ERR_SIGNER" }, "hangs");
  const other = generateSigningKey().publicKey;
  await t.rejects(commandSigner(openssl, other, pubFile).sign(sums), { code: "ERR_SIGNER" }, "has another key");
});

t.test("openSigner() wants one way to sign, and the public key of a command", async (t) => {
  await t.rejects(openSigner({ passphrase }), { code: "ERR_USAGE" });
  await t.rejects(openSigner({ key: keyFile, signer: "true", passphrase }), { code: "ERR_USAGE" });
  await t.rejects(openSigner({ signer: "true", passphrase }), { code: "ERR_USAGE" });
  const two = join(dir, "two.pub");
  writeFileSync(two, publicKeyPem(publicKey) + publicKeyPem(generateSigningKey().publicKey));
  await t.rejects(openSigner({ signer: "true", signerKey: two, passphrase }), { code: "ERR_USAGE" });
  t.equal((await openSigner({ key: keyFile, passphrase })).keyid, trustedKeyOf(publicKey, "").keyid);
});

t.test("openssl checks the raw signature", async (t) => {
  if (!needs(t, "openssl")) return;
  const [, raw] = await signatureFiles(sums, await openSigner({ key: keyFile, passphrase }));
  writeFileSync(join(dir, "SHA256SUMS"), sums);
  writeFileSync(join(dir, "raw.sig"), raw!.bytes);
  const args = ["dgst", "-sha256", "-verify", "signer.pub", "-signature", "raw.sig", "SHA256SUMS"];
  t.equal(execFileSync("openssl", args, { cwd: dir, encoding: "utf8" }), "Verified OK\n");
});
