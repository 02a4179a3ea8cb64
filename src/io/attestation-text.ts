/** What attestations and timestamps say, in lines for people. */
import type { AttestationFacts } from "../bundle/attest-rules.ts";
import type { StampedSigner } from "../sign/timestamp.ts";

/** `scan by sam: nothing found, 2027-01-31T12:00:00Z by …`, or why it proves nothing. */
export function attestationText({ kind, signer, keyid, scan, builder, fault }: AttestationFacts): string {
  const by = signer ?? (keyid === null ? "a key that nobody has here" : keyid.slice(0, 16));
  const what =
    scan === null
      ? `packed by ${builder ?? "somebody"}`
      : `${scan.result === "clean" ? "nothing found" : "found something"}, ${scan.finished} by ${scan.scanner}`;
  return fault === null ? `${kind} by ${by}: ${what}` : `${kind}: ${fault}`;
}

/** `signature of 0123456789abcdef stamped at …`. */
export function stampText({ keyid, time, by }: StampedSigner): string {
  return `signature of ${keyid.slice(0, 16)} stamped at ${time} by ${by}`;
}
