/**
 * Atomic writes: temporary name, fsync, rename, fsync of the folder.
 */
import { randomBytes } from "node:crypto";
import { constants } from "node:fs";
import { type FileHandle, mkdir, open, rename, rm, stat } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { AirferryError } from "../errors.ts";
import { MAKE_ROOM, spaceFault } from "./space.ts";

/** Syncs a file or folder by name. Folders that cannot be synced (some network file systems) are ignored. */
export async function syncPath(path: string): Promise<void> {
  const handle = await open(path, constants.O_RDONLY);
  try {
    await handle.sync();
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code !== "EINVAL" && code !== "EBADF" && code !== "EISDIR") throw error;
  } finally {
    await handle.close();
  }
}

/**
 * Replaces or creates a file in one step that survives a power loss. Parent folders must exist. A long text may come in
 * pieces.
 */
export async function writeAtomic(
  file: string,
  bytes: Uint8Array | string | Generator<string>,
  mode = 0o644,
): Promise<void> {
  await replaceFile(file, mode, (handle) => handle.writeFile(bytes));
}

/**
 * As {@link writeAtomic}, with what `fill` writes to the new file, which is closed for it.
 * @param prefix begins the temporary name, which a kill leaves behind
 */
export async function replaceFile(
  file: string,
  mode: number,
  fill: (handle: FileHandle) => Promise<void>,
  prefix = ".tmp-",
): Promise<void> {
  const temporary = join(dirname(file), `${prefix}${randomBytes(8).toString("hex")}`);
  try {
    const handle = await open(temporary, "wx", mode);
    try {
      await fill(handle);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temporary, file);
    await syncPath(dirname(file));
  } catch (error) {
    await rm(temporary, { force: true });
    throw ioError("write", file, error);
  }
}

/** Whether a name is that of a new file which a killed run of {@link replaceFile} left. */
export function isLeftover(name: string): boolean {
  return /^\.tmp-[0-9a-f]{16}$/.test(name);
}

/** Creates a folder and its parents, each synced into its parent. */
export async function makeFolder(folder: string, mode = 0o755): Promise<void> {
  // Not mkdir's own recursion: it never ends if a parent exists but accepts no folders (/proc).
  const missing: string[] = [];
  let at = resolve(folder);
  for (; !(await isFolder(at)); at = dirname(at)) missing.unshift(at);
  for (const it of missing) {
    try {
      await mkdir(it, { mode });
    } catch (error) {
      // Another process may have created it meanwhile.
      if ((error as NodeJS.ErrnoException).code !== "EEXIST" || !(await isFolder(it)))
        throw ioError("create folder", it, error);
    }
    await syncPath(dirname(it));
  }
}

/**
 * Wraps a system error: ERR_SPACE for a full disk or quota, ERR_FILE_TOO_LARGE, else ERR_IO. Returns AirferryErrors
 * unchanged.
 * @throws the error itself when it reports an abort, which is not a fault of the file
 */
export function ioError(action: string, file: string, cause: unknown): AirferryError {
  if (cause instanceof AirferryError) return cause;
  if ((cause as Error).name === "AbortError") throw cause;
  const { code } = cause as NodeJS.ErrnoException;
  const detail = { path: file, cause, hint: hintOf(code) };
  if (code === "ENOSPC" || code === "EDQUOT") {
    return new AirferryError("ERR_SPACE", `cannot ${action} "${file}": ${spaceFault(file, code)}`, detail);
  }
  if (code === "EFBIG") {
    return new AirferryError("ERR_FILE_TOO_LARGE", `cannot ${action} "${file}": too large for its file system`, detail);
  }
  return new AirferryError("ERR_IO", `cannot ${action} "${file}": ${systemFault(cause)}`, detail);
}

/**
 * Waits for `work`, which reads one of airferry's own files that may be missing: undefined only if it is missing. Other
 * errors are thrown, since the file may be whole and matter.
 * @throws {AirferryError} ERR_IO
 */
export async function ifThere<T>(file: string, work: Promise<T>): Promise<T | undefined> {
  try {
    return await work;
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ENOTDIR") return undefined;
    throw unreadable(file, cause);
  }
}

function unreadable(file: string, cause: unknown): AirferryError {
  const { code, hint, path, message } = ioError("read", file, cause);
  return new AirferryError(code, message, {
    path,
    cause,
    hint:
      hint ?? "it may be intact: check the disk and the system's log before you replace it, then run the command again",
  });
}

const FAULTS = new Map([
  ["ENOENT", "no such file or folder"],
  ["EISDIR", "it is a folder"],
  ["ENOTDIR", "a part of its path is a file"],
  ["EEXIST", "a file of that name exists"],
  ["EACCES", "permission denied"],
  ["EPERM", "permission denied"],
  ["EROFS", "its file system is read-only"],
  ["ELOOP", "its links form a loop"],
  ["ENAMETOOLONG", "its name is too long"],
]);

/** The meaning of a system error, without its code, call and path; other errors as they are. */
export function systemFault(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  return FAULTS.get(code ?? "") ?? message;
}

/** The hint for a system error, by its code; undefined if it depends on the operation. */
export function hintOf(code: string | undefined): string | undefined {
  return HINTS.get(code ?? "");
}

const ALLOW = "choose another folder, or change the owner or the permissions of this one";
const HINTS = new Map([
  ["ENOSPC", MAKE_ROOM],
  ["EDQUOT", MAKE_ROOM],
  ["EFBIG", "use another file system, or smaller volumes: --volume-size fat32"],
  ["EEXIST", "give a folder, or another name"],
  ["ENOTDIR", "give a folder, or another name"],
  ["ENOENT", "check the path"],
  ["EROFS", "choose another folder, or mount its file system read-write"],
  ["EACCES", ALLOW],
  ["EPERM", ALLOW],
]);

/** @throws {AirferryError} ERR_IO when it cannot be examined */
async function isFolder(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory();
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ENOTDIR") return false;
    throw ioError("look at", path, error);
  }
}
