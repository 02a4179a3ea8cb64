/** What each word of the command line may be, read from the commands themselves, for completion. */
import type { Argument, Command, Option } from "commander";
import type { Flag, Slot, Values, VerbWords } from "../completion/verb-words.ts";
import { bug } from "../errors.ts";

/** Values by the name in a command's usage: one name is one kind of value in every command. */
const PLACEHOLDERS: Readonly<Record<string, Values>> = {
  after: { files: "all", asked: "releases" },
  base: {},
  before: { files: "all", asked: "releases" },
  bundle: { files: "folders" },
  command: {},
  digest: {},
  dir: { files: "folders" },
  entry: { asked: "entries" },
  file: { files: "all" },
  "file=owner": { files: "all" },
  "from=to": {},
  glob: {},
  hex: {},
  "host:port": {},
  addresses: {},
  "above=size": {},
  bytes: {},
  id: {},
  k: {},
  "id=file": {},
  image: { asked: "images" },
  /** Of `export`. */
  "image-or-dir": { files: "folders", asked: "images" },
  key: {},
  "key=value": {},
  kinds: {},
  manifest: { files: "manifests" },
  /** Of --tls; the others say their choices. */
  mode: { words: ["off", "auto"] },
  n: {},
  name: {},
  "name=value": {},
  numbers: {},
  number: {},
  "os/arch": { words: ["linux/amd64", "linux/arm64"] },
  path: { files: "all" },
  percent: {},
  platform: { words: ["linux/amd64", "linux/arm64"] },
  prefix: { files: "all" },
  serial: {},
  ready: { asked: "ready" },
  receipt: { files: "all" },
  target: {},
  role: { words: ["root", "release", "scan", "receipt"] },
  "role=n": {},
  rule: {},
  size: { words: ["fat32", "dvd", "dvd-dl", "bd25", "bd50", "bd100"] },
  strength: { words: ["65", "87"] },
  stream: { asked: "streams" },
  text: {},
  time: {},
  url: {},
  "url-or-path": { files: "all" },
  user: {},
  version: {},
};

/** The visible commands of a program, as completion scripts are made from them. */
export function verbWords(program: Command): VerbWords[] {
  const help = program.createHelp();
  return help
    .visibleCommands(program)
    .filter((it) => it.name() !== "help")
    .map((command) => ({
      name: command.name(),
      about: command.summary(),
      flags: command.options.filter((it) => !it.hidden).map(flagOf),
      slots: command.registeredArguments.map(slotOf),
    }));
}

function flagOf(option: Option): Flag {
  const { flags, long, short, description, variadic, argChoices } = option;
  const [, placeholder] = /[<[](.+?)(?:\.\.\.)?[>\]]$/.exec(flags) ?? [];
  return {
    name: long ?? bug(`the flag ${flags} has no long name`),
    ...(short !== undefined && { short }),
    about: description,
    ...(placeholder !== undefined && {
      value: { name: placeholder, values: valuesOf(placeholder, argChoices), isMany: variadic },
    }),
    isRepeatable: variadic || description.includes("(repeatable)"),
  };
}

function slotOf(argument: Argument): Slot {
  const name = argument.name();
  return { name, values: valuesOf(name, argument.argChoices), isMany: argument.variadic };
}

function valuesOf(placeholder: string, choices: readonly string[] | undefined): Values {
  if (choices !== undefined) return { words: choices };
  return (
    PLACEHOLDERS[placeholder] ?? bug(`<${placeholder}> is unknown: add it to PLACEHOLDERS of src/cli/completing.ts`)
  );
}
