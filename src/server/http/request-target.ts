/**
 * Makes the target of a request safe: percent-decoded once, dots and doubled slashes resolved in place (installers
 * request `//.treeinfo` and `os/../AppStream` and follow no redirect), the stream removed. Anything ambiguous is
 * refused. See RFC 9112, section 3.2 and RFC 3986, sections 5.2.4 and 6.2.
 */

/** A parsed request target. `path` begins with `/` and preserves a trailing slash. */
export interface RequestTarget {
  path: string;
  query: string;
  stream?: string;
}

const ABSOLUTE_FORM = /^https?:\/\/[^/?#]*/i;
/** Paths without these characters need none of the work below: by far the most requests. */
const PLAIN_PATH = /^(?:\/[A-Za-z0-9_+~:@=,^-][A-Za-z0-9._+~:@=,^-]*)+\/?$/;

/** Parses a request target in origin or absolute form. Returns the reason as a string when it is not acceptable. */
export function parseTarget(target: string): RequestTarget | string {
  let raw = target;
  if (!raw.startsWith("/")) {
    const authority = ABSOLUTE_FORM.exec(raw);
    if (authority === null) return "the target must be a path";
    raw = raw.slice(authority[0].length);
    if (!raw.startsWith("/")) raw = `/${raw}`;
  }
  const question = raw.indexOf("?");
  const query = question === -1 ? "" : raw.slice(question + 1);
  const rawPath = question === -1 ? raw : raw.slice(0, question);
  const path = PLAIN_PATH.test(rawPath) ? rawPath : cleanPath(rawPath);
  if (path === undefined) return "the path is not properly encoded";
  return withStream(path, query);
}

function withStream(path: string, query: string): RequestTarget {
  const [, stream, rest = "/"] = /^\/s\/([^/]+)(\/.*)?$/.exec(path) ?? [];
  return stream === undefined ? { path, query } : { path: rest, query, stream };
}

function cleanPath(raw: string): string | undefined {
  const kept: string[] = [];
  for (const rawSegment of raw.split("/")) {
    if (rawSegment === "" || rawSegment === ".") continue;
    if (rawSegment === "..") {
      kept.pop();
      continue;
    }
    const segment = decodeSegment(rawSegment);
    if (segment === undefined) return undefined;
    kept.push(segment);
  }
  const directory = kept.length > 0 && /(?:^|\/)\.{0,2}$/.test(raw);
  return `/${kept.join("/")}${directory ? "/" : ""}`;
}

/** Undefined for what no legitimate client sends: encoded slashes and dot segments, backslashes, control characters. */
function decodeSegment(raw: string): string | undefined {
  let segment: string;
  try {
    segment = decodeURIComponent(raw);
  } catch {
    return undefined;
  }
  if (segment === "." || segment === ".." || /[/\\\u0000-\u001f\u007f]/.test(segment)) return undefined;
  return segment.normalize("NFC");
}
