/** `airferry pack`: mirrors what a manifest names into a signed bundle. */
import { InvalidArgumentError, Option } from "commander";
import { BIN_NAME } from "../../bundle/media-names.ts";
import { parseVolumeNumbers } from "../../bundle/volume-layout.ts";
import { AirferryError } from "../../errors.ts";
import { formatBytes, plural } from "../../io/format.ts";
import { shellWord } from "../../io/shell.ts";
import type { Finished } from "../../pack/finished.ts";
import type { Origins } from "../../pack/tally.ts";
import { count, keyOption, positive, type Register, timestampOption, withGlobals } from "../command.ts";
import type { Output } from "../output.ts";
import { mayAskPassphrase, passphrase } from "../passphrase.ts";
import { interruptible } from "../signals.ts";
import { digestsText } from "../summary.ts";
import { refuseStdin, type UpstreamFlags, withUpstream, workspaceOptions } from "../upstream-options.ts";
import { programsToBring, type VolumeFlags, volumeOptions, withVolumes } from "../volume-options.ts";
import { webText } from "../web-text.ts";

/** What stands for stdout. */
const STDOUT = "-";
/** Volumes of a stream, unless others are asked for. */
const STREAM_VOLUMES = "64MiB";

interface PackFlags extends UpstreamFlags, VolumeFlags {
  key?: string;
  signer?: string;
  signerKey?: string;
  rpmKey?: string;
  unsigned?: boolean;
  out: string;
  frozen?: boolean;
  allowFindings?: boolean;
  scan?: string;
  scanReportOnly?: boolean;
  serial?: number;
  trustRoot?: string;
  timestamp?: string;
  for?: string;
  receiptTrust?: string[];
  base?: number;
  overlap?: number;
  need?: string;
  stream?: string | true;
  repeat?: number;
  onlyVolumes?: ReadonlySet<number>;
}

export const packCommand: Register = (program, run) => {
  withVolumes(withUpstream(withGlobals(program.command("pack").argument("<manifest>", "manifest file (YAML)"))))
    .summary("mirror everything into a signed bundle")
    .description(
      "Locks what is not locked yet, fetches every byte once, directly into the volumes, signs the result, and gives it its\n" +
        "final name. If interrupted, run the same command to resume. The last line of stdout is the bundle's path.",
    )
    .addOption(keyOption("private key to sign with"))
    .option("--signer <command>", "sign with a command instead, which reads the bytes on stdin and prints a signature")
    .option("--signer-key <file>", "public key of --signer")
    .option("--rpm-key <file>", "OpenPGP key for rewritten repository metadata (default: next to --key)")
    .option("--unsigned", "do not sign; unpack refuses the bundle until it is signed")
    .option("--out <dir>", "where bundles are written", "bundles")
    .option("--frozen", "refuse when the lock is not up to date")
    .option("--allow-findings", "pack even if findings say that something cannot work inside")
    .option("--scan <command>", "run a scanner over all content first; what it finds stops the pack")
    .option("--scan-report-only", "record what the scanner finds, and go on")
    .addOption(timestampOption())
    .option("--trust-root <dir>", "folder of a trust root, which the bundle brings inside with all its versions")
    .addOption(new Option("--serial <n>", "serial of the bundle (default: one more than the last)").argParser(positive))
    .option("--for <receipt>", "leave out what the far side has: a file of airferry receipt, or its short line")
    .option(
      "--receipt-trust <file...>",
      "public keys of the far side that may sign receipts (default: role receipt of --trust-root)",
    )
    .addOption(
      new Option("--base <serial>", "leave out what this earlier bundle has: you say it arrived").argParser(positive),
    )
    .addOption(
      new Option("--overlap <k>", "leave out what was there before the last k bundles, which may be lost").argParser(
        count,
      ),
    )
    .option("--need <file>", "carry what a need file of unpack lists, and what is new since")
    .option(
      "--stream [file]",
      "then write the bundle front to back to a pipe or device, or to stdout (-): see docs/one-way.md",
    )
    .addOption(
      new Option(
        "--only-volumes <numbers>",
        "with --stream: of the content only these volumes, which unpack lacks: 1,7-9",
      ).argParser(volumeSet),
    )
    .addOption(new Option("--repeat <n>", "with --stream: write it so many times").argParser(positive))
    .addHelpText(
      "after",
      "\nExamples:\n  airferry pack rocky-9.yaml --key site.key\n  airferry pack rocky-9.yaml --key site.key --volume-size bd25 --per-medium\n  airferry pack rocky-9.yaml --key site.key --volume-size dvd --per-medium --parity 5%\n  airferry pack rocky-9.yaml --key site.key --frozen --rewrite https://dl.rockylinux.org/=https://mirror.corp/rocky/\n  airferry pack rocky-9.yaml --key site.key --for receipt.txt --receipt-trust inside.pub\n  airferry pack rocky-9.yaml --key site.key --stream | ssh inside airferry unpack - --trust site.pub --store /srv/airferry\n" +
        "\nWhat the far side has is left out inside of ISOs too (--for, --base, --overlap, --need): docs/deltas.md.\n" +
        "\nPassphrase: AIRFERRY_PASSWORD, else COSIGN_PASSWORD, else a prompt.\nExit status: 0 done, 1 failed (space, keys), 2 manifest or lock wrong, or findings, 3 the scanner found something, 4 upstream failed, 130 interrupted.",
    )
    .action((manifest: string, flags: PackFlags, command) =>
      run(command.opts(), async (output) => {
        if (flags.timestamp !== undefined && flags.unsigned) {
          throw new AirferryError(
            "ERR_USAGE",
            "cannot use --timestamp with --unsigned: there is no signature to stamp",
            {
              hint: "give it to the one who signs: airferry sign BUNDLE --key FILE --timestamp URL",
            },
          );
        }
        refuseStdin(manifest, "pack", "the lock and the last serial are kept");
        const sending = await openSending(flags, command.getOptionValueSource("volumeSize") === "default", output);
        const volumes = await volumeOptions(flags);
        const options = workspaceOptions(manifest, flags, output);
        // A command on the command line takes precedence over a key from the environment. Asked now, not after hours of
        // downloading.
        const fromEnvironment = flags.signer !== undefined && command.getOptionValueSource("key") === "env";
        const { key, ...rest } = flags;
        const { packSigners } = await import("../../pack/signers.ts");
        const open = await packSigners({
          ...rest,
          ...(key !== undefined && !fromEnvironment && { key }),
          unsigned: flags.unsigned === true,
          passphrase: passphrase(),
          mayAsk: mayAskPassphrase(),
        });
        const { readCarriedRoot, signersLacking } = await import("../../pack/carried-root.ts");
        const carried = flags.trustRoot === undefined ? undefined : await readCarriedRoot(flags.trustRoot);
        const { readDelta } = await import("../../pack/held-there.ts");
        const delta = await readDelta({
          ...(flags.for !== undefined && { receipt: flags.for }),
          ...(flags.base !== undefined && { base: flags.base }),
          ...(flags.overlap !== undefined && { overlap: flags.overlap }),
          ...(flags.need !== undefined && { need: flags.need }),
          receiptTrust: flags.receiptTrust ?? [],
          ...(flags.trustRoot !== undefined && { trustRoot: flags.trustRoot }),
        });
        // Whoever types a passphrase takes his time.
        output.restartClock();
        const { openWorkspace } = await import("../../pack/workspace.ts");
        await using workspace = await openWorkspace(manifest, options);
        const signers = await open({ needsRpmKey: (workspace.manifest.rpms ?? []).length > 0 });
        const programs = await programsToBring(flags, output);
        const { pack } = await import("../../pack.ts");
        const progress = output.progress("packing");
        const parityProgress = output.progress("computing parity");
        const result = await interruptible(() =>
          pack(workspace, {
            out: flags.out,
            ...signers,
            ...volumes,
            programs,
            ...(carried && { trustRoot: carried.files }),
            ...(flags.timestamp !== undefined && { timestamp: flags.timestamp }),
            frozen: flags.frozen === true,
            allowFindings: flags.allowFindings === true,
            ...(flags.scan !== undefined && { scan: flags.scan }),
            scanReportOnly: flags.scanReportOnly === true,
            ...(flags.serial !== undefined && { serial: flags.serial }),
            ...(delta !== undefined && { delta }),
            concurrency: Math.max(8, flags.concurrency ?? 0),
            report: (line) => output.note(line),
            parityProgress: (done, total) => parityProgress({ done, total }),
            progress: ({ doneBytes: done, totalBytes: total, foundBytes: found, ...rest }) =>
              progress({ done, total, found, ...rest }),
          }),
        );
        output.progressDone();
        // Other options make another bundle, of which the far side has no volume.
        if (flags.onlyVolumes !== undefined && result.packed)
          throw new AirferryError(
            "ERR_USAGE",
            `cannot send only volumes of "${result.bundle}": it was packed just now, and nobody has the others`,
            { path: result.bundle, hint: "repeat all options of the pack that was sent; or leave out --only-volumes" },
          );
        await sending?.send(result.bundle);
        for (const { path, reason } of result.faults) output.note(`skipped ${path}: ${reason}`);
        if (result.packed && programs.length > 0)
          output.note(
            `brought ${programs.map((it) => `${BIN_NAME}/${it.name}`).join(" and ")}; VERIFY.txt says how to start it`,
          );
        const keyids = signers.signers.map((it) => it.keyid);
        const lacking = carried === undefined || keyids.length === 0 ? 0 : signersLacking(carried.root, keyids);
        if (lacking > 0)
          output.note(
            `by its trust root the bundle needs ${plural(lacking, "more signer")}, without whom it is refused`,
          );
        output.end(result, {
          did: result.packed
            ? `packed ${plural(result.entries, "file")}, ${formatBytes(result.contentSize)}${webText(result)}${leftOutText(result)}${builtText(result)}: ${originsText(result)}`
            : "nothing to do: this bundle is complete and was packed from this lock",
          of: `stream ${result.stream}, serial ${result.serial}`,
          verified: `${result.packed ? "" : "every file hashed again; "}${digestsText(result.established)}`,
          lacking: signers.signers.length === 0 ? "unsigned" : undefined,
          next:
            !result.packed || sending !== undefined
              ? undefined
              : keyids.length === 0 || lacking > 0
                ? `airferry sign ${shellWord(result.bundle)} --key FILE`
                : `carry it across, then: airferry unpack ${shellWord(result.bundle)} --trust ${carried === undefined ? "PUBLIC-KEY" : "FINGERPRINT"} --store DIR`,
        });
        if (!output.json && sending?.isStdout !== true) output.line(result.bundle);
      }),
    );
};

function volumeSet(value: string): ReadonlySet<number> {
  const numbers = parseVolumeNumbers(value);
  if (numbers === undefined) throw new InvalidArgumentError("must be numbers of volumes, such as 1,7-9.");
  return numbers;
}

/**
 * Where `--stream` writes to. Found out before hours of downloading.
 * @throws {AirferryError} ERR_USAGE
 */
async function openSending(
  flags: PackFlags,
  hasDefaultSize: boolean,
  output: Output,
): Promise<{ isStdout: boolean; send(bundle: string): Promise<void> } | undefined> {
  const { stream, repeat, onlyVolumes: volumes } = flags;
  const refuse = (fault: string, hint: string) => new AirferryError("ERR_USAGE", fault, { hint });
  if (stream === undefined) {
    if (repeat === undefined && volumes === undefined) return undefined;
    const option = repeat === undefined ? "--only-volumes" : "--repeat";
    throw refuse(`cannot use ${option} without --stream`, "airferry pack MANIFEST --key FILE --stream --repeat 2");
  }
  if (flags.unsigned)
    throw refuse(
      "cannot use --stream with --unsigned: whoever receives it could not trust it",
      "airferry pack MANIFEST --key FILE --stream",
    );
  const target = stream === true ? STDOUT : stream;
  const isStdout = target === STDOUT;
  if (isStdout && output.json)
    throw refuse(
      "cannot use --json with --stream: both write to stdout",
      "name a pipe or a file for the stream: --stream FILE",
    );
  if (isStdout && process.stdout.isTTY)
    throw refuse(
      "cannot write a stream to a terminal",
      "pipe it to a program, or name a device or a file: --stream FILE",
    );
  // What is lost of a volume may cost all of it.
  if (hasDefaultSize) flags.volumeSize = STREAM_VOLUMES;
  const send = async (bundle: string) => {
    const { planStream, writeBundleStream } = await import("../../bundle/write-stream.ts");
    const { writeToOpen, writeToPath } = await import("../../io/stream-out.ts");
    const plan = await planStream(bundle, volumes);
    const total = plan.size * (repeat ?? 1);
    const progress = output.progress("sending");
    let done = 0;
    const work = async (write: (bytes: Uint8Array) => Promise<void>) => {
      for (let copy = 0; copy < (repeat ?? 1); copy++)
        await writeBundleStream(plan, write, (bytes) => {
          done += bytes;
          progress({ done, total });
        });
    };
    await interruptible(() => (isStdout ? writeToOpen(1, "stdout", work) : writeToPath(target, work)));
    output.progressDone();
    output.note(`sent ${bundle}: ${formatBytes(done)}${repeat === undefined ? "" : `, ${repeat} times`}`);
  };
  return { isStdout, send };
}

/** What the far side has, and is not carried. */
function leftOutText({ leftOut: { files, bytes } }: Pick<Finished, "leftOut">): string {
  return files === 0 ? "" : `, without ${plural(files, "file")}, ${formatBytes(bytes)}, that the far side has`;
}

/** What the far side makes of what it has, and of what is carried of it. */
function builtText({ built: { files, bytes } }: Pick<Finished, "built">): string {
  return files === 0
    ? ""
    : `, with ${plural(files, "file")}, ${formatBytes(bytes)}, that the far side builds of what it has`;
}

/** Where the bytes came from: two that are always named, and what else there is. */
function originsText({ fetchedBytes, reusedBytes, foundBytes, generatedBytes }: Origins): string {
  return [
    `${formatBytes(fetchedBytes)} fetched`,
    `${formatBytes(reusedBytes)} reused`,
    ...(foundBytes > 0 ? [`${formatBytes(foundBytes)} found`] : []),
    ...(generatedBytes > 0 ? [`${formatBytes(generatedBytes)} generated`] : []),
  ].join(", ");
}
