/**
 * Reads ~/.netrc as curl does: machine, default, login, password; macros skipped, quoted strings, comments. The secrets
 * stay in memory and are looked up by host name.
 */
import { readFileSync } from "node:fs";

interface NetrcLogin {
  login: string;
  password: string;
  /** An empty member of the entry, as from an unset variable. Unusable. */
  lacks?: "login" | "password";
}

/** Logins by host name; `default` is under the empty name. */
export type Netrc = ReadonlyMap<string, NetrcLogin>;

/** Larger than any real netrc. */
const MAX_NETRC_BYTES = 256 * 1024;

/** Reads a netrc file; a missing or unreadable one is an empty map, as in every other client. */
export function readNetrc(path: string): Netrc {
  try {
    const text = readFileSync(path, "utf8");
    return text.length > MAX_NETRC_BYTES ? new Map() : parseNetrc(text);
  } catch {
    return new Map();
  }
}

/** Parses the text of a netrc file. The first entry of a machine wins; entries without a login are ignored. */
export function parseNetrc(text: string): Netrc {
  const logins = new Map<string, NetrcLogin>();
  const words = tokens(text);
  let machine: string | undefined;
  let entry: Partial<NetrcLogin> = {};
  const close = () => {
    if (machine !== undefined && !logins.has(machine) && entry.login !== undefined) {
      const lacks = entry.login === "" ? "login" : entry.password === "" ? "password" : undefined;
      logins.set(machine, { login: entry.login, password: entry.password ?? "", ...(lacks && { lacks }) });
    }
    machine = undefined;
    entry = {};
  };
  let i = 0;
  // A keyword instead of a value: the value is missing, and the keyword applies.
  const value = () => (isKeyword(words[i + 1]) ? "" : (words[++i]?.text ?? ""));
  for (; i < words.length; i++) {
    switch (isKeyword(words[i]) ? words[i]?.text : undefined) {
      case "machine":
        close();
        machine = words[++i]?.text.toLowerCase();
        break;
      case "default":
        close();
        machine = "";
        break;
      case "login":
        entry.login = value();
        break;
      case "password":
        entry.password = value();
        break;
      case "account":
        value();
        break;
    }
  }
  close();
  return logins;
}

interface Word {
  text: string;
  isQuoted: boolean;
}

const KEYWORDS = new Set(["machine", "default", "login", "password", "account"]);

function isKeyword(word: Word | undefined): boolean {
  return word !== undefined && !word.isQuoted && KEYWORDS.has(word.text);
}

/** Words outside comments and macros; double quotes hold spaces, backslash escapes inside them. */
function tokens(text: string): Word[] {
  const words: Word[] = [];
  let inMacro = false;
  for (const line of text.split(/\r?\n/)) {
    if (inMacro) {
      // A macro ends at the first empty line.
      inMacro = line.trim() !== "";
      continue;
    }
    for (const match of line.matchAll(/"((?:[^"\\]|\\.)*)"|(\S+)/g)) {
      const [, quoted, plain] = match;
      if (quoted === undefined && plain?.startsWith("#") && !["password", "login"].includes(words.at(-1)?.text ?? ""))
        break;
      if (plain === "macdef") {
        inMacro = true;
        break;
      }
      const isQuoted = quoted !== undefined;
      words.push({ text: isQuoted ? quoted.replace(/\\(.)/g, "$1") : (plain as string), isQuoted });
    }
  }
  return words;
}
