/**
 * Content-Encoding although identity was asked for. The bytes on the wire are the artifact only when a server labels a compressed
 * file so (`x.tar.gz` with `Content-Encoding: x-gzip`, an old Apache habit); anything else is refused, never decoded: the
 * size and the digest would be those of other bytes.
 */
import type { IncomingHttpHeaders } from "node:http";
import { AttemptFailure, upstreamError } from "./failure.ts";

/** File name endings that already are what the encoding says. */
const ENDINGS = new Map([
  ["gzip", /\.(gz|tgz|taz|gzip)$/i],
  ["x-gzip", /\.(gz|tgz|taz|gzip)$/i],
  ["zstd", /\.(zst|tzst)$/i],
  ["br", /\.br$/i],
  ["compress", /\.z$/i],
  ["x-compress", /\.z$/i],
  ["bzip2", /\.(bz2|tbz2?)$/i],
  ["x-bzip2", /\.(bz2|tbz2?)$/i],
  ["xz", /\.(xz|txz)$/i],
  ["x-xz", /\.(xz|txz)$/i],
]);

/** Returns why an answer with this Content-Encoding cannot be taken; undefined when it can. */
export function encodingFault(
  url: URL,
  headers: IncomingHttpHeaders,
  size: number | undefined,
): AttemptFailure | undefined {
  const encoding = headers["content-encoding"]?.trim().toLowerCase();
  if (encoding === undefined || encoding === "" || encoding === "identity") return undefined;
  const sizeFits = size !== undefined && Number(headers["content-length"]) === size;
  if (sizeFits || ENDINGS.get(encoding)?.test(url.pathname)) return undefined;
  return new AttemptFailure(
    upstreamError("ERR_UPSTREAM_INVALID", url, "upstream encodes the body although that was not asked for", {
      expected: "no Content-Encoding",
      actual: `Content-Encoding: ${encoding.slice(0, 40)}`,
      hint: "name another mirror, or switch compression off for this path upstream",
    }),
  );
}
