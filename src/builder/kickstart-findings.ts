/** Faults of a kickstart file for the build: unfilled placeholders, an account that packer does not use. Pure. */
import type { Finding } from "../io/findings.ts";
import type { Builder } from "./builder.ts";
import { checkLogin } from "./kickstart-login.ts";
import { fillPlaceholders, placeholdersOf, placeholderVariable } from "./kickstart-template.ts";

/** A finding about the kickstart file; `variable` is the environment variable that would resolve it when rendering. */
export interface KickstartFinding extends Finding {
  variable?: string;
}

/** Whether a path of a bundle is the builder's kickstart file: the one that it names, or one with such a name. */
export function isKickstart(path: string, kickstart: string | undefined): boolean {
  if (kickstart !== undefined) return path === `files/${kickstart}`;
  return path.startsWith("files/") && /(^|\/)ks\.cfg(\.[A-Za-z0-9]+)*$/.test(path);
}

/**
 * Checks a kickstart file.
 * @param env values for placeholders
 * @param builder packer's settings; undefined when unknown
 */
export function checkKickstartText(
  text: string,
  env: Readonly<Record<string, string | undefined>>,
  builder: Builder | undefined,
): KickstartFinding[] {
  const about = { area: "builder", level: "error", subject: "builder.kickstart" } as const;
  const open = placeholdersOf(text).flatMap(({ name, text: own, line }): KickstartFinding[] => {
    const variable = name === undefined ? undefined : placeholderVariable(name);
    if (variable !== undefined && env[variable]) return [];
    const message = `the kickstart file is a template: ${own} in line ${line} is not filled in`;
    if (variable === undefined) return [{ ...about, message, remedy: "resolve it in the file that is packed" }];
    return [{ ...about, message, remedy: `set ${variable} in the environment of airferry render and stage`, variable }];
  });
  const filled = fillPlaceholders(text, (name) => env[placeholderVariable(name)]);
  return [...open, ...(builder === undefined ? [] : checkLogin(filled, builder))];
}

/**
 * The same outside, before anything is carried: what the environment inside can resolve is only a warning.
 */
export function checkPackedKickstart(text: string, builder: Builder): Finding[] {
  return checkKickstartText(text, {}, builder).map(({ variable, ...finding }) =>
    variable === undefined
      ? finding
      : {
          ...finding,
          level: "warning",
          remedy: `inside the gap set ${variable} for airferry stage; or pack a complete file`,
        },
  );
}
