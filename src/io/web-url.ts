/**
 * One spelling for the URLs of `web:` content. Clients spell one URL in several ways (`%2b` and `+`), and what was
 * recorded for one of them answers the others. No I/O.
 */

/** Longest URL, in characters of its normal form. */
const MAX_WEB_URL_LENGTH = 8192;

/** Unreserved characters of RFC 3986, for a class. */
const UNRESERVED = "A-Za-z0-9._~\\-";
/** What an escape in a path may stand for and mean the same: unreserved characters, sub-delims, colon and at. */
const PATH_PLAIN = new RegExp(`^[${UNRESERVED}!$&'()*+,;=:@]$`);
/**
 * The same in a query, without what divides one: there `%26`, `%3D`, `%2B` and `%3B` differ from `&`, `=`, `+`, `;`.
 */
const QUERY_PLAIN = new RegExp(`^[${UNRESERVED}!$'()*,:@/?]$`);
const PARTS = /^(https?):\/\/([^/?#]*)([^?#]*)(\?[^#]*)?(?:#.*)?$/is;
const FORBIDDEN = /[\u0000-\u0020\u007f\\]/;

/**
 * The normal form of a URL: scheme and host in lower case, no dot at the end of the host, no default port, no fragment,
 * escapes decoded where that changes nothing, all others in upper case, and everything escaped that a URL must not
 * contain. Idempotent.
 * @throws {Error} with a readable fault: not http or https, a user or password, a `.` or `..` segment, white space, a
 *   control character, a backslash, or longer than 8192 characters
 */
export function normalizeWebUrl(text: string): string {
  if (text.length > MAX_WEB_URL_LENGTH) throw new Error(`is longer than ${MAX_WEB_URL_LENGTH} characters`);
  if (FORBIDDEN.test(text)) throw new Error("has white space, a control character or a backslash");
  if (!text.isWellFormed()) throw new Error("is not well-formed Unicode");
  const [, scheme = "", authority = "", path = "", query = ""] = PARTS.exec(text) ?? [];
  if (scheme === "") throw new Error("is not an http:// or https:// URL");
  if (authority.includes("@")) throw new Error("has a user or password");
  const origin = `${scheme.toLowerCase()}://${authority}`;
  const parsed = URL.canParse(origin) ? new URL(origin) : { origin: "", hostname: "" };
  // The same host, in the DNS's own spelling. Two dots are none.
  const host = parsed.origin.replace(/\.(?=:\d+$|$)/, "");
  const hostname = parsed.hostname.replace(/\.$/, "");
  if (!HOST.test(hostname) || hostname.endsWith(".")) throw new Error("has no readable host");
  const segments = spelled(path, PATH_PLAIN);
  if (segments.split("/").some((it) => it === "." || it === "..")) throw new Error('has a "." or ".." segment');
  const url = `${host}${segments || "/"}${spelled(query, QUERY_PLAIN)}`;
  if (url.length > MAX_WEB_URL_LENGTH) throw new Error(`is longer than ${MAX_WEB_URL_LENGTH} characters`);
  return url;
}

/** A path with its dots and doubled slashes resolved, as web servers do. */
export function resolvedPath(path: string): string {
  if (!/\/[./]/.test(path)) return path;
  const kept: string[] = [];
  for (const segment of path.split("/").slice(1)) {
    if (segment === "..") kept.pop();
    else if (segment !== "." && segment !== "") kept.push(segment);
  }
  const isFolder = /\/\.{0,2}$/.test(path) && kept.length > 0;
  return `/${kept.join("/")}${isFolder ? "/" : ""}`;
}

/**
 * The target of a request, path and query, as a normal form can have it: where a path has dots (flat repositories of
 * apt: `/./Packages`) it is resolved. Others stay as they are.
 */
export function targetWithoutDots(target: string): string {
  const [path = "", ...query] = target.split(/(?=\?)/);
  return /\/\.{1,2}(?:\/|$)/.test(path) ? [resolvedPath(path), ...query].join("") : target;
}

/** Scheme, host and port of a URL in normal form, without a slash at the end: `http://host:8080`. */
export function originOf(url: string): string {
  const slash = url.indexOf("/", "https://".length);
  return slash === -1 ? url : url.slice(0, slash);
}

/** Names of this host itself: nobody outside reaches another one by them. */
const OWN_HOST = /^(?:localhost|127\.\d+\.\d+\.\d+|\[::1\])(?::\d+)?$/;

/** Whether `HOST` or `HOST:PORT` is this host itself. */
export function isOwnHost(host: string): boolean {
  return OWN_HOST.test(host);
}

/** Whether a text is an origin as {@link originOf} gives it. */
export function isOrigin(text: string): boolean {
  try {
    return originOf(text) === text && normalizeWebUrl(`${text}/`) === `${text}/`;
  } catch {
    return false;
  }
}

/** What names and addresses of hosts are made of, as URL parsers spell them. */
const HOST = /^(?:[a-z0-9_-](?:[a-z0-9._-]{0,252})|\[[0-9a-f:.]{2,45}\])$/;

/** Escapes of one byte, `%` that begins none, and characters that a URL must not contain. */
const SPECIAL = /%[0-9a-f]{2}|[^A-Za-z0-9._~!$&'()*+,;=:@/?-]+/gi;

function spelled(text: string, plain: RegExp): string {
  return text.replace(SPECIAL, (it) => {
    if (!/^%[0-9a-f]{2}$/i.test(it)) return [...it].map(escaped).join("");
    const character = String.fromCharCode(Number.parseInt(it.slice(1), 16));
    return plain.test(character) ? character : it.toUpperCase();
  });
}

function escaped(character: string): string {
  return [...Buffer.from(character)].map((it) => `%${it.toString(16).toUpperCase().padStart(2, "0")}`).join("");
}

/** Query parameters by which storage, registries and download portals grant access. Compared in lower case. */
const SECRET_PARAMETERS = new Set([
  "apikey",
  "auth",
  "authorization",
  "awsaccesskeyid",
  "bearer",
  "cookie",
  "googleaccessid",
  "hdnea",
  "hdnts",
  "hmac",
  "jwt",
  "key-pair-id",
  "pass",
  "policy",
  "pwd",
  "sas",
  "session",
  "sessionid",
  "sid",
  "sig",
  "sign",
  "signed",
  "ticket",
  "verify",
]);
/** Parameters that are a credential only with a value that looks like one: `code=de` and `key=name` are none. */
const AMBIGUOUS_PARAMETERS = new Set(["code", "key"]);
const CREDENTIAL_VALUE = /^(?=.*\d)(?=.*[a-z])[\w.~+/=-]{16,}$/i;
/** Key IDs and fingerprints of OpenPGP, which are public. */
const OPENPGP_ID = /^(?:0x(?:[0-9A-F]{16}|[0-9A-F]{40})|[0-9A-F]{16}|[0-9A-F]{40})$/;
const SECRET_PREFIX = /^x-(?:amz|goog|oss|cos|ms)-/;
const SECRET_ENDING =
  /(?:^|[-_.])(?:token|signature|secret|passwo?r?d|passphrase|credentials?|(?:access|api|app|auth|consumer|license|private|secret|subscription)[-_.]?key)s?$|(?:token|signature|password|secret)$/;

/**
 * The name of the first parameter in the query or fragment of a URL (absolute or not) that may grant access, as far as
 * known names tell; undefined when there is none. Such a URL is not recorded.
 */
export function secretParameter(url: string): string | undefined {
  for (const part of url.split(/[?&;#]/).slice(1)) {
    const [name = "", value = ""] = part.split(/=(.*)/s).map(decoded);
    const lower = name.toLowerCase();
    if (AMBIGUOUS_PARAMETERS.has(lower) && CREDENTIAL_VALUE.test(value) && !OPENPGP_ID.test(value)) return name;
    if (SECRET_PARAMETERS.has(lower) || SECRET_PREFIX.test(lower) || SECRET_ENDING.test(lower)) return name;
  }
  return undefined;
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
