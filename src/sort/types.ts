/** What the parts of sorting tell each other. */

/** Keys of the manifest that a recording is sorted into. */
export type SortedKey = "rpms" | "images" | "isos" | "files";

/** An entry as the manifest has it. */
export type EntryText = Readonly<Record<string, unknown>>;

/** Something in a recording that may become an entry. */
export interface Candidate {
  key: SortedKey;
  /** What it is known by, whatever else its entry says: a URL, or the reference of an image. */
  id: string;
  /** Other URLs of the same. */
  aliases?: readonly string[];
  /** Where it is and how it may be called; the first whose name nobody has. */
  spellings: readonly EntryText[];
  /** What else its entry says; the first with which it can be packed. */
  variants: readonly EntryText[];
  /** For people, beside what it is known by. */
  comment?: string;
}

/** What became of a candidate that is an entry now. */
export interface SortedEntry {
  key: SortedKey;
  id: string;
  /** As its lock names it. */
  name: string;
  /** Packages of a repository. */
  packages?: number;
}
