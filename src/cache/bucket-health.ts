/**
 * Whether a bucket answers. Once it did not, requests fail at once, so that nobody waits for it; the mirror of its
 * releases, which asks it all the time, finds out when it is back.
 */
import { AirferryError } from "../errors.ts";

/** The state of one bucket, as one thread sees it. */
export class BucketHealth {
  readonly #name: string;
  #down: { since: string; fault: string } | undefined;
  errors = 0;

  constructor(name: string) {
    this.#name = name;
  }

  /** When it stopped answering, RFC 3339; undefined: it answers. */
  get downSince(): string | undefined {
    return this.#down?.since;
  }

  /** @throws {AirferryError} ERR_OBJECT_STORAGE while the bucket does not answer */
  check(): void {
    if (this.#down === undefined) return;
    throw new AirferryError(
      "ERR_OBJECT_STORAGE",
      `cannot read from "${this.#name}": it does not answer since ${this.#down.since}: ${this.#down.fault}`,
      { hint: "what is in the cache is served; the rest comes back with the bucket" },
    );
  }

  answered(): void {
    this.#down = undefined;
  }

  /** Notes a failed request; one that says nothing about the bucket as a whole changes nothing. */
  failed(error: unknown): void {
    this.errors++;
    if (!(error instanceof AirferryError) || error.code !== "ERR_OBJECT_STORAGE") return;
    this.#down ??= { since: `${new Date().toISOString().slice(0, 19)}Z`, fault: error.message };
  }
}
