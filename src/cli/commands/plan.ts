/** `airferry plan`: what a pack would fetch and where it would go. */
import { Option } from "commander";
import { BIN_NAME } from "../../bundle/media-names.ts";
import { countEstablished } from "../../io/established.ts";
import { formatBytes, plural } from "../../io/format.ts";
import { shellWord } from "../../io/shell.ts";
import type { WantedLine } from "../../manifest/wanted-lines.ts";
import type { PlanOptions, PlanRow } from "../../plan.ts";
import { type Register, withGlobals } from "../command.ts";
import { formatImages, isImageBlob } from "../images-table.ts";
import type { Output } from "../output.ts";
import { interruptible } from "../signals.ts";
import { amountText, digestsText } from "../summary.ts";
import { tableLines } from "../table.ts";
import { noteChanges, type UpstreamFlags, upstreamWords, withUpstream, workspaceOptions } from "../upstream-options.ts";
import { programsToBring, type VolumeFlags, volumeOptions, volumeWords, withVolumes } from "../volume-options.ts";
import { webText } from "../web-text.ts";

export const planCommand: Register = (program, run) => {
  withVolumes(
    withUpstream(
      withGlobals(
        program.command("plan").argument("<manifest>", "manifest file (YAML); - reads it from standard input"),
      ),
    ),
  )
    .summary("show what would be packed")
    .description(
      "Shows every file that pack would put into the bundle, its size, where it comes from and how its digest is known,\n" +
        "the volumes, and the free space. Downloads metadata only.",
    )
    .option("--files", "list the blobs of images too")
    .option("--why <name>", "explain why this package or file is in the bundle")
    .option("--wanted <file>", "say which line would bring each URL of this list (airferry wanted --out)")
    .addOption(new Option("--out <dir>", "where the bundle would be written").default("bundles"))
    .addHelpText(
      "after",
      "\nExamples:\n  airferry plan rocky-9.yaml\n  airferry plan rocky-9.yaml --why openssl-libs\n  airferry plan rocky-9.yaml --wanted wanted.json\n  airferry plan rocky-9.yaml --json | jq '.entries[].path'\n\nExit status: 0 done, 2 manifest wrong, 4 upstream failed.",
    )
    .action(
      (
        manifest: string,
        flags: UpstreamFlags & VolumeFlags & { why?: string; wanted?: string; files?: boolean; out: string },
        command,
      ) =>
        run(command.opts(), async (output) => {
          const { openWorkspace } = await import("../../pack/workspace.ts");
          const { explainWanted, plan, why } = await import("../../plan.ts");
          const { errorsIn, findingLine } = await import("../../io/findings.ts");
          const { leftOutNotes } = await import("../../manifest/why.ts");
          const { freeBytesAt } = await import("../../io/space.ts");
          await using workspace = await openWorkspace(manifest, workspaceOptions(manifest, flags, output));
          const options: PlanOptions = {
            report: (line) => output.note(line),
            onResolved: ({ changes, findings }) => {
              noteChanges(output, changes);
              for (const it of findings) output.note(findingLine(it));
              if (errorsIn(findings).length > 0) output.note("pack refuses this without --allow-findings");
            },
          };
          const named = flags.why;
          if (named !== undefined) {
            const reasons = await interruptible(() => why(workspace, named, options));
            for (const reason of reasons) output.print(reason);
            output.result({ name: named, reasons });
            return;
          }
          const list = flags.wanted;
          if (list !== undefined) {
            const found = await interruptible(() => explainWanted(workspace, list, options));
            printWanted(found.wanted, output);
            if (found.dropped > 0) output.note(`the list had no room for ${plural(found.dropped, "further request")}`);
            output.result(found);
            return;
          }
          const { volumeSize, ...shares } = await volumeOptions(flags);
          const {
            plan: planned,
            rows,
            leftOut,
            findings,
          } = await interruptible(() => plan(workspace, volumeSize, options));
          for (const line of leftOutNotes(leftOut)) output.note(line);
          let known = 0;
          let listed = 0;
          const isListed = (row: PlanRow) => flags.files === true || !isImageBlob(row.path);
          for (const row of rows) {
            known += row.size ?? 0;
            if (isListed(row)) listed++;
          }
          const free = await freeBytesAt(flags.out);
          const programs = await programsToBring(flags, output);
          const images = formatImages(planned.catalog);
          if (images.length > 0) output.print(...images, "");
          await output.lines(formatRows(rows, isListed));
          if (listed > 0) output.print("");
          output.print(
            `${plural(rows.length, "file")}, ${amountText(known, planned.unsized.length)}${webText(planned.catalog)}`,
          );
          output.print(
            `${plural(planned.volumes.length, "volume")} of ${formatBytes(volumeSize)}; ${formatBytes(free)} free in ${flags.out}`,
          );
          const { parityFiles, planParity } = await import("../../pack/pack-parity.ts");
          const parity = parityFiles(planParity(planned, shares));
          if (parity.length > 0) {
            const size = formatBytes(parity.reduce((sum, it) => sum + it.size, 0));
            output.print(`${plural(parity.length, "recovery file")}, ${size} of parity`);
          }
          if (programs.length > 0) {
            const size = formatBytes(programs.reduce((sum, it) => sum + it.size, 0));
            output.print(`${plural(programs.length, "program")} for the other side, ${size} in bin/`);
          }
          for (const [one, other] of planned.caseTwins) output.note(`differ only by case: ${one} and ${other}`);
          const established = countEstablished(rows);
          const document = {
            stream: planned.stream,
            entries: output.json ? [...rows] : [],
            size: known,
            unknownSizes: planned.unsized.length,
            streamSize: planned.streamSize,
            volumeSize,
            volumes: planned.volumes,
            parity,
            programs: programs.map(({ name, size }) => ({ name: `${BIN_NAME}/${name}`, size })),
            freeSpace: free,
            caseTwins: planned.caseTwins,
            leftOut,
            findings,
            established,
          };
          const isPackable = manifest !== "-" && errorsIn(findings).length === 0;
          output.end(document, {
            did: `planned ${plural(rows.length, "file")}, ${amountText(known, planned.unsized.length)}${webText(planned.catalog)}`,
            of: `stream ${planned.stream}`,
            verified: digestsText(established),
            next: isPackable ? packCommand(flags) : undefined,
          });
        }),
    );
};

/** What would bring each wanted thing, those first that a line would. */
function printWanted(wanted: readonly WantedLine[], output: Output): void {
  const titles = { add: "to add:", carried: "in the manifest:", unknown: "unknown:" };
  for (const verdict of ["add", "carried", "unknown"] as const) {
    const some = wanted.filter((it) => it.verdict === verdict);
    if (some.length === 0) continue;
    output.print(titles[verdict]);
    for (const { url, count, entry, line, why } of some) {
      output.print(`  ${url} (${plural(count, "request")})`);
      output.print(`    ${entry === undefined ? "" : `${entry}: `}${why}`);
      if (line !== undefined) output.print(`    ${line}`);
    }
  }
  if (wanted.length === 0) output.print("the list is empty");
}

/** The pack that writes what was planned. */
function packCommand(flags: UpstreamFlags & VolumeFlags & { out: string }): string {
  const key = process.env["AIRFERRY_KEY"] ? "" : " --key FILE";
  const out = flags.out === "bundles" ? "" : ` --out ${shellWord(flags.out)}`;
  return `airferry pack MANIFEST${key}${out}${volumeWords(flags)}${upstreamWords(flags)}`;
}

function formatRows(rows: Iterable<PlanRow>, isListed: (row: PlanRow) => boolean): Iterable<string> {
  const known = ({ established, algorithm, digest }: PlanRow) => {
    if (digest === null && established === "first-sight") return "pinned at pack";
    return algorithm === undefined ? established : `${established} ${algorithm}`;
  };
  const cells = {
    *[Symbol.iterator]() {
      for (const row of rows)
        if (isListed(row))
          yield [row.size === null ? "unknown" : formatBytes(row.size), known(row), row.path, row.source];
    },
  };
  return tableLines(["SIZE", "DIGEST", "PATH", "SOURCE"], cells, [0]);
}
