/**
 * Capacity of a file system: bytes, inodes, and the largest single file.
 */
import { statfsSync } from "node:fs";
import { statfs } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { AirferryError } from "../errors.ts";
import { formatBytes, plural } from "./format.ts";

export const MAKE_ROOM = "free some space and run the same command again";
export const MAKE_INODES = "remove files there, or use a file system with more inodes, and run the same command again";

/** The failed write has freed its partial data: almost none counts as none. */
const FEW_FILES = 16;
const FEW_BYTES = 1024 * 1024;

/** Capacity of the file system of a path. */
interface Space {
  /** Bytes that an unprivileged user can still write. */
  freeBytes: number;
  /** Files that can still be created; infinite if the file system does not count them. */
  freeFiles: number;
  /** Largest possible file, if known. */
  maxFileBytes: number;
}

const FAT_MAGIC = 0x4d44;
const FAT_MAX_FILE_BYTES = 4 * 1024 ** 3 - 1;

/** Queries the file system of `folder`, which must exist. */
export async function readSpace(folder: string): Promise<Space> {
  const it = await statfs(folder);
  return {
    freeBytes: it.bavail * it.bsize,
    freeFiles: it.files === 0 ? Number.POSITIVE_INFINITY : it.ffree,
    maxFileBytes: it.type === FAT_MAGIC ? FAT_MAX_FILE_BYTES : Number.POSITIVE_INFINITY,
  };
}

/** Free bytes where `folder` is or would be created. */
export async function freeBytesAt(folder: string): Promise<number> {
  for (let at = resolve(folder); ; at = dirname(at)) {
    const space = await readSpace(at).catch(() => undefined);
    if (space !== undefined) return space.freeBytes;
    if (at === dirname(at)) return 0;
  }
}

/**
 * What a write lacked that failed with ENOSPC: bytes and inodes share one code, and only the file system shows which.
 * Inodes are missing if (almost) none are left while bytes are.
 */
export function spaceFault(path: string, code: string): string {
  if (code === "EDQUOT") return "the quota of this user is used up";
  for (let at = resolve(path); ; at = dirname(at)) {
    try {
      const { files, ffree, bavail, bsize } = statfsSync(at);
      if (files > 0 && ffree < FEW_FILES && bavail * bsize >= FEW_BYTES)
        return `out of inodes: its file system holds at most ${plural(files, "file")}, and still has ${formatBytes(bavail * bsize)}`;
      return "no space left";
    } catch {
      if (at === dirname(at)) return "no space left";
    }
  }
}

/** What will be written. */
interface SpaceNeed {
  bytes: number;
  files: number;
  /** Size of the largest single file. */
  largest: number;
}

/**
 * Refuses before the first byte if it would not fit.
 * @throws {AirferryError} ERR_SPACE with the missing bytes or inodes; ERR_FILE_TOO_LARGE
 */
export async function verifySpace(action: string, folder: string, need: SpaceNeed): Promise<void> {
  const space = await readSpace(folder);
  const detail = { path: folder };
  if (need.largest > space.maxFileBytes) {
    throw new AirferryError(
      "ERR_FILE_TOO_LARGE",
      `cannot ${action} "${folder}": its file system holds files up to ${exact(space.maxFileBytes)}, got one of ${exact(need.largest)}`,
      { ...detail, hint: "use another file system, or smaller volumes: --volume-size fat32" },
    );
  }
  if (need.bytes > space.freeBytes) {
    throw new AirferryError(
      "ERR_SPACE",
      `cannot ${action} "${folder}": ${formatBytes(need.bytes - space.freeBytes)} missing: ${formatBytes(need.bytes)} needed, ${formatBytes(space.freeBytes)} free`,
      {
        ...detail,
        expected: `${need.bytes} bytes`,
        actual: `${space.freeBytes} bytes`,
        hint: `${MAKE_ROOM} to resume`,
      },
    );
  }
  if (need.files > space.freeFiles) {
    throw new AirferryError(
      "ERR_SPACE",
      `cannot ${action} "${folder}": ${plural(need.files - space.freeFiles, "inode")} missing: ${plural(need.files, "file")} to create, ${space.freeFiles} left`,
      {
        ...detail,
        hint: `${MAKE_INODES} to resume`,
      },
    );
  }
}

/** Near a limit every byte counts. */
function exact(bytes: number): string {
  return `${formatBytes(bytes)} (${bytes} bytes)`;
}
