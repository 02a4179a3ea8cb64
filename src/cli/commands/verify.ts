/** `airferry verify`: checks that a bundle is complete and signed by trusted keys. */

import { NEWER_AIRFERRY } from "../../bundle/inventory-types.ts";
import { isStream } from "../../bundle/open-stream.ts";
import { TRUST_HINTS } from "../../bundle/trust-rules.ts";
import { AirferryError, type ErrorCode, EXIT } from "../../errors.ts";
import { attestationText } from "../../io/attestation-text.ts";
import { formatBytes, plural } from "../../io/format.ts";
import { shellWords } from "../../io/shell.ts";
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
    .option("--report <file>", "write a report for the files, also when refused: a page if it ends in .html, else JSON")
    .addHelpText(
      "after",
      "\nExamples:\n  airferry verify /mnt/usb/rocky-9-000001 --trust site.pub\n  airferry verify /mnt/disc2 --trust site.pub --partial\n  airferry verify /mnt/usb/rocky-9-000001 --trust site.pub security.pub --threshold 2\n  airferry verify /mnt/usb/rocky-9-000001 --trust site.pub --report rocky-9-000001.html\n  airferry verify /archive/rocky-9-000001 --trust trust/trust.3.json --at 2027-01-31T12:00:00Z\n\nAIRFERRY_TRUST replaces --trust.\nExit status: 0 good, 1 failed, 2 usage, 3 refused.",
    )
    .action((bundles: string[], flags: VerifyFlags, command) =>
      run(command.opts(), async (output) => {
        const { earlyPool } = await import("../../bundle/early-pool.ts");
        const trust = requireTrust(flags.trust, `airferry verify ${shellWords(bundles)}`);
        const { report: file } = flags;
        if (file !== undefined) {
          const { refuseReport } = await import("../../report/verification.ts");
          await refuseReport(file, bundles);
        }
        const notices: string[] = [];
        const begun = new Date();
        const progress = output.progress("verifying");
        const fromStream = isStream("verify", bundles);
        const pool = fromStream ? undefined : await earlyPool(bundles);
        const { verify, verifyStream } = await import("../../verify.ts");
        const options = {
          pool,
          trust,
          ...(flags.threshold !== undefined && { threshold: flags.threshold }),
          partial: flags.partial === true,
          ...(flags.at !== undefined && { at: flags.at }),
          ...(flags.tsa !== undefined && { tsa: flags.tsa }),
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
        if (report.ok) {
          const missing = report.volumes.missing.length;
          output.print(
            `good: stream ${report.stream}, serial ${report.serial}, ${plural(report.entries, "file")}, made ${report.created}`,
          );
          for (const signer of report.signers) output.print(`signed by ${signer}${nameOf(report, signer)}`);
          for (const it of report.attestations) if (it.fault === null) output.print(attestationText(it));
          for (const { keyid, time, by } of report.timestamps)
            output.print(`signature of ${keyid.slice(0, 16)} stamped at ${time} by ${by}`);
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
            next: `${trusting("unpack", bundles, trust)}${threshold} ${storeFlag()}`,
          });
          return EXIT.done;
        }
        const checks = (outcome: string) => {
          const of = Object.entries(report.checks).filter(([, it]) => it === outcome);
          return of.length === 0 ? [] : [`${outcome}: ${of.map(([check]) => check).join(", ")}`];
        };
        output.end(report, {
          did: `refused for ${plural(report.problems.length, "problem")}: ${formatBytes(report.checkedBytes)} hashed`,
          of: report.stream === null ? undefined : `stream ${report.stream}, serial ${report.serial}`,
          verified: [...checks("failed"), ...checks("passed"), ...checks("skipped")].join("; "),
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
