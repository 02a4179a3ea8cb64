/**
 * Decides which parts of a URL may be shown or recorded, and removes secrets from all outgoing text: messages, logs,
 * inventories, locks, journals. No imports. docs/fetch.md, "Secrets".
 */

/** Nothing to hide, or all of it hidden: by far the most common. */
const SHOWN_URL =
  /^[a-z][a-z0-9+.-]*:\/\/(?:\*\*\*@)?(?:[A-Za-z0-9._~-]+|\[[0-9A-Fa-f:.]+\])(?::(?:\d{1,5}|\*\*\*))?(?:\/[^@?#\\\s]*)?(?:\?\*\*\*)?$/i;
/** Name of a store in object storage, whose query has no secret: the parameters that s3/s3-target.ts knows. */
const STORE_NAME =
  /^s3:\/\/[A-Za-z0-9.-]+(?:\/[A-Za-z0-9._/-]*)?(?:\?(?:(?:^|&|(?<=\?))(?:endpoint=https?:\/\/(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::(?:\d{1,5}|PORT))?|region=[a-z0-9-]+|ca=[A-Za-z0-9._~%/-]+))+)?$/;
const HIDDEN = "***";
const SCHEME = /^(?:[a-z][a-z0-9+.-]*:)?\/\//i;

/**
 * The part of a URL that may be shown and recorded: scheme, host, port and path. User and password become `***@`, any
 * query `?***`, and a fragment is dropped: secrets may have any name. Text that is not a URL, or is ambiguous (a
 * password with `/`, `\`, `#` or `?` in it), loses everything before its last `@`. Idempotent.
 */
export function redactUrl(url: string | URL): string {
  const text = typeof url === "string" ? url : url.href;
  if (SHOWN_URL.test(text)) return text;
  if (STORE_NAME.test(text)) return text;
  const scheme = SCHEME.exec(text)?.[0];
  if (scheme === undefined || !URL.canParse(text))
    return redactMalformed(scheme ?? "", text.slice(scheme?.length ?? 0));
  const { host, port, pathname, username, password, search, hash } = new URL(text);
  const hasUser = username !== "" || password !== "";
  const at = pathname.lastIndexOf("@");
  // An @ after the one that ends user and password: the first may belong to the password.
  if (hasUser && (search + hash).includes("@")) return `${scheme}${HIDDEN}`;
  if (hasUser && at > 1) return redactMalformed(scheme, `${HIDDEN}${pathname.slice(at)}${search}`);
  // In `http://DOM\user:pw@proxy` and `http://user:77/pw@host` the password is read as a part of the path.
  const isUserInPath = at > 1 && (text.includes("\\") || port !== "" || /:|%3a|%5c/i.test(pathname.slice(0, at)));
  if (!hasUser && !isUserInPath && search === "" && hash === "" && !text.includes("?") && !text.includes("\\"))
    return text;
  const path = isUserInPath ? `/***${pathname.slice(at)}` : pathname;
  return `${scheme.toLowerCase()}${hasUser ? "***@" : ""}${host}${path}${text.includes("?") ? "?***" : ""}`;
}

function redactMalformed(scheme: string, rest: string): string {
  const at = rest.lastIndexOf("@");
  const place = rest.slice(at + 1);
  const shown = place
    .replace(/[?#].*$/s, (it) => (it.startsWith("?") ? "?***" : ""))
    // No number and no path: a password whose host is missing. PORT is the placeholder in airferry's own hints.
    .replace(/^([^:/\\[\]]*):(?!(?:\d{0,5}|PORT)(?:[/\\?]|$))[^/\\?]*/, "$1:***");
  return `${scheme}${at >= 0 ? "***@" : ""}${scheme === "" && at < 0 ? rest.replace(/[?#].*$/s, "") : shown}`;
}

/** Up to a quotation mark if the URL is quoted, otherwise up to white space. */
const URLS = /(["'<])([a-z][a-z0-9+.-]*:\/\/[^"'<>\n]+)(?=["'>])|[a-z][a-z0-9+.-]*:\/\/[^\s"'<>]+/gi;
const TRAILING = /[.,:;)\]}]+$/;
const HEADER_VALUES = /\b(bearer|basic)\s+[A-Za-z0-9+/_=.~-]{6,}/gi;

/** Any text with every URL in it redacted, and values of Authorization headers blanked. */
export function redactText(text: string): string {
  if (!text.includes("://") && !/bearer|basic/i.test(text)) return text;
  return text
    .replace(URLS, (all, quote?: string, quoted?: string) => {
      if (quoted !== undefined) return `${quote}${redactUrl(quoted)}`;
      const tail = TRAILING.exec(all)?.[0] ?? "";
      return redactUrl(all.slice(0, all.length - tail.length)) + tail;
    })
    .replace(HEADER_VALUES, "$1 ***");
}
