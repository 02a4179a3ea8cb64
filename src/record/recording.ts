/**
 * The folder of a recording: `answers.jsonl`, a line for each answer, and `blobs/sha256/`. Lines are appended as
 * answers end, so a recording that was killed has all that ended before; a torn last line is cut off by the next one.
 */
import { constants } from "node:fs";
import { type FileHandle, open, readdir, rm, rmdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { AirferryError } from "../errors.ts";
import { ioError, makeFolder, writeAtomic } from "../io/atomic.ts";
import { digestOf, hexOf } from "../io/digest.ts";
import { otherGitUrl } from "../io/git-index.ts";
import { gitFile, gitLine, type RecordedRepository, readGitRecording } from "../io/git-recording.ts";
import { type HeldLock, takeLock } from "../io/process-lock.ts";
import { syncFiles } from "../io/sync-fs.ts";
import { answerKey } from "../io/web-answer.ts";
import { answerLine, answersFile, parseAnswer, type RecordedAnswer } from "../io/web-recording.ts";
import { writePieces } from "../io/write-pieces.ts";
import { BodyStore, type StoredBody } from "./body-store.ts";

const SYNC_MS = 2000;
const APPEND = constants.O_RDWR | constants.O_CREAT | constants.O_APPEND | constants.O_NOFOLLOW | constants.O_NONBLOCK;

/** An open recording, which this process alone changes. Its opener closes it. */
export class Recording {
  readonly bodies: BodyStore;
  /** Called with each answer that is added. */
  onAdded: (answer: RecordedAnswer) => void = () => {};
  /** Answers that an earlier recording left here. */
  readonly before: number;
  readonly #dir: string;
  readonly #lock: HeldLock;
  readonly #file: FileHandle;
  /** Lines by what a client asks; the last answer counts. */
  readonly #lines: Map<string, string>;
  /** Lines in the file, including those that a later one replaces. */
  #written: number;
  /** Git repositories by URL. */
  readonly #repositories: Map<string, RecordedRepository>;
  #appending: Promise<void> = Promise.resolve();
  #unsynced: string[] = [];
  readonly #timer: NodeJS.Timeout;

  /**
   * Opens the recording in `dir`, or begins one.
   * @throws {AirferryError} ERR_BUSY while another process records there; ERR_IO, ERR_SPACE
   */
  static async open(dir: string): Promise<Recording> {
    const blobs = join(dir, "blobs", "sha256");
    await makeFolder(blobs);
    const lock = await takeLock(join(dir, "lock"), dir);
    try {
      for (const name of await readdir(blobs))
        if (name.startsWith(".tmp-")) await rm(join(blobs, name), { force: true });
      const file = await openAnswers(answersFile(dir));
      const lines = new Map<string, string>();
      let written = 0;
      let whole = 0;
      let rest = "";
      for await (const piece of file.createReadStream({ start: 0, autoClose: false, encoding: "utf8" })) {
        const parts = (rest + piece).split("\n");
        rest = parts.pop() ?? "";
        for (const line of parts) {
          whole += Buffer.byteLength(line) + 1;
          written++;
          const key = keyOfLine(line);
          if (key !== undefined) lines.set(key, `${line}\n`);
        }
      }
      if (rest !== "") await file.truncate(whole);
      const { repositories } = await readGitRecording(dir);
      return new Recording(dir, lock, file, lines, written, repositories);
    } catch (error) {
      await lock.release();
      throw ioError("record into", dir, error);
    }
  }

  private constructor(
    dir: string,
    lock: HeldLock,
    file: FileHandle,
    lines: Map<string, string>,
    written: number,
    repositories: readonly RecordedRepository[],
  ) {
    this.#dir = dir;
    this.#repositories = new Map(repositories.map((it) => [it.url, it]));
    this.#lock = lock;
    this.#file = file;
    this.#lines = lines;
    this.#written = written;
    this.before = lines.size;
    this.bodies = new BodyStore(join(dir, "blobs", "sha256"));
    this.#timer = setInterval(() => void this.#sync().catch(() => {}), SYNC_MS).unref();
  }

  /** Answers that are recorded, of this and earlier recordings. */
  get size(): number {
    return this.#lines.size;
  }

  /** All answers, in the order of their URLs. */
  *answers(): Generator<RecordedAnswer> {
    for (const key of [...this.#lines.keys()].sort()) yield JSON.parse(this.#lines.get(key) ?? "") as RecordedAnswer;
  }

  /** What is recorded for this question. */
  get(question: Pick<RecordedAnswer, "url" | "method" | "vary">): RecordedAnswer | undefined {
    const line = this.#lines.get(answerKey(question));
    return line === undefined ? undefined : (JSON.parse(line) as RecordedAnswer);
  }

  /** Appends an answer whose body is stored. @throws {AirferryError} ERR_SPACE, ERR_IO */
  async add(answer: RecordedAnswer, body: Pick<StoredBody, "isNew">): Promise<void> {
    const key = answerKey(answer);
    const line = answerLine(answer);
    const before = this.#lines.get(key);
    if (body.isNew) this.#unsynced.push(this.bodies.pathOf(answer.digest));
    if (before !== undefined && isSame(before, line)) return;
    const append = this.#appending.then(() => this.#file.appendFile(line));
    this.#appending = append.catch(() => {});
    try {
      await append;
    } catch (error) {
      throw ioError("record into", answersFile(this.#dir), error);
    }
    this.#lines.set(key, line);
    this.#written++;
    this.onAdded(answer);
  }

  /** Git repositories, by URL. */
  repositories(): RecordedRepository[] {
    return [...this.#repositories.values()];
  }

  /**
   * Adds a git repository, in place of what is recorded of it; none that is recorded under its URL with `.git`, or
   * without: clients get it under both.
   * @throws {AirferryError} ERR_SPACE, ERR_IO
   */
  async addRepository(repository: Omit<RecordedRepository, "pack">, pack: Buffer | undefined): Promise<void> {
    const same = this.#repositories.get(otherGitUrl(repository.url));
    if (same !== undefined && isSameRepository(same, repository)) return;
    const digest = pack && digestOf(pack);
    if (pack !== undefined && digest !== undefined) await writeAtomic(this.bodies.pathOf(digest), pack);
    this.#repositories.set(repository.url, {
      ...repository,
      ...(pack !== undefined && digest !== undefined && { pack: { digest, size: pack.length } }),
    });
    const lines = this.repositories().map(gitLine).join("");
    await writeAtomic(gitFile(this.#dir), lines);
  }

  /** On the disk: bodies before the lines that name them. */
  async #sync(): Promise<void> {
    const files = this.#unsynced;
    if (files.length === 0) return;
    this.#unsynced = [];
    await syncFiles(this.bodies.folder, files);
    await this.#file.datasync();
  }

  /** Ends it: one line for each question is left, and no body without one. @throws {AirferryError} ERR_SPACE, ERR_IO */
  async close(): Promise<void> {
    clearInterval(this.#timer);
    try {
      await this.#appending;
      await this.#sync();
      if (this.#written > this.#lines.size) {
        const keys = [...this.#lines.keys()].sort();
        await writePieces(
          answersFile(this.#dir),
          keys.map((it) => this.#lines.get(it) ?? ""),
        );
      }
      await this.#sweep();
    } catch (error) {
      throw ioError("record into", this.#dir, error);
    } finally {
      await this.#file.close();
      await this.bodies.close();
      await this.#lock.release();
    }
  }

  /** Closes one that was not begun; nothing is left of it if nothing was there. @throws as {@link close} */
  async abandon(): Promise<void> {
    await this.close();
    if (this.#lines.size > 0 || this.#repositories.size > 0) return;
    const file = answersFile(this.#dir);
    const found = await stat(file).catch(() => undefined);
    if (found?.size === 0) await rm(file, { force: true });
    // Not those that have something in them.
    for (const it of [this.bodies.folder, join(this.#dir, "blobs"), this.#dir]) await rmdir(it).catch(() => {});
  }

  async #sweep(): Promise<void> {
    const used = new Set([...this.answers()].map(({ digest }) => hexOf(digest)));
    for (const { pack } of this.#repositories.values()) if (pack !== undefined) used.add(hexOf(pack.digest));
    for (const name of await readdir(this.bodies.folder)) {
      if (!used.has(name)) await rm(join(this.bodies.folder, name), { force: true });
    }
  }
}

/** Through a link or a pipe, what is somebody else's would be written. */
async function openAnswers(file: string): Promise<FileHandle> {
  const unsafe = (cause?: unknown) =>
    new AirferryError("ERR_PATH_UNSAFE", `cannot record into "${file}": not a regular file`, {
      path: file,
      hint: "remove it, or give another name with --out",
      cause,
    });
  const handle = await open(file, APPEND, 0o644).catch((error: NodeJS.ErrnoException) => {
    throw ["ELOOP", "EMLINK", "ENXIO", "EISDIR"].includes(error.code ?? "") ? unsafe(error) : error;
  });
  if ((await handle.stat()).isFile()) return handle;
  await handle.close();
  throw unsafe();
}

function keyOfLine(line: string): string | undefined {
  try {
    return answerKey(parseAnswer(line));
  } catch {
    return undefined;
  }
}

/** The same refs: of two repositories these would differ. */
function isSameRepository(a: RecordedRepository, b: Omit<RecordedRepository, "pack">): boolean {
  const content = ({ format, head, refs }: Omit<RecordedRepository, "pack">) => JSON.stringify([format, head, refs]);
  return a.refs.length > 0 && content(a) === content(b);
}

/** The same answer at another time. */
function isSame(before: string, line: string): boolean {
  const withoutTime = (it: string) => it.replace(/,"time":"[^"]*"\}\n$/, "");
  return withoutTime(before) === withoutTime(line);
}
