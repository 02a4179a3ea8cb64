/**
 * Attestations of a bundle: in-toto statements in signed envelopes, of where it came from and of what a scanner said.
 * Makes and reads them; who may sign them is for the rules (attest-rules.ts). docs/format.md, "Attestations".
 */
import { AirferryError } from "../errors.ts";
import { type Digest, hexOf } from "../io/digest.ts";
import { hasRepeatedName, parseJson } from "../io/json.ts";
import { printable } from "../io/printable.ts";
import { isUtcTime } from "../io/utc-time.ts";
import { type Envelope, parseEnvelope, signEnvelope } from "../sign/dsse.ts";
import type { Signer } from "../sign/signer.ts";
import { MAX_SUBJECTS } from "./format-limits.ts";
import { type AttestationKind, PREDICATE_TYPES } from "./media-names.ts";

/** cosign still writes the earlier one. */
const STATEMENT_TYPES = ["https://in-toto.io/Statement/v1", "https://in-toto.io/Statement/v0.1"];
const HEX = /^[0-9a-f]{64}$/;
/** Of texts that are shown. */
const MAX_SHOWN = 200;

/** What a scanner said, as far as a rule needs it. */
export interface ScanClaim {
  result: "clean" | "found";
  /** RFC 3339, whole seconds. */
  finished: string;
  /** Printable. */
  scanner: string;
}

/** An attestation as found: its form is right, and nothing of it is trusted. */
export interface Attestation {
  kind: AttestationKind;
  /** Its place in the bundle's folder. */
  path: string;
  /** Whose it is by its name, of one in signatures/. */
  keyid16?: string;
  envelope: Envelope;
  /** SHA-256 of what it is about, hex. */
  subjects: string[];
  /** Of a scan. */
  scan?: ScanClaim;
  /** Of a provenance: who built it, printable. */
  builder?: string;
}

/** What a statement is about. */
interface Subject {
  name: string;
  digest: Digest;
}

/** Makes an attestation: the text of its file. @throws {AirferryError} ERR_SIGNER */
export function formatAttestation(
  kind: AttestationKind,
  { name, digest }: Subject,
  predicate: unknown,
  signer: Signer,
): Promise<string> {
  const statement = {
    _type: STATEMENT_TYPES[0],
    subject: [{ name, digest: { sha256: hexOf(digest) } }],
    predicateType: PREDICATE_TYPES[kind],
    predicate,
  };
  return signEnvelope(Buffer.from(JSON.stringify(statement)), signer);
}

/**
 * Parses an attestation.
 * @param most bytes of the file
 * @throws {AirferryError} ERR_ATTESTATION_INVALID, ERR_SIZE_LIMIT
 */
export function parseAttestation(
  bytes: Uint8Array,
  { kind, path, keyid16, most }: Pick<Attestation, "kind" | "path" | "keyid16"> & { most: number },
): Attestation {
  let envelope: Envelope;
  try {
    envelope = parseEnvelope(bytes, path, most);
  } catch (cause) {
    if (!(cause instanceof AirferryError) || cause.code !== "ERR_SIGNATURE_INVALID") throw cause;
    const at = cause.message.indexOf('": ');
    throw invalid(path, cause.message.slice(at < 0 ? 0 : at + 3), cause);
  }
  const statement = parseStatement(envelope.payload, path);
  const { _type: type, subject, predicateType, predicate } = statement;
  if (typeof type !== "string" || !STATEMENT_TYPES.includes(type)) throw invalid(path, "no in-toto statement");
  if (predicateType !== PREDICATE_TYPES[kind]) {
    throw invalid(path, `predicate type ${shown(predicateType)}: expected ${PREDICATE_TYPES[kind]}`);
  }
  const own = keyid16 === undefined ? {} : { keyid16 };
  return { kind, path, ...own, envelope, subjects: subjectsOf(subject, path), ...factsOf(kind, predicate, path) };
}

/**
 * What a predicate says that rules need, and whether it is one of this kind.
 * @throws {AirferryError} ERR_ATTESTATION_INVALID
 */
export function factsOf(
  kind: AttestationKind,
  predicate: unknown,
  path: string,
): Pick<Attestation, "scan" | "builder"> {
  const of = objectOf(predicate);
  if (kind === "provenance") {
    const id = objectOf(objectOf(of?.runDetails)?.builder)?.id;
    const buildType = objectOf(of?.buildDefinition)?.buildType;
    if (typeof id !== "string" || typeof buildType !== "string") throw invalid(path, "its predicate names no builder");
    return { builder: printable(id, MAX_SHOWN) };
  }
  const scanner = objectOf(of?.scanner);
  const result = scanner?.result;
  const finished = secondOf(objectOf(of?.metadata)?.scanFinishedOn);
  if (scanner === undefined || !Array.isArray(result)) throw invalid(path, "its predicate has no list of results");
  if (finished === undefined)
    throw invalid(path, "its predicate does not say when the scan ended, as 2027-01-31T12:00:00Z");
  const words = [scanner.uri, scanner.version].filter((it) => typeof it === "string" && it !== "").join(" ");
  const named = printable(words === "" ? "a scanner" : words, MAX_SHOWN);
  return { scan: { result: result.length === 0 ? "clean" : "found", finished, scanner: named } };
}

/**
 * Refuses an attestation of something else, such as another bundle.
 * @param digests what it may be about
 * @throws {AirferryError} ERR_ATTESTATION_SUBJECT
 */
export function refuseOtherSubject({ path, subjects }: Attestation, digests: readonly Digest[]): void {
  if (digests.some((it) => subjects.includes(hexOf(it)))) return;
  const [expected = ""] = digests;
  const [first = ""] = subjects;
  throw new AirferryError(
    "ERR_ATTESTATION_SUBJECT",
    `cannot trust attestation "${path}": it is about something else than this bundle: expected ${expected}, got sha256:${first}`,
    { path, expected, actual: `sha256:${first}`, hint: "it is of another bundle: have this one attested" },
  );
}

/** Payloads of cosign are not canonical JSON, since Go escapes other characters; but no name may be there twice. */
function parseStatement(payload: Buffer, path: string): Record<string, unknown> {
  let text: string;
  let value: unknown;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(payload);
    value = parseJson(text);
  } catch (cause) {
    throw invalid(path, `its statement is not JSON: ${printable((cause as Error).message, 100)}`, cause);
  }
  if (hasRepeatedName(text)) throw invalid(path, "its statement has a name twice");
  const statement = objectOf(value);
  const names = ["_type", "predicate", "predicateType", "subject"];
  if (statement === undefined || Object.keys(statement).sort().join() !== names.join()) {
    throw invalid(path, `its statement does not have exactly ${names.join(", ")}`);
  }
  return statement;
}

function subjectsOf(subject: unknown, path: string): string[] {
  if (!Array.isArray(subject) || subject.length === 0 || subject.length > MAX_SUBJECTS) {
    throw invalid(path, `expected 1 to ${MAX_SUBJECTS} subjects`);
  }
  return subject.map((it) => {
    const digest = objectOf(objectOf(it)?.digest)?.sha256;
    if (typeof digest !== "string" || !HEX.test(digest)) throw invalid(path, "a subject without its SHA-256");
    return digest;
  });
}

function objectOf(value: unknown): Record<string, unknown> | undefined {
  return typeof value === "object" && value !== null && !Array.isArray(value)
    ? (value as Record<string, unknown>)
    : undefined;
}

/** Times of other programs may have fractions. */
function secondOf(value: unknown): string | undefined {
  const time = typeof value === "string" ? value.replace(/\.\d{1,9}Z$/, "Z") : undefined;
  return isUtcTime(time) ? time : undefined;
}

function shown(value: unknown): string {
  return printable(JSON.stringify(value) ?? "none", MAX_SHOWN);
}

function invalid(path: string, fault: string, cause?: unknown): AirferryError {
  return new AirferryError("ERR_ATTESTATION_INVALID", `cannot read attestation "${path}": ${fault}`, {
    path,
    cause,
    hint: "get it again from whoever signed it",
  });
}
