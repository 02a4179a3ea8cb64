/** Questions on a terminal: asked on stderr, so that stdout keeps to results. */
import { AirferryError } from "../errors.ts";
import type { Ask, Choice } from "../init/questions.ts";
import { printable } from "../io/printable.ts";

/** Whether there is somebody to ask. */
export function hasTerminal(): boolean {
  return process.stdin.isTTY === true && process.stderr.isTTY === true;
}

/** Questions, and what ends them. */
interface Terminal extends Ask {
  /** Yes or no; yes is the default. */
  confirm: (question: string) => Promise<boolean>;
  close: () => void;
}

/**
 * Opens the terminal for questions; the caller closes it. Ctrl-C ends the program as elsewhere.
 * @throws {AirferryError} ERR_USAGE from any question when the input ends
 */
export async function askOnTerminal(): Promise<Terminal> {
  const { createInterface } = await import("node:readline/promises");
  const lines = createInterface({ input: process.stdin, output: process.stderr, terminal: true });
  // Left open: with the last handle closed, the program could end before the signal arrives.
  lines.once("SIGINT", () => {
    process.stderr.write("\n");
    process.kill(process.pid, "SIGINT");
  });
  const ended = new Promise<never>((_resolve, reject) => {
    lines.once("close", () =>
      reject(
        new AirferryError("ERR_USAGE", "cannot create a manifest: the input ended before all questions were answered", {
          hint: "run the command again, or answer by flags: airferry init --for rocky-9-capi",
        }),
      ),
    );
  });
  ended.catch(() => {});
  const line = async (question: string, fallback: string) => {
    const shown = fallback === "" ? `${question}: ` : `${question} [${fallback}]: `;
    const answer = (await Promise.race([lines.question(printable(shown)), ended])).trim();
    return answer === "" ? fallback : answer;
  };
  const text: Ask["text"] = async (question, fallback, fault) => {
    for (;;) {
      const answer = await line(question, fallback);
      const found = fault?.(answer);
      if (found === undefined) return answer;
      process.stderr.write(`  ${printable(found)}\n`);
    }
  };
  return {
    text,
    choose: async (question, choices, fallback) => {
      process.stderr.write(`${question}\n${menu(choices)}`);
      const value = (answer: string) => choices[Number(answer) - 1]?.value ?? answer;
      const names = choices.map((it) => it.value);
      const answer = await text("Number or name", fallback, (it) =>
        names.includes(value(it)) ? undefined : `a number from 1 to ${choices.length}, or a name, is needed`,
      );
      return value(answer);
    },
    confirm: async (question) => {
      const answer = await text(question, "yes", (it) =>
        /^(?:y|yes|n|no)$/i.test(it) ? undefined : "yes or no is needed",
      );
      return /^y/i.test(answer);
    },
    close: () => {
      lines.removeAllListeners("close");
      lines.close();
    },
  };
}

/** A text beside the names has at least so many columns; on a narrower terminal it begins below them. */
const MIN_TEXT_COLUMNS = 30;

/** The numbered choices, with their texts broken between words to fit the terminal. */
function menu(choices: readonly Choice[]): string {
  const columns = process.stderr.columns || 80;
  const width = Math.max(...choices.map((it) => it.value.length));
  const isBeside = columns - width - 7 >= MIN_TEXT_COLUMNS;
  const indent = isBeside ? width + 7 : 5;
  return choices
    .map(({ value, text }, at) => {
      const [first = "", ...others] = wrapped(text, columns - 1 - indent);
      const below = (line: string) => `${" ".repeat(indent)}${line}\n`;
      const head = `  ${at + 1}  ${isBeside ? `${value.padEnd(width)}  ${first}` : value}\n`;
      return `${head}${isBeside ? "" : below(first)}${others.map(below).join("")}`;
    })
    .join("");
}

/** Lines of at most so many characters; a longer word has its own. */
function wrapped(text: string, columns: number): string[] {
  const lines = [""];
  for (const word of text.split(" ")) {
    const line = lines.at(-1) as string;
    if (line === "") lines[lines.length - 1] = word;
    else if (line.length + 1 + word.length <= columns) lines[lines.length - 1] = `${line} ${word}`;
    else lines.push(word);
  }
  return lines;
}
