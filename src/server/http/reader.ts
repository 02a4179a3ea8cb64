/** Where the bytes of an answer come from: a file or parts of it, or anything with random access. */
import { AirferryError } from "../../errors.ts";
import type { Extent, RandomAccess } from "../../io/types.ts";
import type { SharedFile } from "./handles.ts";

/** Where a transfer takes its bytes from. */
export interface Reader {
  /**
   * Returns bytes from `position`, at least one and at most `length`: in `buffer`, or in memory of the reader's own
   * that nobody changes later. `length` is never more than the buffer's.
   */
  read(buffer: Uint8Array, position: number, length: number): Promise<Uint8Array>;
  release(): void;
  /**
   * Finds out, before an answer begins, that there is nothing to answer with at a position.
   * @param end up to where, exclusive, it will be read
   */
  prepare?(position: number, end: number): Promise<void>;
}

/** Reads a file, or parts of it one after the other. Releases the file. */
export function readFile(file: SharedFile, size: number, extents: readonly Extent[] = [{ offset: 0, size }]): Reader {
  return {
    async read(buffer, position, length) {
      let begin = 0;
      for (const extent of extents) {
        if (position < begin + extent.size) {
          const within = position - begin;
          const wanted = Math.min(length, extent.size - within);
          const count = await file.fill(buffer, wanted, extent.offset + within);
          if (count < wanted) throw tooShort(size, position + count);
          return count === buffer.length ? buffer : buffer.subarray(0, count);
        }
        begin += extent.size;
      }
      throw tooShort(size, begin);
    },
    async prepare(position, end) {
      let begin = 0;
      for (const extent of extents) {
        if (position < begin + extent.size) {
          const within = Math.min(extent.size, end - begin);
          return file.prepare(extent.offset + position - begin, extent.offset + within);
        }
        begin += extent.size;
      }
    },
    release: () => file.release(),
  };
}

/** Reads from anything with random access. Does not close it. */
export function readRandomAccess(source: RandomAccess): Reader {
  return {
    async read(_buffer, position, length) {
      const bytes = await source.read(position, length);
      if (bytes.length === 0) throw tooShort(source.size, position);
      return bytes;
    },
    release: () => {},
  };
}

function tooShort(expected: number, actual: number): AirferryError {
  return new AirferryError(
    "ERR_STORE_INVALID",
    `cannot send stored bytes: file too short: expected ${expected} bytes, got ${actual}`,
    {
      hint: "the store is damaged; unpack the bundle again",
    },
  );
}
