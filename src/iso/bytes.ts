/** Numbers in the bytes of an image, where whoever asks has seen that they are there. */
import { bug } from "../errors.ts";

/** One byte. */
export function byteAt(bytes: Uint8Array, at: number): number {
  return bytes[at] ?? bug(`byte ${at} of ${bytes.length} in an ISO image`);
}

/** The little-endian half of a both-endian 32-bit number. @see ECMA-119, section 7.3.3 */
export function u32(bytes: Uint8Array, at: number): number {
  const low = byteAt(bytes, at) | (byteAt(bytes, at + 1) << 8) | (byteAt(bytes, at + 2) << 16);
  return low + byteAt(bytes, at + 3) * 0x1000000;
}
