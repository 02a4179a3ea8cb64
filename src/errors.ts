/**
 * The one error class of airferry, the catalogue of its codes, and the exit status each code maps to.
 * Messages read `cannot <action> <quoted thing>: <fault>: expected X, got Y`; the hint is the next command.
 * docs/errors.md lists every code; a test keeps both in step.
 */
import { printable } from "./io/printable.ts";
import { redactText } from "./io/redact.ts";

/** Exit statuses of the program (docs/cli.md). `more`: good so far but incomplete: more media to come. */
export const EXIT = { done: 0, failed: 1, usage: 2, refused: 3, upstream: 4, more: 5, interrupted: 130 } as const;

/** Every code, with its exit status. */
export const ERROR_CODES = {
  // 1: failed
  ERR_INTERNAL: EXIT.failed,
  ERR_IO: EXIT.failed,
  ERR_SPACE: EXIT.failed,
  ERR_FILE_TOO_LARGE: EXIT.failed,
  ERR_BUSY: EXIT.failed,
  ERR_NOT_FOUND: EXIT.failed,
  ERR_STORE_INVALID: EXIT.failed,
  ERR_STORE_EMPTY: EXIT.failed,
  ERR_OBJECT_STORAGE: EXIT.failed,
  ERR_KEY_INVALID: EXIT.failed,
  ERR_KEY_EXPOSED: EXIT.failed,
  ERR_PASSWORD: EXIT.failed,
  ERR_SIGNER: EXIT.failed,
  ERR_ISO_INVALID: EXIT.failed,
  ERR_PUBLISH: EXIT.failed,
  ERR_TOOL: EXIT.failed,
  ERR_SCANNER: EXIT.failed,
  ERR_BASE_UNKNOWN: EXIT.failed,
  // 2: usage or manifest
  ERR_USAGE: EXIT.usage,
  ERR_MANIFEST_INVALID: EXIT.usage,
  ERR_LOCK_INVALID: EXIT.usage,
  ERR_LOCK_STALE: EXIT.usage,
  ERR_REFERENCE_INVALID: EXIT.usage,
  ERR_UNRESOLVED: EXIT.usage,
  ERR_FINDINGS: EXIT.usage,
  ERR_RENDER: EXIT.usage,
  // 3: verification refused
  ERR_DIGEST_MISMATCH: EXIT.refused,
  ERR_SIZE_MISMATCH: EXIT.refused,
  ERR_SIGNATURE_INVALID: EXIT.refused,
  ERR_SIGNATURE_MISSING: EXIT.refused,
  ERR_KEY_UNTRUSTED: EXIT.refused,
  ERR_THRESHOLD: EXIT.refused,
  ERR_PATH_UNSAFE: EXIT.refused,
  ERR_BUNDLE_INVALID: EXIT.refused,
  ERR_BUNDLE_VERSION: EXIT.refused,
  ERR_BUNDLE_REQUIRES: EXIT.refused,
  ERR_BUNDLE_INCOMPLETE: EXIT.refused,
  ERR_BUNDLE_EXTRA: EXIT.refused,
  ERR_SIZE_LIMIT: EXIT.refused,
  ERR_ROLLBACK: EXIT.refused,
  ERR_EQUIVOCATION: EXIT.refused,
  ERR_EXPIRED: EXIT.refused,
  ERR_DELTA_BASE: EXIT.refused,
  ERR_SCAN_FOUND: EXIT.refused,
  ERR_SCAN_MISSING: EXIT.refused,
  ERR_TRUST_INVALID: EXIT.refused,
  ERR_TRUST_SIGNATURES: EXIT.refused,
  ERR_TRUST_GAP: EXIT.refused,
  ERR_TRUST_EXPIRED: EXIT.refused,
  ERR_FINGERPRINT: EXIT.refused,
  ERR_KEY_REVOKED: EXIT.refused,
  ERR_KEY_EXPIRED: EXIT.refused,
  ERR_STREAM_UNTRUSTED: EXIT.refused,
  ERR_AUDIENCE: EXIT.refused,
  ERR_TOO_OLD: EXIT.refused,
  ERR_ATTESTATION: EXIT.refused,
  ERR_ATTESTATION_INVALID: EXIT.refused,
  ERR_ATTESTATION_SUBJECT: EXIT.refused,
  ERR_ATTESTATION_KEY: EXIT.refused,
  ERR_ATTESTATION_FAILED: EXIT.refused,
  ERR_ATTESTATION_OLD: EXIT.refused,
  ERR_SERIAL_JUMP: EXIT.refused,
  ERR_REPAIR: EXIT.refused,
  ERR_RECEIPT_INVALID: EXIT.refused,
  ERR_NEED_INVALID: EXIT.refused,
  ERR_TIMESTAMP: EXIT.refused,
  ERR_JOURNAL: EXIT.refused,
  ERR_JOURNAL_HEAD: EXIT.refused,
  // 4: upstream failed
  ERR_UPSTREAM: EXIT.upstream,
  ERR_UPSTREAM_DIGEST: EXIT.upstream,
  ERR_UPSTREAM_SIZE: EXIT.upstream,
  ERR_UPSTREAM_SIGNATURE: EXIT.upstream,
  ERR_UPSTREAM_CHANGED: EXIT.upstream,
  ERR_UPSTREAM_INVALID: EXIT.upstream,
} as const;

export type ErrorCode = keyof typeof ERROR_CODES;

/** What an {@link AirferryError} carries besides its code and message. */
export interface ErrorDetail {
  /**
   * The next command, or what to change. Each line of a multi-line hint is one string: foreign text cannot add lines.
   */
  hint?: string | readonly string[] | undefined;
  /** The file, URL, bundle member or manifest path at fault. */
  path?: string | undefined;
  expected?: string | undefined;
  actual?: string | undefined;
  /** Several findings of one check; each is printed on a separate line. */
  problems?: readonly Problem[] | undefined;
  cause?: unknown;
}

/** One finding of a check that reports everything it found. */
export interface Problem {
  code: ErrorCode;
  /** Where: `manifest.yaml:12 isos[0].url`, `data.tar.0001`, … */
  path: string;
  message: string;
}

/**
 * The only error that airferry throws on purpose; it never contains a secret of a URL. System errors keep their code
 * inside `cause`.
 */
export class AirferryError extends Error {
  readonly code: ErrorCode;
  /** Safe to print; any line feeds are airferry's. */
  readonly hint: string | undefined;
  readonly path: string | undefined;
  readonly expected: string | undefined;
  readonly actual: string | undefined;
  readonly problems: readonly Problem[];

  constructor(code: ErrorCode, message: string, detail: ErrorDetail = {}) {
    super(redactText(message), detail.cause === undefined ? undefined : { cause: detail.cause });
    this.name = "AirferryError";
    this.code = code;
    this.hint = hintText(detail.hint);
    this.path = shown(detail.path);
    this.expected = shown(detail.expected);
    this.actual = shown(detail.actual);
    this.problems = (detail.problems ?? []).map((it) => ({
      ...it,
      path: redactText(it.path),
      message: redactText(it.message),
    }));
  }
}

/** Ends the command as a bug of airferry: for what cannot be otherwise. @throws {AirferryError} ERR_INTERNAL, always */
export function bug(what: string): never {
  throw new AirferryError("ERR_INTERNAL", `cannot continue: a bug in airferry: ${what}`);
}

function hintText(hint: string | readonly string[] | undefined): string | undefined {
  if (hint === undefined) return undefined;
  const lines = typeof hint === "string" ? [hint] : hint;
  return lines.map((it) => printable(redactText(it))).join("\n");
}

function shown(text: string | undefined): string | undefined {
  return text === undefined ? undefined : redactText(text);
}

/** Returns the exit status for anything thrown; unknown errors are 1. */
export function exitStatusOf(error: unknown): number {
  return error instanceof AirferryError ? ERROR_CODES[error.code] : EXIT.failed;
}
