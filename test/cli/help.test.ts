/** Help: wrapped once, in any width; with examples; grouped by side. */
import { Command } from "commander";
import t from "tap";
import { loadCommands } from "../../src/cli/commands.ts";
import { groupCommands, HELP, wrapHelp } from "../../src/cli/help.ts";

const program = new Command("airferry").configureHelp(HELP);
for (const register of await loadCommands()) register(program, async () => {});
groupCommands(program);
const shown = program
  .createHelp()
  .visibleCommands(program)
  .filter((it) => it.name() !== "help");

function helpOf(command: Command, columns: number): string {
  let help = "";
  const writeOut = (text: string) => {
    help += wrapHelp(text, columns);
  };
  command.configureOutput({ writeOut, getOutHelpWidth: () => columns, getOutHasColors: () => false });
  command.outputHelp();
  return help;
}

t.test("every command has examples, exit statuses and a side", async (t) => {
  t.ok(shown.length > 18, `${shown.length} commands`);
  for (const command of shown) {
    const help = helpOf(command, 1000);
    t.match(help, new RegExp(`^Examples?:\n(?:  .*\n)*  .*\\bairferry ${command.name()}\\b`, "m"), command.name());
    t.match(help, /^Exit status: 0 /m, command.name());
    t.match(command.helpGroup(), /^(?:Outside|Both sides|Inside)/, command.name());
  }
});

t.test("no line is longer than the terminal, and no paragraph is wrapped twice", async (t) => {
  for (const columns of [50, 60, 80, 110, 200])
    for (const command of shown) {
      const help = helpOf(command, columns);
      const long = help
        .split("\n")
        .filter((it) => it.length > columns && !it.includes(" # ") && it.trim().includes(" "));
      t.strictSame(long, [], `${command.name()} in ${columns} columns`);
      // A line of a paragraph is full, but for the last one.
      const [, about = ""] = help.split("\n\n");
      const lines = about.split("\n");
      for (const [index, line] of lines.slice(0, -1).entries()) {
        const [next = ""] = (lines[index + 1] as string).split(" ");
        t.ok(line.length + 1 + next.length > columns - 2, `${command.name()} in ${columns} columns: ${line}`);
      }
    }
});

t.test("wrapHelp() cuts examples so that they can be pasted", async (t) => {
  t.equal(
    wrapHelp("Example:\n  airferry sign bundle --signer 'openssl dgst -sha256 -sign card.pem' --signer-key x", 40),
    "Example:\n  airferry sign bundle --signer \\\n      'openssl dgst -sha256 -sign card.pem' \\\n      --signer-key x",
  );
  t.equal(wrapHelp("Exit status: 0 done, 1 failed", 20), "Exit status: 0 done,\n1 failed");
  t.equal(
    wrapHelp("  source <(airferry completion bash)  # in ~/.bashrc", 20),
    "  source <(airferry completion bash)  # in ~/.bashrc",
  );
});
