/**
 * HTML that escapes by itself: a tagged template whose values are text of whoever wrote it, unless they are HTML made here.
 */
import { printable } from "../io/printable.ts";

/** A piece of HTML. Only {@link html} and {@link joined} make it, so nothing that was not escaped becomes one. */
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

/** What a template takes: text to be escaped, or HTML. */
export type HtmlValue = string | number | Html;

/**
 * Makes HTML of a template. Texts are escaped for content and for attributes in double quotes, and shown as one line; a template
 * never has a value elsewhere: not in a tag's name, an attribute without quotes, a script or a style.
 */
export function html(strings: TemplateStringsArray, ...values: HtmlValue[]): Html {
  let text = strings[0] as string;
  for (let index = 0; index < values.length; index++) {
    text += textOf(values[index] as HtmlValue) + (strings[index + 1] as string);
  }
  return new Html(text);
}

/** The pieces one after the other, texts escaped, with something between them. */
export function joined(parts: readonly HtmlValue[], separator: HtmlValue = ""): Html {
  return new Html(parts.map(textOf).join(textOf(separator)));
}

/** Most names need neither escapes nor a closer look, and a page has thousands of them. */
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
