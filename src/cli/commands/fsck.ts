/** `airferry fsck`: checks a store, and repairs it from bundles. */

import { AirferryError, EXIT } from "../../errors.ts";
import { formatBytes, plural } from "../../io/format.ts";
import { shellWord } from "../../io/shell.ts";
import { ANY_STORE, positive, type Register, storeOption, trustFiles, trustOption, withGlobals } from "../command.ts";
import { interruptible } from "../signals.ts";

interface FsckFlags {
  store: string;
  repairFrom?: string[];
  trust?: string[];
  threshold?: number;
  need?: string;
}

export const fsckCommand: Register = (program, run) => {
  withGlobals(program.command("fsck"))
    .summary("check a store, and repair it from bundles")
    .description(
      "Hashes everything that the releases of a store need, on all cores, and names what is damaged: blob, pieces of\n" +
        "1 MiB, entries and releases. With --repair-from it repairs this from any trusted bundles that have it, by the\n" +
        "piece; volumes may be missing or damaged there. What is still damaged is noted in the store: unpack then writes\n" +
        "it again from the next bundle that has it. Servers of the store keep running.",
    )
    .addOption(storeOption(ANY_STORE))
    .option("--repair-from <bundle...>", "folders of bundles to repair from, sets of media in any order")
    .addOption(trustOption())
    .option("--threshold <n>", "how many distinct trusted keys must have signed each bundle (default: 1)", positive)
    .option("--need <file>", "write what is still damaged as a need file")
    .addHelpText(
      "after",
      "\nExamples:\n  airferry fsck --store /srv/airferry\n  airferry fsck --store /srv/airferry --repair-from /media/disk/site-000012 --trust site.pub\n  airferry fsck --store /srv/airferry --need /media/disk/need.json\n\nAIRFERRY_STORE replaces --store, AIRFERRY_TRUST --trust.\nExit status: 0 good or repaired, 1 failed (an unpack is running), 2 usage, 3 something is still damaged, or a bundle was refused.",
    )
    .action((flags: FsckFlags, command) =>
      run(command.opts(), async (output) => {
        const { fsck } = await import("../../fsck.ts");
        const { store, repairFrom, threshold, need } = flags;
        const at = `airferry fsck --store ${shellWord(store)}`;
        const trust = repairFrom && trustFiles(flags.trust);
        const progress = output.progress("checking");
        const report = await interruptible(() =>
          fsck(store, {
            ...(repairFrom !== undefined && { repairFrom }),
            ...(trust !== undefined && { trust }),
            ...(threshold !== undefined && { threshold }),
            ...(need !== undefined && { need }),
            progress: (done, total) => progress({ done, total }),
            notice: (line) => output.note(line),
          }),
        );
        output.progressDone();
        const { problems, repaired, blobs } = report;
        const [first] = problems;
        const what = `${plural(report.releases, "release")}, ${plural(blobs.count, "file")}, ${formatBytes(blobs.size)}`;
        if (repaired.length > 0) {
          const bytes = repaired.reduce((sum, it) => sum + it.bytes, 0);
          output.print(`repaired: ${plural(repaired.length, "file")}, with ${formatBytes(bytes)} of bundles`);
        }
        if (first === undefined) output.print(`good: ${what}`);
        const listed = report.need === null ? "" : shellWord(report.need);
        if (report.need !== null)
          output.note(`what is damaged is listed in ${listed}: carry that file to the packing side`);
        output.end(report, {
          next:
            report.need === null
              ? undefined
              : `there: airferry pack MANIFEST --key FILE --need ${listed}; then unpack that bundle here`,
          did: `checked ${what}`,
          of: `store ${store}`,
          verified: `everything hashed against signed digests, ${plural(problems.length, "problem")} left`,
        });
        if (first === undefined) return EXIT.done;
        if (!output.json) {
          const message = `cannot trust store "${store}": ${plural(problems.length, "problem")}`;
          const hint =
            repairFrom === undefined
              ? `check the disk, then repair it from the bundles: ${at} --repair-from BUNDLE --trust KEY`
              : `no bundle given here has what is missing: ${at} --repair-from BUNDLE --trust KEY, with others; a release whose record is damaged has to be unpacked again`;
          output.error(new AirferryError(first.code, message, { problems, hint }));
        }
        return EXIT.refused;
      }),
    );
};
