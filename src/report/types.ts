/** The result of a verification. Types only. */
import type { AttestationFacts } from "../bundle/attest-rules.ts";
import type { ScanReport } from "../bundle/scan-report.ts";
import type { Problem } from "../errors.ts";
import type { EstablishedCounts } from "../io/established.ts";

/** `skipped`: not reached, since something before it failed. */
type Outcome = "passed" | "failed" | "skipped";

/** Which trust root was the measure. */
interface TrustRootFacts {
  name: string;
  version: number;
  /** Of its file: the fingerprint. */
  digest: string;
  expires: string;
}

/** What `verify --json` prints. */
export interface VerifyReport {
  ok: boolean;
  /** The steps of docs/format.md, "Reading", in this order. */
  checks: Record<"media" | "signatures" | "files" | "expiry" | "rules" | "volumes" | "content", Outcome>;
  /** Every trusted key that was given, with its file; with a trust root the release keys, with the signer's id. */
  trusted: { keyid: string; file: string }[];
  /** The newest version of the trust root; null with public keys, or if none could be trusted. */
  trustRoot: TrustRootFacts | null;
  /** Timestamps of signers, by authorities that were named. */
  timestamps: { keyid: string; time: string; by: string }[];
  /** The time that was asked for instead of now, RFC 3339; null: now. */
  at: string | null;
  threshold: number;
  /** Each available volume was checked by itself, and some may be missing. */
  partial: boolean;
  /** Null when no signature was good enough to read on. */
  stream: string | null;
  serial: number | null;
  /** SHA-256 of SHA256SUMS: the identity of the whole bundle. */
  digest: string | null;
  /** keyids of the distinct trusted keys with a good signature. */
  signers: string[];
  problems: Problem[];
  /** A hint, if the fault is in the arguments rather than in the bundle. */
  hint?: string | undefined;
  created: string | null;
  entries: number;
  /** Entries whose bytes must already be in the target store. */
  fromStore: number;
  /** Entries that are built at import, of files that must already be in the target store. */
  fromRecipe: number;
  volumes: { total: number; missing: string[] };
  /**
   * Recovery files, and what else the bundle does without: how many are listed, which are on none of the media, and
   * which are damaged. Nothing of it makes a bundle bad.
   */
  parity: { total: number; missing: string[]; damaged: string[] };
  /** What a scanner said before the bundle was signed; null: it carries no such record. */
  scan: ScanReport | null;
  /** What is attested about it, by whom, and what that is worth here. */
  attestations: AttestationFacts[];
  /** Bytes of all entries; 0 when no signature was good enough to read on. */
  size: number;
  /** Bytes of the volumes that were read and hashed. */
  checkedBytes: number;
  /** How the packer established the digests of the entries. */
  established: EstablishedCounts;
  /** The need file that was asked for and written, and what it lists; null: none. */
  need: { file: string; blobs: number; size: number } | null;
}

export type Check = keyof VerifyReport["checks"];

/** The report as a document. */
export interface Verification {
  mediaType: "application/vnd.airferry.verification.v1+json";
  result: "accepted" | "refused";
  /** RFC 3339 UTC, whole seconds, by the clock of this host. */
  begun: string;
  ended: string;
  host: string;
  /** Name and version of the program. */
  tool: string;
  /** Absolute paths of the folders that were read. */
  media: string[];
  bundle: {
    /** SHA-256 of SHA256SUMS; null if there is none. The following are null until enough signatures were good. */
    digest: string | null;
    stream: string | null;
    serial: number | null;
    created: string | null;
    entries: number;
    fromStore: number;
    fromRecipe: number;
    volumes: VerifyReport["volumes"];
    parity: VerifyReport["parity"];
    scan: ScanReport | null;
    attestations: AttestationFacts[];
  };
  /** Timestamps of signers, by authorities that are pinned. */
  timestamps: VerifyReport["timestamps"];
  /** All trusted keys that were given; `signed`: with a good signature. */
  keys: { keyid: string; file: string; signed: boolean }[];
  /** How many of them must have signed. */
  threshold: number;
  trustRoot: TrustRootFacts | null;
  /** The time that was asked for, for an archive; null: now. */
  at: string | null;
  partial: boolean;
  checks: { check: Check; how: string; outcome: VerifyReport["checks"][Check] }[];
  problems: Problem[];
  notices: string[];
}
