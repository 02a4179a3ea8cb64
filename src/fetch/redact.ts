/**
 * Takes secrets out of URLs and messages before anyone sees them: user:password@, signed query strings, header values.
 * Everything that leaves src/fetch as text goes through here.
 */

/** Query parameters that carry a signature, a token or a key at one of the known hosts or CDNs. */
const SECRET_PARAMETER =
  /^(x-(amz|goog|oss|cos|ms|bz)-.*|.*signature.*|sig|sign|se|sp|sv|skoid|sktid|policy|key-pair-id|.*token.*|.*secret.*|.*passw(or)?d.*|pass|pwd|auth.*|api[-_]?key|.*access[-_]?key.*|credential.*|hdn(ts|ea|tl)|hmac|jwt|code|session.*|_auth.*|user(name)?)$/i;
/** A value of this shape is opaque: nobody can tell that it is no secret. */
const OPAQUE_VALUE = /^[A-Za-z0-9+/_=.~-]{40,}$/;

/** Tells whether a query string carries what grants access. */
function looksSigned(query: URLSearchParams): boolean {
  for (const [name, value] of query) if (SECRET_PARAMETER.test(name) || OPAQUE_VALUE.test(value)) return true;
  return false;
}

/** Returns the URL without user, password and fragment, and without its query where that looks signed. Not a URL: no userinfo. */
export function redactUrl(url: string | URL): string {
  const text = typeof url === "string" ? url : url.href;
  // The common case pays nothing: nothing to hide in a URL without these.
  if (!text.includes("@") && !text.includes("?") && !text.includes("#")) return text;
  if (!URL.canParse(text)) return text.replace(/\/\/[^/@\s]*@/, "//***@").replace(/\?.*$/s, "?***");
  const parsed = new URL(text);
  const hadUser = parsed.username !== "" || parsed.password !== "";
  const signed = looksSigned(parsed.searchParams);
  if (!hadUser && !signed && parsed.hash === "") return text;
  parsed.username = "";
  parsed.password = "";
  parsed.hash = "";
  if (signed) parsed.search = "?***";
  return hadUser ? parsed.href.replace("//", "//***@") : parsed.href;
}

/** Returns a message of a system or library with every URL in it redacted, and header-like credentials blanked. */
export function redactText(text: string): string {
  return text
    .replace(/\bhttps?:\/\/[^\s"'<>]+/gi, (url) => redactUrl(url))
    .replace(/\b(bearer|basic)\s+[A-Za-z0-9+/_=.~-]{6,}/gi, "$1 ***");
}
