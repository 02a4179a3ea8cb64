/**
 * The command line: one file per command in commands/, each loading its verb only when it runs. Returns the exit
 * status.
 */
import { Command, CommanderError } from "commander";
import { AirferryError, EXIT, exitStatusOf } from "../errors.ts";
import { ioError } from "../io/atomic.ts";
import { leaveRoomToEnd } from "../io/flat-memory.ts";
import { VERSION } from "../version.ts";
import { loadCommands } from "./commands.ts";
import { groupCommands, HELP, wrapHelp } from "./help.ts";
import { type GlobalOptions, Output } from "./output.ts";
import { Interrupted } from "./signals.ts";

/** Without a terminal. */
const HELP_COLUMNS = 80;

/** Runs one command. Never throws; prints errors. */
export async function main(argv: readonly string[]): Promise<number> {
  const program = new Command("airferry")
    .description("Carries everything an operating-system image build needs across an air gap.")
    .version(VERSION, "-V, --version", "print the version")
    .helpOption("-h, --help", "print help")
    .commandsGroup("Both sides:")
    .helpCommand("help [command]", "print help of a command")
    .configureHelp(HELP)
    .exitOverride()
    // Usage errors are printed below, in the common format.
    .configureOutput({
      outputError: () => {},
      writeOut: (text) => process.stdout.write(wrapHelp(text, process.stdout.columns || HELP_COLUMNS)),
      writeErr: (text) => process.stderr.write(wrapHelp(text, process.stderr.columns || HELP_COLUMNS)),
    })
    .addHelpText(
      "after",
      `
Examples, outside:
  airferry init build
  airferry keygen --out site
  airferry pack build/starter.yaml --key site.key

Examples, inside:
  airferry unpack MEDIUM --trust site.pub --store DIR
  airferry serve --store DIR

Exit status: 0 done, 1 failed, 2 usage or manifest wrong, 3 verification refused, 4 upstream failed, 130 interrupted.`,
    );
  program.hook("preAction", (_, command) => {
    // It is given what stands on the line so far, which may be anything.
    if (command.name() !== "complete") refuseEmpty(command);
  });
  let status: number = EXIT.done;
  for (const register of await loadCommands(argv[0])) {
    register(program, async (options: GlobalOptions, run) => {
      const output = new Output(options);
      try {
        status = (await run(output)) ?? EXIT.done;
        output.progressDone();
      } catch (error) {
        if (error instanceof Interrupted) {
          output.interrupted();
          status = EXIT.interrupted;
          return;
        }
        output.error(error);
        status = exitStatusOf(error);
      } finally {
        leaveRoomToEnd();
      }
    });
  }
  for (const command of program.commands) command.exitOverride();
  groupCommands(program);
  if (argv.length === 0) {
    program.outputHelp({ error: true });
    return EXIT.usage;
  }
  try {
    // Of itself the help of an unknown command would be that of the program.
    if (argv[0] === "help" && argv[1] !== undefined && program.commands.every((it) => it.name() !== argv[1]))
      throw new CommanderError(1, "commander.unknownCommand", `error: unknown command '${argv[1]}'`);
    await program.parseAsync(argv as string[], { from: "user" });
  } catch (error) {
    if (error instanceof CommanderError) {
      if (["commander.help", "commander.helpDisplayed", "commander.version"].includes(error.code)) return EXIT.done;
      const { usageError } = await import("./usage-error.ts");
      outputOf(argv).error(usageError(error, argv, program));
      return EXIT.usage;
    }
    if (error instanceof AirferryError) {
      outputOf(argv).error(error);
      return exitStatusOf(error);
    }
    throw error;
  }
  return status;
}

/**
 * Options and arguments that are present but empty: an unset variable in a script. None of them may mean "here" or
 * "none".
 */
function refuseEmpty(command: Command): void {
  const empty = (value: unknown) => value === "" || (Array.isArray(value) && value.includes(""));
  const option = command.options.find((it) => empty(command.getOptionValue(it.attributeName())));
  const isVariable = option !== undefined && command.getOptionValueSource(option.attributeName()) === "env";
  const what =
    option === undefined
      ? // The arguments of another program may be anything.
        !["record", "rehearse"].includes(command.name()) && command.args.some((it) => it === "") && "an argument"
      : isVariable
        ? `the environment variable ${option.envVar}`
        : option.flags;
  if (what === false) return;
  throw new AirferryError("ERR_USAGE", `cannot run airferry ${command.name()}: ${what} is empty`, {
    hint: isVariable ? `unset ${option.envVar}, or set it` : "is the variable that it comes from set?",
  });
}

/** Prints an uncaught error; a stack trace only on request. */
export function printUncaught(argv: readonly string[], error: unknown): void {
  outputOf(argv).error(error);
}

/** Reports that what stdout is (a file on a full disk) did not take a result. */
export function printUnwritten(argv: readonly string[], error: unknown): void {
  outputOf(argv).error(ioError("write to", "stdout", error));
}

/** Verbs that keep what they have done for the next run. */
const RESUMES = new Set(["lock", "plan", "pack", "unpack", "publish"]);

/** Reports that a signal ended the work. */
export function printInterrupted(argv: readonly string[]): void {
  if (process.stderr.isTTY) process.stderr.write("\n");
  const verb = argv.find((it) => !it.startsWith("-")) ?? "";
  outputOf(argv).note(RESUMES.has(verb) ? "interrupted; run the same command to resume" : "interrupted");
}

/** The output mode of these arguments, before or although they cannot be parsed. */
function outputOf(argv: readonly string[]): Output {
  const at = argv.indexOf("--progress");
  const asksJson = argv.includes("--progress=json") || (at >= 0 && argv[at + 1] === "json");
  return new Output({
    json: argv.includes("--json"),
    quiet: argv.includes("--quiet") || argv.includes("-q"),
    ...(asksJson && { progress: "json" }),
  });
}
