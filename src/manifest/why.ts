/** `plan --why`: why a package or file is in the bundle, or is not, from the lock alone. */
import { AirferryError } from "../errors.ts";
import { plural } from "../io/format.ts";
import type { Lock } from "../sources/lock-document.ts";

/** A dependency `(a if b)` of an included package that did not add a. */
export interface LeftOutRow {
  /** Repository of the package. */
  name: string;
  package: string;
  needs: string;
  /** Why it is unavailable, if it was needed: always, or because its condition holds. */
  fault?: string;
}

/** Conditional dependencies that nothing in the bundle satisfies, in the lock's order. */
export function leftOutIn(lock: Lock): LeftOutRow[] {
  return lock.entries.flatMap((entry) =>
    entry.kind === "rpm" ? (entry.detail.leftOut ?? []).map((it) => ({ name: entry.name, ...it })) : [],
  );
}

/** The same in a few readable lines: how many, and those that were needed. */
export function leftOutNotes(rows: readonly LeftOutRow[]): string[] {
  const chosen = rows.filter((it) => it.fault === undefined).length;
  const lines = rows.flatMap((it) =>
    it.fault === undefined ? [] : [`${it.package} needs ${it.needs}, which is unavailable: ${it.fault}`],
  );
  if (chosen > 0) {
    lines.unshift(
      `${plural(chosen, "conditional dependency is", "conditional dependencies are")} skipped: no included package meets the condition; to include what they name: conditional_deps: always`,
    );
  }
  return lines;
}

/**
 * Returns one line per match, most direct reason first.
 * @throws {AirferryError} ERR_USAGE when nothing in the lock has that name
 */
export async function whyIn(lock: Lock, name: string): Promise<string[]> {
  const lines: string[] = [];
  for (const entry of lock.entries) {
    const why = entry.kind === "rpm" ? entry.detail.why : {};
    for (const [nevra, chain] of Object.entries(why)) {
      if (nevra !== name && packageName(nevra) !== name) continue;
      lines.push(
        `${nevra} (${entry.kind} ${entry.name}): ${chain.length === 0 ? "named in the manifest" : chain.join(" ← ")}`,
      );
    }
    for (const { path } of entry.artifacts) {
      if (entry.kind !== "rpm" && (path === name || path.split("/").at(-1) === name)) {
        lines.push(`${path}: ${entry.kind} ${entry.name} of the manifest`);
      }
    }
  }
  for (const it of leftOutIn(lock)) {
    if (!it.needs.split(/[\s()]+/).includes(name)) continue;
    lines.push(
      `not for ${it.package} (rpm ${it.name}), which needs ${it.needs}: ${it.fault ?? "no included package meets the condition"}`,
    );
  }
  if (lines.length === 0) {
    throw new AirferryError("ERR_USAGE", `cannot explain "${name}": it is not in the bundle`, {
      hint: "list its content: airferry plan MANIFEST",
    });
  }
  return lines;
}

/** `bash` of `bash-0:5.1.8-4.el9.x86_64`. */
function packageName(nevra: string): string {
  return nevra.replace(/-[^-]*-[^-]*$/, "");
}
