/** Reads the files of `init --from`, and standard input, within limits; large ones are parsed in a thread. */
import { readFile, stat } from "node:fs/promises";
import { AirferryError } from "../errors.ts";
import { hintOf, systemFault } from "../io/atomic.ts";
import { FEW_BYTES, runInThread } from "../io/parser-thread.ts";
import { shellWord } from "../io/shell.ts";
import { textOf } from "../io/text.ts";
import type { FoundContent } from "./found.ts";
import { readSource } from "./recognise.ts";

/** Rendered charts with their definitions have a few MiB. */
const MAX_SOURCE_BYTES = 16 * 1024 * 1024;
/** Standard input. */
const STDIN = "-";

/**
 * Reads one file, or standard input (`-`), and tells what it says.
 * @throws {AirferryError} ERR_USAGE when there is no such file, it is none, or it is too large; ERR_IO
 */
export async function readSourceFile(file: string): Promise<FoundContent> {
  const bytes = file === STDIN ? await readStdin() : await readBytes(file);
  const name = file === STDIN ? "standard input" : file;
  const text = textOf(bytes);
  if (bytes.length <= FEW_BYTES) return readSource(text, name);
  const tooMuch = (fault: string) => cannotRead(name, fault, "split it into several files");
  return runInThread<FoundContent>("source", { bytes: Buffer.from(text), args: [name], tooMuch });
}

async function readBytes(file: string): Promise<Buffer> {
  try {
    const found = await stat(file);
    if (found.isDirectory()) {
      throw cannotRead(file, "it is a folder", `give its files: airferry init --from ${shellWord(file)}/*`);
    }
    if (!found.isFile()) {
      throw cannotRead(file, "it is not a regular file", `cat ${shellWord(file)} | airferry init --from -`);
    }
    if (found.size > MAX_SOURCE_BYTES) throw tooLarge(file);
    const bytes = await readFile(file);
    if (bytes.length > MAX_SOURCE_BYTES) throw tooLarge(file);
    return bytes;
  } catch (cause) {
    if (cause instanceof AirferryError) throw cause;
    const { code } = cause as NodeJS.ErrnoException;
    if (code === "ENOENT") {
      throw cannotRead(
        file,
        "no such file",
        "check the path; the folder to write into goes first: airferry init DIR --from FILE",
      );
    }
    const message = `cannot read "${file}": ${systemFault(cause)}`;
    throw new AirferryError("ERR_IO", message, { path: file, hint: hintOf(code), cause });
  }
}

async function readStdin(): Promise<Buffer> {
  const pieces: Buffer[] = [];
  let size = 0;
  for await (const piece of process.stdin as AsyncIterable<Buffer>) {
    size += piece.length;
    if (size > MAX_SOURCE_BYTES) throw tooLarge("standard input");
    pieces.push(piece);
  }
  return Buffer.concat(pieces);
}

function tooLarge(file: string): AirferryError {
  return cannotRead(file, `too large: expected at most ${MAX_SOURCE_BYTES} bytes`, "split it into several files");
}

function cannotRead(file: string, fault: string, hint: string): AirferryError {
  return new AirferryError("ERR_USAGE", `cannot read "${file}": ${fault}`, { path: file, hint });
}
