/** At most so many of the first items: what comes after them is not made. */
export function firstOf<T>(items: Iterable<T>, most: number): T[] {
  const first: T[] = [];
  if (most <= 0) return first;
  for (const it of items) {
    first.push(it);
    if (first.length >= most) break;
  }
  return first;
}
