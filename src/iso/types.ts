/**
 * Types of the ISO reader: entries of a directory, with the offsets of their bytes. No code, no I/O.
 */
import type { Extent } from "../io/types.ts";

export type IsoKind = "file" | "directory" | "symlink" | "special";

/** One name in a directory. */
export interface IsoDirectoryEntry {
  /** Never empty, `.` or `..`; holds no `/` and no NUL. */
  name: string;
  kind: IsoKind;
  /** Bytes of the content; of a directory, of its records. */
  size: number;
  /** In order; several for a file of more than one extent. Empty for an empty file. */
  extents: Extent[];
  /** Seconds since 1970, from the record's date; undefined when it has none. */
  mtime?: number;
  /** POSIX permission bits, from Rock Ridge. */
  mode?: number;
  /** Target of a symbolic link, as recorded. */
  link?: string;
  /** Why the content is unreadable (compressed, interleaved), if it is. */
  unreadable?: string;
  /** Offset of the directory record in the image, for messages. */
  recordOffset: number;
}

/** The tree of an image that is read. */
export type IsoTree = "rock-ridge" | "joliet" | "iso9660";
