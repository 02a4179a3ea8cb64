/** `plan --why`: why a package or file is in the bundle, told from the lock alone. */
import { AirferryError } from "./errors.ts";
import type { Lock } from "./manifest/lock-types.ts";

/** What a repository's lock detail says about why its packages came in: package name or NEVRA to a chain, seed first. */
interface WhyDetail {
  why?: Record<string, string[]>;
}

/**
 * Returns one line per match, most direct reason first.
 * @throws {AirferryError} ERR_USAGE when nothing in the lock has that name
 */
export async function whyIn(lock: Lock, name: string): Promise<string[]> {
  const lines: string[] = [];
  for (const entry of lock.entries) {
    const why = (entry.detail as WhyDetail | undefined)?.why ?? {};
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
  if (lines.length === 0) {
    throw new AirferryError("ERR_USAGE", `cannot say why "${name}" is in the bundle: it is not`, {
      hint: "airferry plan MANIFEST lists everything that is",
    });
  }
  return lines;
}

/** `bash` of `bash-0:5.1.8-4.el9.x86_64`. */
function packageName(nevra: string): string {
  return nevra.replace(/-[^-]*-[^-]*$/, "");
}
