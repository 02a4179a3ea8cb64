/**
 * The journal of a bundle being written: which items are whole, and how far large ones are. One JSON object a line,
 * appended after the bytes it speaks of were written; a torn last line is ignored. Every line carries the digest of these bytes,
 * and a rerun hashes them before it takes them over: after a power loss the journal may know of bytes that the disk never got.
 * docs/design.md, "Durability".
 */

import { type FileHandle, open, readFile } from "node:fs/promises";
import { parseJson } from "../io/json.ts";

export interface JournalHead {
  journal: 2;
  stream: string;
  streamSize: number;
  volumeSize: number;
}

export interface DoneLine {
  path: string;
  /** SHA-256 (hex) of all its bytes. */
  done: string;
  size: number;
  offset: number;
}

export interface PartLine {
  path: string;
  /** Bytes that are in place. */
  part: number;
  /** SHA-256 (hex) of these. */
  sha256: string;
  url: string;
  etag?: string;
  lastModified?: string;
}

export class Journal {
  readonly head: JournalHead;
  readonly done: Map<string, DoneLine> = new Map();
  readonly parts: Map<string, PartLine> = new Map();
  readonly #file: FileHandle | undefined;

  private constructor(head: JournalHead, file: FileHandle | undefined) {
    this.head = head;
    this.#file = file;
  }

  /** Opens for appending; starts anew when the file is absent or of another layout. */
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

  /** Reads a journal that nobody writes to any more; undefined when there is none. */
  static async read(path: string): Promise<Journal | undefined> {
    const text = await readFile(path, "utf8").catch(() => undefined);
    if (text === undefined) return undefined;
    const lines = text.split("\n");
    const head = parseLine(lines[0]) as JournalHead | undefined;
    if (head?.journal !== 2) return undefined;
    const journal = new Journal(head, undefined);
    for (const line of lines.slice(1)) {
      const value = parseLine(line) as DoneLine | PartLine | { path: string; forget: true } | undefined;
      if (value === undefined || typeof value.path !== "string") continue;
      if ("done" in value) {
        journal.done.set(value.path, value);
        journal.parts.delete(value.path);
      } else if ("part" in value) journal.parts.set(value.path, value);
      else {
        journal.done.delete(value.path);
        journal.parts.delete(value.path);
      }
    }
    return journal;
  }

  async recordDone(line: DoneLine): Promise<void> {
    this.done.set(line.path, line);
    this.parts.delete(line.path);
    await this.#file?.write(`${JSON.stringify(line)}\n`);
  }

  async recordPart(line: PartLine): Promise<void> {
    this.parts.set(line.path, line);
    await this.#file?.write(`${JSON.stringify(line)}\n`);
  }

  /** The bytes of this item turned out wrong. */
  async forget(path: string): Promise<void> {
    this.done.delete(path);
    this.parts.delete(path);
    await this.#file?.write(`${JSON.stringify({ path, forget: true })}\n`);
  }

  async close(): Promise<void> {
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
