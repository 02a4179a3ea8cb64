/**
 * Detects that a bundle's creation time and this host's clock cannot both be right. docs/format.md, "Order and expiry".
 */

/** Clocks of honest hosts differ by less. */
const MAX_AHEAD_MS = 24 * 60 * 60 * 1000;

/** The notice for a bundle created more than a day after `now`; undefined for all others. */
export function clockSkewNote(created: string, now: Date): string | undefined {
  if (Date.parse(created) - now.getTime() <= MAX_AHEAD_MS) return undefined;
  const here = `${now.toISOString().slice(0, 19)}Z`;
  return `the bundle was created at ${created}, here it is ${here}: the clock of this host or of the one that packed it is wrong`;
}
