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

/** The suggestion as the end of a message; nothing when no word is near. */
export function didYouMean(near: string | undefined): string {
  return near === undefined ? "" : `: did you mean ${near}?`;
}

/** Known words that are near an unknown one, the nearest first, at most `count`; a word within another is near it. */
export function nearestWords(word: string, known: readonly string[], count: number): string[] {
  const lower = word.toLowerCase();
  if (lower === "") return [];
  const most = Math.max(2, Math.floor(word.length / 3));
  const ranked = known.flatMap((it) => {
    const other = it.toLowerCase().replace(/\/$/, "");
    const edits = editsBetween(lower, other, most + 1);
    if (edits <= most) return [{ it, rank: edits }];
    const isWithin =
      lower.length >= MIN_PREFIX && (other.includes(lower) || (other.length >= MIN_PREFIX && lower.includes(other)));
    return isWithin ? [{ it, rank: most + 1 }] : [];
  });
  ranked.sort((a, b) => a.rank - b.rank);
  return ranked.slice(0, count).map(({ it }) => it);
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
  let edits = b.length;
  for (let row = 1; row <= a.length; row++) {
    const line: number[] = [];
    let aboveLeft = row;
    for (const [at, over] of above.entries()) {
      const left = edits;
      const isSame = a[row - 1] === b[at - 1];
      edits = at === 0 ? row : Math.min(over + 1, left + 1, aboveLeft + (isSame ? 0 : 1));
      const swapped = before[at - 2];
      if (swapped !== undefined && a[row - 1] === b[at - 2] && a[row - 2] === b[at - 1])
        edits = Math.min(edits, swapped + 1);
      line.push(edits);
      aboveLeft = over;
    }
    [before, above] = [above, line];
  }
  return edits;
}
