#!/usr/bin/env node
/**
 * argv in, exit status out. The only place that ends the process. A checkout runs this file and scripts/build-binary bundles
 * it, so that both programs start and end alike; hence no `await` at the top level, which a bundle in CommonJS cannot have.
 */
import { main, printInterrupted, printUncaught } from "./cli/main.ts";
import { isHandled } from "./cli/signals.ts";
import { EXIT } from "./errors.ts";

const argv = process.argv.slice(2);
// What airferry makes has the modes that docs/design.md gives, whatever the shell's: keys 0600, a store that its server can read,
// and nothing that everybody can write to.
process.umask(0o022);
process.on("uncaughtException", (error) => {
  printUncaught(argv, error);
  process.exit(EXIT.failed);
});
// A second signal, or a verb that does not stop by itself, ends the process; every verb may be killed at any instant.
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.on(signal, () => {
    if (isHandled(signal)) return;
    printInterrupted(argv);
    process.exit(EXIT.interrupted);
  });
}
// A reader that went away (`airferry status | head`) is no failure.
process.stdout.on("error", (error: NodeJS.ErrnoException) =>
  process.exit(error.code === "EPIPE" ? EXIT.done : EXIT.failed),
);

/**
 * A verb has ended when nothing is under way any more, and then the process ends by itself. Only a name that is being looked up
 * cannot be given up: the system's resolver may take half a minute over it.
 */
const LAST_RESORT_MS = 2000;

// What main throws is nobody's: it comes back as an uncaught exception.
void main(argv).then((status) => {
  process.exitCode = status;
  // Never waited for: it comes only where something else keeps the process.
  if (status !== EXIT.done) setTimeout(() => process.exit(status), LAST_RESORT_MS).unref();
});
