/**
 * Secrets in files that everybody on the machine can read, or change, are none: they are refused with what mends it.
 */
import { stat } from "node:fs/promises";
import { AirferryError } from "../errors.ts";
import { shellWord } from "./shell.ts";

const OTHERS_WRITE = 0o002;
const OTHERS_READ = 0o004;

/** What others than a file's owner and group may do with it. Nothing, where files have no such permissions. */
type Exposure = "read" | "change" | undefined;

/** Looks at a file's permissions, behind links. What is not there or is no regular file (a pipe, say) is not exposed. */
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

/** The refusal itself, for a caller that knows the exposure and what it means here. */
export function exposed(file: string, what: string, exposure: "read" | "change"): AirferryError {
  return new AirferryError(
    "ERR_KEY_EXPOSED",
    `cannot use ${what} "${file}": everybody on this machine can ${exposure} it`,
    {
      path: file,
      hint: `${chmodHint(file)}; where others may have been at it, make a new one`,
    },
  );
}

/** The command that takes a file from others. */
export function chmodHint(file: string): string {
  return `chmod o= ${shellWord(file)}`;
}
