/** `airferry repair`: good copies of what is damaged on media. */
import { AirferryError, EXIT } from "../../errors.ts";
import { plural } from "../../io/format.ts";
import { shellWord, shellWords } from "../../io/shell.ts";
import { positive, type Register, requireTrust, trustOption, withGlobals } from "../command.ts";
import { interruptible } from "../signals.ts";
import { storeFlag, trusting } from "../summary.ts";

interface RepairFlags {
  trust?: string[];
  threshold?: number;
  from?: string[];
  out?: string;
  inPlace?: boolean;
}

export const repairCommand: Register = (program, run) => {
  withGlobals(
    program.command("repair").argument("<bundle...>", "bundle folder, or the folders of a set of media in any order"),
  )
    .summary("repair damaged media from parity or other copies")
    .description(
      "Finds what is damaged or missing, and makes it again: from recovery files (pack --parity), from another copy, or from\n" +
        "the good parts of several damaged ones. Every file that is written has its signed digest. Without --out and\n" +
        "--in-place it only says what could be repaired.",
    )
    .addOption(trustOption())
    .option("--threshold <n>", "how many distinct trusted keys must have signed (default: 1)", positive)
    .option(
      "--from <path...>",
      "copies of the bundle, other bundles with the same content, single volumes, recovery files",
    )
    .option("--out <dir>", "write a medium with what was damaged into this folder; the given media stay as they are")
    .option("--in-place", "replace damaged files where they are, each in one step")
    .addHelpText(
      "after",
      "\nExamples:\n  airferry repair /mnt/disc2 --trust site.pub\n  airferry repair /mnt/disc2 --trust site.pub --out repaired\n  airferry repair /mnt/usb/rocky-9-000001 --trust site.pub --from /mnt/copy --in-place\n\nAIRFERRY_TRUST replaces --trust.\nExit status: 0 nothing is damaged, or all of it is repaired, 1 failed, 2 usage, 3 something stays damaged, or it is not trusted, 5 good, but volumes are missing.",
    )
    .action((bundles: string[], flags: RepairFlags, command) =>
      run(command.opts(), async (output) => {
        const trust = requireTrust(flags.trust, `airferry repair ${shellWords(bundles)}`);
        if (flags.out !== undefined && flags.inPlace === true) {
          throw new AirferryError("ERR_USAGE", "cannot repair: --out and --in-place exclude each other", {
            hint: "give one of them",
          });
        }
        const { repair } = await import("../../repair.ts");
        const hashing = output.progress("hashing");
        const repairing = output.progress("repairing");
        const { out, inPlace, from = [] } = flags;
        const report = await interruptible(() =>
          repair(bundles, {
            trust,
            from,
            ...(flags.threshold !== undefined && { threshold: flags.threshold }),
            ...(out !== undefined && { out }),
            ...(inPlace === true && { inPlace }),
            progress: (what, done, total) => (what === "hashing" ? hashing : repairing)({ done, total }),
            notice: (line) => output.note(line),
          }),
        );
        output.progressDone();
        for (const it of report.volumes) output.print(`${it.state}: ${it.message}`);
        for (const it of report.files) output.print(`${it.state}: "${it.name}" in "${it.folder}"`);
        const count = (state: string) => [...report.volumes, ...report.files].filter((it) => it.state === state).length;
        const [lost, missing, repairable] = [count("lost"), count("missing"), count("repairable")];
        const rest = `${threshold(flags)}${from.length > 0 ? ` --from ${shellWords(from)}` : ""}`;
        const others = [...new Set(report.volumes.flatMap((it) => it.other ?? []))];
        const media = [...bundles, ...(out === undefined || report.written.length === 0 ? [] : [out]), ...others];
        const parts = [
          `${plural(count("repaired"), "file")} repaired`,
          ...(repairable > 0 ? [`${repairable} can be`] : []),
          ...(lost > 0 ? [`${lost} cannot be`] : []),
          ...(missing > 0 ? [`${missing} missing`] : []),
        ];
        // A damaged small file is refused, however many copies there are.
        const isCopied = out !== undefined && report.files.some((it) => it.state === "repaired");
        if (isCopied) output.note(`copy the medium to a disk, and the files in "${out}" into that copy`);
        const isGood = report.volumes.length + report.files.length === 0;
        output.end(report, {
          did: isGood ? "nothing is damaged" : parts.join(", "),
          of: `stream ${report.stream}, serial ${report.serial}`,
          next:
            repairable > 0
              ? `${trusting("repair", bundles, trust)}${rest} --out DIR`
              : lost === 0 && !isCopied
                ? `${trusting("unpack", media, trust)}${threshold(flags)} ${storeFlag()}`
                : undefined,
        });
        if (lost > 0 && !output.json) output.error(lostError(report, bundles));
        return lost + repairable > 0 ? EXIT.refused : missing > 0 ? EXIT.more : EXIT.done;
      }),
    );
};

function threshold(flags: RepairFlags): string {
  return flags.threshold === undefined ? "" : ` --threshold ${flags.threshold}`;
}

function lostError(
  {
    volumes,
    files,
  }: {
    volumes: { name: string; state: string; message: string }[];
    files: { name: string; state: string; folder: string }[];
  },
  bundles: readonly string[],
): AirferryError {
  const problems = [
    ...volumes.filter((it) => it.state === "lost").map((it) => ({ path: it.name, message: it.message })),
    ...files
      .filter((it) => it.state === "lost")
      .map((it) => ({ path: it.name, message: `"${it.name}" in "${it.folder}": no good copy was given` })),
  ].map((it) => ({ code: "ERR_REPAIR" as const, ...it }));
  return new AirferryError(
    "ERR_REPAIR",
    `cannot repair "${bundles[0]}": ${plural(problems.length, "file")} cannot be repaired from what was given`,
    {
      problems,
      hint: `give more to repair from, such as a second copy of the medium: airferry repair ${shellWord(bundles[0] ?? "")} --trust KEY --from COPY --out DIR`,
    },
  );
}
