/** SIGINT and SIGTERM. A command that opts in stops by itself, in order; src/bin.ts ends all others at once. */
import { runUnder } from "../io/limit.ts";

/** The work was ended by a signal. Exit status 130. */
export class Interrupted extends Error {}

/** Listeners of commands: others (of a debugger or test runner) stop nothing. */
let own = false;

/** From now on this command has its own listeners for signals. */
export function stopsByItself(): void {
  own = true;
}

/** Whether a listener of the command handles a signal. */
export function isHandled(signal: "SIGINT" | "SIGTERM"): boolean {
  return own && process.listenerCount(signal) > 1;
}

/**
 * Runs work that the first signal aborts: running operations end, files are closed, and good data remains for a rerun.
 * A second signal ends the program at once.
 * @throws {Interrupted} when it was aborted before completion
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
