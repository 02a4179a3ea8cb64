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
