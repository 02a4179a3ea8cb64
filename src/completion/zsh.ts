/** Completion for zsh 5, by its own `_arguments`. Works from a folder of `fpath` and when it is sourced. */
import type { Flag, Slot, Values, VerbWords } from "./verb-words.ts";

/** Returns the script; it defines the completion of `airferry`. */
export function zshScript(verbs: readonly VerbWords[]): string {
  return `#compdef airferry
# zsh completion of airferry, written by: airferry completion zsh

# Names in a store or a manifest, of which the program knows: their kind is the last argument.
_airferry_asked() {
  local -a names
  names=(\${(f)"$(\${~_airferry_program} complete $@[-1] -- "\${(@)_airferry_words[2,-1]}" 2>/dev/null </dev/null)"})
  compadd "\${@[1,-2]}" -a names
}

# The flag that the word at the cursor may be another value of: zsh itself knows only the first of several.
_airferry_last_flag() {
  local -i at=CURRENT
  while (( at-- > 2 )) && [[ $words[at] != -* ]]; do :; done
  [[ $words[CURRENT] != -* ]] && REPLY=$words[at]
}

_airferry_verbs() {
  local -a verbs
  verbs=(
${verbs.map(({ name, about }) => `    ${quoted(`${name}:${about.replaceAll(":", "\\:")}`)}`).join("\n")}
    'help:print help of a command'
  )
  _describe -t commands command verbs
}

_airferry() {
  local context state state_descr line REPLY
  local -A opt_args
  local _airferry_program=\${(Q)words[1]}
  local -a _airferry_words=("\${(@Q)words[1,CURRENT-1]}")
  _arguments -C \\
    '(- *)'{-h,--help}'[print help]' \\
    '(- *)'{-V,--version}'[print the version]' \\
    '1:command:_airferry_verbs' \\
    '*::argument:->verb' && return
  [[ $state == verb ]] || return 1
  case $line[1] in
    help) _arguments '1:command:_airferry_verbs' ;;
${verbs.map(verbCase).join("\n")}
  esac
}

if [[ $funcstack[1] == _airferry ]]; then
  _airferry "$@"
else
  compdef _airferry airferry
fi
`;
}

function verbCase({ name, flags, slots }: VerbWords): string {
  const specs = [
    "'(- *)'{-h,--help}'[print help]'",
    ...flags.map(flagSpec),
    ...slots.map((it, index) => quoted(`${it.isMany ? "*" : index + 1}:${valueSpec(it)}`)),
  ];
  const several = flags.flatMap((flag) =>
    flag.value?.isMany ? [`${flag.name}) ${action(flag.value.values)}; return ;;`] : [],
  );
  const first = several.length === 0 ? "" : `      _airferry_last_flag && case $REPLY in ${several.join(" ")} esac\n`;
  return `    ${name})\n${first}      _arguments -s -S \\\n${specs.map((it) => `        ${it}`).join(" \\\n")}\n      ;;`;
}

function flagSpec({ name, short, about, value, isRepeatable }: Flag): string {
  const star = isRepeatable ? "*" : "";
  const rest = value === undefined ? "" : `:${valueSpec(value)}`;
  const text = `[${about.replace(/[[\]:\\]/g, "\\$&")}]${rest}`;
  if (short !== undefined) return `'(${short} ${name})'{${short},${name}}${quoted(text)}`;
  return quoted(`${star}${name}${value === undefined ? "" : "="}${text}`);
}

/** `message:action` of a value. */
function valueSpec({ name, values }: Slot): string {
  return `${name.replaceAll(":", "\\:")}:${action(values)}`;
}

function action({ words, files, asked }: Values): string {
  if (words !== undefined) return `(${words.join(" ")})`;
  const file = { all: "_files", folders: "_files -/", manifests: '_files -g "*.(yaml|yml)(-.)"', none: "" }[
    files ?? "none"
  ];
  if (asked === undefined) return file === "" ? " " : file;
  if (file === "") return `_airferry_asked ${asked}`;
  return `{_alternative "files:file:${file}" "${asked}:${asked}:_airferry_asked ${asked}"}`;
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
