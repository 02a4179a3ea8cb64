/** What the fast path says of its answers, to those who count and log them; see fast-path.ts. */
import type { PlainHeaders } from "./plain-request.ts";
import type { SmallFile } from "./small-files.ts";

/** An answer that is over. */
export interface FastAnswer {
  readonly url: string;
  readonly bytes: number;
  /** Whether the socket took all of it. */
  readonly whole: boolean;
  /** The address of who asked. */
  readonly client: string | undefined;
  readonly headers: PlainHeaders;
  /** performance.now() when the request had arrived. */
  readonly startedMs: number;
}

/** Counts of answers of a kind. */
export interface Tally {
  answers: number;
  bytes: number;
  /** Seconds that all of them took together. */
  seconds: number;
  /** How many took how long, by the classes of whoever counts. */
  readonly durations: number[];
  /** The class of a duration. */
  classOf(seconds: number): number;
}

/** How a target of the current view is answered. */
export interface Known {
  readonly head: string;
  readonly file: SmallFile;
  readonly tally: Tally;
}
