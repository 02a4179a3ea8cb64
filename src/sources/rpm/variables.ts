/** Variables of dnf in what a manifest entry says of its repository: `$basearch`, `$releasever` and its own `vars:`. */
import { AirferryError } from "../../errors.ts";
import type { RpmEntry } from "../../manifest/schema.ts";

/** The architecture that packages of an entry are for, first of `arch:`. */
export function baseArch(entry: RpmEntry): string {
  return entry.arch?.find((it) => it !== "noarch" && it !== "src") ?? entry.vars?.basearch ?? "x86_64";
}

/**
 * Replaces `$releasever`, `${basearch}` and similar variables. @throws {AirferryError} ERR_MANIFEST_INVALID without a
 * value
 */
export function expandVariables(text: string, entry: RpmEntry): string {
  const arch = baseArch(entry);
  const values: Record<string, string> = { basearch: arch, arch, ...entry.vars };
  return text.replace(/\$(?:\{([A-Za-z0-9_]+)\}|([A-Za-z0-9_]+))/g, (whole, braced?: string, plain?: string) => {
    const value = values[(braced ?? plain) as string];
    if (value !== undefined) return value;
    throw new AirferryError(
      "ERR_MANIFEST_INVALID",
      `cannot lock rpms "${entry.name}": "${whole}" has no value in "${text}"`,
      {
        path: text,
        hint: `give it one: vars: { ${braced ?? plain}: … }`,
      },
    );
  });
}
