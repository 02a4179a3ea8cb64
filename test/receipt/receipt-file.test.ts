/** A receipt is believed only with a good signature of a key of the far side, which stock tools check too. */
import { execFileSync } from "node:child_process";
import { generateKeyPairSync } from "node:crypto";
import { copyFileSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { digestOf } from "../../src/io/digest.ts";
import { readReceipt, writeReceipt } from "../../src/receipt/receipt-file.ts";
import { publicKeyPem, trustedKeyOf } from "../../src/sign/keys.ts";
import { keySigner } from "../../src/sign/signer.ts";
import { clientEnv, needs } from "../fixtures/clients.ts";
import { scratch } from "../fixtures/program.ts";

const dir = scratch(t);
const file = join(dir, "receipt.txt");
const beside = `${file}.sigstore.json`;
const content = {
  made: "2026-11-30T19:41:06Z",
  releases: [{ stream: "a", epoch: 1, serial: 3, digest: digestOf("x") }],
};

function signerOf(name: string, type: "p256" | "ed25519") {
  const { privateKey, publicKey } =
    type === "p256" ? generateKeyPairSync("ec", { namedCurve: "P-256" }) : generateKeyPairSync("ed25519");
  writeFileSync(join(dir, `${name}.pub`), publicKeyPem(publicKey));
  const pub = join(dir, `${name}.pub`);
  return { signer: keySigner(privateKey, name), pub, trust: { keys: [trustedKeyOf(publicKey, pub)] } };
}
const inside = signerOf("inside", "p256");
const other = signerOf("other", "p256");

t.test("both files are written, and read back with the right key", async (t) => {
  for (const { signer, trust } of [inside, signerOf("ed", "ed25519")]) {
    t.same(await writeReceipt(file, content, signer), [file, beside]);
    t.match(await readReceipt(file, trust), { ...content, keyid: signer.keyid });
  }
});

t.test("what was changed, forged or signed by another is refused", async (t) => {
  const { signer, trust } = inside;
  await writeReceipt(file, content, signer);
  const [text, signature] = [readFileSync(file, "utf8"), readFileSync(beside, "utf8")];
  const refused = async (code: string, name: string, by = trust) => {
    await t.rejects(readReceipt(file, by), { code }, name);
    writeFileSync(file, text);
    writeFileSync(beside, signature);
  };
  writeFileSync(file, text.replace(" s3 ", " s4 "));
  await refused("ERR_RECEIPT_INVALID", "an edited serial");
  writeFileSync(file, `${text}\n`);
  await refused("ERR_RECEIPT_INVALID", "a line more");
  await writeReceipt(file, { ...content, made: "2026-11-30T19:41:07Z" }, other.signer);
  await refused("ERR_KEY_UNTRUSTED", "signed by somebody else");
  await writeReceipt(file, content, { ...other.signer, keyid: signer.keyid });
  await refused("ERR_RECEIPT_INVALID", "under the name of the right key");
  await writeReceipt(file, content, { ...other.signer, sign: signer.sign });
  await refused("ERR_RECEIPT_INVALID", "which names another key than it was signed by");
  writeFileSync(beside, "{}");
  await refused("ERR_RECEIPT_INVALID", "no signature");
  writeFileSync(beside, signature.replace('"mediaType"', '"x":1,"mediaType"'));
  await refused("ERR_RECEIPT_INVALID", "an unknown member");
  rmSync(beside);
  await refused("ERR_SIGNATURE_MISSING", "without its signature");
  await refused("ERR_KEY_UNTRUSTED", "with other trusted keys", other.trust);
  t.match(await readReceipt(file, { keys: [...other.trust.keys, ...trust.keys] }), content);
});

t.test("cosign checks it", async (t) => {
  if (!needs(t, "cosign")) return;
  await writeReceipt(file, content, inside.signer);
  const check = (name: string) =>
    execFileSync(
      "cosign",
      ["verify-blob", "--key", inside.pub, "--bundle", beside, "--insecure-ignore-tlog=true", name],
      { stdio: "pipe", env: clientEnv() },
    );
  check(file);
  copyFileSync(file, join(dir, "edited"));
  writeFileSync(join(dir, "edited"), readFileSync(file, "utf8").replace(" s3 ", " s4 "));
  t.throws(() => check(join(dir, "edited")));
});
