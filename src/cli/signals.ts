/** SIGINT and SIGTERM. A command that says so stops by itself, in order; all others are ended at once, by src/bin.ts. */
import { runUnder } from "../io/limit.ts";

/** The work was ended by a signal. Exit status 130. */
export class Interrupted extends Error {}

/** Listeners of commands: those of anybody else (a debugger, a test runner) stop nothing. */
let own = false;

/** From now on this command has its own listeners for signals. */
export function stopsByItself(): void {
  own = true;
}

/** Whether a listener of the command takes care of a signal. */
export function isHandled(signal: "SIGINT" | "SIGTERM"): boolean {
  return own && process.listenerCount(signal) > 1;
}

/**
 * Runs work that the first signal aborts: what it has under way ends, files are closed, and what is good stays for a rerun. A second
 * signal ends the program at once.
 * @throws {Interrupted} when it was aborted before it was done
 */
export async function interruptible<R>(work: () => Promise<R>): Promise<R> {
  const controller = new AbortController();
  const abort = () => controller.abort();
  stopsByItself();
  for (const name of ["SIGINT", "SIGTERM"] as const) process.once(name, abort);
  try {
    return await runUnder(controller.signal, work);
  } catch (error) {
    throw controller.signal.aborted ? new Interrupted("interrupted", { cause: error }) : error;
  } finally {
    for (const name of ["SIGINT", "SIGTERM"] as const) process.off(name, abort);
  }
}
