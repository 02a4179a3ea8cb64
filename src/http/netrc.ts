/**
 * Reads ~/.netrc the way curl does: machine, default, login, password; macros skipped, quoted strings, comments. The secrets
 * stay in memory and are looked up by host name.
 */
import { readFileSync } from "node:fs";

export interface NetrcLogin {
  login: string;
  password: string;
}

/** Logins by host name; `default` is under the empty name. */
export type Netrc = ReadonlyMap<string, NetrcLogin>;

/** No netrc is larger than this by honest means. */
const MAX_NETRC_BYTES = 256 * 1024;

/** Reads a netrc file; a missing or unreadable one is an empty map, as for every other client. */
export function readNetrc(path: string): Netrc {
  try {
    const text = readFileSync(path, "utf8");
    return text.length > MAX_NETRC_BYTES ? new Map() : parseNetrc(text);
  } catch {
    return new Map();
  }
}

/** Parses the text of a netrc file. The first entry of a machine wins; entries without a login or password are left out. */
export function parseNetrc(text: string): Netrc {
  const logins = new Map<string, NetrcLogin>();
  const words = tokens(text);
  let machine: string | undefined;
  let entry: Partial<NetrcLogin> = {};
  const close = () => {
    if (machine !== undefined && !logins.has(machine) && entry.login !== undefined) {
      logins.set(machine, { login: entry.login, password: entry.password ?? "" });
    }
    machine = undefined;
    entry = {};
  };
  for (let i = 0; i < words.length; i++) {
    switch (words[i]) {
      case "machine":
        close();
        machine = words[++i]?.toLowerCase();
        break;
      case "default":
        close();
        machine = "";
        break;
      case "login":
        entry.login = words[++i] ?? "";
        break;
      case "password":
        entry.password = words[++i] ?? "";
        break;
      case "account":
        i++;
        break;
    }
  }
  close();
  return logins;
}

/** Words outside comments and macros; double quotes hold spaces, backslash escapes inside them. */
function tokens(text: string): string[] {
  const words: string[] = [];
  let inMacro = false;
  for (const line of text.split(/\r?\n/)) {
    if (inMacro) {
      // A macro ends at the first empty line.
      inMacro = line.trim() !== "";
      continue;
    }
    for (const match of line.matchAll(/"((?:[^"\\]|\\.)*)"|(\S+)/g)) {
      const [, quoted, plain] = match;
      if (quoted === undefined && plain?.startsWith("#") && !["password", "login"].includes(words.at(-1) ?? "")) break;
      if (plain === "macdef") {
        inMacro = true;
        break;
      }
      words.push(quoted !== undefined ? quoted.replace(/\\(.)/g, "$1") : (plain as string));
    }
  }
  return words;
}
