/** `airferry status`: what a store holds. */

import { formatBytes } from "../../io/size.ts";
import { type Register, storeOption, withGlobals } from "../command.ts";
import { formatTable } from "../format.ts";

export const statusCommand: Register = (program, run) => {
  withGlobals(program.command("status"))
    .summary("show what a store holds")
    .description(
      "Shows streams and releases of a store, their age and signers, and bundles whose media are still to come.",
    )
    .addOption(storeOption())
    .addHelpText(
      "after",
      "\nExample:\n  airferry status --store /srv/airferry\n\nExit status: 0 done, 1 failed, 2 usage.",
    )
    .action((flags: { store: string }, command) =>
      run(command.opts(), async (output) => {
        const { status } = await import("../../status.ts");
        const report = await status(flags.store);
        output.result(report);
        const rows = report.streams.flatMap(({ stream, releases }) =>
          releases.map((it) => [
            stream,
            `${it.serial}${it.current ? " *" : ""}`,
            it.created,
            it.importedAt,
            String(it.entries),
            formatBytes(it.size),
            it.signers.map((keyid) => keyid.slice(0, 16)).join(" "),
          ]),
        );
        if (rows.length === 0) output.print("no release yet");
        else
          output.print(
            formatTable(["STREAM", "SERIAL", "PACKED", "UNPACKED", "FILES", "SIZE", "SIGNED BY"], rows, [4, 5]),
          );
        for (const { stream, ageDays } of report.streams) {
          if (ageDays !== null && ageDays > 0)
            output.print(`${stream}: packed ${ageDays} day${ageDays === 1 ? "" : "s"} ago`);
        }
        for (const it of report.incoming)
          output.print(`unfinished: ${it.stream} ${it.serial}, still to come: ${it.missing.join(", ") || "a rerun"}`);
        output.print(
          `${report.blobs.count} blobs, ${formatBytes(report.blobs.size)}; ${formatBytes(report.freeBytes)} free`,
        );
        if (rows.length > 0) output.print("* is served");
      }),
    );
};
