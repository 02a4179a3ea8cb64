/**
 * The lists that stock tools read after `tar -x`: digests of all entries, and what a stock extraction lacks since the
 * bundle carries it once. Both follow from the inventory, and readers check that they do.
 * docs/format.md, "Listings".
 */
import type { Problem } from "../errors.ts";
import { type Digest, hexOf, RunningDigest } from "../io/digest.ts";
import { inTurns, Pace } from "../io/pace.ts";
import { writePieces } from "../io/write-pieces.ts";
import type { EntryTable } from "./entry-table.ts";
import { COPIES_NAME, ENTRIES_NAME, INVENTORY_NAME, LOCK_NAME } from "./media-names.ts";
import type { SumLine } from "./sums.ts";

const STEP_LINES = 1000;

/** The lines of ENTRIES.sha256, as `sha256sum -c` takes them. `entries` are sorted by path. */
function* entryLines(entries: EntryTable): Generator<string> {
  for (const { digest, path } of entries) yield `${hexOf(digest)}  ${path}\n`;
}

/** The lines of COPIES.txt: mode, path that is carried, path that has the same bytes; tabs between. */
function* copyLines(entries: EntryTable): Generator<string> {
  if (!hasCopies(entries)) return;
  for (let index = 0; index < entries.length; index++) {
    if (entries.fromAt(index) !== "bundle") continue;
    yield `${entries.modeAt(index)}\t${entries.pathAt(entries.sameAs(index))}\t${entries.pathAt(index)}\n`;
  }
}

function hasCopies(entries: EntryTable): boolean {
  return entries.tally("bundle").files > 0;
}

/** Writes the lists into a bundle's folder; returns their lines of SHA256SUMS. `entries` are sorted by path. */
export async function writeListings(dir: string, entries: EntryTable): Promise<SumLine[]> {
  const written = [{ name: ENTRIES_NAME, digest: await writePieces(`${dir}/${ENTRIES_NAME}`, entryLines(entries)) }];
  if (!hasCopies(entries)) return written;
  return [...written, { name: COPIES_NAME, digest: await writePieces(`${dir}/${COPIES_NAME}`, copyLines(entries)) }];
}

/** Compares the signed digests of the lists, and of the lock, with what the inventory says. */
export async function checkListings(
  { entries, lock }: { entries: EntryTable; lock: Digest },
  lines: readonly SumLine[],
): Promise<Problem[]> {
  const signed = new Map(lines.map((it) => [it.name, it.digest]));
  const problems: Problem[] = [];
  const compare = (name: string, expected: Digest | undefined) => {
    const actual = signed.get(name);
    if (actual === expected) return;
    const message = `SHA256SUMS and ${INVENTORY_NAME} do not belong together: ${name}: expected ${expected ?? "none"}, got ${actual ?? "none"}`;
    problems.push({ code: "ERR_BUNDLE_INVALID", path: name, message });
  };
  compare(ENTRIES_NAME, await digestOfLines(entryLines(entries)));
  compare(COPIES_NAME, hasCopies(entries) ? await digestOfLines(copyLines(entries)) : undefined);
  if (signed.has(LOCK_NAME)) compare(LOCK_NAME, lock);
  return problems;
}

function digestOfLines(lines: Iterable<string>): Promise<Digest> {
  const pace = new Pace((fault) => new Error(fault));
  return inTurns(hashing(lines), pace);
}

function* hashing(lines: Iterable<string>): Generator<void, Digest> {
  const running = new RunningDigest();
  let waiting = "";
  let count = 0;
  for (const line of lines) {
    waiting += line;
    if (++count % STEP_LINES !== 0) continue;
    running.update(Buffer.from(waiting));
    waiting = "";
    yield;
  }
  return running.update(Buffer.from(waiting)).digest();
}
