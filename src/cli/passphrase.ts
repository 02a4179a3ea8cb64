/** Passphrases of private keys: environment first, then a prompt on a terminal that shows nothing. */
import { createInterface } from "node:readline/promises";
import { Writable } from "node:stream";
import { AirferryError } from "../errors.ts";
import { type Passphrase, passphraseFrom } from "../sign/private-key.ts";

export function passphrase(): Passphrase {
  return passphraseFrom(process.env, process.stdin.isTTY && process.stderr.isTTY ? prompt : undefined);
}

/** Asks on the terminal; what is typed is not shown. */
export async function prompt(what: string): Promise<string> {
  const silent = new Writable({ write: (_chunk, _encoding, done) => done() });
  process.stderr.write(`${what}: `);
  const terminal = createInterface({ input: process.stdin, output: silent, terminal: true });
  try {
    return await new Promise<string>((resolve, reject) => {
      // The terminal is in raw mode: Ctrl-C is a key here, and Ctrl-D the end.
      terminal.once("SIGINT", () => {
        terminal.close();
        process.kill(process.pid, "SIGINT");
      });
      terminal.once("close", () => reject(new AirferryError("ERR_PASSWORD", `cannot read ${what}: the input ended`)));
      terminal.question("").then(resolve, reject);
    });
  } finally {
    terminal.close();
    process.stderr.write("\n");
  }
}
