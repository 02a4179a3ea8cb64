/** `airferry keygen`: the keys that bundles and repository metadata are signed with. */
import { Option } from "commander";
import { type Register, withGlobals } from "../command.ts";
import { newPassphrase } from "../passphrase.ts";

export const keygenCommand: Register = (program, run) => {
  withGlobals(program.command("keygen"))
    .summary("create signing keys")
    .description(
      "Creates PREFIX.key and PREFIX.pub (ECDSA P-256 in cosign's format) for signing bundles, and PREFIX.rpm.key and\n" +
        "PREFIX.rpm.pub (OpenPGP, RSA-4096) for repository metadata. Private keys are encrypted with a passphrase.",
    )
    .requiredOption("--out <prefix>", "path prefix of the .key, .pub, .rpm.key and .rpm.pub files")
    .addOption(
      new Option(
        "--post-quantum [strength]",
        "also ML-DSA keys, PREFIX.mldsa65.key and .pub: pack and sign use both (87: ML-DSA-87)",
      )
        .choices(["65", "87"])
        .preset("65"),
    )
    .option("--no-passphrase", "do not encrypt the keys: anyone with the files can sign")
    .addHelpText(
      "after",
      "\nExamples:\n  airferry keygen --out site\n  airferry keygen --out site --post-quantum\n\nPassphrase: AIRFERRY_PASSWORD, else COSIGN_PASSWORD, else a prompt.\nExit status: 0 done, 1 failed, 2 usage.",
    )
    .action((flags: { out: string; passphrase: boolean; postQuantum?: "65" | "87" }, command) =>
      run(command.opts(), async (output) => {
        const { keygen } = await import("../../keygen.ts");
        const { passphraseIn } = await import("../../sign/private-key.ts");
        const { out } = flags;
        const given = flags.passphrase ? passphraseIn(process.env) : "";
        const password = given ?? (await newPassphrase(`${out}.key`));
        const postQuantum = flags.postQuantum === undefined ? undefined : (`mldsa${flags.postQuantum}` as const);
        const keys = await keygen({ out, password, allowEmpty: !flags.passphrase, postQuantum });
        for (const file of keys.files) output.print(file);
        if (!flags.passphrase)
          output.note(
            `${out}.key has no passphrase; without a terminal, set AIRFERRY_PASSWORD to an empty value to use it`,
          );
        output.note(`key id ${keys.keyid}`);
        if (keys.postQuantumKeyid) output.note(`post-quantum key id ${keys.postQuantumKeyid}, in ${out}.pub too`);
        if (keys.rpmFingerprint) output.note(`OpenPGP fingerprint ${keys.rpmFingerprint}`);
        output.note(
          `keep ${out}.key here; carry ${out}.pub across separately from the bundles, and compare the key id out of band`,
        );
        output.result(keys);
      }),
    );
};
