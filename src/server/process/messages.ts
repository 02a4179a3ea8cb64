/** Messages between the first thread of a server and its workers. Plain values only. */
import type { CacheAnswer, CacheOrder } from "../../cache/types.ts";
import type { ErrorCode } from "../../errors.ts";
import type { Digest } from "../../io/digest.ts";
import type { SharedRelease } from "../../store/share-release.ts";
import type { TlsMaterial } from "../http/endpoint.ts";
import type { Counters } from "./counters.ts";
import type { IndexOrder } from "./index-maker.ts";
import type { WantedBatch } from "./wanted-notes.ts";

/** From the first thread to a worker. */
export type ToWorker =
  | { kind: "tls"; tls: TlsMaterial }
  | { kind: "reopenLog" }
  /** Send your counters. */
  | { kind: "count"; id: number }
  /** The total counters, as requested with "sum". */
  | { kind: "summed"; id: number; counters: Counters }
  /** The index that was requested with "index", in shared memory, or why there is none. */
  | { kind: "indexed"; id: number; bytes: Uint8Array | undefined; fault: string | undefined }
  /** What was asked of the cache with "cache", or why not. */
  | { kind: "cached"; id: number; answer: CacheAnswer; fault: ThreadFault | undefined }
  /** The releases to serve, as asked for with "releases": those that the worker knows by their digests. */
  | { kind: "releases"; id: number; releases: readonly (Digest | SharedRelease)[] }
  /** There are other releases than before: ask for them. */
  | { kind: "look" }
  | { kind: "stop"; graceMs: number };

/** An error that crosses threads. */
export interface ThreadFault {
  code: ErrorCode;
  message: string;
  hint: string | undefined;
}

/** From a worker to the first thread. */
export type FromWorker =
  | { kind: "ready" }
  | { kind: "failed"; code: ErrorCode; message: string; hint: string | undefined }
  | { kind: "counted"; id: number; counters: Counters }
  /** Requests the total counters; contains this worker's. */
  | { kind: "sum"; id: number; counters: Counters }
  /** Requests an index of packages. */
  | { kind: "index"; id: number; order: IndexOrder }
  /** Asks for the releases to serve; `known` are the digests of those that the worker has. */
  | { kind: "releases"; id: number; known: readonly Digest[] }
  /** Asks something of the cache. */
  | { kind: "cache"; id: number; order: CacheOrder }
  /** What clients of this worker asked for in vain. */
  | { kind: "wanted"; batch: WantedBatch }
  /** Releases came, with these origins. */
  | { kind: "origins"; origins: string[] }
  | { kind: "report"; message: string };
