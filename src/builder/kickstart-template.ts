/**
 * Kickstart templates: finds their placeholders and fills them in. image-builder's own (`ks.cfg.tmpl`
 * since v0.1.39) contains `$SSH_PASSWORD`, which hack/set-ssh-password.sh of its checkout replaces; nothing does that
 * for a packed file. See docs/build.md, "Kickstart templates". Pure.
 */

/** One placeholder of a template, at its first occurrence. */
interface Placeholder {
  /**
   * Its name, as an environment variable without `AIRFERRY_`; absent for an expression, which only an editor can
   * resolve.
   */
  name?: string;
  /** As written in the file: `$SSH_PASSWORD`, `${NAME}`, `{{ .Name }}`. */
  text: string;
  /** From 1. */
  line: number;
}

/** A line of a kickstart file without its line end, and its section: `post`, `packages`; absent in commands. */
interface KickstartLine {
  text: string;
  section?: string;
  /** The line that opens or closes a section. */
  isEdge?: boolean;
}

/** Sections whose text is a program, with its own `$NAME` variables. */
const SCRIPTS = new Set(["pre", "pre-install", "post", "onerror", "traceback"]);
/** Names that image-builder replaces everywhere in its templates, scripts included. */
const REPLACED_EVERYWHERE = ["SSH_PASSWORD", "ENCRYPTED_SSH_PASSWORD"];
/** Variables that dnf fills in itself in a repository's URL. */
const DNF_VARIABLES = new Set(["arch", "basearch", "contentdir", "infra", "releasever", "rltype", "stream"]);
/** A password hash as crypt(3) writes it: its dollar signs are not placeholders. */
const CRYPT = /\$(?:1|2[abxy]?|5|6|7|y|gy|sha1|md5)\$[^\s"']*/;
const WHOLE = { before: `(?<=[=\\s"'])`, after: `(?=["'\\s]|$)` };
const PLACEHOLDER = new RegExp(
  [
    CRYPT.source,
    `\\$\\{(?<braced>[A-Za-z_]\\w*)\\}`,
    `\\$(?<plain>[A-Z_][A-Z0-9_]*)(?![A-Za-z0-9_])`,
    // In lower case a dollar sign may be part of a password, or of $releasever in a URL.
    `${WHOLE.before}\\$(?<small>[A-Za-z_]\\w*)${WHOLE.after}`,
    `\\{\\{-?\\s*(?:\\.|(?:user|env)\\s+[\`"'])?(?<curly>[A-Za-z_]\\w*)[\`"']?\\s*-?\\}\\}`,
    `${WHOLE.before}@@?(?<at>[A-Z][A-Z0-9_]*)@@?${WHOLE.after}`,
    `${WHOLE.before}%%?(?<percent>[A-Z][A-Z0-9_]*)%%?${WHOLE.after}`,
    `\\{\\{.*?\\}\\}`,
    `\\{%.*?%\\}`,
    `<%.*?%>`,
  ].join("|"),
  "g",
);
/** Replaces an unfilled placeholder; no kickstart parser accepts it as a value. */
const MARK = /<FILL IN: ([^<>]*)>/g;
/** Values that need no quotes in a kickstart command or a shell. */
const PLAIN_VALUE = /^[A-Za-z0-9_./:@%+,=^!?~-]+$/;

/** Yields the lines of a kickstart file, with the section of each; line ends (`\r` too) are not part of `text`. */
export function* kickstartLines(text: string): Generator<KickstartLine> {
  let section: string | undefined;
  for (const whole of text.split("\n")) {
    const line = whole.endsWith("\r") ? whole.slice(0, -1) : whole;
    const word = /^\s*%([a-z-]+)(?![\w-])/.exec(line)?.[1];
    if (section !== undefined) {
      const ends = word === "end";
      yield { text: line, section, ...(ends && { isEdge: true }) };
      if (ends) section = undefined;
    } else if (word === undefined || word === "end" || word === "include" || word === "ksappend") {
      yield { text: line };
    } else {
      section = word;
      yield { text: line, section, isEdge: true };
    }
  }
}

/** Lists the placeholders of a kickstart file, each text once, in the order of the file. Comments are ignored. */
export function placeholdersOf(text: string): Placeholder[] {
  const found = new Map<string, Placeholder>();
  replacePlaceholders(text, ({ name, text: own, line }) => {
    if (!found.has(own)) found.set(own, { ...(name !== undefined && { name }), text: own, line });
    return own;
  });
  return [...found.values()];
}

/** Name of the environment variable for a placeholder: `AIRFERRY_SSH_PASSWORD`. */
export function placeholderVariable(name: string): string {
  return `AIRFERRY_${name.toUpperCase()}`;
}

/**
 * Fills in the placeholders; one without a value becomes a mark (`<FILL IN: NAME>`) that the installer refuses, with a
 * comment above its line. Every other byte is unchanged. Values are quoted if a kickstart command needs it.
 */
export function fillPlaceholders(text: string, lookUp: (name: string) => string | undefined): string {
  return replacePlaceholders(text, ({ name, text: own, quote, inScript }) => {
    const value = name === undefined ? undefined : lookUp(name) || undefined;
    if (value === undefined) return `<FILL IN: ${name ?? own.replace(/[<>{}%]/g, "").trim()}>`;
    return inScript ? value : quoted(value, quote);
  });
}

/** Lists the marks that {@link fillPlaceholders} left, each once. */
export function marksOf(text: string): string[] {
  return [...new Set([...text.matchAll(MARK)].flatMap(([, it]) => it ?? []))];
}

/** Why a value cannot fill a placeholder; undefined when it can. */
export function valueFault(text: string, name: string, value: string): string | undefined {
  if (/[\u0000-\u001f\u007f]/.test(value)) return "holds a line break or another control character";
  // packer shuts down with: echo 'PASSWORD' | sudo -S, after expanding {{ }} in it.
  if (/PASSWORD$/.test(name) && (/['\\\s]/.test(value) || value.includes("{{")))
    return "holds a quote, a backslash, white space or {{, which packer's shutdown command cannot carry";
  if (PLAIN_VALUE.test(value)) return undefined;
  let used = false;
  replacePlaceholders(text, (it) => {
    if (it.inScript && it.name === name) used = true;
    return it.text;
  });
  return used
    ? "is used in a script of the template, where only letters, digits and ./:@%+,=^!?~_- are safe"
    : undefined;
}

interface Occurrence extends Placeholder {
  /** The enclosing quote, if any. */
  quote: string;
  inScript: boolean;
}

function replacePlaceholders(text: string, replacement: (found: Occurrence) => string): string {
  const lines = [...kickstartLines(text)];
  const outside = new Set(REPLACED_EVERYWHERE);
  for (const { text: line, section } of lines) {
    if (section !== undefined && SCRIPTS.has(section)) continue;
    for (const { name } of inCommand(line)) if (name !== undefined) outside.add(name);
  }
  const ends = text.split("\n").map((it) => (it.endsWith("\r") ? "\r" : ""));
  return [...withAssigned(lines)]
    .map(({ text: line, section, isEdge, assigned }, index) => {
      const inScript = section !== undefined && SCRIPTS.has(section) && isEdge !== true;
      const found = inScript ? inProgram(line, outside, assigned) : inCommand(line);
      let filled = "";
      let at = 0;
      for (const { name, start, own } of found) {
        const quote = quoteAt(line, start);
        const it = { ...(name !== undefined && { name }), text: own, line: index + 1, quote, inScript };
        filled += line.slice(at, start) + replacement(it);
        at = start + own.length;
      }
      filled += line.slice(at);
      const marks = filled === line ? [] : marksOf(filled);
      const comments = inScript ? [] : marks.map((it) => `# FILL IN: ${it}${ends[index]}\n`);
      return `${comments.join("")}${filled}${ends[index]}`;
    })
    .join("\n");
}

type Match = { name?: string; start: number; own: string };

function inCommand(line: string): Match[] {
  if (/^\s*#/.test(line)) return [];
  return [...line.matchAll(PLACEHOLDER)].flatMap((match) => {
    if (CRYPT.test(match[0]) || DNF_VARIABLES.has(match.groups?.small ?? "")) return [];
    const name = Object.values(match.groups ?? {}).find((it) => it !== undefined);
    return [{ ...(name !== undefined && { name }), start: match.index, own: match[0] }];
  });
}

function inProgram(line: string, names: ReadonlySet<string>, assigned: ReadonlySet<string>): Match[] {
  return [...line.matchAll(/\$(?:\{([A-Za-z_]\w*)\}|([A-Za-z_]\w*))/g)].flatMap((match) => {
    const [own, braced, name = braced] = match;
    if (name === undefined || !names.has(name) || assigned.has(name)) return [];
    return [{ name, start: match.index, own }];
  });
}

/** Each line with the names that its section assigns itself, anywhere in it. */
function withAssigned(lines: readonly KickstartLine[]): (KickstartLine & { assigned: ReadonlySet<string> })[] {
  let assigned = new Set<string>();
  return lines.map((line) => {
    const { text, section, isEdge } = line;
    if (section === undefined || isEdge === true) assigned = new Set();
    else {
      for (const [, name = ""] of text.matchAll(/(?:^|[\s;(])([A-Za-z_]\w*)=/g)) assigned.add(name);
      for (const [, list = ""] of text.matchAll(/\b(?:read|for)\s+(?:-\w+\s+)*([\w\s]+)/g))
        for (const name of list.split(/\s+/)) assigned.add(name);
    }
    return { ...line, assigned };
  });
}

/** The quote that is open at a position of a line, as a kickstart parser (Python's shlex) reads it. */
function quoteAt(line: string, at: number): string {
  let quote = "";
  for (let i = 0; i < at; i++) {
    const char = line.charAt(i);
    if (char === "\\" && quote !== "'") i++;
    else if (quote === "" && (char === '"' || char === "'")) quote = char;
    else if (char === quote) quote = "";
  }
  return quote;
}

function quoted(value: string, quote: string): string {
  if (quote === "'") return value.replaceAll("'", `'"'"'`);
  const escaped = value.replace(/["\\]/g, "\\$&");
  if (quote === '"') return escaped;
  return PLAIN_VALUE.test(value) ? value : `"${escaped}"`;
}
