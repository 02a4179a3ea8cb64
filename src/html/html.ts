/**
 * Self-escaping HTML: a tagged template whose values are untrusted text, unless they are HTML from this module.
 */
import { printable } from "../io/printable.ts";

/** A piece of HTML. Only {@link html} and {@link joined} create it, so everything in it is escaped. */
class Html {
  readonly #text: string;

  constructor(text: string) {
    this.#text = text;
  }

  toString(): string {
    return this.#text;
  }
}
export type { Html };

/** Template values: text to be escaped, or HTML. */
export type HtmlValue = string | number | Html;

/**
 * Creates HTML from a template. Texts are escaped for content and for attributes in double quotes, and shown on one
 * line; values are not allowed elsewhere: not in a tag's name, an attribute without quotes, a script or a style.
 */
export function html(strings: TemplateStringsArray, ...values: HtmlValue[]): Html {
  let text = strings[0] as string;
  for (let index = 0; index < values.length; index++) {
    text += textOf(values[index] as HtmlValue) + (strings[index + 1] as string);
  }
  return new Html(text);
}

/** The pieces joined by a separator, texts escaped. */
export function joined(parts: readonly HtmlValue[], separator: HtmlValue = ""): Html {
  return new Html(parts.map(textOf).join(textOf(separator)));
}

/** Most names need no escapes, and a page has thousands of them. */
const PLAIN = /^[A-Za-z0-9 ._~:/+%-]*$/;
const ESCAPES: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;",
};

function textOf(value: HtmlValue): string {
  if (typeof value === "string") return PLAIN.test(value) ? value : escapeText(value);
  return value instanceof Html ? value.toString() : escapeText(String(value));
}

function escapeText(text: string): string {
  return printable(text).replace(/[&<>"']/g, (it) => ESCAPES[it] as string);
}
