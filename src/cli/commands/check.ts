/** `airferry check`: everything that is wrong with a manifest, without the network. */
import { AirferryError, EXIT } from "../../errors.ts";
import { plural } from "../../io/format.ts";
import { shellWord } from "../../io/shell.ts";
import { type Register, withGlobals } from "../command.ts";

export const checkCommand: Register = (program, run) => {
  withGlobals(program.command("check").argument("<manifest>", "manifest file (YAML); - reads it from standard input"))
    .summary("find everything that is wrong with a manifest, offline")
    .description(
      "Reports every problem at once, with its line: keys and values, names and conflicts, files and keys on this host, " +
        "variables, and findings for the builder; and whether the lock is up to date. Makes no connections, changes nothing. " +
        "Bytes of artifacts are not hashed, and nothing is known of what upstream has: airferry plan asks.",
    )
    .addHelpText(
      "after",
      "\nExamples:\n  airferry check rocky-9.yaml\n  generate-manifest | airferry check -\n\nExit status: 0 no problem, 1 failed, 2 problems.",
    )
    .action((manifest: string, _flags, command) =>
      run(command.opts(), async (output) => {
        const { check } = await import("../../check.ts");
        const report = await check(manifest);
        output.result(report);
        const { problems, warnings, lock, entries } = report;
        for (const { path, message } of warnings) output.note(`warning: ${path}: ${message}`);
        for (const { path, message } of lock.stale) output.note(`lock: ${path}: ${message}`);
        if (problems.length > 0) {
          if (!output.json) {
            const message = `cannot use manifest "${manifest}": ${plural(problems.length, "problem")}`;
            const hint = `docs/manifest.md explains every key; then again: airferry check ${shellWord(manifest)}`;
            const code = problems[0]?.code ?? "ERR_MANIFEST_INVALID";
            output.error(new AirferryError(code, message, { path: manifest, problems, hint }));
          }
          return EXIT.usage;
        }
        const counts = [
          plural(entries.isos, "ISO"),
          plural(entries.rpms, "RPM repository", "RPM repositories"),
          plural(entries.files, "file"),
          plural(entries.images, "image entry", "image entries"),
          ...(entries.web > 0 ? [plural(entries.web, "web entry", "web entries")] : []),
        ];
        const locked = {
          fresh: "up to date",
          stale: "out of date",
          absent: "absent",
          invalid: "",
          unknown: "not compared",
        };
        output.print(`good: stream ${report.stream}: ${counts.join(", ")}; lock ${locked[lock.state]}`);
        if (lock.file !== null) output.note(`next: airferry plan ${shellWord(manifest)}`);
        return EXIT.done;
      }),
    );
};
