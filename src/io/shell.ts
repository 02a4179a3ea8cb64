/** Words of commands that are printed for people to run: quoted as a POSIX shell needs them. No imports. */

const PLAIN_WORD = /^[A-Za-z0-9_@%+=:,./-]+$/;

/** One word as a shell reads it back: as it is where it needs no quotes. */
export function shellWord(text: string): string {
  return PLAIN_WORD.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}

/** Several words with blanks between them. */
export function shellWords(words: readonly string[]): string {
  return words.map(shellWord).join(" ");
}
