/** `airferry attest`: states something about a finished bundle, by a key of its own. */
import { join, resolve } from "node:path";
import { Option } from "commander";
import { ATTESTATION_KINDS, type AttestationKind } from "../../bundle/media-names.ts";
import { formatBytes, plural } from "../../io/format.ts";
import { keyOption, type Register, withGlobals } from "../command.ts";
import { passphrase } from "../passphrase.ts";
import { interruptible } from "../signals.ts";
import { trusting } from "../summary.ts";

interface AttestFlags {
  type: AttestationKind;
  predicate?: string;
  scan?: string;
  scanFolder?: string;
  key?: string;
  signer?: string;
  signerKey?: string;
}

export const attestCommand: Register = (program, run) => {
  withGlobals(program.command("attest").argument("<bundle>", "bundle folder"))
    .summary("sign a statement about a bundle: a scan of it, or where it came from")
    .description(
      "Writes an in-toto statement about the bundle's SHA256SUMS beside its signatures, signed by one key. A trust root says\n" +
        "whose scans count, and which streams need one. With --scan everything that the bundle carries is hashed and scanned\n" +
        "first, and what the scanner says is what is stated, whatever it is. Changes nothing that is signed.",
    )
    .addOption(new Option("--type <type>", "what is stated").choices(ATTESTATION_KINDS).makeOptionMandatory())
    .option("--scan <command>", "scan: run this scanner over all content, and state what it says")
    .option("--predicate <file>", "state what is in this file instead (JSON): a predicate of that type")
    .option("--scan-folder <dir>", "folder to make for the scanner (default: beside the bundle)")
    .addOption(keyOption("private key of whoever states it"))
    .option("--signer <command>", "sign with a command instead, which reads the bytes on stdin and prints a signature")
    .option("--signer-key <file>", "public key of --signer")
    .addHelpText(
      "after",
      "\nExamples:\n  airferry attest /mnt/usb/rocky-9-000001 --type scan --key scan.key --scan 'clamscan -r --infected'\n  airferry attest bundles/rocky-9-000001 --type scan --predicate scan-result.json --key scan.key\n  airferry attest bundles/rocky-9-000001 --type provenance --key site.key\n\nPassphrase: AIRFERRY_PASSWORD, else COSIGN_PASSWORD, else a prompt.\nExit status: 0 done, 1 failed, 2 usage, 3 the bundle is not as it says, or the scanner found something (which is attested).",
    )
    .action((bundle: string, flags: AttestFlags, command) =>
      run(command.opts(), async (output) => {
        const { attest } = await import("../../attest.ts");
        const { type, predicate, scan: words, scanFolder, signer, signerKey } = flags;
        // A command on the command line takes precedence over a key from the environment.
        const fromEnvironment = signer !== undefined && command.getOptionValueSource("key") === "env";
        const progress = output.progress("checking");
        let done = 0;
        const result = await interruptible(() =>
          attest(bundle, {
            type,
            predicate,
            scan: words,
            signer,
            signerKey,
            key: fromEnvironment ? undefined : flags.key,
            folder: scanFolder ?? join(resolve(bundle), "..", `.scan-${process.pid}`),
            passphrase: passphrase(),
            report: (line) => output.note(line),
            progress: (bytes, total) => {
              done += bytes;
              progress({ done: Math.min(done, total), total });
            },
          }),
        );
        output.progressDone();
        for (const file of result.files) output.print(file);
        const { scan, stream, epoch, serial, digest } = result;
        output.end(result, {
          did:
            scan === null
              ? `attested (${result.type}) by ${result.keyid}`
              : `scanned ${plural(scan.files, "file")}, ${formatBytes(scan.bytes)}, and attested by ${result.keyid}: nothing found`,
          verified: `stream ${stream}, epoch ${epoch}, serial ${serial}: SHA256SUMS ${digest}`,
          next: trusting("verify", [bundle], ["ROOT"]),
        });
      }),
    );
};
