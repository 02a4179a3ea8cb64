/**
 * Lines of a store's journal, which says what was done to the store: one JSON object each, with the digest of the line
 * before, so that a change of any line breaks the chain. docs/format.md, "The journal of a store".
 */
import { z } from "zod";
import { AirferryError } from "../errors.ts";
import { type Digest, RunningDigest } from "../io/digest.ts";
import { parseJson } from "../io/json.ts";
import { digestSchema } from "../io/own-file.ts";
import { printable } from "../io/printable.ts";
import { openRegular } from "../io/safe-open.ts";
import { isUtcTime } from "../io/utc-time.ts";

/** Longest line, without its end. */
export const MAX_LINE_BYTES = 16 * 1024;
/** What the first line names as the digest of the one before. */
export const NO_LINE: Digest = `sha256:${"0".repeat(64)}`;
const READ_BYTES = 256 * 1024;
const NEWLINE = 0x0a;

const count = z.int().min(0);
const text = z.string().max(400);
const place = { epoch: count, serial: count };

/** Members that a later version may add are ignored. */
const lineSchema = z.object({
  /** From 1. */
  n: z.int().min(1),
  /** Of the line before, without its end. */
  previous: digestSchema,
  time: z.custom<string>(isUtcTime, "expected a time as YYYY-MM-DDTHH:MM:SSZ"),
  /** `found`: done without a line here, and noticed later. */
  action: z.enum(["unpack", "rollback", "prune", "fsck", "trust", "found"]),
  /** `appeared`, `served` and `gone` are for what was found. */
  result: z.enum(["done", "already", "incomplete", "refused", "failed", "appeared", "served", "gone"]),
  /** Of the error. */
  code: text.exactOptional(),
  message: text.exactOptional(),
  /** `login` is the user who logged in, before any sudo, as the kernel knows it. */
  by: z.object({ user: text, uid: z.int(), login: count.exactOptional(), host: text }),
  tool: text,
  media: z
    .array(
      z.object({
        folder: text,
        device: text.exactOptional(),
        label: text.exactOptional(),
        serial: text.exactOptional(),
      }),
    )
    .exactOptional(),
  /** Absent of it is what was not read, or not yet trusted. */
  bundle: z
    .looseObject({
      stream: text.exactOptional(),
      epoch: count.exactOptional(),
      serial: count.exactOptional(),
      /** Of SHA256SUMS. */
      digest: digestSchema.exactOptional(),
    })
    .exactOptional(),
  /** keyids of trusted signers. */
  signers: z.array(text).exactOptional(),
  /** Timestamps and attestations that counted, a line each. */
  attested: z.array(text).exactOptional(),
  /** What was served before a rollback. */
  from: z.object(place).exactOptional(),
  /** Releases that were removed, as `stream/name`. */
  removed: z.array(text).exactOptional(),
  /** How many blobs were removed or repaired, and bytes that were removed, or came from bundles. */
  blobs: count.exactOptional(),
  bytes: count.exactOptional(),
  /** Problems that were left. */
  problems: count.exactOptional(),
  trust: z.object({ name: text, version: count, digest: digestSchema }).exactOptional(),
  /** Bytes of an unfinished line that were removed before this one was written. */
  torn: count.exactOptional(),
});

/** One line. */
export type JournalEntry = z.output<typeof lineSchema>;

/** Where a chain ends. */
interface JournalEnd {
  lines: number;
  /** Digest of the last line; zeros if there is none. */
  head: Digest;
  /** The number that the last line has. */
  last: number;
  /** Bytes of whole lines. */
  size: number;
  /** Bytes after the last whole line: an unfinished one. */
  torn: number;
  /** The first line that is not as it was written, from 1. */
  fault?: { line: number; message: string };
}

/**
 * Reads a journal line by line in bounded memory, and checks the chain. Goes on behind a fault.
 * @param each called with every line that can be read, in order
 * @returns undefined when there is no journal
 * @throws {AirferryError} ERR_PATH_UNSAFE for a link or anything else in its place; ERR_IO
 */
export async function readJournal(
  file: string,
  each: (entry: JournalEntry, digest: Digest) => void = () => {},
): Promise<JournalEnd | undefined> {
  const end: JournalEnd = { lines: 0, head: NO_LINE, last: 0, size: 0, torn: 0 };
  const opened = await openRegular(file).catch((error: unknown) => {
    if (!(error instanceof AirferryError) || error.code !== "ERR_NOT_FOUND") throw error;
  });
  if (opened === undefined) return undefined;
  const { handle } = opened;
  let line = new PartialLine();
  try {
    const buffer = Buffer.allocUnsafe(READ_BYTES);
    for (;;) {
      const { bytesRead } = await handle.read(buffer, 0, READ_BYTES);
      if (bytesRead === 0) break;
      const chunk = buffer.subarray(0, bytesRead);
      for (let from = 0; from < chunk.length; ) {
        const at = chunk.indexOf(NEWLINE, from);
        line.add(chunk.subarray(from, at < 0 ? chunk.length : at));
        if (at < 0) break;
        takeLine(line, end, each);
        line = new PartialLine();
        from = at + 1;
      }
    }
  } finally {
    await handle.close();
  }
  end.torn = line.length;
  return end;
}

/** A line as far as it is read: the beginning, and the digest of all of it. */
class PartialLine {
  readonly #digest = new RunningDigest();
  readonly #parts: Buffer[] = [];
  length = 0;

  add(bytes: Buffer): void {
    this.#digest.update(bytes);
    if (this.length <= MAX_LINE_BYTES) this.#parts.push(Buffer.from(bytes.subarray(0, MAX_LINE_BYTES + 1)));
    this.length += bytes.length;
  }

  get bytes(): Buffer {
    return Buffer.concat(this.#parts);
  }

  digest(): Digest {
    return this.#digest.digest();
  }
}

function takeLine(line: PartialLine, end: JournalEnd, each: (entry: JournalEntry, digest: Digest) => void): void {
  const digest = line.digest();
  end.lines++;
  const entry = line.length > MAX_LINE_BYTES ? `longer than ${MAX_LINE_BYTES} bytes` : parseLine(line.bytes);
  const fault = typeof entry === "string" ? entry : chainFault(entry, end);
  if (fault !== undefined && end.fault === undefined) end.fault = { line: end.lines, message: fault };
  end.head = digest;
  end.size += line.length + 1;
  end.last = typeof entry === "string" ? end.last + 1 : entry.n;
  if (typeof entry !== "string") each(entry, digest);
}

function chainFault({ n, previous }: JournalEntry, { head, last }: JournalEnd): string | undefined {
  if (previous !== head) return `does not follow the line before: expected previous ${head}, got ${previous}`;
  return n === last + 1 ? undefined : `has the wrong number: expected ${last + 1}, got ${n}`;
}

/** Returns what is wrong with a line that airferry would not have written. */
function parseLine(bytes: Buffer): JournalEntry | string {
  try {
    const line = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    const value = parseJson(line);
    if (JSON.stringify(value) !== line) return "not canonical JSON";
    if (printable(line) !== line) return "characters that are not printable";
    const parsed = lineSchema.safeParse(value);
    if (parsed.success) return parsed.data;
    const [issue] = parsed.error.issues;
    return `not a line of a journal: ${printable(issue?.path.join(".") ?? "", 60)}: ${printable(issue?.message ?? "", 100)}`;
  } catch (error) {
    return `not JSON: ${printable((error as Error).message, 100)}`;
  }
}

/** The text of a line, with its end. Members come in the order of the schema. */
export function formatLine(entry: JournalEntry): string {
  const order = Object.keys(lineSchema.shape);
  const sorted = Object.entries(entry).sort(([a], [b]) => order.indexOf(a) - order.indexOf(b));
  return `${JSON.stringify(Object.fromEntries(sorted))}\n`;
}
