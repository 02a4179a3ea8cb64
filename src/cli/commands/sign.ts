/** `airferry sign`: adds one more signer to a bundle. */
import { existsSync } from "node:fs";
import { keyOption, type Register, timestampOption, withGlobals } from "../command.ts";
import { passphrase } from "../passphrase.ts";
import { trusting } from "../summary.ts";

/** The public key that belongs to what signed, if it is available. */
function publicKeyOf({ key, signer, signerKey }: { key?: string; signer?: string; signerKey?: string }): string {
  if (signer !== undefined) return signerKey ?? "PUBLIC-KEY";
  const beside = key?.replace(/\.key$/, ".pub");
  return beside !== undefined && beside !== key && existsSync(beside) ? beside : "PUBLIC-KEY";
}

export const signCommand: Register = (program, run) => {
  withGlobals(program.command("sign").argument("<bundle>", "bundle folder"))
    .summary("add another signature to a bundle")
    .description(
      "Signs the bundle's SHA256SUMS with one more key. Needs only the small files of the bundle. Only --timestamp makes a connection.",
    )
    .addOption(keyOption("private key (airferry's or cosign's, or PKCS#8)"))
    .option(
      "--signer <command>",
      "a command that reads the bytes on stdin and prints a signature (smart card, KMS, cosign)",
    )
    .option("--signer-key <file>", "public key of --signer")
    .addOption(timestampOption())
    .addHelpText(
      "after",
      "\nExamples:\n  airferry sign bundles/rocky-9-000001 --key second.key\n  airferry sign bundles/rocky-9-000001 --signer 'openssl dgst -sha256 -sign card.pem' --signer-key card.pub\n  airferry sign bundles/rocky-9-000001 --key site.key --timestamp http://tsa.example/tsr\n\nExit status: 0 done, 1 failed, 2 usage, 3 the bundle or the timestamp is invalid, 4 the timestamp authority does not answer.",
    )
    .action(
      (bundle: string, flags: { key?: string; signer?: string; signerKey?: string; timestamp?: string }, command) =>
        run(command.opts(), async (output) => {
          const { sign } = await import("../../sign.ts");
          // A command on the command line takes precedence over a key from the environment.
          const fromEnvironment = flags.signer !== undefined && command.getOptionValueSource("key") === "env";
          const { key, ...rest } = flags;
          const result = await sign(bundle, {
            ...rest,
            ...(!fromEnvironment && { key }),
            passphrase: passphrase(),
          });
          for (const file of result.files) output.print(file);
          output.end(result, {
            did: `signed by ${result.keyid}`,
            verified: `stream ${result.stream}, epoch ${result.epoch}, serial ${result.serial}: SHA256SUMS ${result.digest}`,
            next: trusting("verify", [bundle], [publicKeyOf(flags)]),
          });
        }),
    );
};
