/**
 * Reads a tar archive from a stream, member by member, once. It may contain only regular files and folders, each under
 * one legal path: links, devices, sparse files, `..` and duplicates are refused, since no honest archive of this kind
 * has them.
 */

import { Parser, type ReadEntry } from "tar";
import { AirferryError } from "../../errors.ts";
import { throwIfAborted } from "../../io/limit.ts";
import { checkPath } from "../../io/path-grammar.ts";
import { compressionOf, MAGIC_BYTES } from "./inflate.ts";

/** One regular file. */
export interface TarFile {
  /** Without leading `./`. */
  path: string;
  /** Bytes. */
  size: number;
  /** Milliseconds since 1970; absent if the archive does not say. */
  mtimeMs?: number;
  body: AsyncIterable<Uint8Array>;
}

const MAX_MEMBERS = 200_000;
/** Of a long name or pax record. */
const MAX_META_BYTES = 1024 * 1024;
const FILES = new Set(["File", "OldFile", "ContiguousFile"]);

/**
 * Calls `visit` for every regular file, one after the other; a body that it does not read is skipped.
 * @throws {AirferryError} ERR_PATH_UNSAFE, ERR_UPSTREAM_INVALID; anything `chunks` and `visit` throw
 */
export async function readTarStream(
  chunks: AsyncIterable<Uint8Array>,
  name: string,
  visit: (file: TarFile) => Promise<void>,
): Promise<void> {
  let failure: { error: unknown } | undefined;
  let current: ReadEntry | undefined;
  /** Called when the parser wants more, has ended, or something failed. */
  let wake = () => {};
  const fail = (error: unknown) => {
    failure ??= { error };
    // The reader of the body must not wait for bytes that never arrive.
    current?.destroy(error instanceof Error ? error : new Error(String(error)));
    wake();
  };
  const seen = new Set<string>();
  let visits = Promise.resolve();
  let hasEnded = false;
  let isPastEnd = false;
  const parser = new Parser({ strict: true, maxMetaEntrySize: MAX_META_BYTES });
  parser.on("drain", () => wake());
  parser.on("end", () => {
    hasEnded = true;
    wake();
  });
  // Data after the archive's end is read, but the parser would collect all of it.
  parser.on("eof", () => {
    isPastEnd = true;
  });
  let hasMembers = false;
  parser.on("error", (error: Error) => {
    const fault = error.message.replace(/^TAR_[A-Z_]+: /, "");
    fail(invalid(name, hasMembers ? `it is damaged: ${fault}` : "it is not a tar archive"));
  });
  parser.on("ignoredEntry", (entry: ReadEntry) => {
    entry.resume();
    fail(invalid(name, `member "${shown(entry.path)}" is a ${entry.type}: expected files and folders`));
  });
  parser.on("entry", (entry: ReadEntry) => {
    hasMembers = true;
    // Its reader, if any, reports why it was destroyed.
    entry.on("error", () => {});
    visits = visits.then(async () => {
      if (failure === undefined) {
        current = entry;
        try {
          const path = accepted(entry, seen, name);
          if (path !== undefined) await visit(fileOf(path, entry, bodyOf(entry)));
        } catch (error) {
          fail(error);
        }
        current = undefined;
      }
      entry.resume();
    });
  });
  /** A member's bytes. Once destroyed, it fails for a reader that is waiting, not for later ones. */
  async function* bodyOf(entry: ReadEntry): AsyncGenerator<Uint8Array> {
    const chunks = (entry as AsyncIterable<Uint8Array>)[Symbol.asyncIterator]();
    for (;;) {
      if (failure !== undefined) throw failure.error;
      const { done, value } = await chunks.next();
      if (done) return;
      yield value;
    }
  }
  const woken = (isReady: () => boolean) =>
    new Promise<void>((resolve) => {
      wake = resolve;
      if (failure !== undefined || isReady()) resolve();
    });
  try {
    let head: Uint8Array = Buffer.alloc(0);
    for await (const chunk of chunks) {
      throwIfAborted();
      // The parser would decompress a second time by itself, past every limit.
      if (head.length < MAGIC_BYTES) {
        head = Buffer.concat([head, chunk]);
        const again = compressionOf(head);
        if (again !== undefined) throw invalid(name, `it is compressed twice, with ${again.name} inside`);
      }
      if (failure !== undefined) break;
      if (!isPastEnd && !parser.write(Buffer.from(chunk))) await woken(() => false);
    }
    if (failure === undefined) parser.end();
    while (failure === undefined && !hasEnded) await woken(() => hasEnded);
  } catch (error) {
    fail(error);
  }
  await visits;
  if (failure !== undefined) throw (failure as { error: unknown }).error;
}

/** The path of a file that may be read; undefined for a folder. */
function accepted(entry: ReadEntry, seen: Set<string>, name: string): string | undefined {
  const path = entry.path.replace(/^(?:\.\/+)+/, "").replace(/\/+$/, "");
  const isFile = FILES.has(entry.type);
  if (!isFile && entry.type !== "Directory") {
    throw invalid(name, `member "${shown(path)}" is a ${entry.type}: expected files and folders`);
  }
  // The archive's top folder.
  if (!isFile && (path === "" || path === ".")) return undefined;
  const fault = checkPath(path);
  if (fault !== undefined) {
    throw new AirferryError("ERR_PATH_UNSAFE", `cannot read archive "${name}": member "${shown(path)}": ${fault}`, {
      path: name,
      hint: "this is not what its vendor packed; do not use this file",
    });
  }
  if (!isFile) return undefined;
  if (seen.has(path)) throw invalid(name, `member "${shown(path)}" is in it more than once`);
  seen.add(path);
  if (seen.size > MAX_MEMBERS) throw invalid(name, `it has more than ${MAX_MEMBERS} members`);
  return path;
}

function fileOf(path: string, { size, mtime }: ReadEntry, body: TarFile["body"]): TarFile {
  return { path, size, body, ...(mtime && !Number.isNaN(mtime.getTime()) && { mtimeMs: mtime.getTime() }) };
}

function shown(path: string): string {
  return path.slice(0, 200);
}

function invalid(name: string, fault: string): AirferryError {
  return new AirferryError("ERR_UPSTREAM_INVALID", `cannot read archive "${name}": ${fault}`, {
    path: name,
    hint: "copy the file again; if that does not help, do not use it",
  });
}
