/** Completion for fish 3 and newer. */
import type { Flag, Slot, Values, VerbWords } from "./verb-words.ts";

/** Returns the script; it defines the completion of `airferry`. */
export function fishScript(verbs: readonly VerbWords[]): string {
  const lines = [
    "complete -c airferry -f",
    "complete -c airferry -n '__airferry_at verb' -s h -l help -d 'print help'",
    "complete -c airferry -n '__airferry_at verb' -s V -l version -d 'print the version'",
    ...verbs.map(({ name, about }) => `complete -c airferry -n '__airferry_at verb' -a ${name} -d ${quoted(about)}`),
    "complete -c airferry -n '__airferry_at verb' -a help -d 'print help of a command'",
    `complete -c airferry -n '__airferry_at help 0' -a '${verbs.map((it) => it.name).join(" ")}'`,
    ...verbs.flatMap(({ name, flags, slots }) => [
      ...flags.flatMap((it) => flagLines(name, it)),
      `complete -c airferry -n '__airferry_in ${name}' -s h -l help -d 'print help'`,
      ...slots.map((it, index) => slotLine(name, it, index)),
    ]),
  ];
  return `# fish completion of airferry, written by: airferry completion fish
${functions(verbs)}
complete -c airferry -e
${lines.join("\n")}
`;
}

function flagLines(verb: string, { name, short, about, value }: Flag): string[] {
  const names = `${short === undefined ? "" : `-s ${short.slice(1)} `}-l ${name.slice(2)}`;
  const takes = value === undefined ? "" : ` -r ${offer(value.values)}`;
  const line = `complete -c airferry -n '__airferry_in ${verb}' ${names}${takes} -d ${quoted(about)}`;
  // fish itself knows only the first of several values.
  const more = value?.isMany ? [`complete -c airferry -n '__airferry_at ${verb} ${name}' ${offer(value.values)}`] : [];
  return [line, ...more];
}

function slotLine(verb: string, { values, isMany }: Slot, index: number): string {
  return `complete -c airferry -n '__airferry_at ${verb} ${index}${isMany ? " or-more" : ""}' ${offer(values)}`;
}

function offer({ words, files, asked }: Values): string {
  const lists = [
    ...(words === undefined ? [] : [words.join(" ")]),
    ...(files === "folders" ? ["(__fish_complete_directories)"] : []),
    ...(files === "manifests" ? ["(__airferry_manifests)"] : []),
    ...(asked === undefined ? [] : [`(__airferry_asked ${asked})`]),
  ];
  const parts = [files === "all" ? "-F" : "-f", ...(lists.length > 0 ? [`-a '${lists.join(" ")}'`] : [])];
  return parts.join(" ");
}

function quoted(text: string): string {
  return `'${text.replace(/['\\]/g, "\\$&")}'`;
}

function functions(verbs: readonly VerbWords[]): string {
  const cases = (isIn: (flag: Flag) => boolean) =>
    verbs.flatMap(({ name, flags }) => {
      const found = flags.filter(isIn).flatMap((it) => [it.name, ...(it.short === undefined ? [] : [it.short])]);
      return found.length > 0 ? [`        case ${name}\n            printf '%s\\n' ${found.join(" ")}`] : [];
    });
  return `
function __airferry_taking -a verb -d 'Flags of a verb that take a value'
    switch "$verb"
${cases((it) => it.value !== undefined && !it.value.isMany).join("\n")}
    end
end

function __airferry_taking_many -a verb -d 'Flags of a verb that take every word up to the next flag'
    switch "$verb"
${cases((it) => it.value?.isMany === true).join("\n")}
    end
end

function __airferry_in -a verb -d 'Whether this verb is on the line'
    set -l words (commandline -opc)
    test "$words[2]" = "$verb"
end

function __airferry_at -a verb place more -d 'Whether the cursor is at the verb, or at an argument or several-valued flag of it'
    set -l words (commandline -opc)
    set -e words[1]
    if test "$verb" = verb
        test (count $words) -eq 0
        return
    end
    test "$words[1]" = "$verb"; or return 1
    set -l taking (__airferry_taking $verb)
    set -l many (__airferry_taking_many $verb)
    set -l at 0
    set -l pending
    for word in $words[2..]
        if string match -q -- '-?*' $word
            set pending
            contains -- $word $taking; and set pending one
            contains -- $word $many; and set pending $word
        else if test "$pending" = one
            set pending
        else if test -z "$pending"
            set at (math $at + 1)
        end
    end
    if test -n "$pending"
        test "$pending" = "$place"
    else if test "$more" = or-more
        test $at -ge $place
    else
        test "$at" = "$place"
    end
end

function __airferry_asked -a kind -d 'Names in a store or a manifest'
    set -l words (commandline -opc)
    set -l program (string replace -r '^~/' "$HOME/" -- $words[1])
    $program complete $kind -- $words[2..] 2>/dev/null </dev/null
end

function __airferry_manifests -d 'Manifests and folders'
    set -l word (commandline -ct | string replace -r -- '^-[^=]*=' '')
    __fish_complete_directories "$word"
    set -l folder (string match -r -- '^.*/' $word)
    set -l shown (string replace -r -- '^~/' "$HOME/" "$folder")
    for file in $shown*.yaml $shown*.yml
        printf '%s%s\\tmanifest\\n' "$folder" (string replace -r -- '^.*/' '' $file)
    end
end
`.trim();
}
