/**
 * The command line: one file per command in commands/, each loading its verb only when it runs. Returns the exit status.
 */
import { Command, CommanderError } from "commander";
import { AirferryError, EXIT, exitStatusOf } from "../errors.ts";
import { VERSION } from "../version.ts";
import { COMMANDS } from "./commands.ts";
import { type GlobalOptions, Output } from "./output.ts";

/** Runs one command. Never throws; prints errors. */
export async function main(argv: readonly string[]): Promise<number> {
  const program = new Command("airferry")
    .description("Carries everything an operating-system image build needs across an air gap.")
    .version(VERSION, "-V, --version", "print the version")
    .helpOption("-h, --help", "print help")
    .helpCommand("help [command]", "print help of a command")
    .configureHelp({ sortSubcommands: false, showGlobalOptions: false })
    .exitOverride()
    .addHelpText(
      "after",
      `
Outside:  airferry init build && airferry keygen --out site && airferry pack build/starter.yaml --key site.key
Inside:   airferry unpack MEDIUM --trust site.pub --store DIR && airferry serve --store DIR

Exit status: 0 done, 1 failed, 2 usage or manifest wrong, 3 verification refused, 4 upstream failed, 130 interrupted.`,
    );
  let status: number = EXIT.done;
  for (const register of COMMANDS) {
    register(program, async (options: GlobalOptions, run) => {
      const output = new Output(options);
      try {
        status = (await run(output)) ?? EXIT.done;
        output.progressDone();
      } catch (error) {
        output.error(error);
        status = exitStatusOf(error);
      }
    });
  }
  for (const command of program.commands) command.exitOverride();
  if (argv.length === 0) {
    program.outputHelp({ error: true });
    return EXIT.usage;
  }
  try {
    await program.parseAsync(argv as string[], { from: "user" });
  } catch (error) {
    if (error instanceof CommanderError) {
      if (["commander.help", "commander.helpDisplayed", "commander.version"].includes(error.code)) return EXIT.done;
      return EXIT.usage;
    }
    if (error instanceof AirferryError) {
      new Output({}).error(error);
      return exitStatusOf(error);
    }
    throw error;
  }
  return status;
}
