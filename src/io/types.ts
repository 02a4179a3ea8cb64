/**
 * The vocabulary that every folder shares: digests, kinds of content and random access to bytes. No imports, no I/O.
 */

/** A SHA-256 digest as `sha256:` and 64 lower-case hex digits. */
export type Digest = `sha256:${string}`;

const DIGEST = /^sha256:[0-9a-f]{64}$/;

/** Tells whether a string is a {@link Digest}: lower-case hex only. */
export function isDigest(text: string): text is Digest {
  return DIGEST.test(text);
}

/** The kinds of content that a manifest names. */
export type Kind = "iso" | "rpm" | "file" | "image";

/** How a digest was established, weakest last; `generated`: airferry wrote the bytes itself, out of the others. */
export type Established = "manifest" | "upstream-signed" | "upstream-checksum" | "first-sight" | "generated";

/**
 * Bytes that can be read anywhere, any number of times, by several readers at once.
 * Nobody but whoever opened it closes it.
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
