/** Prints docs/cli.md from the program's help; a test compares the committed file with it. */
import { Command } from "commander";
import { loadCommands } from "../../src/cli/commands.ts";
import { HELP, wrapHelp } from "../../src/cli/help.ts";

const WIDTH = 110;

/** The whole file. */
export async function cliDocs(): Promise<string> {
  const program = new Command("airferry").configureHelp(HELP);
  for (const register of await loadCommands()) register(program, async () => {});
  const parts = [
    "# Commands\n",
    "Generated from the program's help by `node scripts/lib/cli-docs.ts > docs/cli.md`.\n",
    "Environment: `AIRFERRY_STORE`, `AIRFERRY_TRUST` (files separated by `:`), `AIRFERRY_KEY` and `AIRFERRY_CACHE` replace flags; `AIRFERRY_PASSWORD` or, without it, `COSIGN_PASSWORD` sets the passphrase; `SOURCE_DATE_EPOCH` sets the time of locks and bundles.\n",
    "Results go to stdout, everything else to stderr; `--json` makes stdout one JSON document. Exit statuses are in [errors.md](errors.md).\n",
    [
      "Progress goes to stderr: on a terminal as one line that fits its width, elsewhere as plain lines, the first after five seconds and each after twice the time of the one before. `--progress json` makes stderr JSON lines:",
      "",
      "| line | keys |",
      "|---|---|",
      '| `{"event":"progress", …}` | `what` (`hashing` of local files to lock them, `packing`, `verifying`, …), `done`, `total` and `left` (bytes; `done` + `left` = `total`), `found` (bytes of `done` that an earlier run left), `bytesPerSecond`, `secondsLeft`, `doneItems`, `totalItems`, `doneVolumes`, `totalVolumes`, `path`; what is unknown is left out |',
      '| `{"event":"note", …}` | `message` |',
      '| `{"event":"error", …}` | `code`, `message`, `hint`, `path`, `expected`, `actual`, `problems` |',
      "",
      "The last progress line of an interrupted `pack` is what a rerun finds. Amounts of a `total` that is not known have neither `total` nor `left`.\n",
    ].join("\n"),
    [
      "`lock`, `plan`, `pack`, `sign`, `attest`, `verify`, `repair`, `unpack`, `status --check`, `rollback`, `fsck`, `receipt`, `prune`, `publish`, `export`, `stage` and `doctor` end with a summary of two to four lines on stderr, to be pasted into a ticket: what was done and how much; how long it took; how it was verified, with the digests that were pinned on first sight counted; and the next command, in which words in capitals are yours to replace. `--quiet` prints none. With `--json` the document has the same: `seconds`, and where they apply `size` (bytes), `established` (how many digests were established in each way).",
      "",
      "Of a `pack`, `contentSize` is the bytes of all files in the bundle, and the sum of `fetchedBytes` (from upstream, in this run), `reusedBytes` (from this host: local files, downloads for the lock, earlier bundles), `foundBytes` (left in place by an interrupted run) and `generatedBytes`; `size` counts the volumes.\n",
    ].join("\n"),
  ];
  for (const command of program.createHelp().visibleCommands(program)) {
    if (command.name() === "help") continue;
    let help = "";
    command.configureOutput({
      writeOut: (text) => (help += wrapHelp(text, WIDTH)),
      getOutHelpWidth: () => WIDTH,
      getOutHasColors: () => false,
    });
    command.outputHelp();
    parts.push(`## airferry ${command.name()}\n`, `\`\`\`\n${help.trim()}\n\`\`\`\n`);
  }
  return parts.join("\n");
}

if (import.meta.main) process.stdout.write(await cliDocs());
