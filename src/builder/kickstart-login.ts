/**
 * The account that packer logs in with, and the one that a kickstart file creates: if they differ, the build ends after
 * half an hour with "Timeout waiting for SSH". See docs/build.md, "The account". Pure.
 */

import type { Finding } from "../io/findings.ts";
import type { Builder } from "./builder.ts";
import { kickstartLines, marksOf, placeholdersOf, placeholderVariable } from "./kickstart-template.ts";

/** An account that a kickstart file creates. */
interface Account {
  name: string;
  /** In plain text; absent when it is a hash, not set, or not filled in yet. */
  password?: string;
  isLocked: boolean;
}

/** Packer's login, as far as it is known. */
interface Login {
  username: string;
  password?: string;
  /** The source, for messages. */
  source: string;
}

/** image-builder's own account; with the password of the same name up to v0.1.38. */
const BUILDER = "builder";

/** Lists the accounts of `user` lines. */
export function accountsOf(kickstart: string): Account[] {
  const accounts: Account[] = [];
  for (const { text, section } of kickstartLines(kickstart)) {
    const words = section === undefined ? splitWords(text) : [];
    if (words[0] !== "user") continue;
    const name = optionOf(words, "name");
    if (name === undefined) continue;
    const password = optionOf(words, "password");
    const isOpen = password === undefined || marksOf(text).length > 0 || placeholdersOf(text).length > 0;
    accounts.push({
      name,
      ...(!isOpen && !words.includes("--iscrypted") && { password }),
      isLocked: words.includes("--lock"),
    });
  }
  return accounts;
}

/** Packer's login: from the manifest, or known for the builder's version. */
function loginOf(builder: Builder): Login {
  const { ssh_username: username, ssh_password: password } = builder.packerVars;
  if (username !== undefined || password !== undefined) {
    return {
      username: username ?? BUILDER,
      ...(password !== undefined && { password }),
      source: "builder.packer_vars",
    };
  }
  if (builder.flavor === "spectro-capi" && (builder.version === undefined || /^v?4\.6\./.test(builder.version))) {
    return { username: BUILDER, password: BUILDER, source: "CAPI builder 4.6, which is image-builder v0.1.28" };
  }
  return { username: BUILDER, source: builder.flavor };
}

/**
 * The account of image-builder's packer variables: packer gets the account that the kickstart file creates, so both
 * agree. Undefined without an account that has a password in plain text.
 */
export function loginFrom(kickstart: string, builder: Builder): Account | undefined {
  const accounts = accountsOf(kickstart).filter((it) => !it.isLocked);
  const { username } = loginOf(builder);
  return accounts.find((it) => it.name === username) ?? (accounts.length === 1 ? accounts[0] : undefined);
}

/** Compares the account of a kickstart file with the one that packer uses. Passwords are never shown. */
export function checkLogin(kickstart: string, builder: Builder): Finding[] {
  const login = loginOf(builder);
  const told = builder.flavor === "spectro-capi" || login.source === "builder.packer_vars";
  const accounts = accountsOf(kickstart);
  const about = { area: "builder", subject: "builder.kickstart" } as const;
  if (accounts.length === 0) {
    return [
      {
        ...about,
        level: "warning",
        message: "the kickstart file creates no account, so packer cannot log in unless something else creates one",
        remedy: `add to it: user --name=${login.username} --groups=wheel --password=… --plaintext`,
      },
    ];
  }
  // image-builder's packer gets the account of the kickstart file; the other builder has a fixed account.
  const mine = told ? accounts.find((it) => it.name === login.username) : loginFrom(kickstart, builder);
  if (mine === undefined) {
    const names = accounts.map((it) => it.name).join(", ");
    return [
      {
        ...about,
        level: "error",
        message: `packer logs in as ${login.username} (${login.source}), but the kickstart file creates ${names}`,
        remedy: `name the account ${login.username} in the kickstart file, or set packer's in builder.packer_vars: ssh_username, ssh_password`,
      },
    ];
  }
  if (mine.isLocked) {
    const message = `packer logs in as ${mine.name}, which the kickstart file locks`;
    return [{ ...about, level: "error", message, remedy: "remove --lock from its user line" }];
  }
  if (told && login.password !== undefined && mine.password !== undefined && mine.password !== login.password) {
    const given = placeholdersOf(kickstart).find((it) => it.name !== undefined)?.name ?? "SSH_PASSWORD";
    return [
      {
        ...about,
        level: "error",
        message: `the kickstart file gives ${mine.name} another password than packer logs in with (${login.source})`,
        remedy: `use the same password: for a template set ${placeholderVariable(given)} to packer's password, or write the password into builder.packer_vars.ssh_password`,
      },
    ];
  }
  return [];
}

/** Value of `--name=X`, `--name X` or `--name="X"` in a split line; the last one counts. */
function optionOf(words: readonly string[], name: string): string | undefined {
  let value: string | undefined;
  for (const [index, word] of words.entries()) {
    if (word.startsWith(`--${name}=`)) value = word.slice(name.length + 3);
    else if (word === `--${name}`) value = words[index + 1];
  }
  return value;
}

/** Splits a command as a kickstart parser (Python's shlex) does: quotes, backslashes, `#` begins a comment. */
function splitWords(line: string): string[] {
  const words: string[] = [];
  const pattern = /\s+|#.*$|((?:"(?:\\.|[^"\\])*"|'[^']*'|\\.|[^\s"'\\#]|(?<=\S)#)+)/gy;
  for (const match of line.matchAll(pattern)) {
    if (match[1] === undefined) continue;
    words.push(
      match[1].replace(/"((?:\\.|[^"\\])*)"|'([^']*)'|\\(.)/g, (_, double, single, escaped) =>
        double !== undefined ? double.replace(/\\(["\\])/g, "$1") : (single ?? escaped),
      ),
    );
  }
  return words;
}
