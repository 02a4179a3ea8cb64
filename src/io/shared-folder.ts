/**
 * Folders and files for a command's programs, whatever the umask: some run as another user than the command, such as
 * apt, which fetches as `_apt`.
 */
import { chmod, mkdtemp, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { AirferryError } from "../errors.ts";
import { systemFault } from "./atomic.ts";

/** Makes a new temporary folder that everybody can read. Its maker removes it. @throws {AirferryError} ERR_IO */
export async function makeSharedFolder(prefix: string): Promise<string> {
  try {
    const dir = await mkdtemp(join(tmpdir(), prefix));
    await chmod(dir, 0o755);
    return dir;
  } catch (cause) {
    throw new AirferryError("ERR_IO", `cannot make a folder in "${tmpdir()}": ${systemFault(cause)}`, { cause });
  }
}

/** Writes a file that everybody can read. @throws system errors */
export async function writeShared(file: string, text: string): Promise<void> {
  await writeFile(file, text);
  await chmod(file, 0o644);
}
