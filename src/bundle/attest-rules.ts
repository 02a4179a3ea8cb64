/**
 * Who attested what about a bundle, and whether that is what the rule of its stream asks for: signed by keys of the
 * right role, about this bundle, clean, and not too old. docs/format.md, "Attestations".
 */
import { AirferryError, type ErrorCode, type Problem } from "../errors.ts";
import { type Digest, digestOf } from "../io/digest.ts";
import { plural } from "../io/format.ts";
import { isEnvelopeOf } from "../sign/dsse.ts";
import type { TrustedKey } from "../sign/keys.ts";
import { MAX_SIGNATURE_BYTES } from "../sign/sigstore-bundle.ts";
import type { StreamRule, TrustRoot } from "../sign/trust-root.ts";
import { countSigners } from "../sign/verify-sums.ts";
import type { SettledTrust } from "../sign/whom-to-trust.ts";
import { type Attestation, parseAttestation, refuseOtherSubject, type ScanClaim } from "./attestations.ts";
import type { Contents } from "./contents.ts";
import type { Media } from "./media.ts";
import { ATTESTATION_KINDS, type AttestationKind, SCAN_NAME, SIGNATURES_NAME } from "./media-names.ts";

const DAY_MS = 86_400_000;
const LATE_NAME = /^([0-9a-f]{16})\.(provenance|scan)\.dsse\.json$/;

/** An attestation, and what it is worth here. */
export interface AttestationFacts {
  kind: AttestationKind;
  /** Its place in the bundle's folder. */
  path: string;
  /** Whose signature is good; null: nobody's who is known here. */
  keyid: string | null;
  /** The id of the signer in the trust root, or the file of the key. */
  signer: string | null;
  /** Of a scan. */
  scan: ScanClaim | null;
  /** Of a provenance. */
  builder: string | null;
  /** Why it proves nothing here; null: it is signed by a known key, and about this bundle. */
  fault: string | null;
}

interface AttestationVerdict {
  attestations: AttestationFacts[];
  problems: Problem[];
  /** Of attestations that nothing depends on. */
  notices: string[];
}

/** One attestation as it was examined. */
interface Candidate {
  kind: AttestationKind;
  path: string;
  isLate: boolean;
  found?: Attestation;
  /** The known key that signed it. */
  key?: TrustedKey;
  fault?: { code: ErrorCode; message: string };
}

/** What is judged. */
interface Attested {
  media: Pick<Media, "sums" | "signatures">;
  contents: Pick<Contents, "inventory" | "attestations" | "scan">;
  /** SHA-256 of airferry.json. */
  inventoryDigest: Digest;
}

/** Name of a late attestation: one that was made when the bundle was signed already. */
export function lateAttestationName(keyid16: string, kind: AttestationKind): string {
  return `${keyid16}.${kind}.dsse.json`;
}

/** Whether a file in signatures/ is a late attestation. */
export function isLateAttestation(name: string): boolean {
  return LATE_NAME.test(name);
}

/**
 * Examines all attestations of a bundle, and compares them with the rule of its stream. Nothing of a stranger's late
 * attestation is parsed.
 *
 * Codes: ERR_ATTESTATION, ERR_ATTESTATION_INVALID, ERR_ATTESTATION_SUBJECT, ERR_ATTESTATION_KEY,
 * ERR_ATTESTATION_FAILED, ERR_ATTESTATION_OLD.
 * @param rule undefined: nothing is asked for
 */
export function judgeAttestations(
  attested: Attested,
  { root, keys }: SettledTrust,
  rule: StreamRule | undefined,
  now: Date,
): AttestationVerdict {
  const known = root === undefined ? keys : [...root.keysOf.values()].flat();
  const candidates = [
    ...attested.contents.attestations.map((it) => examineCarried(it, known)),
    ...attested.media.signatures.flatMap(({ name, bytes }) => examineLate(name, bytes, attested, known) ?? []),
  ];
  const asked = root === undefined ? [] : (rule?.attestations ?? []);
  const problems = asked.flatMap((name) => {
    const kind = ATTESTATION_KINDS.find((it) => it === name);
    const stream = attested.contents.inventory.stream;
    if (kind === undefined || root === undefined)
      return [lacking(stream, name, "this version of airferry cannot check it")];
    const own = candidates.filter((it) => it.kind === kind);
    return new RuleCheck(kind, root, rule ?? {}, attested, now).problems(own);
  });
  const notices: string[] = [];
  for (const { kind, path, isLate, fault } of candidates) {
    if (fault === undefined || asked.includes(kind)) continue;
    // What SHA256SUMS lists is the packer's, and must be right; what is beside the signatures is anybody's.
    if (isLate) notices.push(`"${path}" counts for nothing: ${fault.message}`);
    else if (fault.code !== "ERR_ATTESTATION_KEY") problems.push({ path, ...fault });
  }
  return { attestations: candidates.map(factsOf), problems, notices };
}

function factsOf({ kind, path, key, found, fault }: Candidate): AttestationFacts {
  return {
    kind,
    path,
    keyid: key?.keyid ?? null,
    signer: key?.file ?? null,
    scan: found?.scan ?? null,
    builder: found?.builder ?? null,
    fault: fault?.message ?? null,
  };
}

/** One that SHA256SUMS lists: its form and its subject are right already. */
function examineCarried(found: Attestation, known: readonly TrustedKey[]): Candidate {
  const { kind, path, envelope } = found;
  const of = { kind, path, isLate: false, found };
  const hinted = known.find((it) => it.keyid === envelope.hint);
  const key = (hinted === undefined ? known : [hinted]).find((it) => isEnvelopeOf(envelope, it));
  if (key !== undefined) return { ...of, key };
  if (hinted !== undefined) {
    const message = `"${path}" names ${hinted.file}'s key ${hinted.keyid16}, which did not sign it`;
    return { ...of, fault: { code: "ERR_ATTESTATION_INVALID", message } };
  }
  const by = envelope.hint === undefined ? "an unknown key" : `key ${envelope.hint.slice(0, 16)}`;
  return {
    ...of,
    fault: { code: "ERR_ATTESTATION_KEY", message: `"${path}" is signed by ${by}, which nobody has here` },
  };
}

/** One in signatures/; undefined for other files there. */
function examineLate(
  name: string,
  bytes: Buffer,
  { media, inventoryDigest }: Attested,
  known: readonly TrustedKey[],
): Candidate | undefined {
  const [, keyid16, kindText] = LATE_NAME.exec(name) ?? [];
  const kind = ATTESTATION_KINDS.find((it) => it === kindText);
  if (keyid16 === undefined || kind === undefined) return undefined;
  const path = `${SIGNATURES_NAME}/${name}`;
  const of = { kind, path, isLate: true };
  const key = known.find((it) => it.keyid16 === keyid16);
  if (key === undefined) {
    const message = `"${path}" is signed by key ${keyid16}, which nobody has here`;
    return { ...of, fault: { code: "ERR_ATTESTATION_KEY", message } };
  }
  try {
    const found = parseAttestation(bytes, { kind, path, keyid16, most: MAX_SIGNATURE_BYTES });
    if (!isEnvelopeOf(found.envelope, key)) {
      const message = `"${path}" is not signed by ${key.file}'s key ${keyid16}, whose name it has`;
      return { ...of, found, fault: { code: "ERR_ATTESTATION_INVALID", message } };
    }
    refuseOtherSubject(found, [digestOf(media.sums), inventoryDigest]);
    return { ...of, found, key };
  } catch (error) {
    if (!(error instanceof AirferryError)) throw error;
    return { ...of, fault: { code: error.code, message: error.message } };
  }
}

/** One kind of attestation against one rule. */
class RuleCheck {
  readonly #kind: AttestationKind;
  readonly #root: TrustRoot;
  readonly #rule: StreamRule;
  readonly #attested: Attested;
  readonly #now: Date;

  constructor(kind: AttestationKind, root: TrustRoot, rule: StreamRule, attested: Attested, now: Date) {
    this.#kind = kind;
    this.#root = root;
    this.#rule = rule;
    this.#attested = attested;
    this.#now = now;
  }

  problems(candidates: readonly Candidate[]): Problem[] {
    const { roles } = this.#root;
    const own = this.#kind === "scan" ? roles.scan : undefined;
    // Without a role of its own, one of the release keys is enough.
    const { signers, threshold, require = [] } = own ?? { signers: roles.release.signers, threshold: 1 };
    const faults: Problem[] = [];
    const fitting: Candidate[] = [];
    for (const it of candidates) {
      const fault = it.fault ?? this.#keyFault(it, own === undefined ? "release" : "scan", signers);
      if (fault === undefined) fitting.push(it);
      else faults.push({ path: it.path, ...fault });
    }
    const newest = newestOfEach(fitting);
    // scan.json is the word of everybody who signed the bundle: of a role of its own it needs a signature.
    const { scan } = this.#attested.contents;
    const isLast =
      scan !== undefined && newest.every((it) => (it.found?.scan?.finished ?? "") <= secondOf(scan.finished));
    const listed = this.#kind === "scan" && own === undefined && isLast ? scan : undefined;
    const failed = newest.filter((it) => it.found?.scan?.result === "found").map((it) => it.path);
    if (listed?.result === "found" && failed.length === 0) failed.push(SCAN_NAME);
    if (failed.length > 0) {
      return failed.map((path) => ({
        code: "ERR_ATTESTATION_FAILED",
        path,
        message: `the scanner found something: "${path}"`,
      }));
    }
    const timely: Candidate[] = [];
    for (const it of newest) {
      const message = this.#ageFault(it.path, it.found?.scan?.finished);
      if (message === undefined) timely.push(it);
      else faults.push({ code: "ERR_ATTESTATION_OLD", path: it.path, message });
    }
    if (listed !== undefined) {
      const message = this.#ageFault(SCAN_NAME, secondOf(listed.finished));
      if (message === undefined) return [];
      faults.push({ code: "ERR_ATTESTATION_OLD", path: SCAN_NAME, message });
    }
    const count = countSigners(
      timely.flatMap((it) => it.key ?? []),
      require,
    );
    if (count >= threshold) return [];
    const { stream } = this.#attested.contents.inventory;
    const got = count === 0 ? "none" : `${count} of ${plural(threshold, "distinct owner")}`;
    return faults.length > 0 ? faults : [lacking(stream, this.#kind, got)];
  }

  /** Why the key of an attestation that is right does not count. */
  #keyFault({ path, key, found }: Candidate, role: string, signers: readonly string[]): Candidate["fault"] {
    if (key === undefined) return undefined;
    const fault = (why: string) => ({
      code: "ERR_ATTESTATION_KEY" as const,
      message: `"${path}" is signed by ${key.file}'s key ${key.keyid16}, ${why}`,
    });
    if (!signers.includes(key.file)) return fault(`which has no role "${role}"`);
    const revoked = this.#root.revoked.find(
      (it) => it.keyid === key.keyid && Date.parse(it.from) <= this.#now.getTime(),
    );
    if (revoked !== undefined) return fault(`which is revoked since ${revoked.from}: ${revoked.reason}`);
    const time = found?.scan?.finished ?? this.#attested.contents.inventory.created;
    const { notBefore, notAfter } = this.#root.signers[key.file] ?? { notBefore: "", notAfter: "" };
    if (time < notBefore || time > notAfter)
      return fault(`who may sign from ${notBefore} to ${notAfter}, not at ${time}`);
    return undefined;
  }

  #ageFault(path: string, finished: string | undefined): string | undefined {
    const { maxScanAgeDays } = this.#rule;
    if (finished === undefined || maxScanAgeDays === undefined) return undefined;
    const age = this.#now.getTime() - Date.parse(finished);
    const expected = `expected at most ${plural(maxScanAgeDays, "day")} ago`;
    if (age > maxScanAgeDays * DAY_MS) return `the scan of "${path}" is too old: it ended at ${finished}, ${expected}`;
    // Else a clock that is ahead would make a scan that never grows old.
    if (age < -DAY_MS) return `the scan of "${path}" is of the future: it ended at ${finished}, ${expected}`;
    return undefined;
  }
}

/** Of each key its newest scan counts; of two at one time the one that found something. */
function newestOfEach(candidates: readonly Candidate[]): Candidate[] {
  const newest = new Map<string, Candidate>();
  for (const it of candidates) {
    const keyid = it.key?.keyid ?? "";
    const before = newest.get(keyid);
    if (before === undefined || placeOf(it) > placeOf(before)) newest.set(keyid, it);
  }
  return [...newest.values()];
}

function placeOf({ found }: Candidate): string {
  return `${found?.scan?.finished ?? ""} ${found?.scan?.result ?? ""}`;
}

/** `scan.json` may have fractions of seconds. */
function secondOf(time: string): string {
  return `${time.slice(0, 19)}Z`;
}

function lacking(stream: string, name: string, got: string): Problem {
  const message = `stream "${stream}" needs the attestation "${name}": got ${got}`;
  return { code: "ERR_ATTESTATION", path: "airferry.json", message };
}
