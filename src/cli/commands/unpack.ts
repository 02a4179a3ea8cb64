/** `airferry unpack`: imports a bundle into the store, checking every byte as it is copied. */

import { basename } from "node:path";
import { EXIT } from "../../errors.ts";
import { becomeAccount, findAccount, giveFolder, isRoot } from "../../io/account.ts";
import { formatBytes, plural } from "../../io/format.ts";
import { shellWord, shellWords } from "../../io/shell.ts";
import {
  positive,
  type Register,
  ROOT_NOTE,
  requireTrust,
  storeOption,
  trustFiles,
  trustOption,
  userOption,
  withGlobals,
} from "../command.ts";
import { interruptible } from "../signals.ts";
import { digestsText, signaturesText, trusting } from "../summary.ts";

interface UnpackFlags {
  trust?: string[];
  threshold?: number;
  store: string;
  allowRollback?: boolean;
  scan?: string;
  scanReportOnly?: boolean;
  need?: string;
  user?: string;
}

export const unpackCommand: Register = (program, run) => {
  withGlobals(
    program
      .command("unpack")
      .argument("<bundle...>", "bundle folder, or folders of a set of media: together, or one after the other"),
  )
    .summary("import a bundle into the store")
    .description(
      "Checks signatures, then copies and checks in one pass; the new release is served once it is complete in the store.\n" +
        "If refused or interrupted, nothing that is served changes; run the same command to resume.",
    )
    .addOption(trustOption())
    .option("--threshold <n>", "how many distinct trusted keys must have signed (default: 1)", positive)
    .addOption(storeOption())
    .option("--allow-rollback", "accept an older serial as current")
    .option(
      "--scan <command>",
      "run a scanner over all content first; what it finds keeps the release from being served",
    )
    .option("--scan-report-only", "record what the scanner finds, and go on")
    .option(
      "--need <file>",
      "list there what a delta needs and the store lacks, and take in what the bundle carries; pack --need answers it",
    )
    .addOption(userOption())
    .addHelpText(
      "after",
      "\nExamples:\n  airferry unpack /mnt/usb/rocky-9-000001 --trust site.pub --store /srv/airferry\n  airferry unpack /mnt/disc1 --trust site.pub --store /srv/airferry   # then disc2, in any order\n  airferry unpack /mnt/usb/rocky-9-000001 --trust sha256:FINGERPRINT --store /srv/airferry   # first import with a trust root\n\nAIRFERRY_TRUST and AIRFERRY_STORE replace the flags.\nExit status: 0 done, 1 failed, 2 usage, 3 refused, 5 good so far, more media to come, 130 interrupted.",
    )
    .action((bundles: string[], flags: UnpackFlags, command) =>
      run(command.opts(), async (output) => {
        const { hasTrustRoot, unpack } = await import("../../unpack.ts");
        const command = `airferry unpack ${shellWords(bundles)} --store ${shellWord(flags.store)}`;
        // A store that has a trust root needs no other word.
        const trust = hasTrustRoot(flags.store) ? trustFiles(flags.trust) : requireTrust(flags.trust, command);
        if (flags.user !== undefined) {
          const account = await findAccount(flags.user);
          if (isRoot()) await giveFolder(flags.store, account);
          becomeAccount(account);
        } else if (isRoot()) output.note(ROOT_NOTE);
        const progress = output.progress("unpacking");
        const report = await interruptible(() =>
          unpack(bundles, {
            store: flags.store,
            trust,
            ...(flags.threshold !== undefined && { threshold: flags.threshold }),
            allowRollback: flags.allowRollback === true,
            ...(flags.scan !== undefined && { scan: flags.scan }),
            scanReportOnly: flags.scanReportOnly === true,
            ...(flags.need !== undefined && { need: flags.need }),
            progress: (done, total) => progress({ done, total }),
            notice: (line) => output.note(line),
          }),
        );
        output.progressDone();
        const name = `stream ${report.stream}, serial ${report.serial}`;
        const threshold = flags.threshold === undefined ? "" : ` --threshold ${flags.threshold}`;
        let did = "nothing to do: this release is in the store already";
        let next = `airferry serve --store ${shellWord(flags.store)}`;
        const { need } = report;
        const lacking = need && `${plural(need.blobs, "file")}, ${formatBytes(need.size)}, listed in ${need.file}`;
        if (need !== undefined) output.note(`the store lacks ${lacking}: carry that file to the packing side`);
        if (!report.complete && report.missing.length === 0) {
          output.print(`${name}: ${formatBytes(report.written)} imported; the store lacks ${lacking}`);
          did = `unpacked a part: ${formatBytes(report.written)} written, ${plural(need?.blobs ?? 0, "file")} to come`;
          next = `there: airferry pack MANIFEST --key FILE --need ${shellWord(basename(need?.file ?? "FILE"))}; then unpack that bundle here`;
        } else if (!report.complete) {
          const { missing, missingMedia } = report;
          const media = missingMedia.length > 0 ? `${missingMedia.join(", ")} with ` : "";
          output.print(
            `${name}: ${formatBytes(report.written)} imported; still to come: ${media}${missing.join(", ")}`,
          );
          did = `unpacked a part: ${formatBytes(report.written)} written, ${plural(missing.length, "volume")} to come`;
          next = `${trusting("unpack", [missingMedia[0] ?? "THE-NEXT-MEDIUM"], trust)}${threshold} --store ${shellWord(flags.store)}`;
        } else if (report.already) output.print(`${name}: already in the store`);
        else {
          output.print(
            `${name}: ${plural(report.entries, "file")}, ${formatBytes(report.size)}, ${formatBytes(report.written)} of them new`,
          );
          did = `unpacked ${plural(report.entries, "file")}, ${formatBytes(report.size)}: ${formatBytes(report.written)} written`;
        }
        output.end(report, {
          did,
          of: name,
          verified: `${signaturesText(report.signers.length, report.threshold)}; ${digestsText(report.established)}`,
          next,
        });
        return report.complete ? EXIT.done : EXIT.more;
      }),
    );
};
