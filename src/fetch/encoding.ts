/**
 * Content-Encoding although identity was asked for. Servers label bytes that are not encoded: compressed files by their
 * format (`x.tar.gz` with `x-gzip`, an old Apache habit), and anything as `aws-chunked`, `none`, `binary` or `utf-8`,
 * which are not codings. Bytes on the wire are never decoded: size and digest would be those of other bytes. A known
 * digest decides; otherwise an unexplained real coding is refused.
 */
import type { IncomingHttpHeaders } from "node:http";
import { AttemptFailure, upstreamError } from "../http/failure.ts";
import type { Integrity } from "../io/integrity.ts";

/** File name endings that already imply the encoding. */
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

/** Codings that file names do not imply. @see the HTTP Content Coding Registry */
const OTHER_CODINGS = new Set(["deflate", "aes128gcm", "dcb", "dcz", "exi", "pack200-gzip"]);

/** What is known about the requested bytes. */
interface Known {
  size?: number | undefined;
  integrity?: Integrity | undefined;
}

/** Returns why a response with this Content-Encoding is refused; undefined when it is accepted. */
export function encodingFault(url: URL, headers: IncomingHttpHeaders, known: Known): AttemptFailure | undefined {
  const codings = (headers["content-encoding"] ?? "")
    .toLowerCase()
    .split(",")
    .map((it) => it.trim());
  const encoding = codings.find((it) => ENDINGS.has(it) || OTHER_CODINGS.has(it));
  if (encoding === undefined) return undefined;
  const length = headers["content-length"];
  const { size, integrity } = known;
  if (size !== undefined && length !== undefined ? Number(length) === size : integrity !== undefined) return undefined;
  if (ENDINGS.get(encoding)?.test(url.pathname)) return undefined;
  return new AttemptFailure(
    upstreamError("ERR_UPSTREAM_INVALID", url, "upstream encoded the body, which was not requested", {
      expected: "no Content-Encoding",
      actual: `Content-Encoding: ${encoding.slice(0, 40)}`,
      hint: "name another mirror, or disable compression for this path upstream",
    }),
  );
}
