/**
 * What is shown of a store in object storage: messages and reports that were made with paths of its work folder get the
 * names of its objects, and commands in hints the name of the store.
 */
import { AirferryError } from "../errors.ts";
import { shellWord } from "../io/shell.ts";
import type { S3Target } from "../s3/s3-target.ts";

/** A copy of a value in which every text names objects below `target` instead of files below `dir`. */
export function namedAsStored<T>(value: T, dir: string, target: S3Target): T {
  const place = `s3://${target.bucket}${target.prefix === "" ? "" : `/${target.prefix}`}`;
  const remove = `aws${target.endpoint === undefined ? "" : ` --endpoint-url ${target.endpoint}`} s3 rm`;
  const renamed = (text: string): string => {
    if (!text.includes(dir)) return text;
    return text
      .replaceAll(`rm -f ${dir}/`, `${remove} ${place}/`)
      .replaceAll(`rm ${dir}/`, `${remove} ${place}/`)
      .replaceAll(`--store ${dir}/`, `--store ${place}/`)
      .replaceAll(`--store ${dir}`, () => `--store ${shellWord(target.name)}`)
      .replaceAll(`${dir}/`, `${place}/`)
      .replaceAll(dir, () => target.name);
  };
  const walk = (it: unknown): unknown => {
    if (typeof it === "string") return renamed(it);
    if (it instanceof AirferryError) return renamedError(it, renamed);
    if (Array.isArray(it)) return it.map(walk);
    if (typeof it !== "object" || it === null || Object.getPrototypeOf(it) !== Object.prototype) return it;
    return Object.fromEntries(Object.entries(it).map(([key, inner]) => [key, walk(inner)]));
  };
  return walk(value) as T;
}

function renamedError(error: AirferryError, renamed: (text: string) => string): AirferryError {
  const { code, message, hint, path, expected, actual, problems, cause } = error;
  const text = (it: string | undefined) => (it === undefined ? undefined : renamed(it));
  return new AirferryError(code, renamed(message), {
    hint: hint?.split("\n").map(renamed),
    path: text(path),
    expected,
    actual,
    problems: problems.map((it) => ({ ...it, path: renamed(it.path), message: renamed(it.message) })),
    cause,
  });
}
