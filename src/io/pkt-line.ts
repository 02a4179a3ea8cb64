/** The framing of git's protocols: lines with their length before them. gitprotocol-common(5). No I/O. */

/** A line's content, or one of the marks between lines. */
export type PktLine = Buffer | "flush" | "delimiter" | "end";

/** Longest content of a line. */
const MAX_CONTENT_BYTES = 65_516;
/** Most lines of one message. */
const MAX_LINES = 500_000;

export const FLUSH = Buffer.from("0000");
export const DELIMITER = Buffer.from("0001");

/** One line. */
export function pktLine(content: string | Uint8Array): Buffer {
  const bytes = Buffer.from(content as string);
  return Buffer.concat([pktHead(bytes.length), bytes]);
}

/** What stands before so many bytes of content. */
export function pktHead(size: number): Buffer {
  return Buffer.from((size + 4).toString(16).padStart(4, "0"));
}

/** The lines of a message. @throws {Error} with a readable fault for anything else */
export function pktLines(bytes: Buffer): PktLine[] {
  const lines: PktLine[] = [];
  for (let at = 0; at < bytes.length; ) {
    if (lines.length >= MAX_LINES) throw new Error(`has more than ${MAX_LINES} lines`);
    const head = bytes.toString("latin1", at, at + 4);
    if (!/^[0-9a-fA-F]{4}$/.test(head)) throw new Error("is not in lines of git's protocol");
    const size = Number.parseInt(head, 16);
    const mark = MARKS[size];
    if (mark !== undefined) lines.push(mark);
    else if (size < 4 || size - 4 > MAX_CONTENT_BYTES || at + size > bytes.length) throw new Error("has a torn line");
    else lines.push(bytes.subarray(at + 4, at + size));
    at += mark === undefined ? size : 4;
  }
  return lines;
}

const MARKS: Readonly<Record<number, PktLine>> = { 0: "flush", 1: "delimiter", 2: "end" };

/** A line as text, without its line feed; a mark as it is called. */
export function lineText(line: PktLine): string {
  return typeof line === "string" ? line : line.toString("utf8").replace(/\n$/, "");
}
