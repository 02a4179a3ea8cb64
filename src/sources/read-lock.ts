/**
 * A long lock read entry by entry, as airferry writes it: the text of 166,000 files has 58 MB, its JSON three times
 * that, and neither is needed as a whole. Everything else, and every lock with a fault, is left to the whole parse,
 * for its messages.
 */
import { open } from "node:fs/promises";
import { parseJson } from "../io/json.ts";

const CHUNK_BYTES = 1024 * 1024;
const HEAD = '{\n "entries": [\n';
/** The lines that end an entry, which no text within JSON has. */
const ENTRY_END = Buffer.from("\n  },\n");
const LAST_END = Buffer.from("\n  }\n ],\n");

/**
 * Calls back with some entries at a time, parsed; returns the rest, with an empty list in their place. Undefined for a
 * file of another form. @throws {Error} for text that is not JSON; of the file system
 */
export async function readLockInPieces(
  file: string,
  take: (entries: unknown[]) => void,
): Promise<Record<string, unknown> | undefined> {
  await using handle = await open(file);
  const chunk = Buffer.allocUnsafe(CHUNK_BYTES);
  let waiting: Buffer = Buffer.alloc(0);
  const more = async () => {
    const { bytesRead } = await handle.read(chunk, 0, chunk.length);
    waiting = Buffer.concat([waiting, chunk.subarray(0, bytesRead)]);
    return bytesRead > 0;
  };
  await more();
  if (waiting.toString("latin1", 0, HEAD.length) !== HEAD) return undefined;
  waiting = waiting.subarray(HEAD.length);
  for (;;) {
    const last = waiting.indexOf(LAST_END);
    const end = last < 0 ? waiting.lastIndexOf(ENTRY_END) : last;
    if (end >= 0) take(parseJson(`[${waiting.toString("utf8", 0, end + "\n  }".length)}]`) as unknown[]);
    if (last >= 0) {
      waiting = waiting.subarray(last + LAST_END.length);
      break;
    }
    if (end >= 0) waiting = waiting.subarray(end + ENTRY_END.length);
    if (!(await more())) return undefined;
  }
  while (await more());
  const rest = parseJson(`{"entries": [],\n${waiting.toString("utf8")}`) as Record<string, unknown>;
  return waiting.includes('"entries"') ? undefined : rest;
}
