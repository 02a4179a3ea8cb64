/**
 * Sources and debug packages of what was selected: from the repository itself (`source: true`, `debuginfo: true`), or
 * from separate repositories (`source_url`, `debuginfo_url`), which are carried as NAME-source and NAME-debuginfo: the
 * names that `dnf download --source` and `dnf debuginfo-install` look for. docs/rpm.md ("Companions").
 */
import { isSourceArch } from "../../rpm/arch.ts";
import { formatNevra, type PackageEntry, type Primary } from "../../rpm/primary.ts";
import type { Companion } from "./companion-entries.ts";
import type { Repository } from "./repository.ts";
import type { Selected } from "./selected.ts";

/** What a companion repository carries for the selected packages of its parent. */
export function selectCompanions(
  { kind, of }: Companion,
  { name, primary }: Repository,
  parent: Repository,
  selected: Selected,
  report: (line: string) => void,
): Selected {
  const packages = companionsIn(primary, kind, parent.primary, selected.packages);
  const why = Object.fromEntries([...packages].map((it) => [formatNevra(it), [`${kind} of what ${of} carries`]]));
  const notes: string[] = [];
  if (kind === "source") {
    const have = new Set([...packages].map(fileNameOf));
    const missing = [...sourcesOf(parent.primary, selected.packages)].filter((it) => !have.has(it));
    if (missing.length > 0) {
      notes.push(`${missing.length} sources of what ${of} carries are missing: ${missing.slice(0, 3).join(", ")}`);
    }
  } else if (packages.size === 0 && selected.packages.size > 0) {
    notes.push(`no debug information for what ${of} carries`);
  }
  for (const note of notes) report(`${name}: ${note}`);
  return { packages, why, notes, leftOut: [] };
}

/** Adds the companions that the repository itself has. */
export function addCompanions({ entry, primary }: Repository, selected: Selected): void {
  const found = (["source", "debuginfo"] as const)
    .filter((kind) => entry[kind])
    .map((kind) => companionsIn(primary, kind, primary, selected.packages));
  for (const packages of found) for (const it of packages) selected.packages.add(it);
}

function companionsIn(
  offered: Primary,
  kind: Companion["kind"],
  primary: Primary,
  packages: ReadonlySet<PackageEntry>,
): Set<PackageEntry> {
  if (kind === "source") {
    const sources = sourcesOf(primary, packages);
    return new Set(offered.packages.filter((it) => isSourceArch(it.arch) && sources.has(fileNameOf(it))));
  }
  const wanted = new Set<string>();
  for (const it of packages) {
    const source = primary.details(it).sourceRpm;
    if (!source) continue;
    const base = source.replace(/-[^-]*-[^-]*$/, "");
    for (const name of [
      `${it.name}-debuginfo`,
      `${base}-debuginfo`,
      `${base}-debugsource`,
      `${base}-debuginfo-common`,
    ]) {
      wanted.add(`${source} ${it.arch} ${name}`);
    }
  }
  return new Set(
    offered.packages.filter((it) => {
      if (!/-debug(info|source)(-common(-\w+)?)?$/.test(it.name)) return false;
      // kernel-debuginfo-common-x86_64: the architecture may be part of the name.
      const name = it.name.replace(/(-debuginfo-common)-\w+$/, "$1");
      return wanted.has(`${offered.details(it).sourceRpm} ${it.arch} ${name}`);
    }),
  );
}

function sourcesOf(primary: Primary, packages: ReadonlySet<PackageEntry>): Set<string> {
  const sources = [...packages].filter((it) => !isSourceArch(it.arch)).map((it) => primary.details(it).sourceRpm);
  return new Set(sources.filter((it) => it !== undefined && it !== ""));
}

function fileNameOf({ name, version, release, arch }: PackageEntry): string {
  return `${name}-${version}-${release}.${arch}.rpm`;
}
