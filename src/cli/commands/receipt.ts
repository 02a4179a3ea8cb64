/** `airferry receipt`: tells the packing side what a store holds. */
import { AirferryError } from "../../errors.ts";
import { plural } from "../../io/format.ts";
import { shellWord } from "../../io/shell.ts";
import { ANY_STORE, keyOption, type Register, storeOption, withGlobals } from "../command.ts";
import { passphrase } from "../passphrase.ts";
import { interruptible } from "../signals.ts";

interface ReceiptFlags {
  store: string;
  out?: string;
  short?: boolean;
  key?: string;
  signer?: string;
  signerKey?: string;
  stream?: string[];
  digests?: boolean;
}

export const receiptCommand: Register = (program, run) => {
  withGlobals(program.command("receipt"))
    .summary("tell the packing side what a store holds")
    .description(
      "Writes a small signed text for airferry pack --for: streams, serials and digests that came from there, nothing else, so\n" +
        "that it can be read before it crosses back. With --short prints a line for each stream that can be read over the phone.",
    )
    .addOption(storeOption(ANY_STORE))
    .option("--out <file>", "the receipt; its signature is written beside it, as FILE.sigstore.json")
    .option("--short", "print the short form, which needs no key")
    .addOption(keyOption("private key of this side to sign with"))
    .option("--signer <command>", "sign with a command instead, which reads the bytes on stdin and prints a signature")
    .option("--signer-key <file>", "public key of --signer")
    .option("--stream <name...>", "only these streams")
    .option("--digests", "list the digest of every file too, for a packing side that keeps no bundles")
    .addHelpText(
      "after",
      "\nExamples:\n  airferry keygen --out inside   # once; carry inside.pub out\n  airferry receipt --store /srv/airferry --key inside.key --out receipt.txt\n  airferry receipt --store /srv/airferry --short\n\nPassphrase: AIRFERRY_PASSWORD, else COSIGN_PASSWORD, else a prompt.\nExit status: 0 done, 1 failed, 2 usage.",
    )
    .action((flags: ReceiptFlags, command) =>
      run(command.opts(), async (output) => {
        const { out, store, stream } = flags;
        if ((out === undefined) === (flags.short !== true)) {
          throw new AirferryError("ERR_USAGE", "cannot write a receipt: expected one of --out and --short", {
            hint: `airferry receipt --store ${shellWord(store)} --short`,
          });
        }
        const fromEnvironment = flags.signer !== undefined && command.getOptionValueSource("key") === "env";
        const key = fromEnvironment ? undefined : flags.key;
        if (out !== undefined) {
          if (key === undefined && flags.signer === undefined) {
            throw new AirferryError("ERR_USAGE", `cannot write receipt "${out}": no key to sign with`, {
              hint: `create one with: airferry keygen --out inside; then: airferry receipt --store ${shellWord(store)} --key inside.key --out ${shellWord(out)}`,
            });
          }
          const { refuseOther } = await import("../../io/replaceable.ts");
          await refuseOther(out, "airferry receipt ", "receipt");
        }
        const { receipt } = await import("../../receipt.ts");
        const report = await interruptible(() =>
          receipt(store, {
            ...(out !== undefined && { out }),
            ...(stream !== undefined && { streams: stream }),
            digests: flags.digests === true,
            signer: { key, signer: flags.signer, signerKey: flags.signerKey, passphrase: passphrase() },
            notice: (line) => output.note(line),
          }),
        );
        if (out === undefined) {
          for (const it of report.lines) output.print(it);
          output.result(report);
          return;
        }
        for (const it of report.files) output.print(it);
        output.end(report, {
          did: `wrote a receipt of ${plural(report.releases.length, "release")}${report.digests === null ? "" : ` and ${plural(report.digests, "file")}`}`,
          verified: `signed by ${report.keyid}`,
          next: `read it, carry both files out, and there: airferry pack MANIFEST --key FILE --for ${shellWord(out)} --receipt-trust PUBLIC-KEY`,
        });
      }),
    );
};
