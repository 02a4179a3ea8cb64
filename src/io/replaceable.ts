/** Whether a file that a command was told to write may replace what has its name. */
import { lstat, open } from "node:fs/promises";
import { AirferryError } from "../errors.ts";
import { ifThere, ioError } from "./atomic.ts";

/**
 * Refuses to replace anything but an earlier file of the same kind: `--out site.key` must not destroy a key.
 * @param start what files of the kind begin with
 * @throws {AirferryError} ERR_USAGE, ERR_IO
 */
export async function refuseOther(file: string, start: string, what: string): Promise<void> {
  const found = await ifThere(file, lstat(file)).catch((error: unknown) => {
    throw ioError("write", file, error);
  });
  if (found === undefined || (found.isFile() && (await head(file, start.length)) === start)) return;
  throw new AirferryError("ERR_USAGE", `cannot write ${what} "${file}": it exists and is something else`, {
    path: file,
    hint: "give another name, or move it away",
  });
}

async function head(file: string, length: number): Promise<string> {
  const handle = await open(file, "r");
  try {
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(length), 0, length, 0);
    return buffer.toString("latin1", 0, bytesRead);
  } finally {
    await handle.close();
  }
}
