/**
 * Licences as packages and images declare them. A text is an SPDX licence expression only if all of it is one: RPM's
 * older names ("BSD", "GPLv2+") are families and are never translated. See SPDX 2.3, annex D.
 */
import parse from "spdx-expression-parse";
import { printable } from "../io/printable.ts";

/** A declared licence. */
export interface Licence {
  /** On one line: at most 500 characters, before control characters are escaped. */
  text: string;
  /** `id`: one identifier of the SPDX list; `expression`: a whole expression; `name`: neither. */
  form: "id" | "expression" | "name";
}

const MAX_CHARS = 500;
/** Operators are upper case; texts with lower-case ones are of the older style, where names have other meanings. */
const LOWER_OPERATOR = /(?:^|[\s)])(?:and|or|with)(?:[\s(]|$)/;

/** Judges licence texts; remembers each, since a repository has few. */
export class LicenceReader {
  readonly #known = new Map<string, Licence>();

  /** Undefined for empty text. */
  read(declared: string): Licence | undefined {
    const known = this.#known.get(declared);
    if (known !== undefined) return known;
    const trimmed = declared.trim();
    if (trimmed === "") return undefined;
    const licence = { text: printable(trimmed, MAX_CHARS), form: formOf(trimmed) };
    this.#known.set(declared, licence);
    return licence;
  }
}

function formOf(text: string): Licence["form"] {
  if (text.length > MAX_CHARS || LOWER_OPERATOR.test(text)) return "name";
  try {
    const parsed = parse(text);
    return "license" in parsed && parsed.license === text && !text.includes("Ref-") ? "id" : "expression";
  } catch {
    // Also when it is nested too deeply.
    return "name";
  }
}
