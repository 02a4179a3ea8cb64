/** Which signers of a bundle have a timestamp that counts. docs/format.md, "Timestamps". */
import type { X509Certificate } from "node:crypto";
import type { Problem } from "../errors.ts";
import { plural } from "../io/format.ts";
import { printable } from "../io/printable.ts";
import { checkTimestamp, MAX_TIMESTAMP_BYTES } from "./timestamp.ts";
import { countSigners, type SignatureFile } from "./verify-sums.ts";
import type { SettledTrust } from "./whom-to-trust.ts";

/** A signer's timestamp. */
interface StampedSigner {
  keyid: string;
  /** RFC 3339. */
  time: string;
  /** Subject of the authority's certificate. */
  by: string;
}

interface StampRules {
  trust: SettledTrust;
  authorities: readonly X509Certificate[];
  /** A time before which the timestamps must be, for an archive. */
  at: Date | undefined;
  /** keyids of good signatures. */
  signers: readonly string[];
}

/**
 * Checks the timestamps of the signatures that count. Nothing of another signature's is parsed.
 *
 * Code: ERR_TIMESTAMP, for a timestamp that is wrong, and if fewer signers have one than must sign.
 */
export function checkStamps(
  files: readonly SignatureFile[],
  { trust, authorities, at, signers }: StampRules,
): { timestamps: StampedSigner[]; problems: Problem[] } {
  const timestamps: StampedSigner[] = [];
  const problems: Problem[] = [];
  const stamped = new Set<string>();
  for (const { name, bytes, medium } of files) {
    const [, keyid16] = /^([0-9a-f]{16})\.tsr$/.exec(name) ?? [];
    const keyid = keyid16 && signers.find((it) => it.startsWith(keyid16));
    const signature = files.find((it) => it.name === `${keyid16}.sig` && it.medium === medium);
    if (!keyid || signature === undefined) continue;
    const path = `signatures/${name}`;
    try {
      if (bytes.length > MAX_TIMESTAMP_BYTES) throw new Error(`expected at most ${MAX_TIMESTAMP_BYTES} bytes`);
      const { time, by } = checkTimestamp(bytes, signature.bytes, authorities);
      if (at !== undefined && time > at) throw new Error(`it is of ${time.toISOString()}, after ${at.toISOString()}`);
      if (!stamped.has(keyid)) timestamps.push({ keyid, time: time.toISOString(), by });
      stamped.add(keyid);
    } catch (error) {
      const message = `timestamp "${name}": ${printable((error as Error).message, 200)}`;
      problems.push({ code: "ERR_TIMESTAMP", path, message });
    }
  }
  const count = countSigners(
    trust.keys.filter((it) => stamped.has(it.keyid)),
    [],
  );
  if (count < trust.threshold && problems.length === 0) {
    const message = `too few timestamps: expected those of ${plural(trust.threshold, "signer")}, got ${count}`;
    problems.push({ code: "ERR_TIMESTAMP", path: "signatures", message });
  }
  return { timestamps, problems };
}
