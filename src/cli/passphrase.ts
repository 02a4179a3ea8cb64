/** Passphrases of private keys: environment first, then a prompt on a terminal that shows nothing. */
import { Writable } from "node:stream";
import { AirferryError } from "../errors.ts";
import { type Passphrase, passphraseFrom, passphraseIn } from "../sign/private-key.ts";
import { hasTerminal } from "./ask.ts";

export function passphrase(): Passphrase {
  return passphraseFrom(process.env, hasTerminal() ? (file) => prompt(`passphrase for ${file}`) : undefined);
}

/** Whether {@link passphrase} may prompt. */
export function mayAskPassphrase(): boolean {
  return passphraseIn(process.env) === undefined && hasTerminal();
}

/**
 * Asks twice for the passphrase of a new key. @throws {AirferryError} ERR_PASSWORD without a terminal, or when the two
 * differ
 */
export async function newPassphrase(file: string): Promise<string> {
  if (!hasTerminal()) {
    throw new AirferryError("ERR_PASSWORD", `cannot create "${file}": it needs a passphrase and there is no terminal`, {
      hint: "set AIRFERRY_PASSWORD",
    });
  }
  const password = await prompt(`new passphrase for ${file}`);
  if ((await prompt("the same again")) === password) return password;
  throw new AirferryError("ERR_PASSWORD", `cannot create "${file}": the passphrases differ`, {
    hint: "run the command again",
  });
}

/** Asks on the terminal without echo. */
async function prompt(what: string): Promise<string> {
  const { createInterface } = await import("node:readline/promises");
  const silent = new Writable({ write: (_chunk, _encoding, done) => done() });
  process.stderr.write(`${what}: `);
  const terminal = createInterface({ input: process.stdin, output: silent, terminal: true });
  try {
    return await new Promise<string>((resolve, reject) => {
      // The terminal is in raw mode: Ctrl-C is a key here, and Ctrl-D ends the input.
      let interrupted = false;
      terminal.once("SIGINT", () => {
        interrupted = true;
        terminal.close();
        process.kill(process.pid, "SIGINT");
      });
      terminal.once(
        "close",
        () => interrupted || reject(new AirferryError("ERR_PASSWORD", `cannot read the ${what}: the input ended`)),
      );
      terminal.question("").then(resolve, reject);
    });
  } finally {
    terminal.close();
    process.stderr.write("\n");
  }
}
