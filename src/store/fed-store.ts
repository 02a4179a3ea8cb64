/**
 * A store, or a cache of one, as the further threads of a server see it: the first thread reads the releases and tries
 * whether they can be served, and all share the memory.
 */
import { bug } from "../errors.ts";
import type { Digest } from "../io/digest.ts";
import { type SharedRelease, sharedRelease } from "./share-release.ts";
import { Store } from "./store.ts";
import type { Release } from "./types.ts";

/** Asks the first thread for the releases to serve: those that the thread has already come as their digests. */
export type ReleaseFeed = (known: readonly Digest[]) => Promise<readonly (Digest | SharedRelease)[]>;

export class FedStore extends Store {
  readonly areTried = true;
  readonly #feed: ReleaseFeed;
  #last: readonly Release[] = [];

  constructor(dir: string, feed: ReleaseFeed) {
    super(dir);
    this.#feed = feed;
  }

  /** The same list as before, if it has the same releases. */
  override async releases(): Promise<readonly Release[]> {
    const before = this.#last;
    const now = await this.#feed(before.map((it) => it.digest));
    if (now.length === before.length && now.every((it, at) => it === before[at]?.digest)) return before;
    const known = (digest: Digest) => before.find((it) => it.digest === digest) ?? bug("a release that is not known");
    this.#last = now.map((it) => (typeof it === "string" ? known(it) : sharedRelease(it)));
    return this.#last;
  }

  /** Reads are many, and each is of what was found in releases that are known. */
  protected override async releasesForReads(): Promise<readonly Release[]> {
    return this.#last;
  }
}
