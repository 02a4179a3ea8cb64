/**
 * Runs the command that is recorded. Programs that read only the system's file of certificates (dnf, wget, skopeo) see
 * it with the recording's CA: root can bind another file over it in a mount namespace of the command's own.
 */
import { spawn } from "node:child_process";
import { constants } from "node:os";
import { AirferryError } from "../errors.ts";
import { isRoot } from "../io/account.ts";
import { systemFault } from "../io/atomic.ts";
import { findProgram } from "./client-environment.ts";

interface ClientRun {
  command: readonly [string, ...string[]];
  env: NodeJS.ProcessEnv;
  /** PEM file that is to be seen in place of `systemFiles`. */
  bundle: string;
  systemFiles: readonly string[];
  /** Its output goes to standard error: standard output has a document. */
  isQuiet: boolean;
}

const OVERLAY =
  'b=$1; n=$2; shift 2; while [ "$n" -gt 0 ]; do mount --bind "$b" "$1" || exit 126; shift; n=$((n-1)); done; exec "$@"';
/** Of a shell: not a program that can be started. */
const NOT_FOUND = 127;

/** Whether the command will see the bundle in place of the system's file. */
export async function canOverlay(systemFiles: readonly string[], env: NodeJS.ProcessEnv): Promise<boolean> {
  if (process.platform !== "linux" || !isRoot() || systemFiles.length === 0) return false;
  const unshare = await findProgram("unshare", env);
  return unshare !== undefined && (await exitStatus(spawn(unshare, ["-m", "true"], { stdio: "ignore" }))) === 0;
}

/**
 * Runs it to its end; returns its exit status, 128 and the number of the signal that killed it.
 * @throws {AirferryError} ERR_USAGE when there is no such program
 */
export async function runClient(run: ClientRun): Promise<number> {
  const { command, env, bundle, systemFiles, isQuiet } = run;
  const [name] = command;
  if (!name.includes("/") && (await findProgram(name, env)) === undefined)
    throw notThere(name, "no such program in PATH");
  const isOverlaid = await canOverlay(systemFiles, env);
  const wrapped = isOverlaid
    ? ["unshare", "-m", "sh", "-c", OVERLAY, "airferry", bundle, String(systemFiles.length), ...systemFiles, ...command]
    : command;
  const [program = name, ...args] = wrapped;
  const child = spawn(program, args, { env, stdio: ["inherit", isQuiet ? process.stderr : "inherit", "inherit"] });
  // A terminal sends its signals to both.
  const pass = (signal: NodeJS.Signals) => child.kill(signal);
  process.on("SIGTERM", pass);
  try {
    const status = await exitStatus(child);
    if (status === NOT_FOUND && !isOverlaid) throw notThere(name, "it did not start");
    return status;
  } catch (cause) {
    throw cause instanceof AirferryError ? cause : notThere(name, systemFault(cause), cause);
  } finally {
    process.off("SIGTERM", pass);
  }
}

function exitStatus(child: ReturnType<typeof spawn>): Promise<number> {
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("exit", (status, signal) => resolve(status ?? 128 + (constants.signals[signal ?? "SIGKILL"] ?? 0)));
  });
}

function notThere(name: string, fault: string, cause?: unknown): AirferryError {
  return new AirferryError("ERR_USAGE", `cannot run "${name}": ${fault}`, {
    hint: "give a program and its arguments after --; for a line of shell: -- sh -c 'LINE'",
    cause,
  });
}
