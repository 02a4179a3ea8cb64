/** `airferry init`: creates a manifest to start from. */

import { shellWord } from "../../io/shell.ts";
import { collect, type Register, withGlobals } from "../command.ts";

interface InitFlags {
  for?: string;
  stream?: string;
  k8sVersion?: string;
  iso?: string;
  isoSha256?: string;
  set?: string[];
  force?: boolean;
}

export const initCommand: Register = (program, run) => {
  withGlobals(program.command("init").argument("[dir]", "folder to write into", "."))
    .summary("create a manifest to start from")
    .description(
      "Copies a ready manifest, and the schema for completion in editors. Flags fill in what it leaves open.",
    )
    .option("--for <name>", "rocky-9-capi, rocky-8-capi, rhel-9-capi, rhel-8-capi, image-builder or starter", "starter")
    .option("--stream <name>", "stream, and name of the file")
    .option("--k8s-version <version>", "Kubernetes version; also sets the matching versions of the builder's matrix")
    .option("--iso <url-or-path>", "where the installation ISO is")
    .option("--iso-sha256 <hex>", "its SHA-256, from the vendor's page")
    .option("--set <key=value>", "a value of builder.imageconfig (repeatable)", collect)
    .option("--force", "replace an existing manifest")
    .addHelpText(
      "after",
      "\nExamples:\n  airferry init --for rocky-9-capi --set vcenter_server=vc.example.com\n  airferry init site --for rhel-9-capi --iso ./rhel-9.6-x86_64-dvd.iso --iso-sha256 0123…\n\nExit status: 0 done, 2 usage or an invalid answer.",
    )
    .action((dir: string, flags: InitFlags, command) =>
      run(command.opts(), async (output) => {
        const { init } = await import("../../init.ts");
        const { force, set, ...answers } = flags;
        const result = await init({ dir, for: flags.for, force, answers: { ...answers, imageconfig: set } });
        for (const note of result.notes) output.note(note);
        output.note(`next: airferry plan ${shellWord(result.manifest)}`);
        output.print(result.manifest);
        output.result(result);
      }),
    );
};
