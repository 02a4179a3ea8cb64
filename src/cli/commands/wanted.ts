/** `airferry wanted`: what clients of a server asked for and did not get. */
import { plural } from "../../io/format.ts";
import { shellWord } from "../../io/shell.ts";
import { type Register, withGlobals } from "../command.ts";
import { formatTable } from "../table.ts";

export const wantedCommand: Register = (program, run) => {
  withGlobals(program.command("wanted").argument("<file>", "list that airferry serve --wanted keeps"))
    .summary("show what was asked for and is not there")
    .description(
      "Shows what clients of a server asked for and did not get, the most wanted first. With --out it writes a short list to\n" +
        "carry out of the gap: URLs and counts, nothing about clients or times.",
    )
    .option("--out <file>", "write the short list here")
    .option("--force", "replace a file that is there")
    .addHelpText(
      "after",
      "\nExamples:\n  airferry serve --store /srv/airferry --wanted /var/lib/airferry/wanted.list\n  airferry wanted /var/lib/airferry/wanted.list\n  airferry wanted /var/lib/airferry/wanted.list --out /mnt/usb/wanted.json\n\nExit status: 0 done, 1 failed, 2 usage or another file.",
    )
    .action((file: string, flags: { out?: string; force?: boolean }, command) =>
      run(command.opts(), async (output) => {
        const { wanted } = await import("../../wanted.ts");
        const report = await wanted(file, flags);
        const rows = report.wanted.map(({ count, last, method, url }) => [
          String(count),
          last ?? "",
          method ?? "",
          url,
        ]);
        if (rows.length === 0) output.print("nothing was asked for in vain");
        else output.print(...formatTable(["COUNT", "LAST", "METHOD", "URL"], rows, [0]));
        if (report.dropped > 0)
          output.note(`${plural(report.dropped, "more request")} for further URLs, which had no room in the list`);
        if (report.out !== null)
          output.note(
            `wrote ${report.out.file}: ${plural(report.out.urls, "URL")}; look at it, carry it out, then: airferry plan MANIFEST --wanted ${shellWord(report.out.file)}`,
          );
        output.result(report);
      }),
    );
};
