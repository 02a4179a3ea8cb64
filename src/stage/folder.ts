/**
 * The folder that the builder's container mounts, written so that only the builder's user can change its content, and
 * nobody can redirect writes elsewhere: every folder is held open and checked (no links, no other user's), files are
 * written in a private folder inside and renamed into place. See docs/build.md, "The builder's folder".
 */
import { randomBytes } from "node:crypto";
import { constants, existsSync, type Stats } from "node:fs";
import { copyFile, type FileHandle, lstat, mkdir, open, readdir, rename, rm } from "node:fs/promises";
import { homedir } from "node:os";
import { dirname, join, parse, resolve } from "node:path";
import { AirferryError, bug } from "../errors.ts";
import { ioError, makeFolder, syncPath } from "../io/atomic.ts";
import { throwIfAborted } from "../io/limit.ts";
import { shellWord } from "../io/shell.ts";
import type { RandomAccess } from "../io/types.ts";

/** The folder's user and its writer. */
export interface FolderUsers {
  /** User id of the builder's container. */
  builderUid: number;
  /** User id of this process; undefined if the system has none. */
  uid: number | undefined;
}

/** Who may read a file. */
export type Readers = "everybody" | "builder";

/** What exists at a path: nothing, a file held open for comparing, or something else. */
type Existing = { is: "nothing" } | { is: "other" } | { is: "file"; handle: FileHandle; size: number; isOwn: boolean };

/** Whether the writer can give files to the builder's user. */
export function canGiveFiles({ uid, builderUid }: FolderUsers): boolean {
  return uid === undefined || uid === 0 || uid === builderUid;
}

const PRIVATE = /^\.airferry-[0-9a-f]{16}$/;
/** Names in a builder's folder. A folder with only other things is a home, or /srv, and keeps its owner. */
const SIGNS = /^(imageconfig|packer-vars\.json|ks\.cfg|custom_scripts|airferry\.repo|\.airferry-staged\.json|.*\.iso)$/;
const NO_FOLLOW = constants.O_NOFOLLOW ?? 0;
const OTHERS_WRITE = 0o022;
const CHUNK_BYTES = 1024 * 1024;

/** A folder that is held open. */
interface Held {
  handle: FileHandle;
  path: string;
}

/** A name in this folder, wherever its own path leads by now. Without /proc: by its path. */
function at({ handle, path }: Held, name: string): string {
  return existsSync("/proc/self/fd") ? `/proc/self/fd/${handle.fd}/${name}` : join(path, name);
}

/** Close it by `await using`; {@link StagedFolder.finish} gives it to the builder. */
export class StagedFolder implements AsyncDisposable {
  readonly #users: FolderUsers;
  readonly #root: Held;
  readonly #held = new Map<string, Held>();
  /** The folder is shared: its mode and owner do not change. */
  readonly #keeps: boolean;
  #private: Held | undefined;

  private constructor(users: FolderUsers, root: Held, keeps: boolean) {
    this.#users = users;
    this.#root = root;
    this.#keeps = keeps;
  }

  /**
   * Opens or creates the folder; from now on nobody else can add, rename or remove anything in it.
   * @throws {AirferryError} ERR_USAGE if another user owns it, or everybody can write to it; ERR_PATH_UNSAFE for
   *   anything but a folder; ERR_IO
   */
  static async open(dir: string, users: FolderUsers): Promise<StagedFolder> {
    const path = resolve(dir);
    const isNew = (await lstat(path).catch(() => undefined)) === undefined;
    if (isNew) {
      await makeFolder(dirname(path));
      await mkdir(path, { mode: 0o700 }).catch((error) => Promise.reject(ioError("create folder", path, error)));
    }
    // The caller may name it by a link; below it there are none.
    const root = { handle: await openFolder(path, path, isNew), path };
    try {
      const stats = await root.handle.stat();
      requireOwn(stats, path, users);
      const names = await readdir(at(root, ".")).catch((error) => Promise.reject(ioError("read", path, error)));
      const isBuilders = isNew || names.length === 0 || names.some((it) => SIGNS.test(it));
      const keeps = !isBuilders || isShared(path, stats);
      if ((stats.mode & OTHERS_WRITE) !== 0) {
        if (keeps) throw writableByOthers(path, stats);
        await root.handle.chmod(0o755);
      }
      const folder = new StagedFolder(users, root, keeps);
      await folder.#makePrivate(names.filter((it) => PRIVATE.test(it)));
      return folder;
    } catch (error) {
      await root.handle.close();
      throw error;
    }
  }

  /** Absolute path. */
  get path(): string {
    return this.#root.path;
  }

  /** The folder's mode and owner do not change, since it is shared: the builder may not be able to write there. */
  get keepsOwner(): boolean {
    return this.#keeps;
  }

  /** Checks what is at a path. The caller closes the handle. */
  async look(path: string): Promise<Existing> {
    const folder = await this.#folderOf(path, false);
    if (folder === undefined) return { is: "nothing" };
    try {
      const handle = await open(at(folder, nameOf(path)), constants.O_RDONLY | NO_FOLLOW | (constants.O_NONBLOCK ?? 0));
      const stats = await handle.stat();
      // Another user's file may change after the comparison, and one with a second name elsewhere may be anything.
      const { uid, builderUid } = this.#users;
      const isOwn = stats.nlink === 1 && (uid === undefined || stats.uid === uid || stats.uid === builderUid);
      if (stats.isFile()) return { is: "file", handle, size: stats.size, isOwn };
      await handle.close();
      return { is: "other" };
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === "ENOENT") return { is: "nothing" };
      if (code === "ELOOP" || code === "EMLINK" || code === "ENXIO" || code === "EISDIR") return { is: "other" };
      throw ioError("read", join(this.path, path), error);
    }
  }

  /** Writes a small file atomically. */
  async writeText(path: string, text: string, mode: number, readers: Readers): Promise<void> {
    await this.#place(path, mode, readers, async (temporary) => {
      const handle = await open(temporary, "wx", 0o600);
      await handle.writeFile(text).finally(() => handle.close());
    });
  }

  /**
   * Copies a file of the store, by reference if the file system supports it; never as a hard link, which would lead
   * into the store.
   */
  async copyFrom(source: string, path: string, mode: number): Promise<void> {
    await this.#place(path, mode, "everybody", (temporary) =>
      copyFile(source, temporary, constants.COPYFILE_FICLONE | constants.COPYFILE_EXCL),
    );
  }

  /** Writes a file of bytes that are read from somewhere. */
  async writeBytes(bytes: RandomAccess, path: string, mode: number): Promise<void> {
    await this.#place(path, mode, "everybody", async (temporary) => {
      const out = await open(temporary, "wx", 0o600);
      try {
        for (let at = 0; at < bytes.size; ) {
          throwIfAborted();
          const chunk = await bytes.read(at, CHUNK_BYTES);
          if (chunk.length === 0)
            throw new AirferryError("ERR_IO", `cannot write "${path}": its content ends at byte ${at}`);
          await out.write(chunk);
          at += chunk.length;
        }
      } finally {
        await out.close();
      }
    });
  }

  /** Sets the mode and owner of an unchanged file as if it had been written. */
  async give(handle: FileHandle, mode: number, readers: Readers): Promise<void> {
    await handle.chmod(readers === "builder" && canGiveFiles(this.#users) ? mode & 0o700 : mode);
    await this.#chown(handle);
  }

  /** Removes a file. */
  async remove(path: string): Promise<void> {
    const folder = await this.#folderOf(path, false);
    if (folder !== undefined) await rm(at(folder, nameOf(path)), { force: true });
  }

  /** Gives all folders to the builder, who can write from now on. */
  async finish(): Promise<void> {
    await this.#removePrivate();
    const gives = canGiveFiles(this.#users);
    for (const { handle } of this.#held.values()) {
      await handle.chmod(0o755);
      await this.#chown(handle);
    }
    if (this.#keeps) return;
    // If the folder cannot be given away: the builder adds its result, and the sticky bit prevents replacing existing
    // files.
    await this.#root.handle.chmod(gives ? 0o755 : 0o1777);
    await this.#chown(this.#root.handle);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#removePrivate().catch(() => {});
    for (const { handle } of [...this.#held.values(), this.#root]) await handle.close().catch(() => {});
  }

  /** Creates the folder that files are written in; leftovers of killed runs are removed. */
  async #makePrivate(left: readonly string[]): Promise<void> {
    for (const name of left) await rm(at(this.#root, name), { recursive: true, force: true });
    const name = `.airferry-${randomBytes(8).toString("hex")}`;
    const path = join(this.path, name);
    await mkdir(at(this.#root, name), { mode: 0o700 }).catch((error) =>
      Promise.reject(ioError("write to", this.path, error)),
    );
    this.#private = { handle: await openFolder(at(this.#root, name), path, true), path };
  }

  async #removePrivate(): Promise<void> {
    if (this.#private === undefined) return;
    const { handle, path } = this.#private;
    this.#private = undefined;
    await handle.close();
    await rm(at(this.#root, nameOf(path)), { recursive: true, force: true });
  }

  async #place(
    path: string,
    mode: number,
    readers: Readers,
    write: (temporary: string) => Promise<void>,
  ): Promise<void> {
    const temporary = at(
      this.#private ?? bug("a file is placed before its folder is held"),
      randomBytes(8).toString("hex"),
    );
    try {
      const folder = (await this.#folderOf(path, true)) ?? bug("a folder to be created is missing");
      await write(temporary);
      // A copy has the mode of the store's blob, which even its owner may only read.
      const handle = await open(temporary, constants.O_RDONLY | NO_FOLLOW);
      try {
        await this.give(handle, mode, readers);
        await handle.sync();
      } finally {
        await handle.close();
      }
      await rename(temporary, at(folder, nameOf(path)));
      await syncPath(at(folder, "."));
    } catch (error) {
      throw ioError("write", join(this.path, path), error);
    }
  }

  async #chown(handle: FileHandle): Promise<void> {
    const { uid, builderUid } = this.#users;
    if (uid === 0) await handle.chown(builderUid, builderUid);
  }

  /** The folder of a path below this one, held open; a missing one is created, or undefined. */
  async #folderOf(path: string, make: boolean): Promise<Held | undefined> {
    const names = path.split("/").slice(0, -1);
    let held = this.#root;
    for (const [index, name] of names.entries()) {
      const key = names.slice(0, index + 1).join("/");
      const next = this.#held.get(key) ?? (await this.#hold(held, name, key, make));
      if (next === undefined) return undefined;
      held = next;
    }
    return held;
  }

  async #hold(parent: Held, name: string, key: string, make: boolean): Promise<Held | undefined> {
    const path = join(this.path, key);
    try {
      if (make) await mkdir(at(parent, name), { mode: 0o755 });
      else await lstat(at(parent, name));
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === "ENOENT") return undefined;
      if (code !== "EEXIST") throw ioError("create folder", path, error);
    }
    const held = { handle: await openFolder(at(parent, name), path, true), path };
    this.#held.set(key, held);
    const stats = await held.handle.stat();
    requireOwn(stats, path, this.#users);
    if ((stats.mode & OTHERS_WRITE) !== 0) await held.handle.chmod(0o755);
    return held;
  }
}

/** A shared folder: the root, a home, /tmp. */
function isShared(path: string, { mode, uid }: Stats): boolean {
  return path === parse(path).root || path === homeFolder() || ((mode & 0o1000) !== 0 && uid === 0);
}

function homeFolder(): string | undefined {
  try {
    return resolve(homedir());
  } catch {
    // A user id without an account.
    return undefined;
  }
}

function requireOwn({ uid }: Stats, path: string, users: FolderUsers): void {
  if (users.uid === undefined || uid === users.uid || uid === users.builderUid) return;
  throw new AirferryError(
    "ERR_USAGE",
    `cannot stage into "${path}": it belongs to another user, who could change what is staged`,
    {
      path,
      expected: `a folder of uid ${users.uid}, or of the builder's, ${users.builderUid}`,
      actual: `uid ${uid}`,
      hint: "name a folder that does not exist yet; or, if the builder runs as that user, give its number with --builder-uid",
    },
  );
}

function writableByOthers(path: string, { mode, uid }: Stats): AirferryError {
  return new AirferryError("ERR_USAGE", `cannot stage into "${path}": other users can write there`, {
    path,
    expected: "a separate folder for the builder",
    actual: `mode ${(mode & 0o7777).toString(8)}, uid ${uid}`,
    hint: `name a folder that does not exist yet: ${join(path, "output")}`,
  });
}

async function openFolder(name: string, path: string, isOurs: boolean): Promise<FileHandle> {
  try {
    return await open(name, constants.O_RDONLY | (constants.O_DIRECTORY ?? 0) | (isOurs ? NO_FOLLOW : 0));
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code !== "ELOOP" && code !== "ENOTDIR") throw ioError("open folder", path, cause);
    throw new AirferryError("ERR_PATH_UNSAFE", `cannot stage into "${path}": it is a link, or not a folder`, {
      path,
      cause,
      expected: "a folder",
      hint: `find out who put it there, then remove it: rm ${shellWord(path)}`,
    });
  }
}

function nameOf(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}
