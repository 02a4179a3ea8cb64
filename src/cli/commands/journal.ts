/** `airferry journal`: what was done to a store, and whether its journal is as it was written. */

import { Argument } from "commander";
import { AirferryError } from "../../errors.ts";
import { formatBytes, plural } from "../../io/format.ts";
import { shellWord } from "../../io/shell.ts";
import type { JournalEntry } from "../../store/journal-line.ts";
import { ANY_STORE, positive, type Register, storeOption, withGlobals } from "../command.ts";
import type { Output } from "../output.ts";
import { formatTable } from "../table.ts";

const ACTIONS = ["verify", "show"] as const;

interface JournalFlags {
  store: string;
  expect?: string;
  last?: number;
}

export const journalCommand: Register = (program, run) => {
  withGlobals(
    program.command("journal").addArgument(new Argument("<action>", "what to do with the journal").choices(ACTIONS)),
  )
    .summary("who did what to a store, and whether that record is intact")
    .description(
      "unpack, rollback, prune and fsck write a line into the journal of their store: who, when, from which medium, which\n" +
        "bundle, signed by whom, with what result; refused bundles too. Each line has the digest of the line before.\n" +
        "`verify` checks them and prints the digest of the last line. Write that on paper: with --expect it is found later,\n" +
        "unless lines were removed from the end or all were written again. `show` prints the lines.",
    )
    .addOption(storeOption(ANY_STORE))
    .option("--expect <digest>", "verify: a line with this digest has to be there, as written on paper")
    .option("--last <n>", "show: only the newest lines", positive)
    .addHelpText(
      "after",
      "\nExamples:\n  airferry journal verify --store /srv/airferry\n  airferry journal verify --store /srv/airferry --expect sha256:DIGITS\n  airferry journal show --store /srv/airferry --last 20\n\nAIRFERRY_STORE replaces --store.\nExit status: 0 intact, 1 failed, 2 usage, 3 a line was changed or removed.",
    )
    .action((action: (typeof ACTIONS)[number], flags: JournalFlags, command) =>
      run(command.opts(), async (output) => {
        const { store, expect, last } = flags;
        const wrong = action === "verify" ? last !== undefined && "--last" : expect !== undefined && "--expect";
        if (wrong) {
          throw new AirferryError("ERR_USAGE", `cannot use ${wrong} with "${action}"`, {
            hint: `airferry journal ${action} --store ${shellWord(store)}`,
          });
        }
        return action === "verify" ? verify(output, store, expect) : show(output, store, last);
      }),
    );
};

async function verify(output: Output, store: string, expect: string | undefined): Promise<void> {
  const { verifyJournal } = await import("../../journal.ts");
  const report = await verifyJournal(store, expect);
  output.result(report);
  const { lines, head, expectedAt, torn, missing } = report;
  if (head === null) output.print("the journal has no line yet");
  else output.print(`journal line ${lines}: ${grouped(head)}`);
  if (expectedAt !== null)
    output.note(`the expected digest is that of line ${expectedAt}; ${plural(lines - expectedAt, "line")} since`);
  else if (head !== null) output.note("to find out later whether lines are gone, write this line on paper");
  if (torn > 0)
    output.note(
      `the last line is torn, as a power loss leaves it: the next command that writes removes its ${torn} bytes`,
    );
  for (const it of missing) {
    const what = it.trust === undefined ? `${it.stream} ${placeText(it)}` : `version ${it.trust} of the trust root`;
    const fault = it.what === "gone" ? "is gone" : it.what === "served" ? "is served" : "is there";
    output.note(`${what} ${fault}, and no line says why: the next command that writes to the store notes it`);
  }
}

/** A digest in groups that can be read aloud and typed. */
function grouped(digest: string): string {
  return digest.replace(/[0-9a-f]{8}(?=[0-9a-f])/g, "$& ");
}

async function show(output: Output, store: string, last: number | undefined): Promise<void> {
  const { readLines } = await import("../../journal.ts");
  const report = await readLines(store, last);
  output.result(report);
  const rows = report.lines.map((it) => [
    String(it.n),
    it.time,
    it.action,
    it.code === undefined ? it.result : `${it.result} ${it.code}`,
    whatText(it),
    `${it.by.user}@${it.by.host}`,
    mediaText(it),
  ]);
  if (rows.length === 0) output.print("the journal has no line yet");
  else output.print(...formatTable(["LINE", "TIME", "ACTION", "RESULT", "WHAT", "BY", "MEDIA"], rows, [0]));
  if (report.fault !== null) output.note(`${report.fault}: see airferry journal verify --store ${shellWord(store)}`);
}

function placeText({ epoch = 1, serial }: { epoch?: number; serial?: number }): string {
  return epoch === 1 ? `serial ${serial}` : `epoch ${epoch}, serial ${serial}`;
}

function whatText({ action, bundle, trust, removed = [], blobs = 0, bytes = 0, message }: JournalEntry): string {
  if (trust !== undefined) return `trust root ${trust.name}, version ${trust.version}`;
  if (action === "prune" && message === undefined)
    return `${plural(removed.length, "release")}, ${plural(blobs, "blob")}, ${formatBytes(bytes)}`;
  const of = bundle?.serial === undefined ? (bundle?.digest ?? "-") : `${bundle.stream} ${placeText(bundle)}`;
  return action === "fsck" && message === undefined ? `${plural(blobs, "file")} repaired from ${of}` : of;
}

function mediaText({ media = [] }: JournalEntry): string {
  return media
    .map(({ folder, device, label, serial }) =>
      [folder, label, serial ?? device].filter((it) => it !== undefined).join(" "),
    )
    .join(", ");
}
