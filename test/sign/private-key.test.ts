/** Private key files: cosign's format and PKCS#8, wrong passphrases, hostile parameters. */
import { execFileSync } from "node:child_process";
import { generateKeyPairSync } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t from "tap";
import { generateSigningKey, keyidOf } from "../../src/sign/keys.ts";
import { openPrivateKey, passphraseFrom, sealPrivateKey } from "../../src/sign/private-key.ts";
import { needs } from "../fixtures/clients.ts";
import { mutated, seeded } from "../fixtures/seeded.ts";

const { privateKey } = generateSigningKey();
const password = async () => "correct horse";
const never = async (): Promise<string> => {
  throw new Error("asked for a passphrase");
};

/** A sealed key file with some members of its JSON replaced. */
function altered(pem: string, change: (it: SealedJson) => unknown): string {
  const body = pem.split("\n").slice(1, -2).join("");
  const json = JSON.parse(Buffer.from(body, "base64").toString()) as SealedJson;
  change(json);
  return pem.replace(/\n[\s\S]*\n(?=-)/, `\n${Buffer.from(JSON.stringify(json)).toString("base64")}\n`);
}
interface SealedJson {
  kdf: { name: string; params: { N: number; r: number; p: number }; salt: string };
  cipher: { name: string; nonce: string };
  ciphertext: string;
}

t.test("a sealed key opens again, with its own passphrase only", async (t) => {
  const pem = await sealPrivateKey(privateKey, "correct horse");
  t.match(pem, /^-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n/);
  t.equal(keyidOf(await openPrivateKey(Buffer.from(pem), password, "k")), keyidOf(privateKey));
  const old = pem.replaceAll("SIGSTORE", "COSIGN");
  t.equal(keyidOf(await openPrivateKey(Buffer.from(old), password, "k")), keyidOf(privateKey));
  const crlf = pem.replaceAll("\n", "\r\n");
  t.equal(keyidOf(await openPrivateKey(Buffer.from(crlf), password, "k")), keyidOf(privateKey));
  await t.rejects(
    openPrivateKey(Buffer.from(pem), async () => "wrong", "k"),
    { code: "ERR_PASSWORD", path: "k" },
  );
  t.equal(
    keyidOf(await openPrivateKey(Buffer.from(await sealPrivateKey(privateKey, "")), async () => "", "k")),
    keyidOf(privateKey),
  );
});

t.test("hostile parameters are refused before any work and before the passphrase is asked for", async (t) => {
  const pem = await sealPrivateKey(privateKey, "correct horse");
  const bad = new Map<string, string>([
    ["a cost cosign refuses", altered(pem, (it) => Object.assign(it.kdf.params, { N: 262144 }))],
    ["a cheap one", altered(pem, (it) => Object.assign(it.kdf.params, { N: 1024 }))],
    ["an enormous one", altered(pem, (it) => Object.assign(it.kdf.params, { N: 2 ** 40 }))],
    ["another r", altered(pem, (it) => Object.assign(it.kdf.params, { r: 1024 }))],
    ["another p", altered(pem, (it) => Object.assign(it.kdf.params, { p: 1000 }))],
    ["a cost that is text", altered(pem, (it) => Object.assign(it.kdf.params, { N: "65536" }))],
    ["another derivation", altered(pem, (it) => Object.assign(it.kdf, { name: "argon2" }))],
    ["another cipher", altered(pem, (it) => Object.assign(it.cipher, { name: "none" }))],
    ["a short salt", altered(pem, (it) => Object.assign(it.kdf, { salt: "AAAA" }))],
    ["a short nonce", altered(pem, (it) => Object.assign(it.cipher, { nonce: "AAAA" }))],
    ["no ciphertext", altered(pem, (it) => Object.assign(it, { ciphertext: "" }))],
    ["odd base64", altered(pem, (it) => Object.assign(it, { ciphertext: "%%%%" }))],
    ["null", pem.replace(/\n[\s\S]*\n(?=-)/, `\n${Buffer.from("null").toString("base64")}\n`)],
    ["not JSON", pem.replace(/\n[\s\S]*\n(?=-)/, "\nAAAA\n")],
    ["an empty file", ""],
    ["text", "hello"],
    ["two blocks", pem + pem],
    ["too large", "a".repeat(70_000)],
    ["a public key", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"],
    ["SEC 1", privateKey.export({ type: "sec1", format: "pem" }) as string],
    ["a broken PKCS#8", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"],
  ]);
  for (const [reason, text] of bad) {
    await t.rejects(openPrivateKey(Buffer.from(text), never, "k"), { code: "ERR_KEY_INVALID" }, reason);
  }
});

t.test("no mutation of a sealed key opens as another key", async (t) => {
  const cheap = altered(await sealPrivateKey(privateKey, "correct horse"), (it) =>
    Object.assign(it.kdf.params, { N: 32768 }),
  );
  const random = seeded(20260101);
  let opened = 0;
  // Each costs a scrypt, so only a few.
  for (let round = 0; round < 40; round++) {
    const bytes = mutated(Buffer.from(cheap), random);
    try {
      t.equal(keyidOf(await openPrivateKey(bytes, password, "k")), keyidOf(privateKey), `round ${round}`);
      opened++;
    } catch (error) {
      t.match((error as { code: string }).code, /^ERR_(KEY_INVALID|PASSWORD)$/, `round ${round}`);
    }
  }
  t.ok(opened < 40);
});

t.test("PKCS#8 opens, plain and encrypted", async (t) => {
  const plain = privateKey.export({ type: "pkcs8", format: "pem" });
  t.equal(keyidOf(await openPrivateKey(Buffer.from(plain), never, "k")), keyidOf(privateKey));
  const sealed = privateKey.export({
    type: "pkcs8",
    format: "pem",
    cipher: "aes-256-cbc",
    passphrase: "correct horse",
  });
  t.equal(keyidOf(await openPrivateKey(Buffer.from(sealed), password, "k")), keyidOf(privateKey));
  await t.rejects(
    openPrivateKey(Buffer.from(sealed), async () => "wrong", "k"),
    { code: "ERR_PASSWORD" },
  );
  const rsa = generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey;
  const rsaPem = rsa.export({ type: "pkcs8", format: "pem" });
  t.equal(keyidOf(await openPrivateKey(Buffer.from(rsaPem), never, "k")), keyidOf(rsa));
  const other = generateKeyPairSync("ec", { namedCurve: "secp256k1" }).privateKey;
  const otherPem = other.export({ type: "pkcs8", format: "pem" });
  await t.rejects(openPrivateKey(Buffer.from(otherPem), never, "k"), { code: "ERR_KEY_INVALID" });
});

t.test("PKCS#8 asking for years of PBKDF2 is refused", async (t) => {
  const pem = privateKey.export({ type: "pkcs8", format: "pem", cipher: "aes-256-cbc", passphrase: "x" }) as string;
  const der = Buffer.from(pem.split("\n").slice(1, -2).join(""), "base64");
  const at = der.indexOf(Buffer.from("06092a864886f70d01050c30", "hex"));
  const rounds = at + 13 + 2 + der[at + 14]!;
  t.equal(der[rounds], 2, "the number of rounds stands where the reader looks");
  // An integer of a length that nothing sane has.
  const huge = Buffer.from(der);
  huge[rounds + 1] = 5;
  const file = (bytes: Buffer) =>
    Buffer.from(
      `-----BEGIN ENCRYPTED PRIVATE KEY-----\n${bytes.toString("base64")}\n-----END ENCRYPTED PRIVATE KEY-----\n`,
    );
  await t.rejects(openPrivateKey(file(huge), never, "k"), { code: "ERR_KEY_INVALID" });
});

t.test("keys that openssl wrote open", async (t) => {
  if (!needs(t, "openssl")) return;
  const dir = mkdtempSync(join(tmpdir(), "airferry-openssl-"));
  t.teardown(() => rmSync(dir, { recursive: true }));
  const run = (...args: string[]) => execFileSync("openssl", args, { cwd: dir, stdio: ["ignore", "pipe", "ignore"] });
  const plain = run("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256");
  writeFileSync(join(dir, "plain.key"), plain);
  const id = keyidOf(await openPrivateKey(plain, never, "k"));
  const modern = run(
    "pkcs8",
    "-topk8",
    "-v2",
    "aes-256-cbc",
    "-iter",
    "5000",
    "-passout",
    "pass:pw",
    "-in",
    "plain.key",
  );
  t.equal(keyidOf(await openPrivateKey(modern, async () => "pw", "k")), id);
  await t.rejects(
    openPrivateKey(modern, async () => "no", "k"),
    { code: "ERR_PASSWORD" },
  );
  const memory = run("pkcs8", "-topk8", "-scrypt", "-passout", "pass:pw", "-in", "plain.key");
  t.equal(keyidOf(await openPrivateKey(memory, async () => "pw", "k")), id);
  const slow = run(
    "pkcs8",
    "-topk8",
    "-v2",
    "aes-256-cbc",
    "-iter",
    "10000001",
    "-passout",
    "pass:pw",
    "-in",
    "plain.key",
  );
  await t.rejects(openPrivateKey(slow, never, "k"), { code: "ERR_KEY_INVALID", message: /10000001 PBKDF2 rounds/ });
});

t.test("passphraseFrom() prefers AIRFERRY_PASSWORD, then COSIGN_PASSWORD, then the prompt", async (t) => {
  const prompt = async (what: string) => `typed for ${what}`;
  t.equal(await passphraseFrom({ AIRFERRY_PASSWORD: "a", COSIGN_PASSWORD: "c" }, prompt)("k"), "a");
  t.equal(await passphraseFrom({ COSIGN_PASSWORD: "c" }, prompt)("k"), "c");
  t.equal(await passphraseFrom({ AIRFERRY_PASSWORD: "" }, prompt)("k"), "", "empty is a passphrase");
  t.equal(await passphraseFrom({}, prompt)("k"), "typed for k");
  await t.rejects(passphraseFrom({})("k"), { code: "ERR_PASSWORD", path: "k" });
});
