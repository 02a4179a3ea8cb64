/**
 * Checks bytes in memory against what was expected of them: every algorithm that it names, not only the strongest.
 */
import { AttemptFailure, upstreamError } from "../http/failure.ts";
import { algorithmOf, digestOf } from "../io/digest.ts";
import { algorithmsIn, digestsIn, type Integrity } from "../io/integrity.ts";

/**
 * Returns the failure for bytes that do not match; undefined when they do. Bytes of several responses (`pieced`)
 * justify one whole fetch from the same mirror.
 */
export function integrityFault(
  url: URL,
  bytes: Uint8Array,
  integrity: Integrity,
  pieced: boolean,
): AttemptFailure | undefined {
  for (const algorithm of algorithmsIn(integrity)) {
    const expected = digestsIn(integrity).filter((it) => algorithmOf(it) === algorithm);
    const actual = digestOf(bytes, expected[0]);
    if (expected.includes(actual)) continue;
    return new AttemptFailure(
      upstreamError("ERR_UPSTREAM_DIGEST", url, `wrong digest of ${bytes.length} bytes`, {
        expected: expected.join(" or "),
        actual,
        hint: "upstream changed or was tampered with; check it, then run: airferry lock MANIFEST --update",
      }),
      { distrust: true, transient: pieced },
    );
  }
  return undefined;
}
