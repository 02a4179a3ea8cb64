/** `airferry rollback`: serves an older release again that is still in the store. */

import { shellWord } from "../../io/shell.ts";
import { ANY_STORE, type Register, storeOption, withGlobals } from "../command.ts";

export const rollbackCommand: Register = (program, run) => {
  withGlobals(program.command("rollback"))
    .summary("serve an older release of a store again")
    .description(
      "Makes a release that is still in the store the served one, by default the one before. No medium is needed, and\n" +
        "nothing is removed: --to a newer serial goes forward again. Running servers switch within a second; downloads\n" +
        "that have begun finish from the release they began with. Bundles that unpack refuses as too old stay refused.",
    )
    .addOption(storeOption(ANY_STORE))
    .option("--stream <stream>", "which stream, if the store has several")
    .option("--to <serial>", "the serial to serve (default: the one before the served one)")
    .addHelpText(
      "after",
      "\nExamples:\n  airferry rollback --store /srv/airferry\n  airferry rollback --store /srv/airferry --stream rocky-9 --to 11\n\nAIRFERRY_STORE replaces --store.\nExit status: 0 done, 1 failed (no such release, an unpack is running), 2 usage.",
    )
    .action((flags: { store: string; stream?: string; to?: string }, command) =>
      run(command.opts(), async (output) => {
        const { rollback } = await import("../../rollback.ts");
        const { store, stream, to } = flags;
        const report = await rollback(store, {
          ...(stream !== undefined && { stream }),
          ...(to !== undefined && { to }),
          notice: (line) => output.note(line),
        });
        const { from, changed, floor } = report;
        const place = (it: { epoch: number; serial: number }) =>
          it.epoch === 1 ? `serial ${it.serial}` : `epoch ${it.epoch}, serial ${it.serial}`;
        output.print(`${report.stream}: ${changed ? "now serves" : "already served"} ${place(report.to)}`);
        if (report.expired) output.note(`that release has expired: it is served, and the next bundle is due`);
        if (changed) {
          const old = from === null ? "the release before" : place(from);
          output.note(
            `servers of this store switch within a second; downloads that have begun finish from ${old}. Clients with metadata of ${old} have to read it again (dnf: --refresh)`,
          );
        }
        output.note(`unpack still refuses bundles below ${place(floor)}, the newest that this store has had`);
        if (changed && from !== null) {
          const name = shellWord(report.stream);
          output.note(
            `to take this back: airferry rollback --store ${shellWord(store)} --stream ${name} --to ${from.serial}`,
          );
        }
        output.end(report, {
          did: `${changed ? "serves" : "served already"} ${place(report.to)}`,
          of: `stream ${report.stream}`,
        });
      }),
    );
};
