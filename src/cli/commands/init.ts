/** `airferry init`: creates a manifest to start from. */

import { InvalidArgumentError } from "commander";
import { AirferryError } from "../../errors.ts";
import type { InitAnswers } from "../../init/answers.ts";
import type { InitDraft } from "../../init.ts";
import { plural } from "../../io/format.ts";
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
  from?: string[];
  var?: Record<string, string>;
  platform?: string[];
  force?: boolean;
}

export const initCommand: Register = (program, run) => {
  withGlobals(program.command("init").argument("[dir]", "folder to write into (default: the current folder)"))
    .summary("create a manifest to start from")
    .description(
      "Copies a ready manifest, and the schema for completion in editors. Flags fill in what it leaves open. Without --for, on a terminal, it asks, shows what it will write, and writes nothing before you agree.\n\nWith --from it makes a manifest from what you already have: kickstart files, .repo files, rpm -qa output, lists of images (kubeadm config images list), Kubernetes YAML (helm template), and files of hauler, zarf and oc-mirror v2. Formats are recognised by content, several files make one manifest, and what cannot be carried over is listed.",
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
    .option("--from <file...>", "make a manifest from these files; - is standard input (repeatable)")
    .option(
      "--var <name=value>",
      "with --from: a dnf variable of .repo files, such as releasever=9 (repeatable)",
      variable,
    )
    .option(
      "--platform <platform>",
      "with --from: platform of images whose file names none: linux/amd64 (repeatable)",
      collect,
    )
    .option("--force", "replace an existing manifest")
    .addHelpText(
      "after",
      "\nExamples:\n  airferry init\n  airferry init --for rocky-9-capi --set vcenter_server=vc.example.com\n  airferry init site --for rhel-9-capi --iso ./rhel-9.6-x86_64-dvd.iso\n  airferry init site --from ks.cfg rocky.repo images.txt --platform linux/amd64\n  helm template harbor/harbor | airferry init --from - --stream harbor\n\nExit status: 0 done, 2 usage or an invalid answer, 130 interrupted or declined.",
    )
    .action((dir: string | undefined, flags: InitFlags, command) =>
      run(command.opts(), async (output) => {
        const { draftManifest, writeDraft } = await import("../../init.ts");
        const { hasTerminal } = await import("../ask.ts");
        const { force, set, for: name, from, var: vars, platform, ...given } = flags;
        if (from !== undefined) return initFrom(output, dir, flags, from);
        if (vars !== undefined || platform !== undefined) {
          const option = vars !== undefined ? "--var" : "--platform";
          throw usage(`cannot use ${option} without --from`, `airferry init --from FILE ${option} …`);
        }
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

/** `NAME=VALUE`, repeatable. */
function variable(text: string, previous: Record<string, string> = {}): Record<string, string> {
  const [, name, value] = /^([A-Za-z0-9_]+)=(.*)$/s.exec(text) ?? [];
  if (name === undefined || value === undefined) throw new InvalidArgumentError("must be NAME=VALUE.");
  return { ...previous, [name]: value };
}

function usage(message: string, hint: string): AirferryError {
  return new AirferryError("ERR_USAGE", message, { hint });
}

/** Lines of what is not carried over; a system's .repo files may have hundreds that are disabled. */
const MAX_LISTED = 100;

/** Makes a manifest from files, and lists what is not carried over. */
async function initFrom(output: Output, dir: string | undefined, flags: InitFlags, from: string[]): Promise<number> {
  for (const option of ["for", "k8sVersion", "set"] as const) {
    if (flags[option] === undefined) continue;
    const name = option === "k8sVersion" ? "k8s-version" : option;
    throw usage(
      `cannot use --${name} with --from: it is for ready manifests`,
      "run airferry init twice, and merge the manifests",
    );
  }
  const { draftFromFiles, writeDraft } = await import("../../init.ts");
  const { var: vars, platform: platforms, stream, iso, isoSha256, force } = flags;
  // The option takes all words that follow it, so a folder may be the last one.
  const last = from.at(-1) ?? "";
  const isFolder = dir === undefined && from.length > 1 && (last.endsWith("/") || (await isDirectory(last)));
  const files = isFolder ? from.slice(0, -1) : from;
  const target = dir ?? (isFolder ? last : ".");
  const draft = await draftFromFiles({ from: files, dir: target, stream, iso, isoSha256, vars, platforms, force });
  const { skipped, more, sources, manifest } = draft;
  const written = await writeDraft(draft);
  for (const { file, formats } of sources)
    output.note(`${file}: ${formats.length > 0 ? formats.join(", ") : "not recognised"}`);
  for (const note of written.notes) output.note(note);
  const listed = skipped.slice(0, MAX_LISTED);
  for (const { file, line, what, why } of listed) output.note(`not carried over: ${file}:${line}: ${what}: ${why}`);
  const rest = skipped.length - listed.length + more;
  if (rest > 0) output.note(`not carried over: and ${rest} more, which --json lists`);
  const { isos = [], rpms = [], files: plain = [], images = [] } = manifest;
  const counts = [
    plural(isos.length, "ISO"),
    plural(rpms.length, "RPM repository", "RPM repositories"),
    plural(plain.length, "file"),
    plural(images.length, "image entry", "image entries"),
  ];
  output.note(
    `${counts.join(", ")}; ${skipped.length + more === 0 ? "everything is carried over" : `${skipped.length + more} not carried over`}`,
  );
  output.note(`next: airferry plan ${shellWord(written.manifest)}`);
  output.print(written.manifest);
  output.result({ ...written, sources, skipped, more });
  return 0;
}

async function isDirectory(path: string): Promise<boolean> {
  const { stat } = await import("node:fs/promises");
  return stat(path).then(
    (it) => it.isDirectory(),
    () => false,
  );
}

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
