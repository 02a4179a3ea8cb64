/** Prints docs/cli.md from the program's help; a test compares the committed file with it. */
import { Command } from "commander";
import { loadCommands } from "../../src/cli/commands.ts";

/** The whole file. */
export async function cliDocs(): Promise<string> {
  const program = new Command("airferry");
  for (const register of await loadCommands()) register(program, async () => {});
  const parts = [
    "# Commands\n",
    "Generated from the program's help by `node scripts/lib/cli-docs.ts > docs/cli.md`.\n",
    "Environment: `AIRFERRY_STORE`, `AIRFERRY_TRUST` (files separated by `:`), `AIRFERRY_KEY` and `AIRFERRY_CACHE` replace flags; `AIRFERRY_PASSWORD` or, without it, `COSIGN_PASSWORD` sets the passphrase; `SOURCE_DATE_EPOCH` sets the time of locks and bundles.\n",
    "Results go to stdout, everything else to stderr; `--json` makes stdout one JSON document. Exit statuses are in [errors.md](errors.md).\n",
  ];
  for (const command of program.createHelp().visibleCommands(program)) {
    if (command.name() === "help") continue;
    let help = "";
    command.configureOutput({
      writeOut: (text) => (help += text),
      getOutHelpWidth: () => 110,
      getOutHasColors: () => false,
    });
    command.outputHelp();
    parts.push(`## airferry ${command.name()}\n`, `\`\`\`\n${help.trim()}\n\`\`\`\n`);
  }
  return parts.join("\n");
}

if (import.meta.main) process.stdout.write(await cliDocs());
