/**
 * The failures of one attempt, as the mirror loop needs them, and their messages. Library errors are never exposed:
 * they contain request headers.
 */
import { AirferryError, type ErrorCode, type ErrorDetail } from "../errors.ts";
import { redactText, redactUrl } from "../io/redact.ts";
import { NEAR_ADDRESS } from "./guarded-lookup.ts";

/**
 * One attempt failed. Only code that repeats attempts sees these (the mirror loop, a client's caller); others get the
 * `error`.
 */
export class AttemptFailure extends Error {
  readonly error: AirferryError;
  /** What happened, without the URL. */
  readonly fault: string;
  /** The system's code (`ECONNREFUSED`, `CERT_HAS_EXPIRED`, …); undefined if not a system error. */
  readonly code: string | undefined;
  /** Another attempt at the same URL may succeed. */
  readonly transient: boolean;
  /** Limit of consecutive retries, if lower than usual. */
  readonly retries: number | undefined;
  readonly retryAfterMs: number | undefined;
  /** Bytes that this attempt delivered cannot be trusted: start at 0. */
  readonly distrust: boolean;
  /** Retry the same URL at once, without counting: a keep-alive connection had died. */
  readonly free: boolean;
  /** Too slow: the received bytes are kept, but a crumb does not count as progress. */
  readonly stalled: boolean;

  constructor(
    error: AirferryError,
    how: {
      transient?: boolean;
      retries?: number | undefined;
      retryAfterMs?: number | undefined;
      distrust?: boolean;
      free?: boolean;
      stalled?: boolean;
      fault?: string;
      code?: string | undefined;
    } = {},
  ) {
    super(error.message);
    this.error = error;
    this.fault = how.fault ?? error.message;
    this.code = how.code;
    this.transient = how.transient ?? false;
    this.retries = how.retries;
    this.retryAfterMs = how.retryAfterMs;
    this.distrust = how.distrust ?? false;
    this.free = how.free ?? false;
    this.stalled = how.stalled ?? false;
  }
}

/** The `cause` of an HTTP error, so that callers can detect a 404. */
export class HttpStatus extends Error {
  readonly status: number;
  /** It concerns an expired redirect target, and says nothing about what upstream has. */
  readonly isOfAddress: boolean;

  constructor(status: number, isOfAddress = false) {
    super(`HTTP status ${status}`);
    this.name = "HttpStatus";
    this.status = status;
    this.isOfAddress = isOfAddress;
  }
}

/** Whether an error of this engine is a refused presigned URL, which says nothing about the file itself. */
export function isAddressRefused(error: unknown): boolean {
  return error instanceof AirferryError && error.cause instanceof HttpStatus && error.cause.isOfAddress;
}

/** The `cause` when there was no response. */
export class NoAnswer extends Error {}

/** Whether an error of this engine is about an unreachable host, so that its other URLs need not be tried. */
export function isUnreachable(error: unknown): boolean {
  return error instanceof AirferryError && error.cause instanceof NoAnswer;
}

/** The HTTP status that an error of this engine is about (404, 304, …); undefined for any other error. */
export function httpStatusOf(error: unknown): number | undefined {
  return error instanceof AirferryError && error.cause instanceof HttpStatus ? error.cause.status : undefined;
}

/** Creates `cannot fetch "<url>": …` with the URL redacted, also in `path`. */
export function upstreamError(
  code: ErrorCode,
  url: string | URL,
  fault: string,
  detail: ErrorDetail = {},
  action = "fetch",
): AirferryError {
  const shown = redactUrl(url);
  const compared =
    detail.expected !== undefined && detail.actual !== undefined
      ? `: expected ${detail.expected}, got ${detail.actual}`
      : "";
  return new AirferryError(code, `cannot ${action} "${shown}": ${fault}${compared}`, { path: shown, ...detail });
}

const SOCKET_FAULTS = new Map([
  ["ECONNREFUSED", "connection refused"],
  ["ECONNRESET", "connection reset"],
  ["EPIPE", "connection closed while sending"],
  ["ETIMEDOUT", "connection timed out"],
  ["EHOSTUNREACH", "host unreachable"],
  ["ENETUNREACH", "network unreachable"],
  ["ENOTFOUND", "host name not found"],
  ["EAI_AGAIN", "host name lookup failed"],
  ["EPROTO", "no TLS: the response is of another protocol"],
  ["ERR_SSL_WRONG_VERSION_NUMBER", "no TLS: the response is of another protocol"],
  ["ERR_SSL_PACKET_LENGTH_TOO_LONG", "no TLS: the response is of another protocol"],
  ["ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION", "no common TLS version"],
  ["ERR_SSL_UNSUPPORTED_PROTOCOL", "no common TLS version"],
  ["ERR_SSL_NO_CIPHERS_AVAILABLE", "no common cipher"],
  ["ERR_SSL_DH_KEY_TOO_SMALL", "the host's Diffie-Hellman key is too short to be safe"],
  ["ERR_SSL_CA_MD_TOO_WEAK", "a certificate of the chain is signed with a weak digest"],
  ["ERR_SSL_EE_KEY_TOO_SMALL", "the key of the host's certificate is too short to be safe"],
  ["CERT_HAS_EXPIRED", "the host's certificate has expired"],
  ["CERT_NOT_YET_VALID", "the host's certificate is not valid yet"],
  ["CERT_REVOKED", "the host's certificate was revoked"],
  ["CERT_SIGNATURE_FAILURE", "the signature of the host's certificate is wrong"],
  ["DEPTH_ZERO_SELF_SIGNED_CERT", "the host's certificate is self-signed and not trusted here"],
  ["SELF_SIGNED_CERT_IN_CHAIN", "the CA of the host's certificate is not trusted here"],
  ["UNABLE_TO_GET_ISSUER_CERT", "the CA of the host's certificate is unknown here"],
  ["UNABLE_TO_GET_ISSUER_CERT_LOCALLY", "the CA of the host's certificate is unknown here"],
  [
    "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
    "the CA of the host's certificate is unknown here, or the host sends no intermediate one",
  ],
  ["INVALID_CA", "a certificate of the chain does not belong to a CA"],
  ["HPE_INVALID_CONSTANT", "no HTTP: the response is of another protocol"],
]);

/**
 * The names of a certificate, from Node's message (`…altnames: Host: a. is not in the cert's altnames: DNS:b, DNS:c`).
 */
function wrongName(url: URL, text: string): string {
  const names = /(?:altnames|list): ?(.*)$/s.exec(text.replace(/^.*?is not/s, ""))?.[1]?.trim() ?? "";
  return `the certificate is for ${names === "" ? "another name" : names.slice(0, 200)}: expected ${url.hostname}`;
}

/** OpenSSL's description of an alert, without its file names and numbers. */
function tlsWords(text: string): string {
  const reason = /error:[0-9A-F]+:[^:]*:[^:]*:([^:]+)/i.exec(text)?.[1];
  return reason === undefined ? text : `TLS failed: ${reason}`;
}
/** Not worth another attempt at the same URL. */
const LASTING =
  /^(ENOTFOUND|CERT_|UNABLE_TO_|SELF_SIGNED|DEPTH_ZERO|ERR_TLS_CERT|ERR_SSL_|ERR_INVALID_|ERR_UNESCAPED|ERR_OSSL|HPE_|EPROTO)/;

const WRONG_NAME = "ERR_TLS_CERT_ALTNAME_INVALID";

type SystemError = NodeJS.ErrnoException & { cause?: SystemError; errors?: SystemError[] };

/** The most informative error: a host with several addresses fails with one error for each. */
function rootOf(error: SystemError): SystemError {
  const several = error.errors ?? error.cause?.errors;
  return several?.[0] ?? error;
}

/** Turns an error of Node or OpenSSL into a failure: only a code and a redacted text remain. */
export function socketFailure(url: URL, thrown: unknown, proxy: string | undefined): AttemptFailure {
  const error = rootOf(thrown as SystemError);
  const code = error.code ?? error.cause?.code ?? "";
  const text = redactText(error.message ?? String(thrown)).replace(/; if the root CA is installed locally.*$/, "");
  const words = code === WRONG_NAME ? wrongName(url, text) : (SOCKET_FAULTS.get(code) ?? tlsWords(text));
  const fault = words.replace(/\s+/g, " ").slice(0, 300);
  if (code === NEAR_ADDRESS) {
    const hint = "check the URL in the manifest, or name another mirror";
    return new AttemptFailure(upstreamError("ERR_UPSTREAM_INVALID", url, text, { hint }), { fault: text });
  }
  const lasting = LASTING.test(code) || (code === "ERR_PROXY_TUNNEL" && / 4\d\d /.test(text));
  const plain = new NoAnswer(code ? `${code}: ${text}` : text);
  const where = proxy === undefined ? "" : ` through the proxy ${redactUrl(proxy)}`;
  const shown = `${fault}${code && !fault.includes(code) ? ` (${code})` : ""}${where}`;
  return new AttemptFailure(upstreamError("ERR_UPSTREAM", url, shown, { cause: plain, hint: hintFor(code, url) }), {
    transient: !lasting,
    fault: shown,
    code: code || undefined,
  });
}

function hintFor(code: string, url: URL): string {
  // The other side sent this alert after the handshake was complete on this side: OpenSSL names it.
  if (/_ALERT_(CERTIFICATE|BAD_CERTIFICATE|UNKNOWN_CA|UNSUPPORTED_CERTIFICATE|HANDSHAKE_FAILURE)/.test(code)) {
    return `this host accepts only clients with a known certificate: hosts: { "${url.host}": { cert: client.pem, key: client-key.pem } }`;
  }
  if (code === WRONG_NAME)
    return "use the host name of the certificate in the URL, or have a certificate for this name issued to the host";
  if (/EXPIRED|NOT_YET_VALID/.test(code))
    return "check the clock of this host; if it is right, the host needs a new certificate";
  if (/CERT|SELF_SIGNED|UNABLE_TO|DEPTH_ZERO/.test(code)) {
    return `if this host has a certificate of a private CA, name it in the manifest: hosts: { "${url.host}": { ca: ca.pem } }`;
  }
  if (code === "ERR_PROXY_TUNNEL") return statusHint(407, url);
  if (/SSL|EPROTO|HPE_/.test(code))
    return "check the scheme, the port and the proxy: the URL may name the wrong protocol; images of a registry over plain HTTP need insecure: true";
  return "check the network, the proxy settings and the URL, then run the same command to resume";
}

/** The hint for a status. */
export function statusHint(status: number, url: URL): string {
  switch (status) {
    case 401:
    case 403:
      return `give credentials under hosts: { "${url.host}": … } in the manifest (cert and key, a token, or a user), or in ~/.netrc`;
    case 404:
    case 410:
      return "check the URL in the manifest; if upstream moved on, run: airferry lock MANIFEST --update";
    case 407:
      return "give the proxy's user and password in HTTPS_PROXY, before the host and an @, percent-encoded";
    case 429:
      return "upstream limits requests: run the command again later, or with a smaller --concurrency";
    default:
      return "run the same command later to resume";
  }
}
