/** Manual pages of the program and of each command, from the same command tree as --help and docs/cli.md (man(7)). */
import { Command } from "commander";
import { loadCommands } from "../../src/cli/commands.ts";
import { VERSION } from "../../src/version.ts";

/** The pages by file name: `airferry.1`, `airferry-pack.1`, …. */
export async function manPages(): Promise<Map<string, string>> {
  const program = new Command("airferry").description(
    "Carries everything an operating-system image build needs across an air gap.",
  );
  for (const register of await loadCommands()) register(program, async () => {});
  const commands = program
    .createHelp()
    .visibleCommands(program)
    .filter((it) => it.name() !== "help");
  const pages = new Map([["airferry.1", programPage(program, commands)]]);
  for (const command of commands) pages.set(`airferry-${command.name()}.1`, commandPage(command));
  return pages;
}

function programPage(program: Command, commands: readonly Command[]): string {
  return page("airferry", program.description(), [
    section("SYNOPSIS", [".B airferry", ".I command", "[options]"]),
    section("DESCRIPTION", [escaped(program.description())]),
    section(
      "COMMANDS",
      commands.flatMap((it) => [".TP", `.BR airferry\\-${escaped(it.name())} (1)`, escaped(it.summary())]),
    ),
  ]);
}

function commandPage(command: Command): string {
  const help = command.createHelp();
  const listed = (rows: readonly (readonly [term: string, text: string])[]) =>
    rows.flatMap(([term, text]) => [".TP", `.B ${escaped(term)}`, escaped(text)]);
  const name = `airferry-${command.name()}`;
  return page(name, command.summary(), [
    section("SYNOPSIS", [`.B airferry ${escaped(command.name())}`, escaped(command.usage())]),
    section("DESCRIPTION", [escaped(command.description())]),
    section(
      "ARGUMENTS",
      listed(help.visibleArguments(command).map((it) => [help.argumentTerm(it), help.argumentDescription(it)])),
    ),
    section(
      "OPTIONS",
      listed(help.visibleOptions(command).map((it) => [help.optionTerm(it), help.optionDescription(it)])),
    ),
    ...textBehind(command),
    section("SEE ALSO", [".BR airferry (1)"]),
  ]);
}

/** A command is an emitter; its types do not say so. */
type Emitting = Command & { emit(event: string, context: object): boolean };

/** What --help says behind the options: paragraphs, of which those that begin with a heading get one here. */
function textBehind(command: Command): string[] {
  let text = "";
  const context = { error: false, command, write: (more: string) => (text += more) };
  (command as Emitting).emit("afterHelp", context);
  return text
    .trim()
    .split(/\n(?=\S)/)
    .filter((it) => it !== "")
    .map((paragraph) => {
      const [, heading, rest = ""] = /^([A-Z][A-Za-z ]+):[ \n]?([\s\S]*)$/.exec(paragraph) ?? [];
      if (heading === undefined) return `.PP\n${escaped(paragraph)}`;
      return section(heading.toUpperCase(), rest.startsWith(" ") ? [".nf", escaped(rest), ".fi"] : [escaped(rest)]);
    });
}

function page(name: string, summary: string, sections: readonly string[]): string {
  // Not justified: some values have no place for a break.
  const head = `.TH "${name.toUpperCase()}" 1 "" "airferry ${VERSION}" "airferry"\n.ad l`;
  return `${[head, section("NAME", [`${escaped(name)} \\- ${escaped(summary)}`]), ...sections].filter((it) => it !== "").join("\n")}\n`;
}

/** Nothing for a section without content. */
function section(heading: string, lines: readonly string[]): string {
  return lines.length === 0 ? "" : [`.SH ${heading}`, ...lines].join("\n");
}

/** Text without requests and escapes: hyphens can be pasted, and no line begins with a dot or an apostrophe. */
function escaped(text: string): string {
  return text
    .trimEnd()
    .replaceAll("\\", "\\e")
    .replaceAll("-", "\\-")
    .replace(/^(?=[.'])/gm, "\\&");
}
