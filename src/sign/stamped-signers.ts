/** Which signers of a bundle have a timestamp that counts. docs/format.md, "Timestamps". */
import type { X509Certificate } from "node:crypto";
import type { Problem } from "../errors.ts";
import { plural } from "../io/format.ts";
import { printable } from "../io/printable.ts";
import type { TrustedKey } from "./keys.ts";
import { checkTimestamp, MAX_TIMESTAMP_BYTES, type StampedSigner, type Stamps } from "./timestamp.ts";
import { countSigners, type SignatureFile } from "./verify-sums.ts";

const STAMP_NAME = /^([0-9a-f]{16})\.tsr$/;
/** The raw signatures, one of which a timestamp is about. */
export const SIGNATURE_SUFFIXES = ["sig", "mldsa65.sig", "mldsa87.sig"];

interface StampRules {
  authorities: readonly X509Certificate[];
  /** A time before which the timestamps must be, for an archive. */
  at: Date | undefined;
  /** keyids of good signatures. */
  signers: readonly string[];
}

/**
 * Reads the timestamps of good signatures, on all media. Nothing of another signature's is parsed.
 *
 * Code: ERR_TIMESTAMP, for one that is wrong, or of another authority.
 */
export function readStamps(files: readonly SignatureFile[], { authorities, at, signers }: StampRules): Stamps {
  const stamps: StampedSigner[] = [];
  const problems: Problem[] = [];
  for (const { name, bytes, medium } of files) {
    const [, keyid16] = STAMP_NAME.exec(name) ?? [];
    const keyid = keyid16 && signers.find((it) => it.startsWith(keyid16));
    const names = SIGNATURE_SUFFIXES.map((it) => `${keyid16}.${it}`);
    const signature = files.find((it) => names.includes(it.name) && it.medium === medium);
    if (!keyid || signature === undefined) continue;
    const path = `signatures/${name}`;
    try {
      if (bytes.length > MAX_TIMESTAMP_BYTES) throw new Error(`expected at most ${MAX_TIMESTAMP_BYTES} bytes`);
      const { time, by } = checkTimestamp(bytes, signature.bytes, authorities);
      if (at !== undefined && time > at) throw new Error(`it is of ${time.toISOString()}, after ${at.toISOString()}`);
      stamps.push({ keyid, time: time.toISOString(), by });
    } catch (error) {
      const message = `timestamp "${name}": ${printable((error as Error).message, 200)}`;
      problems.push({ code: "ERR_TIMESTAMP", path, message });
    }
  }
  return { stamps: stamps.sort((a, b) => (a.time < b.time ? -1 : a.time > b.time ? 1 : 0)), problems };
}

/**
 * Checks the timestamps of the signatures that count, by authorities that somebody named at this command.
 *
 * Code: ERR_TIMESTAMP, for a timestamp that is wrong, and if fewer signers have one than must sign.
 */
export function checkStamps(
  files: readonly SignatureFile[],
  { trust, ...rules }: StampRules & { trust: { keys: readonly TrustedKey[]; threshold: number } },
): { timestamps: StampedSigner[]; problems: Problem[] } {
  const { stamps, problems } = readStamps(files, rules);
  const timestamps = stamps.filter((it, index) => stamps.findIndex((one) => one.keyid === it.keyid) === index);
  const count = countSigners(
    trust.keys.filter(({ keyid }) => timestamps.some((it) => it.keyid === keyid)),
    [],
  );
  if (count < trust.threshold && problems.length === 0) {
    const message = `too few timestamps: expected those of ${plural(trust.threshold, "signer")}, got ${count}`;
    problems.push({ code: "ERR_TIMESTAMP", path: "signatures", message });
  }
  return { timestamps, problems };
}
