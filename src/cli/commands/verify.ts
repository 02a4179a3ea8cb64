/** `airferry verify`: checks that a bundle is complete and signed by trusted keys. */

import { basename } from "node:path";
import { NEWER_AIRFERRY } from "../../bundle/inventory-types.ts";
import { isStream, STREAM_ARGUMENT } from "../../bundle/open-stream.ts";
import { TRUST_HINTS } from "../../bundle/trust-rules.ts";
import { AirferryError, type ErrorCode, EXIT } from "../../errors.ts";
import { attestationText, stampText } from "../../io/attestation-text.ts";
import { formatBytes, plural } from "../../io/format.ts";
import { shellWord, shellWords } from "../../io/shell.ts";
import type { VerifyReport } from "../../report/types.ts";
import { instant, positive, type Register, requireTrust, trustOption, withGlobals } from "../command.ts";
import { interruptible } from "../signals.ts";
import { digestsText, signaturesText, storeFlag, trusting } from "../summary.ts";

interface VerifyFlags {
  trust?: string[];
  threshold?: number;
  partial?: boolean;
  report?: string;
  at?: Date;
  tsa?: string[];
  need?: string;
  store?: string;
}

export const verifyCommand: Register = (program, run) => {
  withGlobals(
    program
      .command("verify")
      .argument("<bundle...>", "bundle folder, or the folders of a set of media in any order; - reads a stream"),
  )
    .summary("check a bundle before trusting it")
    .description(
      "Checks signatures first, then every byte, in one pass; reports everything it finds. Changes nothing, makes no connections.",
    )
    .addOption(trustOption())
    .option("--threshold <n>", "how many distinct trusted keys must have signed (default: 1)", positive)
    .option("--partial", "some volumes may be missing: check each available one separately")
    .option("--at <time>", "of an archive: judge as of this time, when it is known to have existed", instant)
    .option("--tsa <file...>", "certificates of timestamp authorities: signatures must have a timestamp of one of them")
    .option(
      "--need <file>",
      "list there what is lost on damaged or missing volumes, and what a delta does not carry: pack --need answers it",
    )
    .option("--store <dir>", "with --need: leave out what this store has")
    .option("--report <file>", "write a report for the files, also when refused: a page if it ends in .html, else JSON")
    .addHelpText(
      "after",
      "\nExamples:\n  airferry verify /mnt/usb/rocky-9-000001 --trust site.pub\n  airferry verify /mnt/disc2 --trust site.pub --partial\n  airferry verify /mnt/usb/rocky-9-000001 --trust site.pub security.pub --threshold 2\n  airferry verify /mnt/usb/rocky-9-000001 --trust site.pub --report rocky-9-000001.html\n  airferry verify /mnt/usb/rocky-9-000002 --trust site.pub --store /srv/airferry --need need.json\n  airferry verify /archive/rocky-9-000001 --trust trust/trust.3.json --at 2027-01-31T12:00:00Z\n\nAIRFERRY_TRUST replaces --trust, with --need AIRFERRY_STORE --store.\nExit status: 0 good, 1 failed, 2 usage, 3 refused, 5 good, but a delta needs what the store lacks (--need).",
    )
    .action((bundles: string[], flags: VerifyFlags, command) =>
      run(command.opts(), async (output) => {
        const { earlyPool } = await import("../../bundle/early-pool.ts");
        const trust = requireTrust(flags.trust, `airferry verify ${shellWords(bundles)}`);
        const { report: file, need: needFile } = flags;
        if (flags.store !== undefined && needFile === undefined) {
          throw new AirferryError("ERR_USAGE", "cannot verify: --store is for --need", {
            hint: `${trusting("verify", bundles, trust)} --store ${shellWord(flags.store)} --need need.json`,
          });
        }
        const store = flags.store ?? (process.env["AIRFERRY_STORE"] || undefined);
        if (file !== undefined) {
          const { refuseReport } = await import("../../report/verification.ts");
          await refuseReport(file, bundles);
        }
        const notices: string[] = [];
        const begun = new Date();
        const progress = output.progress("verifying");
        const fromStream = isStream("verify", bundles);
        if (fromStream && needFile !== undefined) {
          throw new AirferryError(
            "ERR_USAGE",
            "cannot verify: --need reads damaged parts again, and a stream cannot be",
            {
              hint: `airferry unpack - --trust ${shellWords(trust)} ${storeFlag()} --need ${shellWord(needFile)}`,
            },
          );
        }
        const pool = fromStream ? undefined : await earlyPool(bundles);
        const { verify, verifyStream } = await import("../../verify.ts");
        const options = {
          pool,
          trust,
          ...(flags.threshold !== undefined && { threshold: flags.threshold }),
          partial: flags.partial === true,
          ...(flags.at !== undefined && { at: flags.at }),
          ...(flags.tsa !== undefined && { tsa: flags.tsa }),
          ...(needFile !== undefined && { need: needFile }),
          ...(needFile !== undefined && store !== undefined && { store }),
          progress: (done: number, total: number) => progress({ done, total }),
          notice: (line: string) => {
            notices.push(line);
            output.note(line);
          },
        };
        const reports = await interruptible(async () =>
          fromStream ? await verifyStream(options) : [await verify(bundles, options)],
        ).finally(() => pool?.close());
        output.progressDone();
        // Of several in a stream: the first that is refused, else the last.
        const report = reports.find((it) => !it.ok) ?? reports.at(-1);
        if (report === undefined) return EXIT.failed;
        for (const it of reports)
          if (it !== report) output.print(`${it.ok ? "good" : "refused"}: stream ${it.stream}, serial ${it.serial}`);
        if (file !== undefined) {
          const { writeVerification } = await import("../../report/verification.ts");
          await writeVerification(file, report, { folders: bundles, begun, notices });
          output.note(`wrote ${file}`);
        }
        const { need } = report;
        const answered =
          need === null
            ? undefined
            : `there: airferry pack MANIFEST --key FILE --need ${shellWord(basename(need.file))}`;
        if (need !== null) {
          const files = `${plural(need.blobs, "file")}, ${formatBytes(need.size)}`;
          output.note(`missing here: ${files}, listed in ${need.file}: carry that file to the packing side`);
        }
        if (report.ok) {
          const missing = report.volumes.missing.length;
          output.print(
            `good: stream ${report.stream}, serial ${report.serial}, ${plural(report.entries, "file")}, made ${report.created}`,
          );
          for (const signer of report.signers) output.print(`signed by ${signer}${nameOf(report, signer)}`);
          for (const it of report.attestations) if (it.fault === null) output.print(attestationText(it));
          for (const it of report.timestamps) output.print(stampText(it));
          const { trustRoot } = report;
          if (trustRoot !== null)
            output.print(`trust root ${trustRoot.name}, version ${trustRoot.version}, good until ${trustRoot.expires}`);
          if (report.at !== null) output.print(`judged as of ${report.at}`);
          if (missing > 0) output.print(`still to come: ${report.volumes.missing.join(", ")}`);
          const files = `${plural(report.entries, "file")}, ${formatBytes(report.size)}`;
          const threshold = flags.threshold === undefined ? "" : ` --threshold ${flags.threshold}`;
          output.end(report, {
            did: `verified ${files}: ${signaturesText(report.signers.length, report.threshold)}`,
            of: `stream ${report.stream}, serial ${report.serial}`,
            verified: `${formatBytes(report.checkedBytes)} hashed; ${digestsText(report.established)}`,
            next: answered ?? `${trusting("unpack", bundles, trust)}${threshold} ${storeFlag()}`,
          });
          return need === null ? EXIT.done : EXIT.more;
        }
        const checks = (outcome: string) => {
          const of = Object.entries(report.checks).filter(([, it]) => it === outcome);
          return of.length === 0 ? [] : [`${outcome}: ${of.map(([check]) => check).join(", ")}`];
        };
        output.end(report, {
          did: `refused for ${plural(report.problems.length, "problem")}: ${formatBytes(report.checkedBytes)} hashed`,
          of: report.stream === null ? undefined : `stream ${report.stream}, serial ${report.serial}`,
          verified: [...checks("failed"), ...checks("passed"), ...checks("skipped")].join("; "),
          next:
            answered && `${answered}; then here: ${trusting("repair", bundles, trust)} --from THAT-BUNDLE --out DIR`,
        });
        if (!output.json) {
          output.error(
            new AirferryError(
              report.problems[0]?.code ?? "ERR_BUNDLE_INVALID",
              `cannot trust bundle "${bundles[0]}": ${plural(report.problems.length, "problem")}`,
              {
                problems: report.problems,
                hint: report.hint ?? hintFor(report.problems[0]?.code, bundles, trust),
              },
            ),
          );
        }
        return EXIT.refused;
      }),
    );
};

/** With a trust root: who it is. */
function nameOf({ trustRoot, trusted }: VerifyReport, keyid: string): string {
  const signer = trusted.find((it) => it.keyid === keyid);
  return trustRoot === null || signer === undefined ? "" : ` (${signer.file})`;
}

function hintFor(code: string | undefined, bundles: readonly string[], trust: readonly string[]): string {
  const isDamaged = ["ERR_DIGEST_MISMATCH", "ERR_SIZE_MISMATCH", "ERR_BUNDLE_INCOMPLETE"].includes(code ?? "");
  if (isDamaged && bundles.join() === STREAM_ARGUMENT)
    return `have it sent again; this keeps what is good of it: ${trusting("unpack", bundles, trust)} ${storeFlag()}`;
  switch (code) {
    case "ERR_DIGEST_MISMATCH":
    case "ERR_SIZE_MISMATCH":
      return `the copy is damaged: copy the named volumes again, or see what can be repaired: airferry repair ${shellWords(bundles)} --trust ${shellWords(trust)}`;
    case "ERR_BUNDLE_INCOMPLETE":
      return `give the folders of all media at once, or check what is available: airferry verify ${shellWords(bundles)} --trust ${shellWords(trust)} --partial`;
    case "ERR_KEY_UNTRUSTED":
      return "compare the key id with the packer's out of band, for example by phone; trust only a key that did not come with the bundle";
    case "ERR_THRESHOLD":
      return `have another trusted signer run: airferry sign ${shellWords(bundles)} --key FILE`;
    case "ERR_TIMESTAMP":
      return `have a timestamp added: airferry sign ${shellWords(bundles)} --key FILE --timestamp URL; or name the authority's certificate: --tsa CERT`;
    case "ERR_SIGNATURE_INVALID":
      return `do not use it; if another copy is good, it mends this one: airferry repair ${shellWords(bundles)} --trust ${shellWords(trust)} --from COPY`;
    case "ERR_EXPIRED":
      return "have the packer pack again, and carry the new bundle";
    case "ERR_SIGNATURE_MISSING":
      return `have the packer run: airferry sign ${shellWords(bundles)} --key FILE`;
    case "ERR_BUNDLE_VERSION":
    case "ERR_BUNDLE_REQUIRES":
      return NEWER_AIRFERRY;
    case "ERR_BUNDLE_EXTRA":
      return "remove what does not belong to the bundle, or copy the bundle to an empty medium";
    default:
      return TRUST_HINTS[code as ErrorCode] ?? "do not use this bundle; ask the packer for it again";
  }
}
