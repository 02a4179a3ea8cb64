/** Text of files that people and programs write on any system. */

/** UTF-16 where a byte order mark says so (PowerShell's redirection), otherwise UTF-8; without the mark. Bytes of neither become U+FFFD. */
export function textOf(bytes: Uint8Array): string {
  const mark = (bytes[0] ?? 0) * 256 + (bytes[1] ?? 0);
  const encoding = mark === 0xfffe ? "utf-16le" : mark === 0xfeff ? "utf-16be" : "utf-8";
  return new TextDecoder(encoding).decode(bytes);
}
