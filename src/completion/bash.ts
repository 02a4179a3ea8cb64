/**
 * Completion for bash 4 and newer, without the bash-completion package. Splits the line by itself, since bash cuts
 * words at `:` and `=`.
 */
import type { Slot, Values, VerbWords } from "./verb-words.ts";

/** Returns the script; it defines the completion of `airferry`. */
export function bashScript(verbs: readonly VerbWords[]): string {
  return `# bash completion of airferry, written by: airferry completion bash
${FUNCTIONS}
_airferry_verbs=(${verbs.map((it) => it.name).join(" ")})

# The flags of a verb; those that may be repeated are marked.
_airferry_flags() {
  case $1 in
${verbs.map((it) => `    ${it.name}) flags="${it.flags.map((flag) => flag.name + (flag.isRepeatable ? "+" : "")).join(" ")}" ;;`).join("\n")}
  esac
}

# What the value of a flag is: values of a verb and a flag; many when it takes every word up to the next flag.
_airferry_flag() {
  values= many=
  case "$1 $2" in
${verbs.flatMap(flagLines).join("\n")}
    *) return 1 ;;
  esac
}

# What the argument of a verb is, counted from 0.
_airferry_slot() {
  values=
  case "$1 $2" in
${verbs.flatMap(slotLines).join("\n")}
  esac
}

complete -F _airferry airferry
`;
}

function flagLines({ name, flags }: VerbWords): string[] {
  return flags.flatMap(({ name: flag, short, value }) => {
    if (value === undefined) return [];
    const pattern = short === undefined ? `"${name} ${flag}"` : `"${name} ${flag}"|"${name} ${short}"`;
    return [`    ${pattern}) values="${tokens(value.values)}"${value.isMany ? " many=1" : ""} ;;`];
  });
}

function slotLines({ name, slots }: VerbWords): string[] {
  return slots.flatMap((slot: Slot, index) =>
    tokens(slot.values) === ""
      ? []
      : [`    "${name} "${slot.isMany ? "*" : index}) values="${tokens(slot.values)}" ;;`],
  );
}

/** One word for each kind of value; functions below read it. */
function tokens({ words, files, asked }: Values): string {
  return [
    ...(words ?? []).map((it) => `=${it}`),
    ...(files ? [`@${files}`] : []),
    ...(asked ? [`:${asked}`] : []),
  ].join(" ");
}

const FUNCTIONS = `
# The words of a line up to the cursor, without quotes: the last is the one at the cursor.
_airferry_split() {
  local text=$1 at char quote= word= open=
  words=()
  for ((at = 0; at < \${#text}; at++)); do
    char=\${text:at:1}
    if [[ $quote == "'" ]]; then
      if [[ $char == "'" ]]; then quote=; else word+=$char; fi
    elif [[ $char == "\\\\" ]]; then
      at=$((at + 1)) open=1 word+=\${text:at:1}
    elif [[ $quote == '"' ]]; then
      if [[ $char == '"' ]]; then quote=; else word+=$char; fi
    elif [[ $char == "'" || $char == '"' ]]; then
      quote=$char open=1
    elif [[ $char == [[:space:]] ]]; then
      [[ -n $open ]] && words+=("$word")
      word= open=
    else
      open=1 word+=$char
    fi
  done
  words+=("$word")
}

# Names in a store or a manifest, of which the program knows; it may be an alias here.
_airferry_ask() {
  local program=("\${COMP_WORDS[0]/#\\~/$HOME}")
  [[ -n \${BASH_ALIASES[$program]} ]] && program=(\${BASH_ALIASES[$program]})
  "\${program[@]}" complete "$1" -- "\${words[@]:1:\${#words[@]}-2}" 2>/dev/null </dev/null
}

# Offers the candidates that begin like the word at the cursor.
_airferry_offer() {
  local word=$1 kind name shown end=" "
  shift
  # Only the shell itself knows which of its files is a folder, and gets no blank after it.
  [[ " $* " == *" @"* ]] && end= && compopt -o filenames +o nospace
  for kind; do
    case $kind in
      =*) [[ \${kind:1} == "$word"* ]] && COMPREPLY+=("\${kind:1}$end") ;;
      :*)
        while IFS= read -r name; do
          [[ $name == "$word"* ]] || continue
          printf -v shown %q "$name"
          COMPREPLY+=("$shown$end")
        done < <(_airferry_ask "\${kind:1}")
        ;;
      @*)
        while IFS= read -r name; do COMPREPLY+=("$name"); done < <(
          compgen -d -- "$word"
          case $kind in
            @all) compgen -f -- "$word" ;;
            @manifests) compgen -f -X '!*.yaml' -- "$word"; compgen -f -X '!*.yml' -- "$word" ;;
          esac | while IFS= read -r name; do [[ -d \${name/#\\~/$HOME} ]] || printf '%s\\n' "$name"; done
        )
        ;;
    esac
  done
}

_airferry() {
  local words=() verb= at word count=0 pending= pendingmany= rest= values many flags cur used=" "
  COMPREPLY=()
  compopt -o nospace
  _airferry_split "\${COMP_LINE:0:COMP_POINT}"
  cur=\${words[-1]}
  for ((at = 1; at < \${#words[@]} - 1; at++)); do
    word=\${words[at]}
    if [[ -z $verb ]]; then
      [[ $word == -* ]] || verb=$word
    elif [[ -n $rest ]]; then
      count=$((count + 1))
    elif [[ $word == -- ]]; then
      rest=1 pending=
    elif [[ $word == -?* ]]; then
      used+="\${word%%=*} " pending= pendingmany=
      if [[ $word != *=* ]] && _airferry_flag "$verb" "$word"; then pending="$word" pendingmany=$many; fi
    elif [[ -n $pending ]]; then
      [[ -n $pendingmany ]] || pending=
    else
      count=$((count + 1))
    fi
  done
  if [[ -z $verb ]]; then
    if [[ $cur == -* ]]; then _airferry_offer "$cur" =--help =--version
    else _airferry_offer "$cur" "\${_airferry_verbs[@]/#/=}" =help; fi
  elif [[ $verb == help ]]; then
    _airferry_offer "$cur" "\${_airferry_verbs[@]/#/=}"
  elif [[ -z $rest && $cur == --*=* ]] && _airferry_flag "$verb" "\${cur%%=*}"; then
    _airferry_offer "\${cur#*=}" $values
    # What stands before the last character that cuts words stays on the line.
    if [[ $COMP_WORDBREAKS != *=* ]]; then COMPREPLY=("\${COMPREPLY[@]/#/\${cur%%=*}=}"); fi
    cur=\${cur#*=}
  elif [[ -n $pending && ( $cur != -* || -z $pendingmany ) ]]; then
    _airferry_flag "$verb" "$pending"
    _airferry_offer "$cur" $values
  elif [[ -z $rest && $cur == -* ]]; then
    _airferry_flags "$verb"
    for word in $flags --help; do
      [[ $word == *+ || $used != *" $word "* ]] && _airferry_offer "$cur" "=\${word%+}"
    done
  else
    _airferry_slot "$verb" "$count"
    _airferry_offer "$cur" $values
  fi
  if [[ $cur == *:* && $COMP_WORDBREAKS == *:* ]]; then
    COMPREPLY=("\${COMPREPLY[@]#"\${cur%"\${cur##*:}"}"}")
  fi
}
`.trim();
