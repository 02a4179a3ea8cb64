/**
 * The folder that a scanner is given: content under its own paths, as regular read-only files. Content of a store is
 * linked, anything else copied, a bounded number of bytes at a time.
 */
import { constants } from "node:fs";
import { copyFile, link, open, rm, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { AirferryError } from "../errors.ts";
import { ioError, makeFolder } from "../io/atomic.ts";
import { throwIfAborted } from "../io/limit.ts";
import { readSpace, verifySpace } from "../io/space.ts";
import type { RandomAccess } from "../io/types.ts";

/** Content with its own path, verified. */
export interface ScanFile {
  /** Relative; need not be a safe or a new one. */
  path: string;
  size: number;
  /** The path of a file that holds exactly the bytes, or the bytes, all at once or as they come. */
  from: string | RandomAccess | AsyncIterable<Uint8Array>;
}

/** The most that is copied at a time; less where less is free. */
const MAX_BATCH_BYTES = 4 * 1024 ** 3;
const MAX_BATCH_FILES = 20_000;
const CHUNK_BYTES = 4 * 1024 * 1024;
const SPARE_BYTES = 16 * 1024 * 1024;
/** A link cannot be made: another file system, one without links, too many of them. */
const NO_LINK = ["EXDEV", "EPERM", "EMLINK", "ENOTSUP", "EOPNOTSUPP", "ENOSYS"];
/** Another file has the name, or no file can have it. */
const NO_NAME = ["EEXIST", "ENOTDIR", "EISDIR", "ENAMETOOLONG", "EILSEQ", "EINVAL"];

/** The folder while it is filled; {@link ScanFolder.clear} empties it. */
export class ScanFolder {
  readonly dir: string;
  files = 0;
  bytes = 0;
  readonly #limit: number;
  #copied = 0;
  #unnamed = 0;
  #linked: { file: string; mark: string }[] = [];

  private constructor(dir: string, limit: number) {
    this.dir = dir;
    this.#limit = limit;
  }

  /** Makes the folder, replacing what an earlier run left. The caller removes it at the end, with {@link clear}. */
  static async make(dir: string): Promise<ScanFolder> {
    await rm(dir, { recursive: true, force: true });
    await makeFolder(dir);
    const { freeBytes } = await readSpace(dir);
    return new ScanFolder(dir, Math.min(MAX_BATCH_BYTES, Math.floor(freeBytes / 2)));
  }

  /** Whether the scanner has to run before a file of this size is added. */
  isFullFor(size: number): boolean {
    return this.files > 0 && (this.files >= MAX_BATCH_FILES || this.#copied + size > this.#limit);
  }

  /**
   * Adds a file. Returns false if it has not all the bytes of its size, or more.
   * @throws {AirferryError} ERR_SPACE, ERR_FILE_TOO_LARGE, ERR_IO
   */
  async add({ path, size, from }: ScanFile): Promise<boolean> {
    throwIfAborted();
    this.files++;
    const names = [join(this.dir, path), join(this.dir, `unnamed-${++this.#unnamed}`)];
    for (const target of isSafe(path) ? names : names.slice(1)) {
      try {
        await makeFolder(dirname(target));
        const whole =
          typeof from === "string" ? await this.#link(from, target, size) : await this.#copy(from, target, size);
        this.bytes += size;
        return whole;
      } catch (error) {
        const code = codeOf(error);
        if (target === names[1] || !NO_NAME.includes(code)) throw ioError("write", target, error);
      }
    }
    return false;
  }

  /** Fails if the scanner changed content that it was given as a link; that file is removed. */
  async verifyUnchanged(): Promise<void> {
    for (const { file, mark } of this.#linked) {
      if ((await markOf(file)) === mark) continue;
      await rm(file, { force: true });
      throw new AirferryError("ERR_SCANNER", `cannot scan "${file}": the scanner changed it; it was removed`, {
        path: file,
        hint: "give a command that only looks, without options that clean or quarantine, and run it again",
      });
    }
  }

  /** Empties the folder for the next batch, or removes it. */
  async clear(options: { remove?: boolean } = {}): Promise<void> {
    await rm(this.dir, { recursive: true, force: true });
    if (options.remove !== true) await makeFolder(this.dir);
    this.files = 0;
    this.bytes = 0;
    this.#copied = 0;
    this.#linked = [];
  }

  async #link(file: string, target: string, size: number): Promise<boolean> {
    const mark = await markOf(file);
    try {
      await link(file, target);
      this.#linked.push({ file, mark });
    } catch (error) {
      if (!NO_LINK.includes(codeOf(error))) throw error;
      await this.#verifySpace(size);
      await copyFile(file, target, constants.COPYFILE_FICLONE | constants.COPYFILE_EXCL);
      this.#copied += size;
    }
    return true;
  }

  async #copy(from: RandomAccess | AsyncIterable<Uint8Array>, target: string, size: number): Promise<boolean> {
    await this.#verifySpace(size);
    const handle = await open(target, "wx", 0o444);
    let written = 0;
    try {
      for await (const chunk of "read" in from ? chunksOf(from) : from) {
        throwIfAborted();
        written += chunk.length;
        this.#copied += chunk.length;
        if (written > size) return false;
        await handle.writeFile(chunk);
      }
      return written === size;
    } finally {
      await handle.close();
    }
  }

  /** Small files are not worth a question: what fails for them says the same. */
  async #verifySpace(size: number): Promise<void> {
    if (size < SPARE_BYTES) return;
    await verifySpace("copy for the scanner into", this.dir, { bytes: size + SPARE_BYTES, files: 1, largest: size });
  }
}

async function* chunksOf(bytes: RandomAccess): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.size; ) {
    const chunk = await bytes.read(at, Math.min(CHUNK_BYTES, bytes.size - at));
    if (chunk.length === 0) return;
    yield chunk;
    at += chunk.length;
  }
}

/** Whether a path stays below its folder, has a name everywhere, and cannot forge a line of output. */
function isSafe(path: string): boolean {
  return (
    !/\p{Cc}/u.test(path) &&
    path.split("/").every((it) => it !== "" && it !== "." && it !== ".." && Buffer.byteLength(it) <= 255)
  );
}

async function markOf(file: string): Promise<string> {
  const { size, mtimeNs, mode } = await stat(file, { bigint: true });
  return `${size} ${mtimeNs} ${mode}`;
}

function codeOf(error: unknown): string {
  const cause = (error as Error).cause ?? error;
  return String((cause as NodeJS.ErrnoException).code);
}
