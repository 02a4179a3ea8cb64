/**
 * Files that airferry writes for itself as JSON (lock, state, floor, records): all are read the same way. A file that
 * violates its schema is refused with the path of each fault, whatever the cause: another version, a merge, an editor,
 * a torn write.
 */
import { z } from "zod";
import { AirferryError, type ErrorCode, type Problem } from "../errors.ts";
import { type Digest, isDigest, parseHex } from "./digest.ts";
import { type Integrity, parseIntegrity } from "./integrity.ts";
import { parseJson } from "./json.ts";
import { printable } from "./printable.ts";

/** What is being read, for messages. */
interface OwnFile {
  /** Its path. */
  file: string;
  /** What it is: `lock`. */
  what: string;
  code: ErrorCode;
  hint: string;
  /** Key and value of the format's version; another version is distinguished from a broken file. */
  version?: { key: string; value: number };
}

const MAX_PROBLEMS = 20;
/** Conflict marks of git, Mercurial and diff3. */
const MERGE_MARKER = /^(?:<{7}|={7}|>{7}|\|{7})(?: .*)?$/m;

/** A digest in its canonical form. */
export const digestSchema = z.custom<Digest>(isDigest, "expected sha256: and 64 lower-case hex digits");

/** A digest as bare hex in its file. */
export const hexDigestSchema = z.string().transform((hex, { issues }): Digest => {
  const digest = parseHex(hex);
  if (digest !== undefined) return digest;
  issues.push({ code: "custom", input: hex, message: "expected 64 lower-case hex digits" });
  return z.NEVER;
});

/** What bytes are expected to be, that stands as an SRI string in its file. */
export const sriSchema = z.string().transform((sri, { issues }): Integrity => {
  const integrity = parseIntegrity(sri);
  if (integrity !== undefined) return integrity;
  issues.push({ code: "custom", input: sri, message: "expected an SRI string" });
  return z.NEVER;
});

/**
 * Parses one of airferry's own files.
 * @throws {AirferryError} with the given code, `problems` one by one
 */
export function parseOwn<S extends z.ZodType>(schema: S, text: string, about: OwnFile): z.output<S> {
  const { file, what, code, version } = about;
  const refused = (fault: string, detail: { hint?: string; problems?: Problem[]; cause?: unknown } = {}) =>
    new AirferryError(code, `cannot read ${what} "${file}": ${fault}`, { path: file, hint: about.hint, ...detail });
  let value: unknown;
  try {
    value = parseJson(text);
  } catch (cause) {
    const marker = MERGE_MARKER.exec(text);
    if (marker === null) throw refused(`not JSON: ${printable((cause as Error).message, 200)}`, { cause });
    const line = text.slice(0, marker.index).split("\n").length;
    throw refused(`line ${line} has the marks of a merge: "${printable(marker[0], 80)}"`, {
      hint: `use one side of it unchanged; or ${about.hint}`,
      cause,
    });
  }
  if (version !== undefined) {
    const found = z.looseObject({ [version.key]: z.number() }).safeParse(value).data?.[version.key];
    if (found !== undefined && found !== version.value) {
      throw refused(`it is of version ${found}: expected ${version.value}`, {
        hint: `use the airferry that wrote it; or ${about.hint}`,
      });
    }
  }
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const problems = parsed.error.issues
    .slice(0, MAX_PROBLEMS)
    .map((issue): Problem => ({ code, path: formatKeys(issue.path), message: faultOf(issue, value) }));
  const [first] = problems;
  const more = parsed.error.issues.length - 1;
  const where = first?.path === "" ? "" : `${first?.path}: `;
  throw refused(`${where}${first?.message}${more > 0 ? ` (and ${more} more)` : ""}`, { problems, cause: parsed.error });
}

/** The same for a record whose loss only costs work: undefined if invalid. */
export function parseNote<S extends z.ZodType>(schema: S, text: string): z.output<S> | undefined {
  try {
    return schema.safeParse(parseJson(text)).data;
  } catch {
    return undefined;
  }
}

/** `["entries", 0, "name"]` as `entries[0].name`; keys of the file are shown on one line. */
function formatKeys(path: readonly PropertyKey[]): string {
  return path
    .map((key, index) =>
      typeof key === "number" ? `[${key}]` : `${index > 0 ? "." : ""}${printable(String(key), 80)}`,
    )
    .join("");
}

function faultOf(issue: z.core.$ZodIssue, root: unknown): string {
  const value = issue.path.reduce<unknown>((it, key) => (it as Record<PropertyKey, unknown> | undefined)?.[key], root);
  if (issue.code === "unrecognized_keys")
    return `unknown ${issue.keys.map((it) => `"${printable(it, 80)}"`).join(", ")}`;
  if (value === undefined) return "missing";
  const got = `got ${printable(JSON.stringify(value)?.slice(0, 80) ?? "nothing", 80)}`;
  switch (issue.code) {
    case "invalid_type":
      return `expected ${issue.expected}, ${got}`;
    case "invalid_value":
      return `expected ${issue.values.map((it) => JSON.stringify(it)).join(" or ")}, ${got}`;
    case "custom":
      return `${issue.message}, ${got}`;
    default:
      return `not written by airferry, ${got}`;
  }
}
