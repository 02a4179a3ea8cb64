/** Bundles: files of a medium that are read after the signature was checked. */

import { createPublicKey, hash, X509Certificate } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseAttestation } from "../../../../src/bundle/attestations.ts";
import { IDENTITY_BYTES } from "../../../../src/bundle/bundle-identity.ts";
import { formatInventory, parseInventory } from "../../../../src/bundle/inventory.ts";
import { BLOCK_BYTES, memberHeader, parseMember } from "../../../../src/bundle/stream-form.ts";
import { formatSums, parseSums } from "../../../../src/bundle/sums.ts";
import { digestOf, hexOf } from "../../../../src/io/digest.ts";
import {
  HEADER_BYTES,
  MAGIC,
  MAX_BLOCKS,
  PACKET_TYPES,
  setPackets,
  sliceHeader,
} from "../../../../src/parity/packets.ts";
import { type PlacedPacket, paritySets } from "../../../../src/parity/read-parity.ts";
import { isEnvelopeOf } from "../../../../src/sign/dsse.ts";
import { trustedKeyOf } from "../../../../src/sign/keys.ts";
import { checkTimestamp } from "../../../../src/sign/timestamp.ts";
import { verifyFirst } from "../../../../src/sign/trust-chain.ts";
import { formatTrust, parseTrust } from "../../../../src/sign/trust-root.ts";
import { attestation } from "../../../../test/fixtures/attestation-maker.ts";
import { makeBundle, makeKey } from "../../../../test/fixtures/bundle-maker.ts";
import { document, makeSigner, signedTrust } from "../../../../test/fixtures/trust-maker.ts";
import { HEX, must, type Targets } from "../target.ts";

function sampleInventory(): Buffer {
  const dir = mkdtempSync(join(tmpdir(), "airferry-fuzz-bundle-"));
  try {
    const files = { "files/a": Buffer.from("a"), "files/b": Buffer.alloc(0) };
    return formatInventory(makeBundle(join(dir, "b"), { files, keys: [makeKey()] }).inventory);
  } finally {
    rmSync(dir, { recursive: true });
  }
}

const TRUST_SIGNERS = [makeSigner("ann"), makeSigner("bob")];
const TRUST_ROOT = signedTrust(
  document(TRUST_SIGNERS, {
    streams: { "*": {}, alpha: { audience: "site-a", maxAgeDays: 90, maxSerialJump: 5, attestations: ["scan"] } },
  }),
  TRUST_SIGNERS.flatMap((it) => it.keys),
);
function samplePackets(): Buffer {
  const sums = Buffer.alloc(40, 3);
  const file = { name: "data.tar.0000", size: 8, md5: Buffer.alloc(16, 1), md5Of16k: Buffer.alloc(16, 2), sums };
  const { setId, packets } = setPackets([file], 4);
  return Buffer.concat([packets, sliceHeader(setId, 0, 4), Buffer.alloc(4)]);
}

/** Packets without their checksums, which a mutation would break: all of them of the set that the first main packet is. */
function packetsIn(data: Buffer): PlacedPacket[] {
  const found: PlacedPacket[] = [];
  for (let at = data.indexOf(MAGIC); at >= 0; ) {
    const next = data.indexOf(MAGIC, at + HEADER_BYTES);
    const body = data.subarray(at + HEADER_BYTES, next < 0 ? data.length : next);
    const type = data.toString("latin1", at + 48, at + HEADER_BYTES);
    const kept = type === PACKET_TYPES.slice ? body.subarray(0, 4) : body;
    found.push({ setId: "", type, body: kept, offset: at + HEADER_BYTES, length: body.length, file: "x" });
    at = next;
  }
  const main = found.find((it) => it.type === PACKET_TYPES.main);
  const setId = hash("md5", main?.body ?? Buffer.alloc(0), "hex");
  return found.map((it) => ({ ...it, setId }));
}

/** A reply of `openssl ts` about `hello` and a line feed, and its CA. */
const TIMESTAMP = Buffer.from(
  "MIIDbTADAgEAMIIDZAYJKoZIhvcNAQcCoIIDVTCCA1ECAQMxDzANBglghkgBZQMEAgEFADBtBgsqhkiG9w0BCRABBKBeBFwwWgIB" +
    "AQYEKgMEATAxMA0GCWCGSAFlAwQCAQUABCBYkbW1ItXfCG0P8LEQ+9nSG7T8cWOvNNCChqLoRva+AwIBAhgPMjAyNjExMzAyMDI3" +
    "MjJaAghVwrDknnPZfKCCAYwwggGIMIIBLaADAgECAhRUrLscH3bzWPimxKYni2HH8azTnDAKBggqhkjOPQQDAjANMQswCQYDVQQD" +
    "DAJjYTAeFw0yNjExMzAyMDI3MjJaFw0yNzExMzAyMDI3MjJaMA4xDDAKBgNVBAMMA3RzYTBZMBMGByqGSM49AgEGCCqGSM49AwEH" +
    "A0IABLulb+hGCK4w7HcANoCyvPxqD8ydLKBTjYHdQYJO5sno5ua0k6zmqPC+BmIWAwRzpVEMlVFhp2tzmg6rM1lkwUCjajBoMBYG" +
    "A1UdJQEB/wQMMAoGCCsGAQUFBwMIMA4GA1UdDwEB/wQEAwIHgDAdBgNVHQ4EFgQUzxpSUJzyw3q78aMpb+18OW7p+4UwHwYDVR0j" +
    "BBgwFoAU1FIffG42l+vtHu7Gqp3kao+HPi0wCgYIKoZIzj0EAwIDSQAwRgIhAMu4QMVJxL1TvSDqQ2PTcNytu9DM08GTIYyH5wMU" +
    "VFc4AiEA3MaHPVAqn/Vq+dftxV0oOyFx50rRDH4IBDY5hGaFB50xggE6MIIBNgIBATAlMA0xCzAJBgNVBAMMAmNhAhRUrLscH3bz" +
    "WPimxKYni2HH8azTnDANBglghkgBZQMEAgEFAKCBpDAaBgkqhkiG9w0BCQMxDQYLKoZIhvcNAQkQAQQwHAYJKoZIhvcNAQkFMQ8X" +
    "DTI2MTEzMDIwMjcyMlowLwYJKoZIhvcNAQkEMSIEIDCRAru8afS03uLIFVkdouX3by1mT3Iulevktb/CKPWTMDcGCyqGSIb3DQEJ" +
    "EAIvMSgwJjAkMCIEIE6NR4+3pJd40wfS9bPNC+ehB677jlorbNnmIG9lHuiCMAoGCCqGSM49BAMCBEgwRgIhAMx0wC0MBpweLTqU" +
    "GdoIp60SnrsKPDccnyYo/HsuEG6XAiEAwuh0lDWfy9j9de0p1lYg3ThqagLtZYphnRcXNsgtSLg=",
  "base64",
);
const TIMESTAMP_CA = new X509Certificate(
  Buffer.from(
    "MIIBbzCCARWgAwIBAgIUaXEMYw7/joYJAloLLERuobxj/bMwCgYIKoZIzj0EAwIwDTELMAkGA1UEAwwCY2EwHhcNMjYxMTMwMjAy" +
      "NzIyWhcNMzYxMTI3MjAyNzIyWjANMQswCQYDVQQDDAJjYTBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABEddtvTIY7SBj9VoDSp0" +
      "mzXhNqsDYTODBIfSovDfdggmmcBjxuUqm6glbNhCFOhXnvoBvkBbFXGjF0az9MCiJAijUzBRMB0GA1UdDgQWBBTUUh98bjaX6+0e" +
      "7saqneRqj4c+LTAfBgNVHSMEGDAWgBTUUh98bjaX6+0e7saqneRqj4c+LTAPBgNVHRMBAf8EBTADAQH/MAoGCCqGSM49BAMCA0gA" +
      "MEUCIG4xgz9FveDunFP9J5fCVxhWTppXYDT4d9GBidiAi68HAiEA0gYaCjdqKe6JDQ1xN2Q1okI6ceN4hrhDT/CrFRZyK0o=",
    "base64",
  ),
);

const ATTEST_SIGNER = makeKey();
const ATTEST_KEY = trustedKeyOf(createPublicKey(ATTEST_SIGNER.pem), "key");
const ATTESTATION = attestation({ about: HEX, key: ATTEST_SIGNER });

export const bundles: Targets = {
  timestamp: {
    samples: [TIMESTAMP],
    run: (data) => {
      const signed = Buffer.from("hello\n");
      const { time } = checkTimestamp(TIMESTAMP, signed, [TIMESTAMP_CA]);
      let found: Date | undefined;
      try {
        found = checkTimestamp(data, signed, [TIMESTAMP_CA]).time;
      } catch {
        return;
      }
      must(found.getTime() === time.getTime(), "no other time is accepted");
    },
  },
  // Only a statement that is signed may be accepted as signed by a key.
  attestation: {
    samples: [ATTESTATION],
    run: (data) => {
      const { envelope, subjects } = parseAttestation(data, { kind: "scan", path: "x", most: 1024 * 1024 });
      const same = JSON.stringify(subjects) === JSON.stringify([HEX]);
      must(same || !isEnvelopeOf(envelope, ATTEST_KEY), "no other subject is signed");
    },
  },
  trustRoot: {
    samples: [TRUST_ROOT.bytes],
    run: (data) =>
      must(formatTrust(parseTrust(data, "trust.1.json")).length === data.length, "what is accepted would be written"),
  },
  // A signature of somebody, spoilt: no other bytes count as one.
  trustSignature: {
    samples: TRUST_ROOT.signatures.slice(0, 1).map((it) => Buffer.from(it.bytes)),
    run: (data) => {
      const [first, ...others] = TRUST_ROOT.signatures;
      verifyFirst({ ...TRUST_ROOT, signatures: [{ name: first?.name ?? "", bytes: data }, ...others] });
    },
  },
  inventory: {
    samples: [sampleInventory(), '{"mediaType":"x","stream":"a","entries":[]}'],
    run: async (data) => must(formatInventory(parseInventory(data)).equals(data), "what is accepted would be written"),
  },
  parity: {
    samples: [samplePackets()],
    run: (data) => {
      for (const { blocks, blockSize, files } of paritySets(packetsIn(Buffer.from(data))))
        must(
          blocks <= MAX_BLOCKS && files.every((it) => it.sums.length === 20 * Math.ceil(it.size / blockSize)),
          "what is accepted is within the limits",
        );
    },
  },
  streamMember: {
    samples: ["SHA256SUMS", "bin/airferry-linux-x64", `signatures/${"a".repeat(16)}.sigstore.json`].map((name) =>
      memberHeader({ folder: "site-000001", name, size: 1000 }),
    ),
    run: (data) => {
      const block = Buffer.alloc(BLOCK_BYTES);
      block.set(data.subarray(0, BLOCK_BYTES));
      const member = parseMember(block);
      if (member !== undefined) must(memberHeader(member).equals(block), "another header");
    },
  },
  sums: {
    samples: [
      `${hexOf(digestOf(IDENTITY_BYTES))}  airferry-v1.test.e1.s1\n${HEX}  airferry.json\n${HEX}  data.tar.0000\n`,
    ],
    run: (data) => must(formatSums(parseSums(data).lines).equals(data), "what is accepted would be written"),
  },
};
