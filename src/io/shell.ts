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

/** What modules below the command line, which do not know what the manifest is called, write for it in commands. */
const MANIFEST_PLACE = /\bairferry (check|lock|pack|plan) MANIFEST\b/g;

/** A text with the manifest's path, as the user typed it, in the commands that it names. */
export function withManifestName(text: string, file: string): string {
  return text.replace(MANIFEST_PLACE, (_, verb: string) => `airferry ${verb} ${shellWord(file)}`);
}
