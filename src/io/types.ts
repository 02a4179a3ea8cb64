/**
 * Types shared by every folder: kinds of content, random access to bytes and parts of them. No imports, no I/O.
 */

/** The kinds of content that a manifest names. */
export type Kind = "iso" | "rpm" | "file" | "image" | "web";

/** How a digest was established, weakest last; `generated`: airferry generated the bytes from the others. */
export type Established = "manifest" | "upstream-signed" | "upstream-checksum" | "first-sight" | "generated";

/**
 * Random access to bytes, any number of times, by several readers at once. Only its opener closes it.
 */
export interface RandomAccess {
  /** Total length in bytes. */
  readonly size: number;
  /**
   * Reads up to `length` bytes at `position`; returns fewer only at the end of the bytes.
   * The returned view may be a part of a larger buffer but is never reused by the reader.
   */
  read(position: number, length: number): Promise<Uint8Array>;
}

/** A part of a file: `size` bytes from `offset`. */
export interface Extent {
  offset: number;
  size: number;
}
