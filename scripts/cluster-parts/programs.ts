/** Programs that run until the script ends, each with a log. */
import { spawn } from "node:child_process";
import { openSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { clientEnv, clientPath } from "../../test/fixtures/clients.ts";

export class Programs {
  readonly #dir: string;

  constructor(dir: string) {
    this.#dir = dir;
  }

  /** @throws when it is not installed */
  start(name: string, args: string[], env: Record<string, string> = {}): void {
    const program = clientPath(name);
    if (program === undefined) throw new Error(`${name} is not installed`);
    const log = openSync(join(this.#dir, `${name}.log`), "a");
    spawn(program, args, { env: clientEnv(env), stdio: ["ignore", log, log] });
  }

  /** The end of a program's log. */
  said(name: string): string {
    return readFileSync(join(this.#dir, `${name}.log`), "utf8").slice(-1500);
  }
}
