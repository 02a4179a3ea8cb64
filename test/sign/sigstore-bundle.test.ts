/** Sigstore bundles: what we write is read by sigstore-js and the other way round; nothing ambiguous is accepted. */
import { createHash } from "node:crypto";
import { bundleFromJSON, bundleToJSON, toMessageSignatureBundle } from "@sigstore/bundle";
import t from "tap";
import { generateSigningKey, keyidOf } from "../../src/sign/keys.ts";
import { keySigner } from "../../src/sign/signer.ts";
import {
  BUNDLE_MEDIA_TYPE,
  formatSignatureBundle,
  MAX_SIGNATURE_BYTES,
  parseSignatureBundle,
} from "../../src/sign/sigstore-bundle.ts";
import { mutated, seeded } from "../fixtures/seeded.ts";

const sums = Buffer.from(`${"0".repeat(64)}  airferry.json\n`);
const { privateKey, publicKey } = generateSigningKey();
const keyid = keyidOf(publicKey);
const signature = await keySigner(privateKey, "k").sign(sums);
const text = formatSignatureBundle(sums, signature, keyid);
const hint = Buffer.from(keyid, "hex").toString("base64");
const digest = createHash("sha256").update(sums).digest();

t.test("parseSignatureBundle() reads what formatSignatureBundle() writes", async (t) => {
  const { messageDigest, ...rest } = parseSignatureBundle(Buffer.from(text), "b");
  t.same(rest, { hint, signature });
  t.same(messageDigest, { algorithm: "SHA2_256", digest });
});

t.test("@sigstore/bundle reads ours", async (t) => {
  const bundle = bundleFromJSON(JSON.parse(text));
  t.equal(bundle.mediaType, BUNDLE_MEDIA_TYPE);
  t.equal(bundle.content.$case, "messageSignature");
  if (bundle.content.$case !== "messageSignature") return;
  t.same(bundle.content.messageSignature.signature, signature);
  t.same(bundle.content.messageSignature.messageDigest.digest, digest);
  t.same(JSON.parse(text).messageSignature, (bundleToJSON(bundle) as { messageSignature?: object }).messageSignature);
});

t.test("we read what @sigstore/bundle writes", async (t) => {
  const theirs = toMessageSignatureBundle({ digest, signature, keyHint: hint, singleCertificate: false } as Parameters<
    typeof toMessageSignatureBundle
  >[0]);
  const parsed = parseSignatureBundle(Buffer.from(JSON.stringify(bundleToJSON(theirs), null, 2)), "b");
  t.same(parsed.signature, signature);
  t.same(parsed.messageDigest?.digest, digest);
});

const json = () =>
  JSON.parse(text) as {
    mediaType: unknown;
    verificationMaterial: Record<string, unknown>;
    messageSignature: Record<string, unknown> & { messageDigest: Record<string, unknown> };
  };
type Json = ReturnType<typeof json>;
const changed = (change: (it: Json) => unknown) => {
  const it = json();
  change(it);
  return JSON.stringify(it);
};

t.test("parseSignatureBundle() accepts the variants that cosign accepts", async (t) => {
  const good = new Map([
    ["pretty-printed", JSON.stringify(json(), null, 2)],
    ["protojson's random space", text.replace('","', '", "')],
    ["v0.2", changed((it) => Object.assign(it, { mediaType: "application/vnd.dev.sigstore.bundle.v0.2+json" }))],
    [
      "legacy v0.3",
      changed((it) => Object.assign(it, { mediaType: "application/vnd.dev.sigstore.bundle+json;version=0.3" })),
    ],
    ["no hint", changed((it) => Object.assign(it.verificationMaterial, { publicKey: {} }))],
    ["no log entries", changed((it) => Object.assign(it.verificationMaterial, { tlogEntries: [] }))],
    ["no timestamps", changed((it) => Object.assign(it.verificationMaterial, { timestampVerificationData: {} }))],
    [
      "a timestamp",
      changed((it) =>
        Object.assign(it.verificationMaterial, {
          timestampVerificationData: { rfc3161Timestamps: [{ signedTimestamp: "AAAA" }] },
        }),
      ),
    ],
    ["no digest", changed((it) => Reflect.deleteProperty(it.messageSignature, "messageDigest"))],
  ]);
  for (const [reason, it] of good) t.same(parseSignatureBundle(Buffer.from(it), "b").signature, signature, reason);
});

t.test("parseSignatureBundle() refuses everything else", async (t) => {
  const material = (it: object) => changed((all) => Object.assign(all.verificationMaterial, it));
  const message = (it: object) => changed((all) => Object.assign(all.messageSignature, it));
  const bad = new Map<string, string>([
    ["empty", ""],
    ["not JSON", "hello"],
    ["cut", text.slice(0, -10)],
    ["trailing bytes", `${text}{}`],
    ["a list", "[]"],
    ["null", "null"],
    ["a member twice", text.replace('"messageSignature"', '"mediaType":"x","messageSignature"')],
    ["a signature twice", text.replace('"signature":', '"signature":"AAAA","signature":')],
    ["an escape", text.replace("SHA2_256", "SHA2\\u005f256")],
    ["a byte order mark", `\uFEFF${text}`],
    ["an unknown member", changed((it) => Object.assign(it, { extra: 1 }))],
    ["a prototype", text.replace('{"mediaType"', '{"__proto__":{},"mediaType"')],
    ["unknown material", material({ x509CertificateChain: {} })],
    ["a certificate", material({ certificate: { rawBytes: "AAAA" } })],
    ["log entries", material({ tlogEntries: [{ logIndex: "1" }] })],
    ["log entries that are no list", material({ tlogEntries: {} })],
    ["no public key", changed((it) => Object.assign(it, { verificationMaterial: {} }))],
    ["a hint that is no base64", material({ publicKey: { hint: "a b" } })],
    ["an odd timestamp", material({ timestampVerificationData: { rfc3161Timestamps: ["AAAA"] } })],
    ["a future version", text.replace("v0.3", "v0.4")],
    ["no media type", changed((it) => Reflect.deleteProperty(it, "mediaType"))],
    ["an envelope", changed((it) => Object.assign(it, { dsseEnvelope: {} }))],
    ["no signature", message({ signature: "" })],
    ["a signature that is no base64", message({ signature: "!!!!" })],
    ["unpadded base64", message({ signature: signature.toString("base64").replace(/=*$/, "").slice(0, -1) })],
    ["base64url", message({ signature: "-_-_" })],
    ["another digest", message({ messageDigest: { algorithm: "SHA2_512", digest: "AAAA" } })],
    ["a short digest", message({ messageDigest: { algorithm: "SHA2_256", digest: "AAAA" } })],
    ["a digest algorithm by number", message({ messageDigest: { algorithm: 1, digest: digest.toString("base64") } })],
  ]);
  for (const [reason, it] of bad) {
    t.throws(() => parseSignatureBundle(Buffer.from(it), "b"), { code: "ERR_SIGNATURE_INVALID", path: "b" }, reason);
  }
  t.throws(
    () => parseSignatureBundle(Buffer.from([0x22, 0xff, 0x22]), "b"),
    { code: "ERR_SIGNATURE_INVALID" },
    "not UTF-8",
  );
  const large = Buffer.alloc(MAX_SIGNATURE_BYTES + 1, " ");
  t.throws(() => parseSignatureBundle(large, "b"), { code: "ERR_SIZE_LIMIT" });
});

t.test("whatever mutation is accepted says the same when it is written again", async (t) => {
  const random = seeded(42);
  let accepted = 0;
  for (let round = 0; round < 5000; round++) {
    const bytes = mutated(Buffer.from(text), random);
    let parsed: ReturnType<typeof parseSignatureBundle>;
    try {
      parsed = parseSignatureBundle(bytes, "b");
    } catch (error) {
      if ((error as { code: string }).code === "ERR_SIGNATURE_INVALID") continue;
      throw error;
    }
    accepted++;
    const again = JSON.stringify({
      mediaType: BUNDLE_MEDIA_TYPE,
      verificationMaterial: { publicKey: { hint: parsed.hint } },
      messageSignature: {
        messageDigest: { algorithm: "SHA2_256", digest: parsed.messageDigest?.digest.toString("base64") },
        signature: parsed.signature.toString("base64"),
      },
    });
    if (bytes.toString().replace(/\s/g, "") !== again) t.equal(bytes.toString(), again, `round ${round}`);
  }
  t.ok(accepted > 100, `${accepted} of 5000 were accepted`);
});
