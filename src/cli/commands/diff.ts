/** `airferry diff`: what changed between two releases. Checks no signature of bundles, and says so. */
import { writeFile } from "node:fs/promises";
import type { DiffReport, Side } from "../../diff.ts";
import { ioError } from "../../io/atomic.ts";
import { type Register, withGlobals } from "../command.ts";
import { formatTable } from "../table.ts";

const PARTS = ["packages", "images", "isos", "files", "web"] as const;

export const diffCommand: Register = (program, run) => {
  withGlobals(
    program
      .command("diff")
      .argument("<before>", "bundle folder, lock file, or with --store a release")
      .argument("<after>", "the same of the newer one"),
  )
    .summary("show what changed between two releases")
    .description(
      "Shows which packages, images, ISOs, files, web answers and signers were added, removed, or came in another version, between two bundles, " +
        "two locks, a lock and a bundle, or two releases of a store. Checks no signature.",
    )
    .option(
      "--store <dir>",
      "look releases up in this store (a folder, or s3://BUCKET/PREFIX): STREAM-000001, or STREAM for what is served",
    )
    .option("--html <file>", "also write the result as one self-contained page")
    .addHelpText(
      "after",
      "\nExamples:\n  airferry diff bundles/rocky-9-000001 bundles/rocky-9-000002\n  airferry diff bundles/rocky-9-000002 rocky-9.lock.json\n  airferry diff rocky-9-000001 rocky-9 --store /srv/airferry --html changes.html\n\nExit status: 0 done, whether or not something changed, 1 failed, 2 usage.",
    )
    .action((before: string, after: string, flags: { store?: string; html?: string }, command) =>
      run(command.opts(), async (output) => {
        const { diff } = await import("../../diff.ts");
        const { changeRows, diffPage, isInReport, summaryOf } = await import("../../compare/diff-page.ts");
        const report = await diff(before, after, { store: flags.store });
        if (flags.html !== undefined) {
          const page = diffPage(pageSide(report.before), pageSide(report.after), report);
          const file = flags.html;
          await writeFile(file, page).catch((error) => {
            throw ioError("write", file, error);
          });
        }
        output.result(report);
        output.print(`before    ${describe(report.before)}`, `after     ${describe(report.after)}`);
        output.print(...signerLines(report));
        const parts = PARTS.filter((it) => isInReport(it, report));
        for (const part of parts) output.print(`${part.padEnd(9)} ${summaryOf(report[part])}`);
        const rows = parts.flatMap((part) =>
          changeRows(report[part], part).map((it) => [it.how, it.what, it.before, it.after, it.size]),
        );
        if (rows.length > 0) output.print("", ...formatTable(["CHANGE", "WHAT", "BEFORE", "AFTER", "SIZE"], rows, [4]));
        if (flags.html !== undefined) output.note(`wrote ${flags.html}`);
      }),
    );
};

function titleOf({ kind, stream, serial, epoch, name }: Side): string {
  if (kind === "lock") return `${stream}, ${name}`;
  return `${stream} ${serial}${epoch !== null && epoch > 1 ? ` of epoch ${epoch}` : ""}`;
}

function pageSide(side: Side) {
  const { created, signers, verified } = side;
  return { title: titleOf(side), created, signers, verified };
}

function describe(side: Side): string {
  const { kind, created, signers } = side;
  if (kind === "lock") return `${titleOf(side)}: locked ${created}`;
  const checked = kind === "bundle" ? " (not checked)" : "";
  const signed =
    signers.length === 0 ? "unsigned" : `signed by ${signers.map((it) => it.slice(0, 16)).join(", ")}${checked}`;
  return `${titleOf(side)}: packed ${created}, ${signed}`;
}

function signerLines({ before, after, signers }: DiffReport): string[] {
  if (before.kind === "lock" || after.kind === "lock") return [];
  return [
    ...signers.added.map((it) => `signer    ${it.slice(0, 16)} is new`),
    ...signers.removed.map((it) => `signer    ${it.slice(0, 16)} is no longer there`),
  ];
}
