/**
 * Runs the command that is recorded or rehearsed. Programs that read only the system's file of certificates (dnf, wget,
 * skopeo) see it with another CA: root can bind another file over it in a mount namespace of the command's own.
 */
import { spawn } from "node:child_process";
import { access, constants, stat } from "node:fs/promises";
import { constants as system } from "node:os";
import { AirferryError } from "../errors.ts";
import { isRoot } from "../io/account.ts";
import { systemFault } from "../io/atomic.ts";
import { findProgram } from "./client-environment.ts";

interface ClientRun {
  command: readonly [string, ...string[]];
  env: NodeJS.ProcessEnv;
  /** Files that are to be seen in place of others, which exist. */
  overlays: readonly { file: string; over: string }[];
  /** Its output goes to standard error: standard output has a document. */
  isQuiet: boolean;
}

const OVERLAY =
  'n=$1; shift; while [ "$n" -gt 0 ]; do mount --bind "$1" "$2" || exit 126; shift 2; n=$((n-1)); done; exec "$@"';

/** Whether a command can see files in place of others. */
export async function canOverlay(env: NodeJS.ProcessEnv): Promise<boolean> {
  if (process.platform !== "linux" || !isRoot()) return false;
  const unshare = await findProgram("unshare", env);
  return unshare !== undefined && (await exitStatus(spawn(unshare, ["-m", "true"], { stdio: "ignore" }))) === 0;
}

/**
 * Runs it to its end; returns its exit status, 128 and the number of the signal that killed it.
 * @throws {AirferryError} ERR_USAGE when there is no such program
 */
export async function runClient(run: ClientRun): Promise<number> {
  const { command, env, overlays, isQuiet } = run;
  const [name] = command;
  await requireProgram(name, env);
  const isOverlaid = overlays.length > 0 && (await canOverlay(env));
  const mounts = overlays.flatMap(({ file, over }) => [file, over]);
  const wrapped = isOverlaid
    ? ["unshare", "-m", "sh", "-c", OVERLAY, "airferry", String(overlays.length), ...mounts, ...command]
    : command;
  const [program = name, ...args] = wrapped;
  const child = spawn(program, args, { env, stdio: ["inherit", isQuiet ? process.stderr : "inherit", "inherit"] });
  // A terminal sends its signals to both.
  const pass = (signal: NodeJS.Signals) => child.kill(signal);
  for (const it of ["SIGTERM", "SIGHUP"] as const) process.on(it, pass);
  try {
    return await exitStatus(child);
  } catch (cause) {
    throw cause instanceof AirferryError ? cause : notThere(name, systemFault(cause), cause);
  } finally {
    for (const it of ["SIGTERM", "SIGHUP"] as const) process.off(it, pass);
  }
}

/** @throws {AirferryError} ERR_USAGE when a shell would not find the program */
export async function requireProgram(name: string, env: NodeJS.ProcessEnv): Promise<void> {
  if (name.includes("/")) {
    const there = access(name, constants.X_OK).then(() => stat(name));
    const found = await there.catch((cause: unknown) => {
      throw notThere(name, systemFault(cause), cause);
    });
    if (found.isDirectory()) throw notThere(name, "a folder");
  } else if ((await findProgram(name, env)) === undefined) throw notThere(name, "no such program in PATH");
}

function exitStatus(child: ReturnType<typeof spawn>): Promise<number> {
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("exit", (status, signal) => resolve(status ?? 128 + (system.signals[signal ?? "SIGKILL"] ?? 0)));
  });
}

function notThere(name: string, fault: string, cause?: unknown): AirferryError {
  return new AirferryError("ERR_USAGE", `cannot run "${name}": ${fault}`, {
    hint: "give a program and its arguments after --; for a line of shell: -- sh -c 'LINE'",
    cause,
  });
}
