/** Lines of kickstart files as words and options, quoted as in a shell. */

export type Words = readonly string[];

/** The words of a line; text after `#` is a comment. A quote that is not closed ends with the line. */
export function wordsOf(line: string): string[] {
  const words: string[] = [];
  let word: string | undefined;
  let quote = "";
  for (let at = 0; at < line.length; at++) {
    const char = line[at] as string;
    if (quote !== "") {
      if (char === quote) quote = "";
      else if (char === "\\" && quote === '"' && /["\\]/.test(line[at + 1] ?? "")) word += line[++at] as string;
      else word += char;
    } else if (char === '"' || char === "'") {
      quote = char;
      word ??= "";
    } else if (char === "\\") word = (word ?? "") + (line[++at] ?? "");
    else if (/\s/.test(char)) {
      if (word !== undefined) words.push(word);
      word = undefined;
    } else if (char === "#" && word === undefined) break;
    else word = (word ?? "") + char;
  }
  if (word !== undefined) words.push(word);
  return words;
}

/** `--key=value` and `--key value` after the command, and the other words. A flag has an empty value. */
export function optionsOf([, ...words]: Words): { options: Map<string, string>; rest: string[] } {
  const options = new Map<string, string>();
  const rest: string[] = [];
  for (let at = 0; at < words.length; at++) {
    const [, key, value] = /^--([A-Za-z][\w-]*)(?:=(.*))?$/s.exec(words[at] as string) ?? [];
    const next = words[at + 1];
    if (key === undefined) rest.push(words[at] as string);
    else if (value === undefined && next !== undefined && !next.startsWith("-") && !FLAGS.has(key)) {
      options.set(key, next);
      at++;
    } else options.set(key, value ?? "");
  }
  return { options, rest };
}

/** Options without a value that other words may follow. */
const FLAGS = new Set(
  "nocore nodocs ignoremissing ignorebroken multilib default install ignoregroups noverifyssl disable".split(" "),
);
