/** verifySums(): what counts as signed, and the code for each way in which a bundle's signatures can be wrong. */
import { generateKeyPairSync, sign } from "node:crypto";
import t from "tap";
import { generateSigningKey, type TrustedKey, trustedKeyOf } from "../../src/sign/keys.ts";
import { keySigner, signatureFiles } from "../../src/sign/signer.ts";
import { MAX_SIGNATURE_FILES, type SignatureFile, verifySums } from "../../src/sign/verify-sums.ts";
import { mutated, seeded } from "../fixtures/seeded.ts";

const sums = Buffer.from(`${"a".repeat(64)}  airferry.json\n`);

function signerOf(pair = generateSigningKey()) {
  return { signer: keySigner(pair.privateKey, "k"), trusted: trustedKeyOf(pair.publicKey, "k.pub"), ...pair };
}
const ann = signerOf();
const bob = signerOf();
const annFiles = await signatureFiles(sums, ann.signer);
const bobFiles = await signatureFiles(sums, bob.signer);
const codes = (files: SignatureFile[], trusted: TrustedKey[], threshold = 1, bytes: Uint8Array = sums) =>
  verifySums(bytes, files, trusted, threshold).problems.map((it) => `${it.code} ${it.path}`);
const annBundle = `signatures/${ann.signer.keyid16}.sigstore.json`;
const annSig = `signatures/${ann.signer.keyid16}.sig`;

t.test("good signatures", async (t) => {
  t.same(verifySums(sums, annFiles, [ann.trusted], 1), {
    signers: [ann.signer.keyid],
    count: 1,
    untrusted: [],
    problems: [],
  });
  const both = verifySums(sums, [...annFiles, ...bobFiles], [bob.trusted, ann.trusted], 2);
  t.same(both, { signers: [ann.signer.keyid, bob.signer.keyid].sort(), count: 2, untrusted: [], problems: [] });
  const one = verifySums(sums, [...annFiles, ...bobFiles], [ann.trusted], 1);
  t.same(
    one,
    { signers: [ann.signer.keyid], count: 1, untrusted: [bob.signer.keyid16], problems: [] },
    "a stranger's beside it",
  );
  for (const pair of [
    generateKeyPairSync("ec", { namedCurve: "P-384" }),
    generateKeyPairSync("rsa", { modulusLength: 2048 }),
    generateKeyPairSync("ed25519"),
  ]) {
    const { signer, trusted } = signerOf(pair);
    t.same(codes(await signatureFiles(sums, signer), [trusted]), [], trusted.kind);
    t.not(
      codes(await signatureFiles(Buffer.from("x"), signer), [trusted]).length,
      0,
      `${trusted.kind} over other bytes`,
    );
  }
});

t.test("P-384 with SHA-384, as cosign makes them", async (t) => {
  const { signer, trusted, privateKey } = signerOf(generateKeyPairSync("ec", { namedCurve: "P-384" }));
  const [bundle, raw] = await signatureFiles(sums, signer);
  const json = JSON.parse(Buffer.from(bundle!.bytes).toString());
  const signature = sign("sha384", sums, privateKey);
  const { createHash } = await import("node:crypto");
  const digest = createHash("sha384").update(sums).digest("base64");
  json.messageSignature = { messageDigest: { algorithm: "SHA2_384", digest }, signature: signature.toString("base64") };
  const files = [
    { name: bundle!.name, bytes: Buffer.from(JSON.stringify(json)) },
    { name: raw!.name, bytes: signature },
  ];
  t.same(codes(files, [trusted]), []);
});

t.test("missing and untrusted signatures", async (t) => {
  t.same(codes([], [ann.trusted]), ["ERR_SIGNATURE_MISSING signatures"]);
  t.same(codes(annFiles, [bob.trusted]), [`ERR_KEY_UNTRUSTED ${annBundle}`]);
  t.same(codes(annFiles, []), [`ERR_KEY_UNTRUSTED ${annBundle}`]);
  t.same(codes([annFiles[0]!], [ann.trusted]), [`ERR_SIGNATURE_MISSING ${annSig}`]);
  t.same(codes([annFiles[1]!], [ann.trusted]), [`ERR_SIGNATURE_MISSING ${annBundle}`]);
  t.same(codes([...annFiles, bobFiles[0]!], [ann.trusted]).length, 1, "half a pair of a stranger");
});

t.test("thresholds count keys, not files or mentions", async (t) => {
  t.same(codes(annFiles, [ann.trusted], 2), ["ERR_THRESHOLD signatures"]);
  t.same(codes(annFiles, [ann.trusted, { ...ann.trusted }], 2), ["ERR_THRESHOLD signatures"], "the key trusted twice");
  t.same(codes([...annFiles, ...annFiles], [ann.trusted], 2), ["ERR_THRESHOLD signatures"], "the files given twice");
  const again = await signatureFiles(sums, ann.signer);
  const renamed = again.map((it) => ({ ...it, name: it.name.replace(/^.{16}/, "0123456789abcdef") }));
  t.same(
    codes([...annFiles, ...renamed], [ann.trusted, bob.trusted], 2),
    ["ERR_SIGNATURE_INVALID signatures/0123456789abcdef.sigstore.json", "ERR_THRESHOLD signatures"],
    "a second signature by the same key under another name",
  );
  const hint = Buffer.from(`0123456789abcdef${"0".repeat(48)}`, "hex").toString("base64");
  const disguised = renamed.map((it) =>
    it.name.endsWith(".sig")
      ? it
      : {
          ...it,
          bytes: Buffer.from(
            Buffer.from(it.bytes)
              .toString()
              .replace(/"hint":"[^"]*"/, `"hint":"${hint}"`),
          ),
        },
  );
  t.same(
    codes([...annFiles, ...disguised], [ann.trusted, bob.trusted], 2),
    ["ERR_SIGNATURE_INVALID signatures/0123456789abcdef.sigstore.json", "ERR_THRESHOLD signatures"],
    "and with a hint to match",
  );
  const asBob = annFiles.map((it) => ({ ...it, name: it.name.replace(/^.{16}/, bob.signer.keyid16) }));
  t.ok(
    codes([...annFiles, ...asBob], [ann.trusted, bob.trusted], 2).includes("ERR_THRESHOLD signatures"),
    "as another",
  );
  t.same(codes(annFiles, [ann.trusted], 0), [], "a threshold below one is one");
  t.same(codes([], [ann.trusted], 0), ["ERR_SIGNATURE_MISSING signatures"]);
});

t.test("changed bytes", async (t) => {
  t.same(codes(annFiles, [ann.trusted], 1, Buffer.concat([sums, sums])), [`ERR_SIGNATURE_INVALID ${annBundle}`]);
  const [bundle, raw] = annFiles as [SignatureFile, SignatureFile];
  const flipped = Buffer.from(raw.bytes);
  flipped[10]! ^= 1;
  t.same(codes([bundle, { ...raw, bytes: flipped }], [ann.trusted]), [`ERR_SIGNATURE_INVALID ${annSig}`]);
  const both = Buffer.from(bundle.bytes)
    .toString()
    .replace(Buffer.from(raw.bytes).toString("base64"), flipped.toString("base64"));
  t.same(
    codes(
      [
        { ...bundle, bytes: Buffer.from(both) },
        { ...raw, bytes: flipped },
      ],
      [ann.trusted],
    ),
    [`ERR_SIGNATURE_INVALID ${annBundle}`],
    "both files of the pair",
  );
  const p1363 = sign("sha256", sums, { key: ann.privateKey, dsaEncoding: "ieee-p1363" });
  const asRaw = Buffer.from(bundle.bytes)
    .toString()
    .replace(Buffer.from(raw.bytes).toString("base64"), p1363.toString("base64"));
  t.same(
    codes(
      [
        { ...bundle, bytes: Buffer.from(asRaw) },
        { ...raw, bytes: p1363 },
      ],
      [ann.trusted],
    ),
    [`ERR_SIGNATURE_INVALID ${annBundle}`],
    "r||s in place of DER",
  );
  t.same(codes([bundle, { ...raw, bytes: Buffer.alloc(300_000) }], [ann.trusted]).length, 2);
  const swapped = [
    { ...annFiles[0]!, name: bobFiles[0]!.name },
    { ...annFiles[1]!, name: bobFiles[1]!.name },
    { ...bobFiles[0]!, name: annFiles[0]!.name },
    { ...bobFiles[1]!, name: annFiles[1]!.name },
  ];
  t.same(
    codes(swapped, [ann.trusted, bob.trusted]).map((it) => it.split(" ")[0]),
    ["ERR_SIGNATURE_INVALID", "ERR_SIGNATURE_INVALID"],
  );
  t.same(verifySums(sums, swapped, [ann.trusted, bob.trusted], 1).signers, []);
  t.same(
    codes([...annFiles, bundle, { name: bobFiles[0]!.name, bytes: flipped }, bobFiles[1]!], [ann.trusted]),
    [`ERR_SIGNATURE_INVALID signatures/${bobFiles[0]!.name}`],
    "a stranger's broken file is damage all the same",
  );
});

t.test("names that are no signature's", async (t) => {
  for (const name of [
    "README",
    "x.sig",
    `${"A".repeat(16)}.sig`,
    `${"a".repeat(64)}.sig`,
    "../x.sig",
    ".DS_Store",
    "a\n.sig",
  ]) {
    const files = [...annFiles, { name, bytes: Buffer.alloc(1) }];
    t.same(codes(files, [ann.trusted]), [`ERR_BUNDLE_EXTRA signatures/${name}`], name);
  }
  for (const name of [`${"a".repeat(16)}.sig.1`, `${"a".repeat(16)}.sigstore.json.bak`, `${"a".repeat(16)}.TSR`])
    t.same(codes([...annFiles, { name, bytes: Buffer.alloc(1) }], [ann.trusted]).length, 1, name);
  const many = Array.from({ length: MAX_SIGNATURE_FILES + 1 }, (_, index) => ({
    name: `${index.toString(16).padStart(16, "0")}.sig`,
    bytes: Buffer.alloc(1),
  }));
  t.ok(codes(many, [ann.trusted])[0]?.startsWith("ERR_SIZE_LIMIT"));
});

t.test("what later versions and others write beside a pair is ignored", async (t) => {
  const stamps = ["tsr", "mldsa44.sig", "a.b.c"].map((it) => ({
    name: `${annFiles[0]!.name.slice(0, 16)}.${it}`,
    bytes: Buffer.from("anything"),
  }));
  t.same(verifySums(sums, [...annFiles, ...stamps], [ann.trusted], 1), {
    signers: [ann.trusted.keyid],
    count: 1,
    untrusted: [],
    problems: [],
  });
  t.same(codes(stamps, [ann.trusted]), ["ERR_SIGNATURE_MISSING signatures"]);
});

t.test("no mutation of a file of the pair passes, unless it is white space in JSON", async (t) => {
  const random = seeded(7);
  for (let round = 0; round < 1500; round++) {
    const which = random(3);
    const files = annFiles.map((it, index) => (index === which ? { ...it, bytes: mutated(it.bytes, random) } : it));
    const bytes = which === 2 ? mutated(sums, random) : sums;
    const same =
      which === 2 ? bytes.equals(sums) : Buffer.from(files[which]!.bytes).equals(Buffer.from(annFiles[which]!.bytes));
    const { problems, signers } = verifySums(bytes, files, [ann.trusted], 1);
    if (same || (which === 0 && problems.length === 0)) {
      const text = (it: SignatureFile) => JSON.stringify(JSON.parse(Buffer.from(it.bytes).toString())).length;
      const before = JSON.parse(Buffer.from(annFiles[0]!.bytes).toString()).messageSignature;
      if (!same)
        t.same(
          JSON.parse(Buffer.from(files[0]!.bytes).toString()).messageSignature,
          before,
          `round ${round} ${text(files[0]!)}`,
        );
    } else if (problems.length === 0 || signers.length > 0) t.fail(`round ${round} passed`);
  }
  t.pass("1500 mutations");
});
