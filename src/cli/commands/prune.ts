/** `airferry prune`: removes older releases and what only they needed. */

import { formatBytes, plural } from "../../io/format.ts";
import { shellWord } from "../../io/shell.ts";
import { ANY_STORE, positive, type Register, storeOption, withGlobals } from "../command.ts";

export const pruneCommand: Register = (program, run) => {
  withGlobals(program.command("prune"))
    .summary("remove older releases from a store")
    .description(
      "Keeps the newest releases of each stream, including the served one, and removes the others and their blobs.",
    )
    .addOption(storeOption(ANY_STORE))
    .requiredOption("--keep <n>", "releases to keep of each stream", positive)
    .option("--incoming", "drop unfinished imports too")
    .option("--dry-run", "only report what would be removed")
    .addHelpText(
      "after",
      "\nExample:\n  airferry prune --store /srv/airferry --keep 2 --dry-run\n\nExit status: 0 done, 1 failed (an unpack is running), 2 usage.",
    )
    .action((flags: { store: string; keep: number; incoming?: boolean; dryRun?: boolean }, command) =>
      run(command.opts(), async (output) => {
        const { prune } = await import("../../prune.ts");
        const report = await prune(flags.store, {
          keep: flags.keep,
          incoming: flags.incoming === true,
          dryRun: flags.dryRun === true,
          notice: (line) => output.note(line),
        });
        const verb = flags.dryRun ? "would remove" : "removed";
        for (const release of report.releases) output.print(`${verb} ${release}`);
        for (const digest of report.incoming) output.print(`${verb} unfinished import ${digest}`);
        output.print(`${verb} ${plural(report.blobs, "blob")}, ${formatBytes(report.size)}`);
        const store = shellWord(flags.store);
        output.end(report, {
          did: `${verb} ${plural(report.releases.length, "release")} with ${plural(report.blobs, "blob")}, ${formatBytes(report.size)}`,
          of: `${flags.dryRun ? "would keep" : "kept"} ${plural(report.kept, "release")}`,
          next: flags.dryRun
            ? `airferry prune --store ${store} --keep ${flags.keep}${flags.incoming ? " --incoming" : ""}`
            : `airferry status --store ${store} --check`,
        });
      }),
    );
};
