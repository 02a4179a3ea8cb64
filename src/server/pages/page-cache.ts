/**
 * Generated pages in memory, so that only the first request for one pays for generating it. Bounded; least recently
 * used first.
 */
import type { Html } from "../../html/html.ts";

const MAX_BYTES = 16 * 1024 * 1024;
/** Larger ones stay only until memory is collected, or while they are being sent: a few would evict all others. */
const MAX_PAGE_BYTES = MAX_BYTES / 4;
const MAX_LARGE = 16;

/** The pages of one site. */
export class PageCache {
  readonly #pages = new Map<string, Buffer>();
  readonly #large = new Map<string, WeakRef<Buffer>>();
  #bytes = 0;
  readonly #ids = new WeakMap<object, number>();
  #lastId = 0;

  /**
   * Returns the page of a key, generated now or cached. `of` is its source, such as one view of the tree: it never
   * changes, and another object has separate pages.
   */
  page(of: object, key: string, make: () => Html): Buffer {
    return this.document(of, key, () => Buffer.from(String(make())));
  }

  /** The same of anything else. */
  document(of: object, key: string, make: () => Buffer): Buffer {
    const known = this.known(of, key);
    if (known !== undefined) return known;
    const name = `${this.#idOf(of)} ${key}`;
    const made = make();
    if (made.length <= MAX_PAGE_BYTES) this.#keep(name, made);
    else {
      const [oldest] = this.#large.keys();
      if (oldest !== undefined && this.#large.size >= MAX_LARGE) this.#large.delete(oldest);
      this.#large.set(name, new WeakRef(made));
    }
    return made;
  }

  /** The page of a key if it is cached. */
  known(of: object, key: string): Buffer | undefined {
    const name = `${this.#idOf(of)} ${key}`;
    const known = this.#pages.get(name);
    if (known === undefined) return this.#large.get(name)?.deref();
    this.#pages.delete(name);
    this.#pages.set(name, known);
    return known;
  }

  #keep(name: string, page: Buffer): void {
    this.#pages.set(name, page);
    this.#bytes += page.length;
    for (const [oldest, { length }] of this.#pages) {
      if (this.#bytes <= MAX_BYTES) break;
      this.#pages.delete(oldest);
      this.#bytes -= length;
    }
  }

  #idOf(of: object): number {
    let id = this.#ids.get(of);
    if (id === undefined) {
      this.#lastId++;
      id = this.#lastId;
      this.#ids.set(of, id);
    }
    return id;
  }
}
