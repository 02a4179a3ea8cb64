/** Suggestions: the known word closest to an unknown one. No imports. */

/**
 * The word with the fewest edits, if they are few for its length, else the last one with that prefix; undefined when
 * none is near.
 */
export function closestWord(word: string, known: readonly string[]): string | undefined {
  let best: string | undefined;
  let fewest = Math.max(1, Math.floor(word.length / 3)) + 1;
  for (const it of known) {
    const edits = editsBetween(word.toLowerCase(), it.toLowerCase(), fewest);
    if (edits < fewest) [best, fewest] = [it, edits];
  }
  return best ?? (word.length < MIN_PREFIX ? undefined : known.findLast((it) => it.startsWith(word.toLowerCase())));
}

/** Letters that count as a prefix. */
const MIN_PREFIX = 3;

/**
 * Insertions, deletions, replacements and swaps of neighbours that turn `a` into `b`; at least `enough` if not less.
 */
function editsBetween(a: string, b: string, enough: number): number {
  if (Math.abs(a.length - b.length) >= enough || a.length > 100) return enough;
  let before: number[] = [];
  let above = Array.from({ length: b.length + 1 }, (_, at) => at);
  for (let row = 1; row <= a.length; row++) {
    const line = [row];
    for (let at = 1; at <= b.length; at++) {
      const isSame = a[row - 1] === b[at - 1];
      let edits = Math.min(above[at]! + 1, line[at - 1]! + 1, above[at - 1]! + (isSame ? 0 : 1));
      if (row > 1 && at > 1 && a[row - 1] === b[at - 2] && a[row - 2] === b[at - 1])
        edits = Math.min(edits, before[at - 2]! + 1);
      line.push(edits);
    }
    [before, above] = [above, line];
  }
  return above[b.length]!;
}
