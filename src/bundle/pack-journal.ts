/**
 * The journal of a bundle being written: which items are complete, and how far large ones are. One JSON object per
 * line, appended after its bytes were written; a torn last line is ignored. Every line has the digest of these bytes,
 * and a rerun hashes them before it reuses them: after a power loss the journal may list bytes that the disk never got.
 * docs/design.md, "Durability".
 */

import { type FileHandle, open, readFile } from "node:fs/promises";
import { z } from "zod";
import { type Digest, hexOf } from "../io/digest.ts";
import { parseJson } from "../io/json.ts";
import { hexDigestSchema } from "../io/own-file.ts";

const headSchema = z.strictObject({
  journal: z.literal(2),
  stream: z.string(),
  streamSize: z.int().min(0),
  volumeSize: z.int().min(1),
});
const lineSchema = z.union([
  z.strictObject({ path: z.string(), done: hexDigestSchema, size: z.int().min(0), offset: z.int().min(0) }),
  z.strictObject({
    path: z.string(),
    part: z.int().min(0),
    sha256: hexDigestSchema,
    url: z.string(),
    etag: z.string().exactOptional(),
    lastModified: z.string().exactOptional(),
  }),
  z.strictObject({ path: z.string(), forget: z.literal(true) }),
]);

/** The first line: a journal of another layout or version is replaced. */
type JournalHead = z.output<typeof headSchema>;

export interface DoneLine {
  path: string;
  /** Digest of all its bytes; in the file as hex. */
  done: Digest;
  size: number;
  offset: number;
}

interface PartLine {
  path: string;
  /** Bytes that are in place. */
  part: number;
  /** Digest of these; in the file `sha256`, as hex. */
  digest: Digest;
  url: string;
  etag?: string;
  lastModified?: string;
}

export class Journal {
  readonly head: JournalHead;
  readonly done: Map<string, DoneLine> = new Map();
  readonly parts: Map<string, PartLine> = new Map();
  readonly #file: FileHandle | undefined;
  /** What waits for the write that is under way, and when it will be written itself. */
  #lines = "";
  #next: Promise<void> | undefined;
  #writing: Promise<void> = Promise.resolve();

  private constructor(head: JournalHead, file: FileHandle | undefined) {
    this.head = head;
    this.#file = file;
  }

  /** Opens for appending; starts a new one if the file is absent or of another layout. */
  static async open(path: string, head: JournalHead): Promise<Journal> {
    const earlier = await Journal.read(path);
    const same = earlier !== undefined && JSON.stringify(earlier.head) === JSON.stringify(head);
    const file = await open(path, same ? "a" : "w", 0o600);
    const journal = new Journal(head, file);
    if (same) {
      for (const [key, line] of earlier.done) journal.done.set(key, line);
      for (const [key, line] of earlier.parts) journal.parts.set(key, line);
      // Ends a torn line, should there be one.
      await file.write("\n");
    } else await file.write(`${JSON.stringify(head)}\n`);
    return journal;
  }

  /** Reads a journal that is no longer being written; undefined when there is none. */
  static async read(path: string): Promise<Journal | undefined> {
    const text = await readFile(path, "utf8").catch(() => undefined);
    if (text === undefined) return undefined;
    const lines = text.split("\n");
    const head = headSchema.safeParse(parseLine(lines[0])).data;
    if (head === undefined) return undefined;
    const journal = new Journal(head, undefined);
    for (const text of lines.slice(1)) {
      const line = lineSchema.safeParse(parseLine(text)).data;
      if (line === undefined) continue;
      if ("done" in line) {
        journal.done.set(line.path, line);
        journal.parts.delete(line.path);
      } else if ("part" in line) {
        const { sha256: digest, ...rest } = line;
        journal.parts.set(line.path, { ...rest, digest });
      } else {
        journal.done.delete(line.path);
        journal.parts.delete(line.path);
      }
    }
    return journal;
  }

  recordDone(line: DoneLine): Promise<void> {
    this.done.set(line.path, line);
    this.parts.delete(line.path);
    return this.#append({ ...line, done: hexOf(line.done) });
  }

  recordPart(line: PartLine): Promise<void> {
    this.parts.set(line.path, line);
    const { path, part, digest, ...from } = line;
    return this.#append({ path, part, sha256: hexOf(digest), ...from });
  }

  /** The bytes of this item were wrong. */
  forget(path: string): Promise<void> {
    const isKnown = this.done.delete(path);
    if (!this.parts.delete(path) && !isKnown) return Promise.resolve();
    return this.#append({ path, forget: true });
  }

  /** Settled when the line is written: with all others that came while an earlier write was under way. */
  #append(line: object): Promise<void> {
    const file = this.#file;
    if (file === undefined) return Promise.resolve();
    this.#lines += `${JSON.stringify(line)}\n`;
    this.#next ??= this.#writing.then(() => {
      const lines = this.#lines;
      this.#lines = "";
      this.#next = undefined;
      const written = file.appendFile(lines);
      this.#writing = written.catch(() => {});
      return written;
    });
    return this.#next;
  }

  async close(): Promise<void> {
    await this.#next?.catch(() => {});
    await this.#writing;
    await this.#file?.close();
  }
}

function parseLine(line: string | undefined): unknown {
  try {
    return parseJson(line ?? "");
  } catch {
    return undefined;
  }
}
