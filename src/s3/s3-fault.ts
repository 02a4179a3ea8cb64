/**
 * What goes wrong with object storage: which faults pass by themselves, and what the others mean to an operator. Text
 * of a gateway is foreign: it is shown on one line, and never has credentials in it.
 */
import { AirferryError } from "../errors.ts";
import { printable } from "../io/printable.ts";
import { shellWord } from "../io/shell.ts";
import { placeName, type S3Target } from "./s3-target.ts";

interface SdkFault extends Error {
  code?: string;
  $metadata?: { httpStatusCode?: number };
}

const PASSING_STATUS = new Set([408, 429, 500, 502, 503, 504]);
const PASSING_NAMES = new Set([
  "SlowDown",
  "InternalError",
  "RequestTimeout",
  "RequestTimeoutException",
  "ServiceUnavailable",
  "ThrottlingException",
  "TooManyRequests",
  "TimeoutError",
]);
const PASSING_CODES = new Set([
  "ECONNRESET",
  "ECONNREFUSED",
  "ECONNABORTED",
  "EPIPE",
  "ETIMEDOUT",
  "EAI_AGAIN",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "ERR_STREAM_PREMATURE_CLOSE",
]);

/** A body that ended before all of it was there. */
export class ShortBody extends Error {
  constructor(expected: number, actual: number) {
    super(`its answer was cut: expected ${expected} bytes, got ${actual}`);
    this.name = "ShortBody";
  }
}

/** No answer within the time of one attempt. */
export class SlowAnswer extends Error {
  constructor(ms: number) {
    super(`no answer within ${ms / 1000} s`);
    this.name = "SlowAnswer";
  }
}

/** The status of an answer that was an error; undefined when there was none. */
function statusOf(error: unknown): number | undefined {
  return (error as SdkFault).$metadata?.httpStatusCode;
}

/** The name that the S3 protocol gives an error: `NoSuchKey`. */
function s3NameOf(error: unknown): string {
  return (error as SdkFault).name ?? "";
}

/** Whether the same request may succeed a moment later. */
export function isPassing(error: unknown): boolean {
  if (error instanceof ShortBody || error instanceof SlowAnswer) return true;
  if (error instanceof AirferryError) return false;
  const { name, code = "", message = "" } = error as SdkFault;
  const status = statusOf(error);
  if (PASSING_NAMES.has(name) || PASSING_CODES.has(code) || message === "socket hang up") return true;
  return status !== undefined && PASSING_STATUS.has(status);
}

/** Whether an object, or an upload, does not exist; a bucket that does not exist is a fault. */
export function isAbsent(error: unknown): boolean {
  const name = s3NameOf(error);
  if (name === "NoSuchBucket") return false;
  return name === "NoSuchKey" || name === "NoSuchUpload" || statusOf(error) === 404;
}

/** Whether a condition of a write was not met: another process was first. */
export function isLost(error: unknown): boolean {
  const name = s3NameOf(error);
  return (
    statusOf(error) === 412 ||
    name === "ConditionalRequestConflict" ||
    (name === "OperationAborted" && statusOf(error) === 409)
  );
}

/** What is there, in a sentence. */
export function named({ kind, name }: S3Target): string {
  return `${kind ?? "store"} "${name}"`;
}

/**
 * The error for what went wrong with a request.
 * @param action `read`, `write`, …, before the key
 */
export function s3Error(target: S3Target, action: string, key: string, cause: unknown): AirferryError {
  if (cause instanceof AirferryError) return cause;
  if ((cause as Error).name === "AbortError" && !isPassing(cause)) throw cause;
  const { name, code, message } = cause as SdkFault;
  const status = statusOf(cause);
  const what = key === "" ? named(target) : `"${key}" of ${named(target)}`;
  const start = `cannot ${action} ${what}`;
  const path = target.name;
  const place = target.endpoint ?? "the endpoint of AWS";
  const said = printable(message ?? "", 300);
  if (name === "NoSuchBucket") {
    return new AirferryError("ERR_NOT_FOUND", `${start}: there is no bucket "${target.bucket}" at ${place}`, {
      path,
      hint: "check its name and the endpoint; airferry does not make buckets: make it as your storage says",
      cause,
    });
  }
  if (name === "CredentialsProviderError") {
    return new AirferryError("ERR_OBJECT_STORAGE", `${start}: no credentials`, {
      path,
      hint: "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
      cause,
    });
  }
  if (status === 401 || status === 403) {
    const rights =
      "s3:GetObject, s3:PutObject, s3:DeleteObject, s3:AbortMultipartUpload, s3:ListMultipartUploadParts, s3:ListBucket and s3:ListBucketMultipartUploads";
    return new AirferryError("ERR_OBJECT_STORAGE", `${start}: ${place} refused it: ${printable(name, 60)}`, {
      path,
      hint: `check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, this clock, and that the bucket's policy allows ${rights}`,
      cause,
    });
  }
  const isFull =
    status === 507 ||
    /^(QuotaExceeded|XMinioStorageFull|InsufficientCapacity|XMinioAdminBucketQuotaExceeded)$/.test(name) ||
    /no space left|quota exceeded/i.test(said);
  if (isFull) {
    return new AirferryError("ERR_SPACE", `${start}: the object storage is full, or a quota is used up`, {
      path,
      hint: "make room in the object storage, or raise the quota; run the same command to resume",
      cause,
    });
  }
  if (place.startsWith("https:") && /wrong.version.number|packet.length.too.long/i.test(`${code} ${said}`)) {
    const plain = place.replace(/^https:/, "http:");
    return new AirferryError("ERR_OBJECT_STORAGE", `${start}: ${place} does not speak TLS at this port`, {
      path,
      hint: `check the port, or name it without TLS: ${shellWord(`${placeName(target)}?endpoint=${plain}`)}`,
      cause,
    });
  }
  const isTls = code !== undefined && /CERT|SSL|TLS|SELF_SIGNED|ISSUER|VERIFY/.test(code);
  if (isTls) {
    return new AirferryError(
      "ERR_OBJECT_STORAGE",
      `${start}: the certificate of ${place} is not trusted: ${printable(code, 80)}`,
      {
        path,
        hint: `give the certificate of its CA in the name of the ${target.kind ?? "store"}: ${shellWord(`${placeName(target)}?endpoint=${place}&ca=FILE`)}`,
        cause,
      },
    );
  }
  if (status === undefined && said === "Region is missing") {
    return new AirferryError("ERR_USAGE", `${start}: neither a region nor an endpoint is named`, {
      path,
      hint: `name one: ${shellWord(`${path}?region=us-east-1`)}, or set AWS_REGION`,
      cause,
    });
  }
  const answered =
    status === undefined
      ? said || printable(code ?? name, 80)
      : `it answered ${status} ${printable(name, 60)}${said === "" || said === name ? "" : `: ${said}`}`;
  return new AirferryError("ERR_OBJECT_STORAGE", `${start}: ${place}: ${answered}`, {
    path,
    hint:
      status === 400 || status === 301
        ? `check the region and the endpoint in the name of the ${target.kind ?? "store"}`
        : "check that the endpoint is right and its service runs; then run the same command again",
    cause,
  });
}
