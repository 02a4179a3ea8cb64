/**
 * The entries of companion repositories (`source_url`, `debuginfo_url`), as if the manifest had them. companions.ts
 * selects their packages; docs/rpm.md ("Companions").
 */
import { AirferryError } from "../../errors.ts";
import type { RpmEntry } from "../../manifest/schema.ts";

/** An entry that the manifest does not have itself. */
export interface Companion {
  entry: RpmEntry;
  /** Name of the entry whose packages it accompanies. */
  of: string;
  kind: "source" | "debuginfo";
}

/** What companion repositories have from the entry that they accompany. */
const INHERITED = [
  "vars",
  "arch",
  "keys",
  "fingerprints",
  "gpgcheck",
  "repo_gpgcheck",
  "on_bad_package",
  "legacy_signatures",
  "module_hotfixes",
] as const;

/**
 * The companion repositories that a manifest asks for, in its order.
 * @throws {AirferryError} ERR_MANIFEST_INVALID when an entry has the name that one of them needs
 */
export function companionsOf(entries: readonly RpmEntry[]): Companion[] {
  const names = new Set(entries.map((it) => it.name));
  const companions: Companion[] = [];
  for (const parent of entries) {
    for (const kind of ["source", "debuginfo"] as const) {
      const url = parent[`${kind}_url`];
      if (url === undefined) continue;
      const name = `${parent.name}-${kind}`;
      if (names.has(name)) {
        throw new AirferryError(
          "ERR_MANIFEST_INVALID",
          `cannot lock rpms "${parent.name}": ${kind}_url is carried as "${name}": expected no entry of that name, got one`,
          { path: `${kind}_url`, hint: "rename that entry, or leave it out" },
        );
      }
      names.add(name);
      const given = Object.fromEntries(INHERITED.filter((it) => it in parent).map((it) => [it, parent[it]]));
      const entry = { name, url, packages: [], kickstart: false, ...given } as RpmEntry;
      companions.push({ entry, of: parent.name, kind });
    }
  }
  return companions;
}

/** The entries of a manifest with those of their companion repositories: what its lock has. */
export function withCompanions(entries: readonly RpmEntry[]): RpmEntry[] {
  return [...entries, ...companionsOf(entries).map((it) => it.entry)];
}
