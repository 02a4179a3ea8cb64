/**
 * `journal`: reads what was done to a store, and checks that nothing of it was changed: each line has the digest of the
 * one before, and a digest on paper shows that lines are gone from the end. Takes no lock, changes nothing.
 */
import { AirferryError } from "./errors.ts";
import { type Digest, parseHex } from "./io/digest.ts";
import { plural } from "./io/format.ts";
import { shellWord } from "./io/shell.ts";
import { type JournalEntry, NO_LINE, readJournal } from "./store/journal-line.ts";
import { withStore } from "./store/object-store.ts";
import type { Store } from "./store/store.ts";
import { type Deed, JournalState, journalPath, whatHasNoLine } from "./store/store-journal.ts";

/** What `journal verify --json` prints. */
interface JournalReport {
  file: string;
  /** How many lines there are. */
  lines: number;
  /** Digest of the last line, as it may stand on paper; null before the first. */
  head: Digest | null;
  /** The line that has the expected digest; null if none was given. */
  expectedAt: number | null;
  /** Bytes of an unfinished line at the end, which the next command that writes removes. */
  torn: number;
  /** Changes of the store that have no line; the next command that writes to it notes them. */
  missing: { what: "appeared" | "served" | "gone"; stream?: string; epoch?: number; serial?: number; trust?: number }[];
}

/**
 * Checks the whole chain.
 * @param expect digest of a line that was written down: `sha256:` and 64 hex digits, in groups as people write them
 * @throws {AirferryError} ERR_JOURNAL with the first line that is broken; ERR_JOURNAL_HEAD when no line has the
 *   expected digest; ERR_USAGE for what is no digest; ERR_NOT_FOUND, ERR_STORE_INVALID, ERR_PATH_UNSAFE, ERR_IO
 */
export async function verifyJournal(dir: string, expect?: string): Promise<JournalReport> {
  const expected = expect === undefined ? undefined : parseExpected(expect, dir);
  return withStore(dir, (store) => verifyOf(store, dir, expected));
}

async function verifyOf(store: Store, dir: string, expected: Digest | undefined): Promise<JournalReport> {
  const file = journalPath(store);
  const state = new JournalState();
  let count = 0;
  let at: number | undefined;
  const end = await readJournal(file, (entry, digest) => {
    count++;
    if (digest === expected) at = count;
    state.apply(entry);
  });
  if (end?.fault !== undefined) {
    const { line, message } = end.fault;
    throw new AirferryError("ERR_JOURNAL", `cannot trust journal "${file}": line ${line} ${message}`, {
      path: `${file}:${line}`,
      hint: `it or a line before was changed, moved or removed; what it says: airferry journal show --store ${shellWord(dir)}`,
    });
  }
  const head = end === undefined || end.lines === 0 ? null : end.head;
  if (expected !== undefined && at === undefined) {
    const actual = head === null ? "no line" : `${plural(end?.lines ?? 0, "line")} up to ${head}`;
    throw new AirferryError(
      "ERR_JOURNAL_HEAD",
      `cannot trust journal "${file}": no line has the digest on the paper: expected ${expected}, got ${actual}`,
      {
        path: file,
        expected,
        actual,
        hint: `lines are gone, or all of it was written again, or the paper is of another store; what it says: airferry journal show --store ${shellWord(dir)}`,
      },
    );
  }
  const missing = (await whatHasNoLine(store, state)).map(asMissing);
  return { file, lines: end?.lines ?? 0, head, expectedAt: at ?? null, torn: end?.torn ?? 0, missing };
}

function asMissing({ result, bundle, trust }: Deed): JournalReport["missing"][number] {
  const { stream, epoch, serial } = bundle ?? {};
  return {
    what: result === "served" || result === "gone" ? result : "appeared",
    ...(stream !== undefined && { stream }),
    ...(epoch !== undefined && { epoch }),
    ...(serial !== undefined && { serial }),
    ...(trust !== undefined && { trust: trust.version }),
  };
}

function parseExpected(text: string, dir: string): Digest {
  const digits = text
    .replace(/^.*sha256:/s, "")
    .replace(/[\s-]/g, "")
    .toLowerCase();
  const digest = parseHex(digits);
  if (digest !== undefined && digest !== NO_LINE) return digest;
  throw new AirferryError("ERR_USAGE", `cannot compare the journal: --expect: expected 64 hex digits, got "${text}"`, {
    hint: `give what "airferry journal verify" printed: airferry journal verify --store ${shellWord(dir)} --expect sha256:DIGITS`,
  });
}

/**
 * Reads the newest lines, oldest first; those that cannot be read are left out.
 * @param last how many; default all
 * @throws {AirferryError} ERR_NOT_FOUND, ERR_STORE_INVALID, ERR_PATH_UNSAFE, ERR_IO
 */
export async function readLines(
  dir: string,
  last = Number.POSITIVE_INFINITY,
): Promise<{ file: string; total: number; fault: string | null; lines: JournalEntry[] }> {
  return withStore(dir, (store) => readLinesOf(store, last));
}

async function readLinesOf(store: Store, last: number): ReturnType<typeof readLines> {
  const file = journalPath(store);
  let lines: JournalEntry[] = [];
  const end = await readJournal(file, (entry) => {
    lines.push(entry);
    if (lines.length > 2 * last) lines = lines.slice(-last);
  });
  const { fault } = end ?? {};
  return {
    file,
    total: end?.lines ?? 0,
    fault: fault === undefined ? null : `line ${fault.line} ${fault.message}`,
    lines: lines.length > last ? lines.slice(-last) : lines,
  };
}
