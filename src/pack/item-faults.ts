/**
 * What can be wrong with the bytes of one item: how it reads, and whether another place or quarantine may answer it.
 */
import { AirferryError, type ErrorCode, EXIT, exitStatusOf } from "../errors.ts";
import { httpStatusOf } from "../http/failure.ts";
import type { Digests } from "../io/digest.ts";
import { mismatchOf } from "../io/integrity.ts";
import { shellWord } from "../io/shell.ts";
import type { PlanItem } from "../sources/types.ts";
import type { LaidItem } from "./lay-out.ts";

export function cannotPack({ path, about }: PlanItem): string {
  return `cannot pack "${path}"${about === undefined ? "" : ` of ${about.name}`}`;
}

/**
 * The error for an item whose `bytes` have the wrong digest. `where` says where they came from; `manifest` is its file.
 */
export function wrongDigest(
  item: LaidItem,
  digests: Digests,
  bytes: number,
  where: string,
  manifest: string,
): AirferryError {
  const known = item.integrity ?? "";
  // Fewer bytes or more: what has come so far may have any digest.
  const { expected, actual } = (known && mismatchOf(known, digests)) || { expected: known, actual: digests.sha256 };
  return new AirferryError(
    "ERR_UPSTREAM_DIGEST",
    `${cannotPack(item)}${where}: digest mismatch: expected ${expected} (${item.established}), got ${actual} over ${bytes} bytes`,
    { path: item.path, expected, actual, hint: item.about?.hint ?? digestHint(item, actual, manifest) },
  );
}

/** A digest in the manifest does not change when locking again: only its author can change it. */
function digestHint({ established, source }: LaidItem, got: string, manifest: string): string {
  if (established !== "manifest" && source.from === "file")
    return `if that is intended: airferry lock ${shellWord(manifest)} --update`;
  return established === "manifest"
    ? `the digest is in ${manifest}: compare it with what upstream publishes; if upstream has ${got}, correct it there`
    : `upstream changed it, or it was altered on the way; compare with what upstream publishes, then: airferry lock ${shellWord(manifest)} --update`;
}

export function unreadable(item: PlanItem, file: string, cause: NodeJS.ErrnoException): AirferryError {
  const fault = cause.code === "ENOENT" ? `"${file}" was removed since it was locked` : cause.message;
  return new AirferryError("ERR_IO", `${cannotPack(item)}: ${fault}`, { path: file, cause, hint: item.about?.hint });
}

/** Upstream's content changed: not a network or login problem. */
const CONTENT_FAULTS: readonly ErrorCode[] = ["ERR_UPSTREAM_INVALID", "ERR_UPSTREAM_SIZE", "ERR_UPSTREAM_DIGEST"];

/** Errors about a URL or the lock also name what was to be packed from there. */
export async function namingItem<T>(item: LaidItem, work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    if (!(error instanceof AirferryError)) throw error;
    // Errors about the bytes themselves name it already.
    if (error.message.startsWith(cannotPack(item))) throw error;
    const { code, hint, path, expected, actual, problems, cause } = error;
    const isContent = CONTENT_FAULTS.includes(code) || [404, 410].includes(httpStatusOf(error) ?? 0);
    throw new AirferryError(code, `${cannotPack(item)}: ${error.message}`, {
      hint: (isContent ? item.about?.hint : undefined) ?? hint,
      path,
      expected,
      actual,
      problems,
      cause,
    });
  }
}

/** Faults that do not affect another source of the same bytes. */
export function isPlaceFault(error: unknown): error is AirferryError {
  return (
    error instanceof AirferryError &&
    (exitStatusOf(error) === EXIT.upstream || error.code === "ERR_IO" || error.code === "ERR_LOCK_INVALID")
  );
}

/** One error for all sources: the first, with the others as problems. */
export function allFailed(failed: readonly AirferryError[]): AirferryError {
  const [first] = failed as [AirferryError];
  if (failed.length === 1) return first;
  const { code, message, hint, path, expected, actual, cause } = first;
  return new AirferryError(code, `${message} (and ${failed.length - 1} other sources failed)`, {
    hint,
    path,
    expected,
    actual,
    cause,
    problems: failed.map((it) => ({ code: it.code, path: it.path ?? "", message: it.message })),
  });
}

/** Faults of a package that quarantine may handle: it is wrong or missing. */
export function isPackageFault(error: unknown): boolean {
  if (!(error instanceof AirferryError)) return false;
  const wrong = ["ERR_UPSTREAM_DIGEST", "ERR_UPSTREAM_SIZE", "ERR_UPSTREAM_SIGNATURE", "ERR_UPSTREAM_INVALID"];
  return wrong.includes(error.code) || isAbsent(error);
}

/**
 * No source has it: "not found" or "gone" over HTTP, no such file in a folder. A faulty server sends other statuses.
 */
function isAbsent(error: AirferryError): boolean {
  const status = httpStatusOf(error);
  return status === 404 || status === 410 || (error.cause as NodeJS.ErrnoException | undefined)?.code === "ENOENT";
}
