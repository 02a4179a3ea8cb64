/** ML-DSA beside P-256: what counts as one signer, what is refused, and that OpenSSL 3.5 agrees. */
import { execFileSync, spawnSync } from "node:child_process";
import { createPublicKey, verify } from "node:crypto";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { keygen } from "../../src/keygen.ts";
import { generatePostQuantumKey, generateSigningKey, parsePublicKeys, publicKeyPem } from "../../src/sign/keys.ts";
import { openPrivateKey } from "../../src/sign/private-key.ts";
import { keySigner, openSigner, openSigners, signatureFiles } from "../../src/sign/signer.ts";
import { countSigners, type SignatureFile, verifySums } from "../../src/sign/verify-sums.ts";
import { clientPath, needs } from "../fixtures/clients.ts";
import { scratch } from "../fixtures/program.ts";

const root = scratch(t);
const sums = Buffer.from(`${"a".repeat(64)}  airferry.json\n`);
const passphrase = async () => "pw";
const ann = join(root, "ann");
const keys = await keygen({ out: ann, password: "pw", rpm: false, postQuantum: "mldsa65" });
const files = await signed(`${ann}.key`);
const trusted = parsePublicKeys(readFileSync(`${ann}.pub`), "ann.pub");
const [classic, second] = trusted;
const pq = files.find((it) => it.name.includes("mldsa"))!;

async function signed(key: string, bytes = sums): Promise<SignatureFile[]> {
  const signers = await openSigners({ key, passphrase });
  return (await Promise.all(signers.map((it) => signatureFiles(bytes, it)))).flat();
}

t.test("keygen() with a post-quantum key writes it beside, and both public keys into one file", async (t) => {
  const names = ["ann.key", "ann.mldsa65.key", "ann.mldsa65.pub", "ann.pub"];
  t.same(readdirSync(root).sort(), names);
  t.same([classic!.kind, second!.kind, second!.signer], ["p256", "mldsa65", classic!.keyid]);
  t.same([keys.keyid, keys.postQuantumKeyid], [classic!.keyid, second!.keyid]);
  const alone = parsePublicKeys(readFileSync(`${ann}.mldsa65.pub`), "x");
  t.same([alone[0]!.keyid, alone[0]!.signer], [second!.keyid, second!.keyid]);
});

t.test("both keys sign, and count as one signer", async (t) => {
  const name = (it: { keyid16: string }, suffix: string) => `${it.keyid16}.${suffix}`;
  t.same(
    files.map((it) => it.name),
    [name(classic!, "sigstore.json"), name(classic!, "sig"), name(second!, "mldsa65.sig")],
  );
  const verdict = verifySums(sums, files, trusted, 1);
  t.same(verdict, { signers: [classic!.keyid, second!.keyid].sort(), count: 1, untrusted: [], problems: [] });
  t.match(verifySums(sums, files, trusted, 2).problems, [{ code: "ERR_THRESHOLD" }]);
  t.same(verifySums(sums, files, [classic!], 1).untrusted, [second!.keyid16], "who knows the first key only");
  t.same(verifySums(sums, [pq], [second!], 1).problems, [], "the second alone");
});

t.test("a reader may require both kinds", async (t) => {
  const both = ["p256", "mldsa65"] as const;
  t.same(verifySums(sums, files, trusted, 1, both).problems, []);
  for (const left of [files.filter((it) => it !== pq), [pq]]) {
    t.match(verifySums(sums, left, trusted, 1, both), { count: 0, problems: [{ code: "ERR_THRESHOLD" }] });
  }
  const bob = parsePublicKeys(Buffer.from(publicKeyPem(generatePostQuantumKey("mldsa65").publicKey)), "bob.pub");
  t.equal(countSigners([classic!, ...bob], both), 0, "the kinds of two signers do not add up");
});

t.test("a damaged, foreign or misnamed post-quantum signature is refused", async (t) => {
  const of = (bytes: Uint8Array, name = pq.name) =>
    verifySums(sums, [...files.filter((it) => it !== pq), { name, bytes }], trusted, 1).problems.map((it) => it.code);
  const flipped = Buffer.from(pq.bytes);
  flipped[100]! ^= 1;
  const other = (await signed(`${ann}.key`, Buffer.from("x"))).find((it) => it.name === pq.name)!;
  for (const [what, bytes] of Object.entries({
    flipped,
    short: flipped.subarray(1),
    empty: Buffer.alloc(0),
    other: other.bytes,
  }))
    t.same(of(bytes), ["ERR_SIGNATURE_INVALID"], what);
  t.same(of(pq.bytes, `${"0".repeat(16)}.mldsa65.sig`), ["ERR_SIGNATURE_INVALID"], "under another name");
  t.same(of(pq.bytes, `${classic!.keyid16}.mldsa65.sig`), ["ERR_SIGNATURE_INVALID"], "as another key's");
  t.same(of(pq.bytes, pq.name.replace("65", "87")), ["ERR_SIGNATURE_INVALID"], "as of another kind");
  const pair = files
    .filter((it) => it !== pq)
    .map((it) => ({ ...it, name: it.name.replace(classic!.keyid16, second!.keyid16) }));
  t.match(verifySums(sums, pair, trusted, 1).problems[0]?.code, "ERR_SIGNATURE_INVALID", "a pair in its name");
});

t.test("ML-DSA-87, and a key file that openssl wrote", async (t) => {
  const { privateKey, publicKey } = generatePostQuantumKey("mldsa87");
  const [file] = await signatureFiles(sums, keySigner(privateKey, "k"));
  const [key] = parsePublicKeys(Buffer.from(publicKeyPem(publicKey)), "k.pub");
  t.match(file!.name, /^[0-9a-f]{16}\.mldsa87\.sig$/);
  t.same(verifySums(sums, [file!], [key!], 1), { signers: [key!.keyid], count: 1, untrusted: [], problems: [] });
  if (!needs(t, "newer-openssl")) return;
  const openssl = clientPath("newer-openssl")!;
  const from = join(root, "theirs.key");
  execFileSync(openssl, ["genpkey", "-algorithm", "ML-DSA-65", "-aes256", "-pass", "pass:pw", "-out", from], {
    stdio: "ignore",
  });
  const theirs = await openSigner({ key: from, passphrase });
  t.equal(theirs.kind, "mldsa65");
  t.ok(verify(null, sums, theirs.publicKey, await theirs.sign(sums)));
});

t.test("OpenSSL 3.5 checks it with its stock command, and signs so that we accept it", async (t) => {
  if (!needs(t, "newer-openssl")) return;
  const openssl = clientPath("newer-openssl")!;
  const [signature, data] = [join(root, "s"), join(root, "SHA256SUMS")];
  writeFileSync(data, sums);
  writeFileSync(signature, pq.bytes);
  const args = (key: string) => [
    "pkeyutl",
    "-verify",
    "-rawin",
    "-pubin",
    "-inkey",
    key,
    "-sigfile",
    signature,
    "-in",
    data,
  ];
  const check = () => spawnSync(openssl, args(`${ann}.mldsa65.pub`), { encoding: "utf8" });
  t.match(check(), { status: 0, stdout: /Verified Successfully/ });
  writeFileSync(data, `${sums}x`);
  t.not(check().status, 0, "other bytes");
  writeFileSync(data, sums);
  const private_ = await openPrivateKey(readFileSync(`${ann}.mldsa65.key`), passphrase, "k");
  writeFileSync(join(root, "plain.key"), private_.export({ type: "pkcs8", format: "pem" }), { mode: 0o600 });
  // It needs a file: the bytes are signed as a whole.
  const command = `cd '${root}' && cat >in && '${openssl}' pkeyutl -sign -rawin -inkey plain.key -in in`;
  const card = await openSigner({ signer: command, signerKey: `${ann}.mldsa65.pub`, passphrase });
  t.same(verifySums(sums, await signatureFiles(sums, card), trusted, 1).problems, []);
});

t.test("one file: openssl and cosign read the P-256 key, which is first", async (t) => {
  t.equal(createPublicKey(readFileSync(`${ann}.pub`)).asymmetricKeyType, "ec");
  const again = parsePublicKeys(
    Buffer.from(publicKeyPem(generateSigningKey().publicKey) + readFileSync(`${ann}.pub`)),
    "x",
  );
  t.equal(new Set(again.map((it) => it.signer)).size, 2);
});
