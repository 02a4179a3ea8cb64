/**
 * Ownership of a store. A release is checked when it is imported and trusted afterwards, so only the owner may be able
 * to write there. docs/design.md, "Ownership".
 */
import type { Dirent } from "node:fs";
import { lstat, readdir } from "node:fs/promises";
import { join } from "node:path";
import { AirferryError } from "../errors.ts";
import { ifThere, ioError } from "../io/atomic.ts";
import { shellWord } from "../io/shell.ts";
import { JOURNAL_FILE, STORE_FILE, TRUST_FOLDER } from "./layout.ts";

/** Folders of a store, and what it holds at the top. */
const OWN = ["", STORE_FILE, "blobs", "blobs/sha256", "releases", "incoming", TRUST_FOLDER, JOURNAL_FILE];

/**
 * Checks the top folders of a store, those of its streams, those of its blobs, and the files of its trust root, which
 * say whom to trust from now on.
 * @throws {AirferryError} ERR_STORE_INVALID for a folder that is a link, is owned by a user other than this one or
 *   root, or is writable by everybody
 */
export async function verifyOwn(dir: string): Promise<void> {
  for (const name of OWN) await verifyOne(dir, join(dir, name), name === STORE_FILE || name === JOURNAL_FILE);
  for (const parent of ["blobs/sha256", "releases", "incoming"]) {
    for (const it of await namesIn(dir, join(dir, parent))) {
      if (it.isDirectory() || it.isSymbolicLink()) await verifyOne(dir, join(dir, parent, it.name), false);
    }
  }
  const trust = join(dir, TRUST_FOLDER);
  for (const name of (await ifThere(trust, readdir(trust))) ?? []) await verifyOne(dir, join(trust, name), true);
}

async function namesIn(dir: string, folder: string): Promise<Dirent[]> {
  try {
    return await readdir(folder, { withFileTypes: true });
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== "EACCES") throw ioError("read", folder, cause);
    const { uid } = await lstat(dir);
    throw new AirferryError("ERR_IO", `cannot change store "${dir}": it belongs to another user: expected uid ${uid}`, {
      path: folder,
      expected: `uid ${uid}`,
      hint: `run the same command as its owner: sudo -u '#${uid}' airferry …`,
      cause,
    });
  }
}

async function verifyOne(dir: string, path: string, isFile: boolean): Promise<void> {
  const found = await lstat(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return undefined;
    throw ioError("look at", path, error);
  });
  if (found === undefined) return;
  const refuse = (fault: string, expected: string, actual: string, hint: string) =>
    new AirferryError("ERR_STORE_INVALID", `cannot use store "${dir}": "${path}" ${fault}`, {
      path,
      expected,
      actual,
      hint,
    });
  if (isFile ? !found.isFile() : !found.isDirectory()) {
    const kind = found.isSymbolicLink() ? "a link" : "something else";
    const wanted = isFile ? "a file" : "a folder";
    throw refuse(
      `is not ${wanted} of the store`,
      wanted,
      kind,
      `check what it is, and move it away: ls -ld ${shellWord(path)}`,
    );
  }
  const user = process.getuid?.();
  if (user === undefined) return;
  if (found.uid !== user && found.uid !== 0) {
    throw refuse(
      `belongs to another user, who could have put anything there`,
      `uid ${user} or 0`,
      `uid ${found.uid}`,
      `unpack as that user, or into a new store; if you know what is in it: airferry status --store ${shellWord(dir)} --check, then chown -R ${user} ${shellWord(dir)}`,
    );
  }
  if ((found.mode & 0o002) !== 0) {
    const mode = (found.mode & 0o7777).toString(8).padStart(4, "0");
    throw refuse(
      "is writable by everybody",
      "no write permission for others",
      `mode ${mode}`,
      `airferry status --store ${shellWord(dir)} --check, then chmod -R o-w ${shellWord(dir)}`,
    );
  }
}
