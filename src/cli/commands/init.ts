/** `airferry init`: creates a manifest to start from. */

import type { InitAnswers } from "../../init/answers.ts";
import type { InitDraft } from "../../init.ts";
import { shellWord } from "../../io/shell.ts";
import { collect, type Register, withGlobals } from "../command.ts";
import type { Output } from "../output.ts";

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
  withGlobals(program.command("init").argument("[dir]", "folder to write into (default: the current folder)"))
    .summary("create a manifest to start from")
    .description(
      "Copies a ready manifest, and the schema for completion in editors. Flags fill in what it leaves open. Without --for, on a terminal, it asks, shows what it will write, and writes nothing before you agree.",
    )
    .option(
      "--for <ready>",
      "rocky-9-capi, rocky-8-capi, rhel-9-capi, rhel-8-capi, image-builder or starter (default: asks on a terminal, else starter)",
    )
    .option("--stream <name>", "stream, and name of the file")
    .option("--k8s-version <version>", "Kubernetes version; also sets the matching versions of the builder's matrix")
    .option("--iso <url-or-path>", "where the installation ISO is")
    .option("--iso-sha256 <hex>", "its SHA-256, from the vendor's page; not needed for published RHEL images")
    .option("--set <key=value>", "a value of builder.imageconfig (repeatable)", collect)
    .option("--force", "replace an existing manifest")
    .addHelpText(
      "after",
      "\nExamples:\n  airferry init\n  airferry init --for rocky-9-capi --set vcenter_server=vc.example.com\n  airferry init site --for rhel-9-capi --iso ./rhel-9.6-x86_64-dvd.iso\n\nExit status: 0 done, 2 usage or an invalid answer, 130 interrupted or declined.",
    )
    .action((dir: string | undefined, flags: InitFlags, command) =>
      run(command.opts(), async (output) => {
        const { draftManifest, writeDraft } = await import("../../init.ts");
        const { hasTerminal } = await import("../ask.ts");
        const { force, set, for: name, ...given } = flags;
        const answers = { ...given, imageconfig: set };
        const asks = name === undefined && !output.json && command.opts().quiet !== true && hasTerminal();
        const draft = asks
          ? await askForDraft(output, dir, answers, force)
          : await draftManifest({ dir: dir ?? ".", for: name, force, answers });
        if (draft === undefined) return 130;
        const result = await writeDraft(draft);
        for (const note of result.notes) output.note(note);
        output.note(`next: airferry plan ${shellWord(result.manifest)}`);
        output.print(result.manifest);
        output.result(result);
        return 0;
      }),
    );
};

/** Asks, shows the draft, and returns it when it may be written. */
async function askForDraft(
  output: Output,
  dir: string | undefined,
  given: InitAnswers,
  force: boolean | undefined,
): Promise<InitDraft | undefined> {
  const { draftManifest } = await import("../../init.ts");
  const { interview } = await import("../../init/questions.ts");
  const { readyManifests } = await import("../../manifest/ready.ts");
  const { askOnTerminal } = await import("../ask.ts");
  const terminal = await askOnTerminal();
  try {
    const answered = await interview(terminal, await readyManifests(), given, dir);
    const draft = await draftManifest({ ...answered, force });
    for (const line of summaryOf(draft)) output.note(line);
    if (await terminal.confirm(`Write ${draft.path}?`)) return draft;
    output.note("nothing was written");
    return undefined;
  } finally {
    terminal.close();
  }
}

/** What a draft will bring, a line for each kind of content. */
function summaryOf({ path, manifest }: InitDraft): string[] {
  const { stream, isos = [], rpms = [], files = [], images = [], builder } = manifest;
  const names = (of: readonly { name: string }[]) => of.map((it) => it.name).join(", ");
  const lines = [`${path} will be a manifest of stream ${stream}:`];
  if (isos.length > 0) lines.push(`  ISOs: ${names(isos)}`);
  if (rpms.length > 0) lines.push(`  RPM repositories: ${names(rpms)}`);
  if (files.length > 0) lines.push(`  files: ${files.length}`);
  if (images.length > 0) lines.push(`  container images: ${images.length}`);
  if (builder !== undefined) lines.push(`  builder: ${builder.flavor}${builder.version ? ` ${builder.version}` : ""}`);
  return lines;
}
