/** JSON with sorted keys, without spaces unless `indent` is set: the same value always gives the same text. */
export function canonicalJson(value: unknown, indent = 0): string {
  const sorted = (_key: string, it: unknown) =>
    it !== null && typeof it === "object" && !Array.isArray(it) && !isSorted(Object.keys(it))
      ? Object.fromEntries(Object.entries(it).sort(([a], [b]) => (a < b ? -1 : 1)))
      : it;
  return JSON.stringify(value, sorted, indent);
}

/** Nearly everything read from a lock is sorted and need not be copied. */
function isSorted(keys: readonly string[]): boolean {
  return keys.every((it, index) => index === 0 || (keys[index - 1] ?? "") < it);
}
