/** Help that is wrapped once, to the width that it is shown in; examples stay commands that can be pasted. */
import type { Command, HelpConfiguration } from "commander";

/** Where a command is used, as the heading of its group. */
const SIDES: readonly [heading: string, ...commands: string[]][] = [
  ["Outside, with internet:", "init", "schema", "record", "keygen", "check", "lock", "plan", "pack"],
  ["Both sides:", "sign", "attest", "trust", "inspect", "diff", "verify", "repair", "rehearse", "completion"],
  [
    "Inside, without internet:",
    "unpack",
    "status",
    "receipt",
    "rollback",
    "fsck",
    "journal",
    "prune",
    "serve",
    "wanted",
    "render",
    "stage",
    "export",
    "publish",
    "doctor",
  ],
];

/** Descriptions are wrapped by commander: the lines of the source mean nothing. */
export const HELP: HelpConfiguration = {
  sortSubcommands: false,
  showGlobalOptions: false,
  minWidthToWrap: 20,
  commandDescription: (command) => command.description().replace(/\s*\n\s*/g, " "),
};

/** Puts every command under the heading of its side. */
export function groupCommands(program: Command): void {
  for (const command of program.commands) {
    const [heading] = SIDES.find(([, ...names]) => names.includes(command.name())) ?? [];
    if (heading !== undefined) command.helpGroup(heading);
  }
}

/** Wraps what commander does not: the text after the options. Lines that fit stay as they are. */
export function wrapHelp(text: string, columns: number): string {
  return text
    .split("\n")
    .flatMap((line) => {
      if (line.length <= columns) return [line];
      if (/^ {2}\S/.test(line)) return [continued(line.trim(), columns)];
      return line.startsWith(" ") ? [line] : wrapped(line, columns);
    })
    .join("\n");
}

/** A command in several lines, cut between words and never inside of quotes. */
function continued(command: string, columns: number): string {
  const words: readonly string[] = command.match(/(?:[^\s'"]|'[^']*'|"[^"]*")+/g) ?? [];
  // A remark to the end of the line would swallow the rest.
  if (words.includes("#")) return `  ${command}`;
  return fill(words, columns - 2, "  ", "      ").join(" \\\n");
}

function wrapped(line: string, columns: number): string[] {
  return fill(line.split(" "), columns, "", "");
}

function fill(words: readonly string[], columns: number, first: string, others: string): string[] {
  const lines: string[] = [];
  let line = first;
  for (const word of words) {
    const isEmpty = line.trim() === "";
    if (!isEmpty && line.length + 1 + word.length > columns) {
      lines.push(line);
      line = others + word;
    } else line = isEmpty ? line + word : `${line} ${word}`;
  }
  return [...lines, line];
}
