/**
 * The text of an inventory as a value: canonical JSON, which means that formatting the value gives the same text. It is
 * pushed in pieces, since it may have a hundred megabytes: its two long lists are parsed part by part and handed on,
 * and only the rest becomes one value. docs/format.md, "Inventory".
 */
import { isUtf8 } from "node:buffer";
import { randomUUID } from "node:crypto";
import { parseJson } from "../io/json.ts";

/** A list that may be long. */
interface LongList {
  /** Its place in the value. */
  at: readonly string[];
  /** The text before its items. */
  before: string;
  /** The texts that may follow them, the first of which does; and the end of the text where nothing follows. */
  behind: readonly string[];
  last?: string;
}

/**
 * In the order of the text. Within a string the quotes would be escaped, and no item has a list of objects, so matches
 * are unambiguous, whichever member of the catalog comes next.
 */
const LISTS: readonly LongList[] = [
  { at: ["entries"], before: ',"entries":[', behind: ['],"catalog":'] },
  { at: ["catalog", "provenance"], before: ',"provenance":[', behind: ['}],"', '}]},"'], last: "}]}}" },
];
const END_OF_LIST = 0x5d;
const NEXT_ITEM = ',{"path":"';
/** Shorter lists stay in the value. */
const STEP_BYTES = 512 * 1024;
/** What shows the end of a list; that of a short one is seen whole, wherever pushed pieces end. */
const MAX_END_BYTES = 16;
const MEMORY_BYTES = 4 * 1024 * 1024;

/** Takes the items of the long lists, in parts: of entries, and of lines of provenance. */
type TakeItems = readonly [entries: (items: unknown[]) => void, provenance: (items: unknown[]) => void];

/** Errors are for text that is not UTF-8, not JSON, not canonical, too deep, or has half of a surrogate pair. */
export class CanonicalReader {
  readonly #take: TakeItems;
  /** All of the text but the long lists, each of which has a {@link #marks | mark} for its only item. */
  readonly #rest: Buffer[] = [];
  /** By list: nobody can write a text that has it. Undefined: the list is in the rest. */
  readonly #marks: (string | undefined)[] = [];
  #isWithin = false;
  /** Of {@link #memory}: what came and is not taken yet. */
  #waiting: Buffer;
  #memory = Buffer.allocUnsafeSlow(MEMORY_BYTES);

  constructor(take: TakeItems) {
    this.#take = take;
    this.#waiting = this.#memory.subarray(0, 0);
  }

  /** Copies what it keeps. @throws {Error} */
  push(bytes: Uint8Array): void {
    const length = this.#waiting.length + bytes.length;
    const memory = length > this.#memory.length ? Buffer.allocUnsafeSlow(2 * length) : this.#memory;
    // Moved to the start of the memory: it may be the same.
    memory.set(this.#waiting);
    memory.set(bytes, this.#waiting.length);
    this.#memory = memory;
    this.#waiting = memory.subarray(0, length);
    while (this.#advance(false));
  }

  /** Returns the value; items that were handed on are not in its lists. @throws {Error} */
  finish(): unknown {
    while (this.#advance(true));
    const bytes = Buffer.concat(this.#rest);
    const value = parsed(bytes, bytes.toString());
    for (const [index, { at }] of LISTS.entries()) {
      const items = memberAt(value, at);
      const mark = this.#marks[index];
      if (mark === undefined) {
        if (Array.isArray(items)) this.#take[index]?.(items.splice(0));
      } else if (!Array.isArray(items) || items.length !== 1 || items.pop() !== mark) throw notCanonical();
    }
    return value;
  }

  /** Takes one step through what is waiting. Returns whether there may be another one. */
  #advance(isEnd: boolean): boolean {
    const list = LISTS[this.#marks.length - (this.#isWithin ? 1 : 0)];
    if (list === undefined) return this.#keep(this.#waiting.length);
    if (this.#isWithin) return this.#parse(list, isEnd);
    const found = this.#waiting.indexOf(list.before);
    if (found < 0) return this.#keep(this.#waiting.length - (isEnd ? 0 : list.before.length - 1));
    const start = found + list.before.length;
    if (!isEnd && this.#waiting.length < start + STEP_BYTES + MAX_END_BYTES) return false;
    const end = endOf(list, this.#waiting, start, isEnd);
    const isShort = this.#waiting[start] === END_OF_LIST || (end === undefined ? isEnd : end < start + STEP_BYTES);
    this.#keep(start);
    this.#marks.push(isShort ? undefined : randomUUID());
    this.#isWithin = !isShort;
    if (!isShort) this.#rest.push(Buffer.from(JSON.stringify(this.#marks.at(-1))));
    return true;
  }

  /** Parses the next items of a long list. */
  #parse(list: LongList, isEnd: boolean): boolean {
    const end = endOf(list, this.#waiting, 0, isEnd);
    const next = this.#waiting.indexOf(NEXT_ITEM, STEP_BYTES);
    const isLast = end !== undefined && (next < 0 || next > end);
    if (!isLast && next < 0) {
      if (isEnd) throw notCanonical();
      return false;
    }
    const bytes = this.#waiting.subarray(0, isLast ? end : next);
    const items = parsed(bytes, `[${bytes.toString()}]`);
    this.#take[this.#marks.length - 1]?.(items as unknown[]);
    this.#waiting = this.#waiting.subarray(isLast ? end : next + 1);
    if (isLast) this.#isWithin = false;
    return true;
  }

  /** Moves so many bytes to the rest. */
  #keep(length: number): boolean {
    if (length <= 0) return false;
    this.#rest.push(Buffer.from(this.#waiting.subarray(0, length)));
    this.#waiting = this.#waiting.subarray(length);
    return false;
  }
}

/** @param text of the bytes, or in brackets */
function parsed(bytes: Buffer, text: string): unknown {
  if (!isUtf8(bytes)) throw new Error("not UTF-8");
  const value = parseJson(text);
  if (JSON.stringify(value) !== text) throw notCanonical();
  if (hasLoneSurrogate(bytes)) throw new Error("a string is not well-formed Unicode");
  return value;
}

/** Canonical JSON escapes nothing else this way. */
function hasLoneSurrogate(text: Buffer): boolean {
  for (let at = text.indexOf("\\ud"); at >= 0; at = text.indexOf("\\ud", at + 1)) {
    let backslashes = 1;
    while (text[at - backslashes] === 0x5c) backslashes++;
    if (backslashes % 2 === 1) return true;
  }
  return false;
}

function notCanonical(): Error {
  return new Error("not canonical JSON");
}

function memberAt(value: unknown, [key, ...below]: readonly string[]): unknown {
  if (key === undefined) return value;
  const isObject = typeof value === "object" && value !== null;
  return isObject ? memberAt(Object.entries(value).find(([it]) => it === key)?.[1], below) : undefined;
}

/** Where the items of a list end; undefined if that is not in the text. */
function endOf({ behind, last }: LongList, text: Buffer, from: number, isEnd: boolean): number | undefined {
  const ends = behind.flatMap((it) => {
    const at = text.indexOf(it, from);
    return at < 0 ? [] : [at + it.indexOf("]")];
  });
  if (isEnd && last !== undefined && text.subarray(-last.length).equals(Buffer.from(last)))
    ends.push(text.length - last.length + last.indexOf("]"));
  return ends.length === 0 ? undefined : Math.min(...ends);
}
