/** The verb `wanted`: what clients of a server asked for and did not get, and the short list of it to carry out. */
import { lstat } from "node:fs/promises";
import { AirferryError } from "./errors.ts";
import { writeAtomic } from "./io/atomic.ts";
import { formatWantedUrls, type ReadWanted, readWanted, wantedUrls } from "./wanted/wanted-file.ts";

interface WantedReport extends ReadWanted {
  /** What was written, with `out`. */
  out: { file: string; urls: number } | null;
}

interface WantedOptions {
  /** Where to write the short list. */
  out?: string | undefined;
  /** Replace a file that is there. */
  force?: boolean | undefined;
}

/**
 * Reads the list of `serve --wanted FILE`, most wanted first; with `out` it also writes the short list.
 * @throws {AirferryError} ERR_USAGE for another file, and when `out` exists; ERR_NOT_FOUND, ERR_PATH_UNSAFE,
 *   ERR_SIZE_LIMIT, ERR_IO, ERR_SPACE
 */
export async function wanted(file: string, { out, force }: WantedOptions = {}): Promise<WantedReport> {
  const read = await readWanted(file);
  const urls = wantedUrls(read);
  if (out !== undefined) {
    if (force !== true && (await lstat(out).catch(() => undefined)) !== undefined) {
      throw new AirferryError("ERR_USAGE", `cannot write "${out}": it exists`, {
        path: out,
        hint: "give another name, or replace it with --force",
      });
    }
    await writeAtomic(out, formatWantedUrls(read.dropped, urls));
  }
  const byCount = read.wanted.toSorted((a, b) => b.count - a.count || (a.url < b.url ? -1 : 1));
  return { dropped: read.dropped, wanted: byCount, out: out === undefined ? null : { file: out, urls: urls.length } };
}
