#!/usr/bin/env node
/**
 * argv in, exit status out. The only place that ends the process. A checkout runs this file and scripts/build-binary
 * bundles it, so both programs start and end the same way; there is no top-level `await`, which a CommonJS bundle
 * cannot have.
 */
import { main, printInterrupted, printUncaught, printUnwritten } from "./cli/main.ts";
import { isHandled } from "./cli/signals.ts";
import { EXIT } from "./errors.ts";

const argv = process.argv.slice(2);
// Files get the modes in docs/design.md, whatever the shell's umask: keys 0600, a store that its server can read,
// nothing world-writable.
process.umask(0o022);
process.on("uncaughtException", (error) => {
  printUncaught(argv, error);
  process.exit(EXIT.failed);
});
// A second signal, or a verb that does not stop by itself, ends the process; every verb can be killed at any instant.
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.on(signal, () => {
    if (isHandled(signal)) return;
    printInterrupted(argv);
    process.exit(EXIT.interrupted);
  });
}
// A reader that went away (`airferry status | head`) is not a failure; a file on a full disk is.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code === "EPIPE") process.exit(EXIT.done);
  printUnwritten(argv, error);
  process.exit(EXIT.failed);
});

/**
 * When a verb has ended nothing is running any more, and the process ends by itself. Only a name lookup cannot be
 * aborted: the system's resolver may take half a minute.
 */
const LAST_RESORT_MS = 2000;

// Nobody catches what main throws: it becomes an uncaught exception.
void main(argv).then((status) => {
  process.exitCode = status;
  // Unreferenced: it fires only if something else keeps the process alive.
  if (status !== EXIT.done) setTimeout(() => process.exit(status), LAST_RESORT_MS).unref();
});
