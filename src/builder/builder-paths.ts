/**
 * Which strings of `builder:` become paths, and whether each is legal. Checks the manifest and imported inventories
 * only; users of such a path check it again with io/path-grammar.ts.
 */
import { checkFileName, checkName, checkPath } from "../io/path-grammar.ts";

/** A string of `builder:` that is not a path, and its place: `["imageconfig", "iso_name"]`. */
interface BuilderPathFault {
  at: (string | number)[];
  fault: string;
}

/** Checks the paths of any `builder:` value; values that are not strings are ignored. */
export function checkBuilderPaths(value: unknown): BuilderPathFault[] {
  const builder = record(value);
  const faults: BuilderPathFault[] = [];
  const check = (at: (string | number)[], text: unknown, grammar: (text: string) => string | undefined) => {
    const fault = typeof text === "string" && text !== "" ? grammar(text) : undefined;
    if (fault !== undefined) faults.push({ at, fault });
  };
  check(["iso"], builder.iso, checkName);
  check(["kickstart"], builder.kickstart, checkPath);
  for (const kind of ["pre", "post"] as const) {
    const scripts = record(builder.custom_scripts)[kind];
    if (Array.isArray(scripts))
      scripts.forEach((it, index) => {
        check(["custom_scripts", kind, index], it, checkPath);
      });
  }
  check(["imageconfig", "iso_name"], record(builder.imageconfig).iso_name, checkFileName);
  return faults;
}

function record(value: unknown): Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : {};
}
