/** Keys and signatures. */
import { generateKeyPairSync } from "node:crypto";
import { checkCosignSignature, preAuthEncoding } from "../../../../src/oci/cosign.ts";
import { parsePublicKeys } from "../../../../src/sign/keys.ts";
import { readOpenPgpKeyring } from "../../../../src/sign/openpgp-keyring.ts";
import { dearmorAll, readSignatures } from "../../../../src/sign/openpgp-packets.ts";
import { readClearsigned, verifyClearsigned, verifyDetached } from "../../../../src/sign/openpgp-verify.ts";
import { openPrivateKey } from "../../../../src/sign/private-key.ts";
import { signBytes } from "../../../../src/sign/signature.ts";
import { formatSignatureBundle, parseSignatureBundle } from "../../../../src/sign/sigstore-bundle.ts";
import { parseChecksums } from "../../../../src/sources/checksum-file.ts";
import { DIGEST, HEX, type Targets, text } from "../target.ts";

/** Ed25519 with a signing subkey, made for this file; and its signature over "a", and its clear-signed text. */
const OPENPGP_KEY = Buffer.from(
  "xjMEZZIAgBYJKwYBBAHaRw8BAQdA7RIQevgO/IjX83yxuZZJr8JFq/X7DkoSXAGb2NSV21XNAWHCwBMEExYKAIUFgmWSAIADCwkHCRAJ8pHtVoyQ/kUUAAAAAAAcACBzYWx0QG5vdGF0aW9ucy5vcGVucGdwanMub3JnRiqISBudqd6JeR46/IzWfZgSgmJIhMzbXcvLHWEfsX8FFQoIDgwEFgACAQIZAQKbAwIeARYhBCAL2LCkKUHDq8GCwgnyke1WjJD+AADzygD/U0Ne7eJB8Ti5LWdWSYXMY2oGhqJiYwX2tVTWzJH+Wb4A/RiI90wgkOMQUiOXvUfBM/W2Ul98aBTs0P7Fq1UwbYwLzjMEZZIAgBYJKwYBBAHaRw8BAQdA6iIUwWtXxcaU+sGE78eYhQN2Mwj09EQs6V8unJzT0DPCwLsEGBYKAS0FgmWSAIAJEAnyke1WjJD+RRQAAAAAABwAIHNhbHRAbm90YXRpb25zLm9wZW5wZ3Bqcy5vcmcCO9Z43rgRg8r1AkBtJz5Fxh35UDuREUPxik2JdXWZWwKbArygBBkWCgBtBYJlkgCACRCKlxOZWlRWXUUUAAAAAAAcACBzYWx0QG5vdGF0aW9ucy5vcGVucGdwanMub3JnjKgztqBWXqUSrfnxsMSjQ++qxk8j5URtvZgW6ljY7JYWIQRKY/eseLelQb3aZQWKlxOZWlRWXQAAavIA/0vt6sVkdZWDQCWavbSMNrQk1RC/20CsWBd9hkjoANAWAP4tkMoCLKQbmP2Q78XiralNNGS4lM5uUG3N6VuSIyrPDRYhBCAL2LCkKUHDq8GCwgnyke1WjJD+AAC7WQEAsw7rqPaZYXPDQToLEOgU9wrIPGFynmDZ4fNSB/46IYkBANncwN+mGwvSLb8vzKEPBrKyLecHE3mMrf2yLpggrSwG",
  "base64",
);
const DETACHED = Buffer.from(
  "wrsEARYKAG0FgmW63wAJEIqXE5laVFZdRRQAAAAAABwAIHNhbHRAbm90YXRpb25zLm9wZW5wZ3Bqcy5vcmec6vR0zkvgyOe557p9F9aSmmpvDOvpMn+RxNjJd43haBYhBEpj96x4t6VBvdplBYqXE5laVFZdAAB0xwD/TsOU2AKBeUcDf3YiSGRNvit+RYblzhntfEhDadjN/7YBAO610YpZAx2IkJgF1Aa3jHbR4B5erXVjCJ9lFixXfvAK",
  "base64",
);
const CLEARSIGNED =
  "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\na\r\n- - b\n-----BEGIN PGP SIGNATURE-----\n\nwrsEARYKAG0FgmW63wAJEIqXE5laVFZdRRQAAAAAABwAIHNhbHRAbm90YXRp\nb25zLm9wZW5wZ3Bqcy5vcmfYLghI/619RE7dCGNMM56koZgCuBtZMBv1VNLy\nyYrbKhYhBEpj96x4t6VBvdplBYqXE5laVFZdAACGuAEA/Tf1RDBccjciiE07\nRir5BAz2iM7JZ5Uc+Aoh1ayo63cA/jgxWk0nwG2KJ0C5l38Ar28sI77asM/X\n1HeNjkFQ27AL\n=ziNe\n-----END PGP SIGNATURE-----\n";
const armored = (kind: string, bytes: Buffer) =>
  `-----BEGIN PGP ${kind}-----\n\n${bytes.toString("base64")}\n-----END PGP ${kind}-----\n`;
const keyring = readOpenPgpKeyring([OPENPGP_KEY]);

const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
const PEM = publicKey.export({ type: "spki", format: "pem" }).toString();
const [trusted] = parsePublicKeys(Buffer.from(PEM), "key");
const signed = (bytes: Uint8Array) => signBytes(bytes, privateKey, "p256").toString("base64");
const IN_TOTO = "application/vnd.in-toto+json";
const STATEMENT = `{"subject":[{"digest":{"sha256":"${HEX}"}}],"predicateType":"https://sigstore.dev/cosign/sign/v1"}`;
const SIMPLE = `{"critical":{"type":"cosign container image signature","image":{"docker-manifest-digest":"${DIGEST}"},"identity":{}}}`;
const envelope = (payload: Uint8Array) =>
  Buffer.from(
    JSON.stringify({
      dsseEnvelope: {
        payload: Buffer.from(payload).toString("base64"),
        payloadType: IN_TOTO,
        signatures: [{ sig: signed(preAuthEncoding(IN_TOTO, payload)) }],
      },
    }),
  );

export const signatures: Targets = {
  checksums: {
    samples: [
      `${HEX}  a\n`,
      `SHA256 (a) = ${HEX}\n# a: 5 bytes\n`,
      `SHA2-256(a)= ${HEX}\n`,
      `a: ${HEX.match(/.{8}/g)?.join(" ")}\n`,
      `\\${HEX} *b\\\\a\n(stdin)= ${HEX}\n`,
      Buffer.from(`\ufeff${HEX}  a\r\n`, "utf16le"),
    ],
    run: (data) => parseChecksums(data, { name: "a", url: "https://x/b/a" }),
  },
  clearsigned: {
    samples: [CLEARSIGNED],
    run: async (data) => {
      const { text: found } = await verifyClearsigned(data, await keyring, "CHECKSUM");
      return found.length + (await readClearsigned(data, "CHECKSUM")).packets.length;
    },
  },
  cosign: {
    samples: [envelope(Buffer.from(STATEMENT)), STATEMENT, SIMPLE],
    // Signed again each time, since what a good signature covers is parsed too.
    run: (data) => {
      const keys = trusted === undefined ? [] : [trusted];
      checkCosignSignature({ form: "bundle", bytes: data }, DIGEST as never, keys);
      checkCosignSignature({ form: "bundle", bytes: envelope(data) }, DIGEST as never, keys);
      checkCosignSignature({ form: "simple", payload: data, signature: signed(data) }, DIGEST as never, keys);
    },
  },
  openpgpKeys: {
    samples: [OPENPGP_KEY, armored("PUBLIC KEY BLOCK", OPENPGP_KEY), Buffer.concat([OPENPGP_KEY, OPENPGP_KEY])],
    maxBytes: 16 * 1024,
    run: async (data) => {
      const ring = await readOpenPgpKeyring([data], { name: "keys" });
      await verifyDetached(Buffer.from("a"), DETACHED, ring);
    },
  },
  openpgpSignature: {
    samples: [
      DETACHED,
      armored("SIGNATURE", DETACHED),
      "-----BEGIN PGP SIGNATURE-----\n\niQ==\n-----END PGP SIGNATURE-----\n",
      Buffer.from("880604000108000005", "hex"),
    ],
    run: async (data) => {
      for (const block of await dearmorAll(data, "SIGNATURE", () => {})) readSignatures(block, () => {});
      await verifyDetached(Buffer.from("a"), data, await keyring);
    },
  },
  pem: {
    samples: [PEM, "-----BEGIN PUBLIC KEY-----\nMFkw\n-----END PUBLIC KEY-----\n"],
    run: (data) => parsePublicKeys(data, "key"),
  },
  privateKey: {
    samples: [
      privateKey.export({ type: "pkcs8", format: "pem" }).toString(),
      privateKey.export({ type: "pkcs8", format: "pem", cipher: "aes-256-cbc", passphrase: "a" }).toString(),
    ],
    // PBKDF2 is slow on purpose; rounds have a bound.
    maxMs: 20_000,
    run: (data) => openPrivateKey(data, async () => "a", "key"),
  },
  sigstore: {
    samples: [formatSignatureBundle(Buffer.from("a"), Buffer.from("b"), HEX), "[[[]]]"],
    run: (data) => {
      parseSignatureBundle(data, "signature");
      return text(data);
    },
  },
};
