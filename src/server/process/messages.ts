/**
 * Messages between the first process of a server and its workers over Node's process channel. Plain values only.
 */
import type { ErrorCode } from "../../errors.ts";
import type { TlsMaterial } from "../http/listener.ts";
import type { Counters } from "./counters.ts";
import type { SiteSettings } from "./site.ts";

/** From the first process to a worker. */
export type ToWorker =
  | { kind: "start"; settings: SiteSettings }
  | { kind: "tls"; tls: TlsMaterial }
  /** Send your counters. */
  | { kind: "count"; id: number }
  /** The total counters, as requested with "sum". */
  | { kind: "summed"; id: number; counters: Counters }
  | { kind: "stop"; graceMs: number };

/** From a worker to the first process. */
export type FromWorker =
  | { kind: "ready" }
  | { kind: "failed"; code: ErrorCode; message: string; hint: string | undefined }
  | { kind: "counted"; id: number; counters: Counters }
  /** Requests the total counters; contains this worker's. */
  | { kind: "sum"; id: number; counters: Counters }
  | { kind: "report"; message: string };

/** Sends to a process that may be ending: a lost message is not needed any more. */
export function sendMessage(
  target: { send?: ((message: ToWorker | FromWorker, callback: (error: Error | null) => void) => boolean) | undefined },
  message: ToWorker | FromWorker,
): void {
  try {
    target.send?.(message, () => {});
  } catch {
    // The channel is closed.
  }
}
