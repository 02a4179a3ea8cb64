/**
 * Makes the indexes of packages that `unpack` left out or that are damaged: once for all threads of a server, which
 * share the bytes. The first thread has one maker; the others ask it (worker.ts).
 */
import { AirferryError } from "../../errors.ts";
import type { Digest } from "../../io/digest.ts";
import { runInThread } from "../../io/parser-thread.ts";
import type { MetadataPlace } from "../../packages/types.ts";

/** What is kept for all streams together: about 200,000 packages. */
const MAX_KEPT_BYTES = 96 * 1024 * 1024;

/** Which index is wanted, and what it is made of: plain data, so that another thread can be asked. */
export interface IndexOrder {
  stream: string;
  /** Digest of the release's SHA256SUMS. */
  release: Digest;
  places: readonly MetadataPlace[];
}

/** Makes an index, in shared memory. Undefined when there is nothing to list. */
export type MakeIndex = (order: IndexOrder) => Promise<Uint8Array | undefined>;

/** Makes one index after the other, each in a thread, and keeps that of the last release of each stream. */
export class IndexMaker {
  readonly #made = new Map<string, { release: Digest; bytes: Promise<Uint8Array | undefined>; size: number }>();
  #turn: Promise<unknown> = Promise.resolve();

  /** @throws {AirferryError} ERR_SIZE_LIMIT when it takes too much time or memory, here or to keep */
  make(order: IndexOrder): Promise<Uint8Array | undefined> {
    const known = this.#made.get(order.stream);
    if (known?.release === order.release) return known.bytes;
    const made = { release: order.release, bytes: this.#turn.then(() => build(order)), size: 0 };
    this.#made.set(order.stream, made);
    made.bytes = made.bytes.then((bytes) => {
      const kept = [...this.#made.values()].reduce((sum, it) => sum + it.size, 0);
      if (bytes === undefined) return undefined;
      if (kept + bytes.length > MAX_KEPT_BYTES) throw tooMuch(order, "the packages of all streams are too many");
      made.size = bytes.length;
      return bytes;
    });
    this.#turn = made.bytes.catch(() => {});
    return made.bytes;
  }
}

function build(order: IndexOrder): Promise<Uint8Array | undefined> {
  return runInThread<Uint8Array | undefined>("packages", {
    bytes: new Uint8Array(),
    args: [order.release, order.places],
    tooMuch: (fault) => tooMuch(order, fault),
  });
}

function tooMuch({ stream }: IndexOrder, fault: string): AirferryError {
  return new AirferryError("ERR_SIZE_LIMIT", `cannot list the packages of "${stream}": ${fault}`);
}
