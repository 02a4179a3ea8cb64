/**
 * Registry responses: JSON under exact media types, errors in the specification's form. Raw headers, since any
 * `charset` would make clients reject a manifest. See OCI distribution-spec v1.1, "Error Codes".
 */
import { AirferryError } from "../../errors.ts";
import { printableJson } from "../../io/printable.ts";
import type { ServerRequest } from "../http/context.ts";
import { faultStatus, sendGenerated } from "../http/text-responses.ts";

/** Error codes of the specification, and of its predecessors. */
export type WireCode =
  | "BLOB_UNKNOWN"
  | "DIGEST_INVALID"
  | "MANIFEST_UNKNOWN"
  | "NAME_INVALID"
  | "NAME_UNKNOWN"
  | "PAGINATION_NUMBER_INVALID"
  | "TOOMANYREQUESTS"
  | "UNAUTHORIZED"
  | "UNKNOWN"
  | "UNSUPPORTED";

/** Sent with every response: older clients check it. */
export const API_HEADERS = { "Docker-Distribution-Api-Version": "registry/2.0" };

/** Answers with a JSON document. */
export function sendJson(
  request: ServerRequest,
  status: number,
  contentType: string,
  value: object,
  headers: Record<string, string> = {},
): void {
  sendGenerated(request, status, contentType, printableJson(value), { ...API_HEADERS, ...headers });
}

/** Answers with one error; clients print its message, and programs read its detail. */
export function sendError(
  request: ServerRequest,
  status: number,
  code: WireCode,
  message: string,
  headers: Record<string, string> = {},
  detail: object | null = null,
): void {
  sendJson(request, status, "application/json", { errors: [{ code, message, detail }] }, headers);
}

/** Responds for a handler that threw: a fault of the store, in the same form. */
export function sendFault(request: ServerRequest, error: unknown): void {
  const words = error instanceof AirferryError ? error.message : "the stored bytes cannot be read";
  const { status, headers } = faultStatus(error);
  sendError(request, status, "UNKNOWN", `${words}; the server's log says more`, headers);
}

/** Answers anything but GET and HEAD with 405, with a message that clients show when pushing. */
export function refuseWrite(request: ServerRequest): void {
  sendError(
    request,
    405,
    "UNSUPPORTED",
    "read-only registry: images come here with airferry unpack, nothing can be pushed or deleted",
    { Allow: "GET, HEAD" },
  );
}
