/** `airferry inspect`: what a bundle claims to hold. Checks no signature, and says so. */

import { Option } from "commander";
import type { BomFormat } from "../../bom/bom-files.ts";
import type { ScanReport } from "../../bundle/scan-report.ts";
import { AirferryError } from "../../errors.ts";
import type { InspectedEntry } from "../../inspect.ts";
import { formatBytes, plural } from "../../io/format.ts";
import { shellWords } from "../../io/shell.ts";
import { type Register, withGlobals } from "../command.ts";
import { formatImages, isImageBlob } from "../images-table.ts";
import type { Output } from "../output.ts";
import { formatTable } from "../table.ts";
import { contentText } from "../web-text.ts";

/** All of `BomFormat`; that file is loaded only when a bill is made. */
const BOM_FORMATS: readonly BomFormat[] = ["cyclonedx", "spdx", "html"];

/** Files that are listed without --files. */
const SHOWN_FILES = 40;

interface InspectFlags {
  files?: boolean;
  bom?: BomFormat;
  out?: string;
}

export const inspectCommand: Register = (program, run) => {
  withGlobals(program.command("inspect").argument("<bundle...>", "bundle folder, or the folders of a set of media"))
    .summary("show what a bundle holds")
    .description("Shows the inventory of a bundle: a bill of materials for the transfer decision. Trusts nothing.")
    .option("--files", "list every file")
    .addOption(new Option("--bom <format>", "print the bill of materials instead").choices(BOM_FORMATS))
    .option("--out <file>", "with --bom: write it there; an existing file is not replaced")
    .addHelpText(
      "after",
      "\nExamples:\n  airferry inspect bundles/rocky-9-000001\n  airferry inspect bundles/rocky-9-000001 --json | jq '.entries[] | {path, digest, source}'\n  airferry inspect bundles/rocky-9-000001 --bom cyclonedx --out rocky-9.cdx.json\n\nExit status: 0 done, 1 failed, 2 usage, 3 nothing readable.",
    )
    .action((bundles: string[], flags: InspectFlags, command) =>
      run(command.opts(), async (output) => {
        if (flags.bom !== undefined) return printBom(bundles, flags.bom, flags.out, output);
        if (flags.out !== undefined)
          throw new AirferryError("ERR_USAGE", "cannot use --out without --bom", { hint: "add --bom html" });
        const { inspect } = await import("../../inspect.ts");
        const it = await inspect(bundles, { notice: (line) => output.note(line) });
        output.result(it);
        output.print(`stream    ${it.stream}, serial ${it.serial}${it.epoch > 1 ? `, epoch ${it.epoch}` : ""}`);
        output.print(
          `created   ${it.created} by ${it.tool}${it.notAfter ? `, to be imported until ${it.notAfter}` : ""}`,
          ...(it.audience === null ? [] : [`for       ${it.audience.join(", ")}`]),
        );
        output.print(`digest    ${it.digest}`);
        if (it.previous) output.print(`follows   serial ${it.previous.serial} (${it.previous.digest})`);
        output.print(
          `signers   ${it.claimedSigners.join(", ") || "none"} (as the file names claim; airferry verify checks)`,
        );
        const files = `${plural(it.entries.length, "file")}, ${formatBytes(it.size)}`;
        output.print(`content   ${files}${it.carried < it.size ? `, ${formatBytes(it.carried)} of them here` : ""}`);
        const { isos, rpms, files: plain, images, keys, web } = it.catalog;
        output.print(
          `          ${plural(isos.length, "ISO")}, ${plural(rpms.length, "RPM repository", "RPM repositories")}, ${plural(plain.length, "file")}, ${plural(images.length, "image")}, ${plural(keys.length, "key")}${web === undefined ? "" : `, ${contentText(it.catalog)}`}`,
        );
        for (const { host, files, size } of it.web)
          output.print(`web       ${host}: ${plural(files, "file")}, ${formatBytes(size)}`);
        for (const volume of it.volumes) {
          output.print(`volume    ${volume.name}  ${formatBytes(volume.size)}${volume.present ? "" : "  not here"}`);
        }
        for (const { name, size } of it.programs) {
          output.print(`program   ${name}  ${size === null ? "not here" : formatBytes(size)}`);
        }
        for (const check of it.mediaChecks) {
          output.print(`media     ${check.path} has an embedded MD5 ${check.md5} (isomd5sum; not a proof of trust)`);
        }
        if (it.scan !== null) output.print(`scanned   ${scanText(it.scan)}`);
        for (const keyid16 of it.claimedTimestamps)
          output.print(`stamped   signature of ${keyid16} (as the file name claims; airferry verify checks)`);
        for (const { kind, path, claimedKeyid } of it.attestations)
          output.print(
            `attested  ${kind} in ${path}, by ${claimedKeyid?.slice(0, 16) ?? "a key it does not name"} (as it claims)`,
          );
        for (const { name, packages } of rpms.filter((it) => !it.gpgcheck)) {
          output.print(
            `unsigned  ${name}: signatures of its ${plural(packages, "package")} were not checked (gpgcheck: false)`,
          );
        }
        for (const problem of it.problems) output.note(`${problem.path}: ${problem.message}`);
        output.print("");
        const table = formatImages(it.catalog);
        if (table.length > 0) output.print(...table, "");
        const rows: string[][] = [];
        for (const entry of output.json ? [] : it.entries) {
          if (!flags.files && rows.length === SHOWN_FILES) break;
          if (!flags.files && (entry.kind === "generated" || isImageBlob(entry.path))) continue;
          rows.push([formatBytes(entry.size), entry.kind, establishedText(entry), entry.path, entry.source]);
        }
        if (rows.length > 0) {
          for (const line of formatTable(["SIZE", "KIND", "DIGEST", "PATH", "SOURCE"], rows, [0])) output.print(line);
        }
        if (rows.length < it.entries.length)
          output.print(`… and ${it.entries.length - rows.length} more: --files lists all`);
      }),
    );
};

/** Prints the bill of materials, or writes it into a file and says so. */
async function printBom(bundles: string[], format: BomFormat, out: string | undefined, output: Output): Promise<void> {
  if (output.json && out === undefined) {
    const hint = `give a file: airferry inspect ${shellWords(bundles)} --bom ${format} --out FILE --json`;
    throw new AirferryError("ERR_USAGE", "cannot print the bill of materials and --json both on stdout", { hint });
  }
  const { refuseExisting, writePieces } = await import("../../io/write-pieces.ts");
  if (out !== undefined) await refuseExisting(out, "--out");
  const { inspectBom } = await import("../../inspect.ts");
  const { pieces, gaps } = await inspectBom(bundles, format);
  for (const gap of gaps) output.note(`the bill of materials is not complete: ${gap}`);
  if (out === undefined) return output.pieces(pieces);
  const digest = await writePieces(out, pieces);
  output.result({ file: out, format, digest, gaps });
  output.print(out);
}

/** Who looked at how much, when, and what came of it. */
function scanText({ result, files, bytes, version, command, finished, findings, gaps }: ScanReport): string {
  const found = result === "clean" ? "nothing found" : `found something (${plural(findings.length, "line")})`;
  const missed = gaps.length > 0 ? `, ${plural(gaps.length, "gap")}` : "";
  return `${finished} by ${version ?? command[0]}: ${found} in ${plural(files, "file")}, ${formatBytes(bytes)}${missed}`;
}

const KEYID_LENGTH = 16;

/** How a digest is known: its source, the algorithm, and whose signature. */
function establishedText({ established, algorithm, signedBy, unsigned }: InspectedEntry): string {
  const by = (signedBy ?? []).map((it) => it.slice(-KEYID_LENGTH)).join(", ");
  const how = algorithm === undefined ? (established ?? "unknown") : `${established} ${algorithm}`;
  const known = by === "" ? how : `${how} by ${by}`;
  return unsigned ? `${known}, unsigned` : known;
}
