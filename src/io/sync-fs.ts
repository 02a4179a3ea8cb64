/**
 * Makes many new files durable at once. One `syncfs` costs a fraction of as many `fsync`s; Node has no call for it, but
 * the `sync` program of every Linux has. If that is missing, files are synced one by one.
 */
import { spawn } from "node:child_process";
import { syncPath } from "./atomic.ts";
import { eachLimited } from "./limit.ts";

const PROGRAMS = ["/bin/sync", "/usr/bin/sync"];
/** Below this many files the program is not worth starting. */
const FEW = 32;
let unusable = false;

/** Forces the files, all on the file system of `folder`, to disk. */
export async function syncFiles(folder: string, files: readonly string[]): Promise<void> {
  if (files.length > FEW && !unusable && process.platform === "linux") {
    for (const program of PROGRAMS) if (await ran(program, ["-f", folder])) return;
    unusable = true;
  }
  await eachLimited(files, 16, syncPath);
}

/** Forces everything on the file system of `folder` to disk, so far as the system can do that. */
export async function syncFolder(folder: string): Promise<void> {
  if (process.platform === "linux") for (const program of PROGRAMS) if (await ran(program, ["-f", folder])) return;
  await syncPath(folder);
}

function ran(program: string, args: string[]): Promise<boolean> {
  return new Promise((resolve) => {
    const child = spawn(program, args, { stdio: "ignore", env: {} });
    child.once("error", () => resolve(false));
    child.once("exit", (status) => resolve(status === 0));
  });
}
