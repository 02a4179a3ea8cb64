/** Folders in the system's folder of temporary files, for as long as one piece of work takes. */
import { existsSync } from "node:fs";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ioError } from "./atomic.ts";

/**
 * Makes a folder whose name begins with the prefix; those of processes that were killed are removed. Whoever asks
 * for it removes it.
 * @throws {AirferryError} ERR_IO, ERR_SPACE
 */
export async function makeWorkFolder(prefix: string): Promise<string> {
  const folder = tmpdir();
  for (const name of await readdir(folder).catch(() => [])) {
    const [, pid = ""] = name.startsWith(prefix) ? (/^(\d+)-/.exec(name.slice(prefix.length)) ?? []) : [];
    const isInUse = pid === "" || Number(pid) === process.pid || existsSync(`/proc/${pid}`);
    if (isInUse || !existsSync("/proc/self")) continue;
    await rm(join(folder, name), { recursive: true, force: true }).catch(() => undefined);
  }
  return mkdtemp(join(folder, `${prefix}${process.pid}-`)).catch((error: unknown) => {
    throw ioError("make a folder in", folder, error);
  });
}

/** Runs work with such a folder, and removes it. */
export async function withWorkFolder<T>(prefix: string, work: (dir: string) => Promise<T>): Promise<T> {
  const dir = await makeWorkFolder(prefix);
  try {
    return await work(dir);
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}
