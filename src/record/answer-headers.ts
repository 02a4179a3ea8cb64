/** Which headers go to whom: from the client to upstream, from upstream to the client, and into the recording. */
import type { IncomingHttpHeaders, IncomingMessage, OutgoingHttpHeaders } from "node:http";
import { keptHeaders } from "../io/web-answer.ts";
import type { RecordedAnswer } from "../io/web-recording.ts";
import { type KnownSecrets, mayBeSigned } from "./secrets.ts";

/** Of one connection. */
const HOP_BY_HOP = new Set([
  "connection",
  "keep-alive",
  "proxy-connection",
  "proxy-authenticate",
  "proxy-authorization",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
  "http2-settings",
]);

/** Makes an answer a part of itself, or none: what is recorded is whole. */
const PARTIAL = new Set([
  "range",
  "if-range",
  "if-none-match",
  "if-modified-since",
  "if-match",
  "if-unmodified-since",
  "accept-encoding",
  "expect",
]);

/** Clients read one value of a line. */
const APART = new Set(["set-cookie", "www-authenticate"]);

/** A client's headers as upstream gets them. With `isWhole` none is left that asks for less than the whole answer. */
export function requestHeaders(headers: IncomingHttpHeaders, host: string, isWhole: boolean): OutgoingHttpHeaders {
  const dropped = namedIn(headers.connection);
  const kept: OutgoingHttpHeaders = {};
  for (const [name, value] of Object.entries(headers)) {
    if (name.startsWith(":") || HOP_BY_HOP.has(name) || dropped.has(name) || value === undefined) continue;
    if (isWhole && PARTIAL.has(name)) continue;
    kept[name] = value;
  }
  if (headers["transfer-encoding"] !== undefined) kept["transfer-encoding"] = "chunked";
  if (isWhole) kept["accept-encoding"] = "identity";
  kept["host"] = headers.host ?? host;
  return kept;
}

/**
 * Upstream's headers as the client gets them. Repeated ones are joined, or the first counts, as Node reads them: HTTP/2
 * refuses to send some of them twice. Those that cannot be joined (cookies) stay apart.
 */
export function answerHeaders({ headers, headersDistinct }: IncomingMessage): OutgoingHttpHeaders {
  const dropped = namedIn(headers.connection);
  const kept: OutgoingHttpHeaders = {};
  for (const [name, value] of Object.entries(headers)) {
    if (HOP_BY_HOP.has(name) || dropped.has(name)) continue;
    const values = headersDistinct[name] ?? [];
    kept[name] = APART.has(name) && values.length > 1 ? values : value;
  }
  return kept;
}

/** What of upstream's headers is recorded: nothing that grants access. */
export function recordedHeaders(
  { headers }: { headers: IncomingHttpHeaders },
  { url, method }: Pick<RecordedAnswer, "url" | "method">,
  secrets: KnownSecrets,
): Record<string, string> {
  // Of a body that is encoded, and of none where the encoding is not known: inside it is as it is.
  const isEncoded = !/^(?:identity)?$/i.test(headers["content-encoding"]?.trim() ?? "");
  const kept = keptHeaders(headers, method);
  if (isEncoded) delete kept["content-length"];
  const isSafe = ([name, value]: [string, string]) =>
    !secrets.areIn(value) && !((name === "location" || name === "link") && mayLeadToSigned(value, url));
  return Object.fromEntries(Object.entries(kept).filter(isSafe));
}

function mayLeadToSigned(value: string, base: string): boolean {
  const targets = value.includes("<") ? [...value.matchAll(/<([^>]*)>/g)].map(([, it = ""]) => it) : [value];
  return targets.some((it) => !URL.canParse(it, base) || mayBeSigned(new URL(it, base)));
}

function namedIn(list: string | undefined): Set<string> {
  return new Set(
    (list ?? "")
      .toLowerCase()
      .split(",")
      .map((it) => it.trim()),
  );
}
