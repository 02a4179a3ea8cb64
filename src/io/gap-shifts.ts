/** By how much bytes may be shifted that lie between two gaps, of which only the sum is known. */

/** Gaps of fewer bytes than that are not thought of as datagrams. */
const MIN_UNIT = 64;

/**
 * Numbers of bytes that may be lost before them, likely ones first. Links lose datagrams and blocks, which are of one
 * size: so multiples of what divides the sum.
 * @param lost the sum of all gaps, of which additions are taken off
 * @param units sizes of gaps that were seen before
 */
export function* likelyShifts(lost: number, units: Iterable<number>): Generator<number> {
  const seen = new Set([0, lost]);
  const fresh = (it: number) => {
    if (seen.has(it)) return false;
    seen.add(it);
    return true;
  };
  const size = Math.abs(lost);
  const sign = Math.sign(lost);
  const known = [...units];
  for (const unit of known)
    for (let it = unit; it < size && it < unit * 64; it += unit) if (fresh(sign * it)) yield sign * it;
  for (let count = 2; size / count >= MIN_UNIT; count++) {
    if (size % count !== 0) continue;
    for (let it = 1; it < count; it++) if (fresh((sign * it * size) / count)) yield (sign * it * size) / count;
  }
  // Something was lost and something came twice.
  for (const unit of known) for (const it of [unit, -unit, lost + unit, lost - unit]) if (fresh(it)) yield it;
  for (let it = 1; it < size; it++) if (fresh(sign * it)) yield sign * it;
}
