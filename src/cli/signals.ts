/** Which commands stop by themselves on SIGINT and SIGTERM: they say so here. All others are ended by src/bin.ts. */
let own = false;

/** From now on this command has its own listeners for signals. */
export function stopsByItself(): void {
  own = true;
}

/** Whether a listener of the command takes care of a signal. Listeners of anybody else (a debugger, a test runner) do not. */
export function isHandled(signal: "SIGINT" | "SIGTERM"): boolean {
  return own && process.listenerCount(signal) > 1;
}

/** A signal that is aborted by the first SIGINT or SIGTERM, for work that has to clean up; a second one ends the program. */
export function abortOnSignals(): AbortSignal {
  const controller = new AbortController();
  stopsByItself();
  for (const name of ["SIGINT", "SIGTERM"] as const) process.once(name, () => controller.abort());
  return controller.signal;
}
