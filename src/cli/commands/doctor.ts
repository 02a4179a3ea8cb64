/** `airferry doctor`: proves on the build host that the build will find everything. */
import { Option } from "commander";
import { plural } from "../../io/format.ts";
import { shellWord } from "../../io/shell.ts";
import { readCa } from "../ca-file.ts";
import { type Register, withGlobals } from "../command.ts";

const MARKS = { ok: "ok     ", warning: "warning", failed: "FAILED ", skipped: "-      " } as const;

export const doctorCommand: Register = (program, run) => {
  withGlobals(program.command("doctor"))
    .summary("prove on the build host that the build will find everything")
    .description(
      "Contacts the server, reads its index, and checks everything in it: repository metadata and a package,\n" +
        "keys, a range of each ISO, files and their sidecars, every image (if the registry requires a login,\n" +
        "with that of docker login or podman login), the builder's configuration and versions; checks TLS\n" +
        "trust, clock, free space, ports and names. Connects only to the given URL.",
    )
    .addOption(new Option("--url <base>", "address of the server, as the build will use it").makeOptionMandatory())
    .option("--ca <file>", "PEM of the server's CA")
    .option("--folder <dir>", "where the build will write", ".")
    .addHelpText(
      "after",
      "\nExample:\n  airferry doctor --url http://192.0.2.10:9000\n\nExit status: 0 nothing failed, 1 something did, 2 usage.",
    )
    .action((flags: { url: string; ca?: string; folder: string }, command) =>
      run(command.opts(), async (output) => {
        const { doctor } = await import("../../doctor.ts");
        const ca = flags.ca === undefined ? undefined : await readCa(flags.ca);
        const report = await doctor(
          { url: flags.url, ca, folder: flags.folder },
          ({ check, status, message, remedy }) => {
            output.print(`${MARKS[status]} ${check}: ${message}`);
            if (remedy !== undefined && status !== "skipped") output.print(`        do: ${remedy}`);
          },
        );
        const count = (status: string) => report.findings.filter((it) => it.status === status).length;
        const caFile = flags.ca === undefined ? "" : ` --ca ${shellWord(flags.ca)}`;
        const folder = flags.folder === "." ? "" : ` --folder ${shellWord(flags.folder)}`;
        output.end(report, {
          did: `checked ${report.url}: ${count("ok")} ok, ${plural(count("warning"), "warning")}, ${count("failed")} failed, ${count("skipped")} skipped`,
          next: report.ok
            ? undefined
            : `do what is said above, then: airferry doctor --url ${shellWord(flags.url)}${caFile}${folder}`,
        });
        return report.ok ? 0 : 1;
      }),
    );
};
