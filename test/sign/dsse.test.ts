/** DSSE envelopes: what cosign and sigstore write is read, everything else is refused. */
import { execFileSync } from "node:child_process";
import { generateKeyPairSync } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { isEnvelopeOf, parseEnvelope, signEnvelope } from "../../src/sign/dsse.ts";
import { trustedKeyOf } from "../../src/sign/keys.ts";
import { keySigner } from "../../src/sign/signer.ts";
import { attestation, encoding, type Loose } from "../fixtures/attestation-maker.ts";
import { makeKey } from "../fixtures/bundle-maker.ts";
import { needs } from "../fixtures/clients.ts";
import { scratch } from "../fixtures/program.ts";

const key = makeKey();
const about = "a".repeat(64);
const trusted = trustedKeyOf(keySigner(key.privateKey, "k").publicKey, "k");
const read = (bytes: Uint8Array) => parseEnvelope(bytes, "x", 100_000);

t.test("what is written is read, and openssl checks the bytes that are signed", async (t) => {
  const payload = Buffer.from('{"a":"ö"}');
  const text = await signEnvelope(payload, keySigner(key.privateKey, "k"));
  const envelope = read(Buffer.from(text));
  t.strictSame(envelope.payload, payload);
  t.equal(envelope.hint, key.keyid);
  t.ok(isEnvelopeOf(envelope, trusted));
  t.notOk(isEnvelopeOf({ ...envelope, payload: Buffer.from('{"a":"o"}') }, trusted));
  t.notOk(isEnvelopeOf(envelope, trustedKeyOf(keySigner(makeKey().privateKey, "o").publicKey, "o")));
  if (!needs(t, "openssl")) return;
  const dir = scratch(t);
  writeFileSync(join(dir, "pae"), encoding(payload));
  writeFileSync(join(dir, "sig"), envelope.signature);
  writeFileSync(join(dir, "k.pub"), key.pem);
  const args = ["dgst", "-sha256", "-verify", "k.pub", "-signature", "sig", "pae"];
  t.match(execFileSync("openssl", args, { cwd: dir, encoding: "utf8" }), /Verified OK/);
});

t.test("other kinds of keys", async (t) => {
  for (const pair of [
    generateKeyPairSync("ed25519"),
    generateKeyPairSync("ml-dsa-65"),
    generateKeyPairSync("ec", { namedCurve: "P-384" }),
    generateKeyPairSync("rsa", { modulusLength: 2048 }),
  ]) {
    const envelope = read(Buffer.from(await signEnvelope(Buffer.from("{}"), keySigner(pair.privateKey, "k"))));
    t.ok(isEnvelopeOf(envelope, trustedKeyOf(pair.publicKey, "k")), String(pair.publicKey.asymmetricKeyType));
  }
});

t.test("forms that others write", async (t) => {
  const good: Record<string, (it: Loose) => unknown> = {
    "an empty keyid": (it) => {
      it.dsseEnvelope.signatures[0].keyid = "";
    },
    "any keyid, which proves nothing": (it) => {
      it.dsseEnvelope.signatures[0].keyid = "SHA256:somebody-else";
    },
    "no hint": (it) => {
      it.verificationMaterial.publicKey = {};
    },
    "an empty list of log entries": (it) => {
      it.verificationMaterial.tlogEntries = [];
    },
    "an earlier media type": (it) => (it.mediaType = "application/vnd.dev.sigstore.bundle+json;version=0.2"),
    "white space between tokens": (it) => Buffer.from(JSON.stringify(it, undefined, 2)),
  };
  for (const [name, file] of Object.entries(good))
    t.ok(
      isEnvelopeOf(
        read(attestation({ about, key, file: (it) => (file(it) instanceof Buffer ? file(it) : it) })),
        trusted,
      ),
      name,
    );
});

t.test("everything else is refused", async (t) => {
  const bad: Record<string, (it: Loose) => unknown> = {
    "no signature": (it) => {
      it.dsseEnvelope.signatures = [];
    },
    "two signatures": (it) => it.dsseEnvelope.signatures.push(it.dsseEnvelope.signatures[0]),
    "another payload type": (it) => {
      it.dsseEnvelope.payloadType = "application/json";
    },
    "a payload type that is none": (it) => {
      it.dsseEnvelope.payloadType = ["application/vnd.in-toto+json"];
    },
    "a payload that is no base64": (it) => {
      it.dsseEnvelope.payload += "!";
    },
    "base64 of URLs": (it) => {
      it.dsseEnvelope.payload = "_-8=";
    },
    "base64 without padding": (it) => {
      it.dsseEnvelope.payload = "e30";
    },
    "an empty payload": (it) => {
      it.dsseEnvelope.payload = "";
    },
    "a signature that is no base64": (it) => {
      it.dsseEnvelope.signatures[0].sig = 1;
    },
    "an unknown member of the envelope": (it) => {
      it.dsseEnvelope.x = 1;
    },
    "an unknown member of a signature": (it) => {
      it.dsseEnvelope.signatures[0].cert = "x";
    },
    "a long keyid": (it) => {
      it.dsseEnvelope.signatures[0].keyid = "x".repeat(257);
    },
    "a keyid that is none": (it) => {
      it.dsseEnvelope.signatures[0].keyid = null;
    },
    "an unknown member of the bundle": (it) => {
      it.x = 1;
    },
    "a message signature as well": (it) => {
      it.messageSignature = {};
    },
    "a certificate": (it) => {
      it.verificationMaterial = { certificate: { rawBytes: "AA==" } };
    },
    "log entries": (it) => {
      it.verificationMaterial.tlogEntries = [{}];
    },
    "no envelope": (it) => delete it.dsseEnvelope,
    "an envelope that is a list": (it) => {
      it.dsseEnvelope = [];
    },
    "another media type": (it) => {
      it.mediaType = "application/vnd.dev.sigstore.bundle.v9+json";
    },
  };
  for (const [name, spoil] of Object.entries(bad)) {
    const bytes = attestation({ about, key, file: (it) => void spoil(it) });
    t.throws(() => read(bytes), { code: "ERR_SIGNATURE_INVALID" }, name);
  }
  const good = attestation({ about, key }).toString();
  for (const [name, text] of Object.entries({
    "a member twice": good.replace('"payloadType":', '"payload":"e30=","payloadType":'),
    "an escape": good.replace("application/vnd.in-toto", "\\u0061pplication/vnd.in-toto"),
    "something behind it": `${good}{}`,
    nothing: "",
    "another kind of JSON": "[]",
    "very deep": `${"[".repeat(10_000)}${"]".repeat(10_000)}`,
  }))
    t.throws(() => read(Buffer.from(text)), { code: "ERR_SIGNATURE_INVALID" }, name);
  t.throws(() => read(Buffer.concat([Buffer.from("\ufeff"), Buffer.from(good)])), { code: "ERR_SIGNATURE_INVALID" });
  t.throws(() => read(Buffer.from([0xff, 0xfe])), { code: "ERR_SIGNATURE_INVALID" });
  t.throws(() => parseEnvelope(Buffer.from(good), "x", 10), { code: "ERR_SIZE_LIMIT" });
});
