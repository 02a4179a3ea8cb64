/**
 * Where a package or metadata file is upstream, and where the mirror stores it. Locations come from upstream's metadata
 * and are treated as hostile: `../` and other bases are legal for fetching, but nothing is ever stored outside.
 */
import { AirferryError } from "../../errors.ts";
import { type AnyDigest, hexOf } from "../../io/digest.ts";
import { checkPath } from "../../io/path-grammar.ts";
import { printable } from "../../io/printable.ts";

const MAX_HREF = 4096;

/** A parsed location. */
interface Location {
  /** Where the mirror stores it: relative to the repository, decoded. */
  stored: string;
  /** False: `stored` differs from what upstream's metadata says, which must therefore be rewritten. */
  asUpstream: boolean;
}

/**
 * Returns where to store a file. Files outside the repository go to `external/<8 hex digits>/<name>`.
 * @param digest hex digits that distinguish files of the same name
 * @throws {AirferryError} ERR_UPSTREAM_INVALID for locations that no mirror can hold
 */
export function locate(href: string, base: string | undefined, digest: AnyDigest, name: string): Location {
  const refuse = (fault: string) =>
    new AirferryError("ERR_UPSTREAM_INVALID", `cannot use location "${printable(href, 200)}" in "${name}": ${fault}`, {
      path: name,
      hint: "the repository is damaged or hostile; nothing was fetched from there",
    });
  if (href.length > MAX_HREF) throw refuse(`longer than ${MAX_HREF} characters`);
  const path = decode(href);
  if (/[\u0000-\u001f\u007f\\]/.test(path)) throw refuse("control characters or a backslash");
  if (base !== undefined && !/^https?:\/\/[^\s\\]+$/.test(base))
    throw refuse(`unusable xml:base "${printable(base, 200)}"`);
  if (/^[a-z][a-z0-9+.-]*:\/\//i.test(path)) throw refuse("an absolute URL");
  if (path.startsWith("/")) throw refuse("an absolute path");
  const segments: string[] = [];
  let outside = base !== undefined;
  for (const segment of path.split("/")) {
    if (segment === "" || segment === ".") continue;
    if (segment === "..") {
      if (segments.pop() === undefined) outside = true;
    } else segments.push(segment);
  }
  const file = segments.at(-1);
  if (file === undefined || path.endsWith("/")) throw refuse("no file name");
  const stored = outside ? `external/${hexOf(digest).slice(0, 8)}/${file}` : segments.join("/");
  // It is below the repository's folder: `a:b.rpm` is not a drive there.
  const fault = checkPath(`rpms/${stored}`);
  if (fault !== undefined) throw refuse(fault);
  if (outside) return { stored, asUpstream: false };
  // Clients differ on escaped locations: older ones send them unchanged, newer ones escape the percent signs again.
  return { stored, asUpstream: stored === href };
}

/**
 * A base URL in the form used here: its path ends in `/`, and a query, which may grant access (SUSE's token, an Azure
 * signature), follows it. A fragment is dropped.
 */
export function baseOf(url: string): string {
  const [, place = "", query = ""] = /^([^?#]*)(\?[^#]*)?/.exec(url) ?? [];
  return `${place.endsWith("/") ? place : `${place}/`}${query}`;
}

/**
 * The URL of a location below a base URL; each gets the base's query, as with librepo. A `+` is always escaped: some
 * stores read it as a space.
 */
export function resolveHref(href: string, base: string): string {
  const url = new URL(baseOf(base));
  const { search } = url;
  url.search = "";
  const joined = new URL(encodePath(href), url);
  joined.search = search;
  return joined.href;
}

/** Whether two base URLs are the same location, ignoring queries. */
export function isSamePlace(a: string, b: string): boolean {
  return baseOf(a).replace(/\?.*$/, "") === baseOf(b).replace(/\?.*$/, "");
}

/** Escapes what is not escaped yet, segment by segment; a colon in the first one must not look like a scheme. */
function encodePath(href: string): string {
  const path = href
    .split("/")
    .map((segment) => encodeURIComponent(decode(segment)).replace(/%3A/g, ":"))
    .join("/");
  return /^[^/]*:/.test(path) ? `./${path}` : path;
}

function decode(text: string): string {
  if (!/%[0-9a-fA-F]{2}/.test(text)) return text;
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
