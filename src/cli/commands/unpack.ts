/** `airferry unpack`: imports a bundle into the store, checking every byte as it is copied. */

import { basename } from "node:path";
import { isStream } from "../../bundle/open-stream.ts";
import { volumeNumbers } from "../../bundle/volume-layout.ts";
import { EXIT } from "../../errors.ts";
import { becomeAccount, findAccount, giveFolder, isRoot } from "../../io/account.ts";
import { attestationText, stampText } from "../../io/attestation-text.ts";
import { formatBytes, plural } from "../../io/format.ts";
import { shellWord, shellWords } from "../../io/shell.ts";
import type { UnpackReport } from "../../unpack.ts";
import {
  ANY_STORE,
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
import type { Output } from "../output.ts";
import { interruptible } from "../signals.ts";
import { digestsText, type Summary, signaturesText, trusting } from "../summary.ts";

interface UnpackFlags {
  trust?: string[];
  threshold?: number;
  store: string;
  tsa?: string[];
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
      .argument(
        "<bundle...>",
        "bundle folder, or folders of a set of media: together, or one after the other; - reads a stream",
      ),
  )
    .summary("import a bundle into the store")
    .description(
      "Checks signatures, then copies and checks in one pass; the new release is served once it is complete in the store.\n" +
        "If refused or interrupted, nothing that is served changes; run the same command to resume.",
    )
    .addOption(trustOption())
    .option("--threshold <n>", "how many distinct trusted keys must have signed (default: 1)", positive)
    .addOption(storeOption(ANY_STORE))
    .option("--tsa <file...>", "certificates of timestamp authorities: signatures must have a timestamp of one of them")
    .option("--allow-rollback", "accept an older serial as current")
    .option(
      "--scan <command>",
      "run a scanner over all content first; what it finds keeps the release from being served",
    )
    .option("--scan-report-only", "record what the scanner finds, and go on")
    .option(
      "--need <file>",
      "list there what a delta needs and the store lacks, or a stream lost, and take in the rest; pack --need answers it",
    )
    .addOption(userOption())
    .addHelpText(
      "after",
      "\nExamples:\n  airferry unpack /mnt/usb/rocky-9-000001 --trust site.pub --store /srv/airferry\n  airferry unpack /mnt/disc1 --trust site.pub --store /srv/airferry   # then disc2, in any order\n  airferry unpack /mnt/usb/rocky-9-000001 --trust sha256:FINGERPRINT --store /srv/airferry   # first import with a trust root\n  airferry unpack - --trust site.pub --store /srv/airferry < /dev/nst0   # of pack --stream\n  airferry unpack /mnt/usb/rocky-9-000001 --trust site.pub --store 's3://airferry/site?endpoint=https://s3.site.example'\n\nAIRFERRY_TRUST and AIRFERRY_STORE replace the flags.\nExit status: 0 done, 1 failed, 2 usage, 3 refused, 5 good so far, more media to come, 130 interrupted.",
    )
    .action((bundles: string[], flags: UnpackFlags, command) =>
      run(command.opts(), async (output) => {
        const { hasTrustRoot, unpack, unpackStream } = await import("../../unpack.ts");
        const command = `airferry unpack ${shellWords(bundles)} --store ${shellWord(flags.store)}`;
        // A store that has a trust root needs no other word.
        const trust = (await hasTrustRoot(flags.store)) ? trustFiles(flags.trust) : requireTrust(flags.trust, command);
        if (flags.user !== undefined) {
          const account = await findAccount(flags.user);
          if (isRoot() && !/^s3:/i.test(flags.store)) await giveFolder(flags.store, account);
          becomeAccount(account);
        } else if (isRoot()) output.note(ROOT_NOTE);
        const progress = output.progress("unpacking");
        const fromStream = isStream("unpack", bundles);
        const options = {
          store: flags.store,
          trust,
          ...(flags.threshold !== undefined && { threshold: flags.threshold }),
          ...(flags.tsa !== undefined && { tsa: flags.tsa }),
          allowRollback: flags.allowRollback === true,
          ...(flags.scan !== undefined && { scan: flags.scan }),
          scanReportOnly: flags.scanReportOnly === true,
          ...(flags.need !== undefined && { need: flags.need }),
          progress: (done: number, total: number) => progress({ done, total }),
          notice: (line: string) => output.note(line),
        };
        const reports = await interruptible(async () =>
          fromStream ? await unpackStream(options) : [await unpack(bundles, options)],
        );
        output.progressDone();
        const threshold = flags.threshold === undefined ? "" : ` --threshold ${flags.threshold}`;
        const outcomes = reports.map((it) => tell(it, { flags, trust, threshold }, output));
        const report = reports.at(-1);
        const outcome = outcomes.at(-1);
        if (report === undefined || outcome === undefined) return EXIT.failed;
        // One document, also of a tape with several bundles.
        const earlier = reports.slice(0, -1);
        output.end(earlier.length === 0 ? report : { ...report, earlier }, outcome);
        return reports.every((it) => it.complete) ? EXIT.done : EXIT.more;
      }),
    );
};

/** Says what became of one bundle; returns its part of the summary. */
function tell(
  report: UnpackReport,
  { flags, trust, threshold }: { flags: UnpackFlags; trust: string[]; threshold: string },
  output: Output,
): Summary {
  const name = `stream ${report.stream}, serial ${report.serial}`;
  const { need, lost } = report;
  const store = `--store ${shellWord(flags.store)}`;
  const listed = need && `${plural(need.blobs, "file")}, ${formatBytes(need.size)}, listed in ${need.file}`;
  const answer = `airferry pack MANIFEST --key FILE --need ${shellWord(basename(need?.file ?? "FILE"))}`;
  for (const it of report.timestamps) output.note(stampText(it));
  for (const it of report.attestations) if (it.fault === null) output.note(attestationText(it));
  let did = "nothing to do: this release is in the store already";
  let next = `airferry serve ${store}`;
  if (need !== undefined && lost === undefined)
    output.note(`the store lacks ${listed}: carry that file to the packing side`);
  if (lost !== undefined) {
    const numbers = volumeNumbers(report.missing);
    const amount = `${formatBytes(lost.bytes)} of ${plural(lost.files, "file")}`;
    output.note(`the stream lost ${amount}; what is needed again: ${listed}`);
    output.print(`${name}: ${formatBytes(report.written)} imported; lost on the way: ${amount}, in volumes ${numbers}`);
    did = `unpacked a part: ${formatBytes(report.written)} written, ${amount} to come`;
    next = `there, with the other options as before: airferry pack MANIFEST --key FILE --stream --only-volumes ${numbers}; and run this again; or: ${answer}`;
  } else if (!report.complete && report.missing.length === 0) {
    output.print(`${name}: ${formatBytes(report.written)} imported; the store lacks ${listed}`);
    did = `unpacked a part: ${formatBytes(report.written)} written, ${plural(need?.blobs ?? 0, "file")} to come`;
    next = `there: ${answer}; then unpack that bundle here`;
  } else if (!report.complete) {
    const { missing, missingMedia } = report;
    const media = missingMedia.length > 0 ? `${missingMedia.join(", ")} with ` : "";
    output.print(`${name}: ${formatBytes(report.written)} imported; still to come: ${media}${missing.join(", ")}`);
    did = `unpacked a part: ${formatBytes(report.written)} written, ${plural(missing.length, "volume")} to come`;
    next = `${trusting("unpack", [missingMedia[0] ?? "THE-NEXT-MEDIUM"], trust)}${threshold} ${store}`;
  } else if (report.already) output.print(`${name}: already in the store`);
  else {
    const size = `${plural(report.entries, "file")}, ${formatBytes(report.size)}`;
    output.print(`${name}: ${size}, ${formatBytes(report.written)} of them new`);
    did = `unpacked ${size}: ${formatBytes(report.written)} written`;
  }
  return {
    did,
    of: name,
    verified: `${signaturesText(report.signers.length, report.threshold)}; ${digestsText(report.established)}`,
    next,
  };
}
