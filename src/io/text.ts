/** Text of files that people and programs write on any system, and one order of texts on all of them. */

/**
 * UTF-16 if a byte order mark says so (PowerShell's redirection), otherwise UTF-8; without the mark. Invalid bytes
 * become U+FFFD.
 */
export function textOf(bytes: Uint8Array): string {
  const mark = (bytes[0] ?? 0) * 256 + (bytes[1] ?? 0);
  const encoding = mark === 0xfffe ? "utf-16le" : mark === 0xfeff ? "utf-16be" : "utf-8";
  return new TextDecoder(encoding).decode(bytes);
}

/** Orders two strings by their UTF-8 bytes, as `LC_ALL=C sort` does; for `Array.sort`. */
export function compareUtf8(a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  for (let index = 0; index < length; index++) {
    const left = a.charCodeAt(index);
    const right = b.charCodeAt(index);
    if (left === right) continue;
    // UTF-16 puts surrogates (U+10000 and up) below U+E000…U+FFFF, UTF-8 above.
    const lift = (unit: number) => (unit >= 0xe000 ? unit - 0x800 : unit >= 0xd800 ? unit + 0x2000 : unit);
    return lift(left) - lift(right);
  }
  return a.length - b.length;
}
