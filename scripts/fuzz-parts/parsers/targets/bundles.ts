/** Bundles: files of a medium that are read after the signature was checked. */

import { hash } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { IDENTITY_BYTES } from "../../../../src/bundle/bundle-identity.ts";
import { formatInventory, parseInventory } from "../../../../src/bundle/inventory.ts";
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
import { verifyFirst } from "../../../../src/sign/trust-chain.ts";
import { formatTrust, parseTrust } from "../../../../src/sign/trust-root.ts";
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

export const bundles: Targets = {
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
  sums: {
    samples: [
      `${hexOf(digestOf(IDENTITY_BYTES))}  airferry-v1.test.e1.s1\n${HEX}  airferry.json\n${HEX}  data.tar.0000\n`,
    ],
    run: (data) => must(formatSums(parseSums(data).lines).equals(data), "what is accepted would be written"),
  },
};
