/** `airferry lock`: pins every artifact of a manifest. */
import { formatBytes, plural } from "../../io/format.ts";
import { type Register, withGlobals } from "../command.ts";
import { interruptible } from "../signals.ts";
import { amountText, digestsText } from "../summary.ts";
import {
  noteChanges,
  refuseStdin,
  type UpstreamFlags,
  upstreamWords,
  withUpstream,
  workspaceOptions,
} from "../upstream-options.ts";

export const lockCommand: Register = (program, run) => {
  withUpstream(withGlobals(program.command("lock").argument("<manifest>", "manifest file (YAML)")))
    .summary("pin everything a manifest names")
    .description(
      "Resolves exactly what the manifest means today and writes it next to it (x.yaml → x.lock.json).\n" +
        "Entries whose text did not change stay locked as they are. Artifacts without a published digest\n" +
        "are downloaded to pin them; pack uses that download.",
    )
    .option("--update [entry...]", "lock these entries again although their text is unchanged (no name: all)")
    .addHelpText(
      "after",
      "\nExamples:\n  airferry lock rocky-9.yaml\n  airferry lock rocky-9.yaml --update rocky-9 kubernetes\n\nExit status: 0 done, 2 manifest wrong, 4 upstream failed.",
    )
    .action((manifest: string, flags: UpstreamFlags & { update?: true | string[] }, command) =>
      run(command.opts(), async (output) => {
        refuseStdin(manifest, "lock", "the lock is written");
        const { openWorkspace } = await import("../../pack/workspace.ts");
        const { lock } = await import("../../lock.ts");
        const { leftOutNotes } = await import("../../manifest/why.ts");
        const { findingLine } = await import("../../io/findings.ts");
        await using workspace = await openWorkspace(manifest, workspaceOptions(manifest, flags, output));
        let bytes = 0;
        const progress = output.progress("pinning");
        const result = await interruptible(() =>
          lock(workspace, {
            ...(flags.update !== undefined && { update: flags.update === true ? [] : flags.update }),
            report: (line) => output.note(line),
            progress: (more) => {
              bytes += more;
              progress({ done: bytes });
            },
          }),
        );
        output.progressDone();
        noteChanges(output, result.changes);
        for (const it of [...leftOutNotes(result.leftOut), ...result.findings.map(findingLine)]) output.note(it);
        const { artifacts, size, unknownSizes, established } = result;
        output.print(
          `${result.file}: ${plural(result.lock.entries.length, "entry", "entries")}, ${plural(artifacts, "artifact")}, ${result.changes.length === 0 ? "no changes" : plural(result.changes.length, "change")}`,
        );
        const document = {
          lock: result.file,
          stream: result.lock.stream,
          entries: result.lock.entries.length,
          artifacts,
          size,
          unknownSizes,
          downloadedBytes: bytes,
          established,
          changes: result.changes,
          leftOut: result.leftOut,
          findings: result.findings,
        };
        output.end(document, {
          did: `locked ${plural(artifacts, "artifact")}, ${amountText(size, unknownSizes)}${bytes > 0 ? `: ${formatBytes(bytes)} downloaded` : ""}`,
          of: `stream ${result.lock.stream}`,
          verified: digestsText(established),
          next: `airferry plan MANIFEST${upstreamWords(flags)}`,
        });
      }),
    );
};
