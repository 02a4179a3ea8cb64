/** What was meant by a command line that cannot be run: in airferry's own words, with the line that is right. */
import type { Command, CommanderError, Option } from "commander";
import { AirferryError } from "../errors.ts";
import { closestWord, didYouMean } from "../io/closest-word.ts";
import { shellWords } from "../io/shell.ts";

/** Options with a variable number of values. */
const SEVERAL_VALUES = ["--trust", "--update", "--image"];

/** Describes an error of the parser; the hint is the same line with what was probably meant. */
export function usageError(error: CommanderError, argv: readonly string[], program: Command): AirferryError {
  const command = program.commands.find((it) => it.name() === argv[0]);
  const name = command === undefined ? "airferry" : `airferry ${command.name()}`;
  const refused = (fault: string, given: string, near: string | undefined) =>
    new AirferryError("ERR_USAGE", `cannot run ${name}: ${fault}`, {
      actual: given,
      hint: near === undefined ? `${name} --help` : `airferry ${shellWords(replaced(argv, given, near))}`,
    });
  if (error.code === "commander.unknownCommand") {
    const given = (argv[0] === "help" ? argv[1] : argv[0]) ?? "";
    const near = closestWord(given, [
      ...program
        .createHelp()
        .visibleCommands(program)
        .map((it) => it.name()),
    ]);
    return refused(`unknown command '${given}'${didYouMean(near)}`, given, near);
  }
  // An unknown flag comes first: what is missing may be what it was to be.
  const flag = unknownFlag(argv, command ?? program);
  if (flag !== undefined) {
    const options = (command ?? program).options.flatMap((it) => (it.hidden ? [] : [it.long ?? ""]));
    const near = closestWord(flag, command === undefined ? ["--help", "--version"] : [...options, "--help"]);
    return refused(`unknown option '${flag}'${didYouMean(near)}`, flag, near);
  }
  const [, option, given, argument, list] =
    /(?:option '(?:-\w, )?(--[\w-]+).*' )?argument(?: value)? '(.*)' is invalid(?: for argument '(.*)')?\. Allowed choices are (.*)\.$/s.exec(
      error.message,
    ) ?? [];
  if (given !== undefined && list !== undefined) {
    const near = closestWord(given, list.split(", "));
    const place = option ?? `<${argument}>`;
    return refused(`${place} "${given}": expected one of ${list}${didYouMean(near)}`, given, near);
  }
  const message = error.message.replace(/^error: /, "").replace(/\.$/, "");
  const swallowed = error.code === "commander.missingArgument" && argv.find((it) => SEVERAL_VALUES.includes(it));
  return new AirferryError("ERR_USAGE", `cannot run ${name}: ${message}`, {
    hint: swallowed
      ? `${swallowed} takes all values after it: name the ${command?.registeredArguments[0]?.name() ?? "argument"} before it`
      : (withMissing(error, argv, command) ?? `${name} --help`),
  });
}

/** The line with one word replaced, also where it has a value: `--flgs=x`. */
function replaced(argv: readonly string[], given: string, near: string): string[] {
  const at = argv.findIndex((it) => it === given || it.startsWith(`${given}=`) || it.endsWith(`=${given}`));
  return argv.map((it, index) => (index === at ? it.replace(given, near) : it));
}

/** The first flag of the line that the command does not have. */
function unknownFlag(argv: readonly string[], command: Command): string | undefined {
  const optionOf = (word: string) => command.options.find((it) => it.long === word || it.short === word);
  let before: Option | undefined;
  for (const word of argv) {
    if (word === "--") return undefined;
    const isValue = before?.required === true;
    before = undefined;
    if (isValue || !/^-{1,2}[A-Za-z]/.test(word)) continue;
    const [flag = ""] = word.split("=", 1);
    const option = optionOf(flag);
    if (option !== undefined) before = word.includes("=") ? undefined : option;
    else if (!["--help", "-h"].includes(flag) && (flag.startsWith("--") || optionOf(flag.slice(0, 2)) === undefined))
      return flag;
  }
  return undefined;
}

/**
 * The same command with the missing option, and the missing arguments. The option's value is to be filled in, unless
 * it is the one word that the command does not take.
 */
function withMissing({ code, message }: CommanderError, argv: readonly string[], command: Command | undefined) {
  const [, option, value] = /required option '(?:-\w, )?(--[a-z-]+) <(.+)>'/.exec(message) ?? [];
  if (code !== "commander.missingMandatoryOptionValue" || option === undefined || value === undefined) return undefined;
  const isOpen = command?.registeredArguments.at(-1)?.variadic === true;
  const words = argv.slice(1).filter((it, at, all) => !it.startsWith("-") && !takesValue(all[at - 1], command));
  const tooMany = isOpen ? [] : words.slice(command?.registeredArguments.length ?? 0);
  const [only] = tooMany;
  const given = tooMany.length === 1 && only !== undefined ? shellWords([only]) : value.toUpperCase();
  const kept = argv.filter((it, at) => at === 0 || !tooMany.includes(it));
  // Right behind the others: a flag that takes several values would take it too.
  const place = Math.max(1, kept.lastIndexOf(words.at(-1) ?? "") + 1);
  const lacking = (command?.registeredArguments ?? []).slice(words.length).filter((it) => it.required);
  const named = lacking.map((it) => ` ${it.argChoices?.[0] ?? it.name().toUpperCase()}`);
  const rest = kept.slice(place).map((it) => ` ${shellWords([it])}`);
  return `airferry ${shellWords(kept.slice(0, place))}${named.join("")}${rest.join("")} ${option} ${given}`;
}

/** Whether the word after this one is its value. */
function takesValue(word: string | undefined, command: Command | undefined): boolean {
  const option = command?.options.find((it) => it.long === word || it.short === word);
  return option !== undefined && (option.required || option.optional);
}
