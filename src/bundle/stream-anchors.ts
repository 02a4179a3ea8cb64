/**
 * Finds places again in what a link brought of volumes with gaps: headers of entries are as known as everything else
 * that is not content, so each says where the bytes around it belong. docs/format.md, "A bundle in a stream".
 */
import type { EntryTable } from "./entry-table.ts";
import { HEADER_MARK, HEADER_MARK_AT } from "./stream-form.ts";
import { headerBytes } from "./tar-layout.ts";

const STEP_BYTES = 1024 * 1024;
/** More than the header records of any entry: a path has at most 1024 bytes. */
const OVERLAP_BYTES = 4096;
const BLOCK_BYTES = 512;
const LONG_NAME = "././@LongLink";

/** Where a byte of what came belongs. */
export interface Anchor {
  /** In what came. */
  at: number;
  /** In the tar stream. */
  position: number;
}

/** Bytes that may belong there. */
interface Placement extends Anchor {
  length: number;
}

/** Bytes between two places, with several gaps or additions among them, or with one. */
interface Between {
  from: Anchor;
  to: Anchor;
}

/**
 * The headers of entries in what came, in its order.
 * @param copy returns bytes of what came
 */
export function findAnchors(
  copy: (at: number, length: number) => Buffer,
  { from, to }: { from: number; to: number },
  entries: Pick<EntryTable, "get">,
): Anchor[] {
  const anchors: Anchor[] = [];
  for (let start = from; start < to; start += STEP_BYTES) {
    const bytes = copy(start, Math.min(STEP_BYTES + OVERLAP_BYTES, to - start));
    for (let hit = bytes.indexOf(HEADER_MARK); hit >= 0; hit = bytes.indexOf(HEADER_MARK, hit + 1)) {
      const at = hit - HEADER_MARK_AT;
      if (at < 0 || at >= STEP_BYTES) continue;
      const entry = entries.get(pathAt(bytes, at));
      if (entry?.offset === undefined) continue;
      const header = headerBytes(entry);
      if (bytes.subarray(at, at + header.length).equals(header))
        anchors.push({ at: start + at, position: entry.offset - header.length });
    }
  }
  return anchors;
}

/** The path that a header says, if it is one. */
function pathAt(bytes: Buffer, at: number): string {
  const text = (from: number, to: number) => {
    const end = bytes.subarray(at + from, at + to).indexOf(0);
    return bytes.toString("utf8", at + from, end < 0 ? at + to : at + from + end);
  };
  const name = text(0, 100);
  if (name === LONG_NAME) return text(BLOCK_BYTES, OVERLAP_BYTES - BLOCK_BYTES);
  const prefix = text(345, 500);
  return prefix === "" ? name : `${prefix}/${name}`;
}

/**
 * What the places say of the bytes around them: those behind one belong behind it, and those before one before it, up
 * to where a gap is, which digests decide. A place says nothing beyond its volume: other files are between two volumes.
 * @param anchors in the order of what came
 * @param range where what came begins and ends
 * @param known the shift by which it was taken already, up to the end of a volume
 */
export function placements(
  anchors: readonly Anchor[],
  range: { from: number; to: number },
  { known, volumeSize }: { known: { shift: number; end: number } | undefined; volumeSize: number },
): { placed: Placement[]; between: Between[] } {
  const placed: Placement[] = [];
  const between: Between[] = [];
  const before = (it: Anchor, most: number) => {
    const start = Math.max(0, Math.floor((it.position - 1) / volumeSize) * volumeSize);
    const length = Math.min(most, it.position - start);
    if (length > 0) placed.push({ at: it.at - length, position: it.position - length, length });
  };
  const [first] = anchors;
  if (first !== undefined && first.at > range.from) before(first, first.at - range.from);
  for (const [index, it] of anchors.entries()) {
    const next = anchors[index + 1];
    const shift = it.position - it.at;
    const came = (next?.at ?? range.to) - it.at;
    const most = next === undefined ? came : Math.min(came, Math.max(0, next.position - it.position));
    const end = (Math.floor(it.position / volumeSize) + 1) * volumeSize;
    const length = Math.min(most, end - it.position);
    if ((shift !== known?.shift || it.position >= known.end) && length > 0) placed.push({ ...it, length });
    if (next === undefined || most === 0) continue;
    const isSame = next.position - next.at === shift;
    if (!isSame || next.position > end) before(next, most);
    if (!isSame && next.position <= end) between.push({ from: it, to: next });
  }
  return { placed, between };
}
