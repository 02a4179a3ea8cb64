/**
 * A lock held by one process at a time, as a file that names its holder. A killed holder is detected by its process id
 * together with the start time of that process, so that a reused id is not mistaken for it.
 */
import { randomBytes } from "node:crypto";
import { link, readFile, readlink, rename, rm, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import { AirferryError } from "../errors.ts";
import { ifThere, ioError } from "./atomic.ts";
import { parseJson } from "./json.ts";

/** A held lock. */
export interface HeldLock {
  /** Releases the lock; harmless when repeated. */
  release(): Promise<void>;
}

/**
 * Takes the lock at `file`, whose folder must exist.
 * @throws {AirferryError} ERR_BUSY while a living process, or one on another host, holds it
 */
export async function takeLock(file: string, what: string): Promise<HeldLock> {
  const mine = `${JSON.stringify({ pid: process.pid, started: await startOf(process.pid), host: hostname() })}\n`;
  const own = `${file}.${process.pid}-${randomBytes(4).toString("hex")}`;
  try {
    // On the disk before it has its name: after a power loss a lock without a holder could not be distinguished from a
    // held one.
    await writeFile(own, mine, { flag: "wx", mode: 0o644, flush: true });
    for (let attempt = 0; attempt < 20; attempt++) {
      try {
        // The name appears only with its content.
        await claim(own, file, mine);
        return { release: () => releaseLock(file, mine) };
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
      }
      const theirs = await ifThere(file, readFile(file, "utf8"));
      if (theirs === undefined) continue;
      const holder = parseHolder(theirs);
      if (holder === undefined || (await isAlive(holder))) throw busy(file, what, holder);
      await breakLock(file, theirs);
    }
    throw busy(file, what, undefined);
  } catch (error) {
    throw ioError("lock", file, error);
  } finally {
    await rm(own, { force: true });
  }
}

/**
 * Creates `file` with the content of `own`; fails with EEXIST when it exists. FAT has no links: there it is a plain new
 * file.
 */
async function claim(own: string, file: string, mine: string): Promise<void> {
  try {
    await link(own, file);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== "EPERM" && code !== "ENOTSUP" && code !== "EOPNOTSUPP" && code !== "ENOSYS") throw error;
    await writeFile(file, mine, { flag: "wx", mode: 0o644, flush: true });
  }
}

interface Holder {
  pid: number;
  started: string;
  host: string;
}

function busy(file: string, what: string, holder: Holder | undefined): AirferryError {
  const who = holder === undefined ? "somebody" : `process ${holder.pid} on ${holder.host}`;
  return new AirferryError("ERR_BUSY", `cannot use "${what}": ${who} is working on it`, {
    path: file,
    hint: `wait until it has finished; if you know that it no longer runs, remove "${file}"`,
  });
}

function parseHolder(text: string): Holder | undefined {
  try {
    const { pid, started, host } = parseJson(text) as Holder;
    return Number.isSafeInteger(pid) && typeof started === "string" && typeof host === "string"
      ? { pid, started, host }
      : undefined;
  } catch {
    return undefined;
  }
}

async function isAlive(holder: Holder): Promise<boolean> {
  // Processes on another host that shares the file system are not visible here.
  if (holder.host !== hostname()) return true;
  try {
    process.kill(holder.pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ESRCH") return false;
  }
  return (await startOf(holder.pid)) === holder.started;
}

/** What distinguishes this process from any other: of the same host, of another container on it, of an earlier boot. */
export async function processMark(): Promise<{ pid: number; started: string; host: string; space: string }> {
  const space = await readlink("/proc/self/ns/pid").catch(() => "");
  return { pid: process.pid, started: await startOf(process.pid), host: hostname(), space };
}

/** Whether a process with that mark ran here and has ended; false if that cannot be known here. */
export async function hasEnded(mark: Awaited<ReturnType<typeof processMark>>): Promise<boolean> {
  const own = await processMark();
  const bootOf = (it: string) => it.slice(it.indexOf("@"));
  const isHere = mark.host === own.host && mark.space === own.space && bootOf(mark.started) === bootOf(own.started);
  return isHere && mark.started !== "" && !(await isAlive(mark));
}

/** When a process started, in the kernel's ticks since boot, with the boot it belongs to; empty if unknown. */
async function startOf(pid: number): Promise<string> {
  try {
    const stat = await readFile(`/proc/${pid}/stat`, "latin1");
    const boot = (await readFile("/proc/sys/kernel/random/boot_id", "latin1")).trim();
    // Fields are counted after the name, which may contain spaces and parentheses.
    return `${stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19] ?? ""}@${boot}`;
  } catch {
    return "";
  }
}

/** Removes a dead holder's lock, unless another process was faster and it is a new one: that one is restored. */
async function breakLock(file: string, stale: string): Promise<void> {
  const aside = `${file}.stale-${randomBytes(4).toString("hex")}`;
  try {
    await rename(file, aside);
  } catch {
    return;
  }
  if ((await readFile(aside, "utf8").catch(() => stale)) !== stale) await link(aside, file).catch(() => undefined);
  await rm(aside, { force: true });
}

async function releaseLock(file: string, mine: string): Promise<void> {
  if ((await readFile(file, "utf8").catch(() => undefined)) === mine) await rm(file, { force: true });
}
