/** Words of commands printed for people to run, quoted for a POSIX shell. No imports. */

const PLAIN_WORD = /^[A-Za-z0-9_@%+=:,./-]+$/;

/** One word for a shell, quoted only if needed. */
export function shellWord(text: string): string {
  return PLAIN_WORD.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}

/** Several words, separated by spaces. */
export function shellWords(words: readonly string[]): string {
  return words.map(shellWord).join(" ");
}

/** Placeholder for the manifest's path in commands, for modules that do not know the path. */
const MANIFEST_PLACE = /\bairferry (check|lock|pack|plan) MANIFEST\b/g;

/** A text with the manifest's path, as typed by the user, in its commands. */
export function withManifestName(text: string, file: string): string {
  return text.replace(MANIFEST_PLACE, (_, verb: string) => `airferry ${verb} ${shellWord(file)}`);
}
