/**
 * Generated pages in memory, so that only the first request for one pays for making it. Bounded; least recently used first.
 */
const MAX_BYTES = 16 * 1024 * 1024;
/** Larger ones are made each time: a few of them would push out all others. */
const MAX_PAGE_BYTES = MAX_BYTES / 4;

const pages = new Map<string, Buffer>();
let bytes = 0;

const ids = new WeakMap<object, number>();
let lastId = 0;

/**
 * Returns the page of a key, made now or kept from before. `of` is what it is made from, such as one view of the tree: it
 * never changes, and another object has pages of its own.
 */
export function keptPage(of: object, key: string, make: () => string): Buffer {
  const name = `${idOf(of)} ${key}`;
  const known = pages.get(name);
  if (known !== undefined) {
    pages.delete(name);
    pages.set(name, known);
    return known;
  }
  const made = Buffer.from(make());
  if (made.length <= MAX_PAGE_BYTES) keep(name, made);
  return made;
}

function keep(name: string, page: Buffer): void {
  pages.set(name, page);
  bytes += page.length;
  for (const [oldest, { length }] of pages) {
    if (bytes <= MAX_BYTES) break;
    pages.delete(oldest);
    bytes -= length;
  }
}

function idOf(of: object): number {
  let id = ids.get(of);
  if (id === undefined) {
    lastId++;
    id = lastId;
    ids.set(of, id);
  }
  return id;
}
