/**
 * Refuses secrets in files that everybody on the machine can read or change, with the command that fixes it.
 */
import { stat } from "node:fs/promises";
import { AirferryError } from "../errors.ts";
import { shellWord } from "./shell.ts";

const OTHERS_WRITE = 0o002;
const OTHERS_READ = 0o004;

/** What users other than a file's owner and group may do with it. Nothing, if files have no such permissions. */
type Exposure = "read" | "change" | undefined;

/** Checks a file's permissions, following links. A missing or non-regular file (such as a pipe) is not exposed. */
export async function exposureOf(file: string): Promise<Exposure> {
  const stats = await stat(file).catch(() => undefined);
  if (process.platform === "win32" || stats?.isFile() !== true) return undefined;
  if ((stats.mode & OTHERS_WRITE) !== 0) return "change";
  return (stats.mode & OTHERS_READ) === 0 ? undefined : "read";
}

/**
 * Refuses a secret that others can read or change. `what` names it: `the key`.
 * @throws {AirferryError} ERR_KEY_EXPOSED
 */
export async function refuseExposed(file: string, what: string): Promise<void> {
  const exposure = await exposureOf(file);
  if (exposure !== undefined) throw exposed(file, what, exposure);
}

/** The error, for a caller that has determined the exposure. */
export function exposed(file: string, what: string, exposure: "read" | "change"): AirferryError {
  return new AirferryError(
    "ERR_KEY_EXPOSED",
    `cannot use ${what} "${file}": everybody on this machine can ${exposure} it`,
    {
      path: file,
      hint: `${chmodHint(file)}; if others may have accessed it, create a new one`,
    },
  );
}

/** The command that removes others' access to a file. */
export function chmodHint(file: string): string {
  return `chmod o= ${shellWord(file)}`;
}
