/**
 * Checks bytes in memory against an SRI string: every algorithm that it names, not only the strongest.
 */
import { createHash, getHashes } from "node:crypto";
import ssri from "ssri";
import { AttemptFailure, upstreamError } from "../http/failure.ts";

/**
 * Returns the failure for bytes that do not match; undefined when they do. Bytes of several responses (`pieced`) are worth one
 * whole fetch from the same mirror.
 * @throws {AirferryError} ERR_USAGE for a useless string
 */
export function integrityFault(
  url: URL,
  bytes: Uint8Array,
  integrity: string,
  pieced: boolean,
): AttemptFailure | undefined {
  const wanted = ssri.parse(integrity) as unknown as Record<string, { digest: string }[]> | null;
  const algorithms = Object.keys(wanted ?? {}).filter((it) => getHashes().includes(it));
  if (algorithms.length === 0)
    throw upstreamError("ERR_USAGE", url, `the integrity "${integrity}" names no known algorithm`);
  for (const algorithm of algorithms) {
    const expected = (wanted?.[algorithm] ?? []).map((it) => Buffer.from(it.digest, "base64").toString("hex"));
    const actual = createHash(algorithm).update(bytes).digest("hex");
    if (expected.includes(actual)) continue;
    return new AttemptFailure(
      upstreamError("ERR_UPSTREAM_DIGEST", url, `wrong digest of ${bytes.length} bytes`, {
        expected: `${algorithm}:${expected.join(" or ")}`,
        actual: `${algorithm}:${actual}`,
        hint: "upstream changed or was tampered with; look at it, then run: airferry lock MANIFEST --update",
      }),
      { distrust: true, transient: pieced },
    );
  }
  return undefined;
}
