/** Finds empty repositories: the entry's filters selected no package. */
import type { Finding } from "../../io/findings.ts";
import type { Manifest, RpmEntry } from "../../manifest/schema.ts";
import type { LockedRpm } from "../lock-document.ts";
import { withCompanions } from "./companion-entries.ts";

/** The keys of an entry that select; `packages: []` requests nothing by itself. */
const CHOOSERS = ["arch", "exclude", "newest", "advisories"] as const;

/** The finding for a locked repository without any package that should have some. */
export function emptyFindings({ name, detail }: LockedRpm, { rpms = [] }: Manifest): Finding[] {
  const { packages } = detail;
  const entry = withCompanions(rpms).find((it) => it.name === name);
  if (packages > 0 || entry === undefined || entry.packages?.length === 0 || entry.packages_from === "any") return [];
  const chosenBy = CHOOSERS.filter((key) => entry[key] !== undefined);
  const isUpstream = chosenBy.length === 0 && entry.packages === undefined;
  return [
    {
      level: isUpstream ? "warning" : "error",
      area: "rpm",
      subject: name,
      message: isUpstream
        ? `repository ${name} is empty upstream`
        : `repository ${name} is empty: ${chosenBy.map((key) => chooserText(key, entry)).join(" and ") || "packages:"} leaves no package of it`,
      remedy: isUpstream ? "check its URL" : "correct that in its entry, or remove the entry",
    },
  ];
}

function chooserText(key: (typeof CHOOSERS)[number], entry: RpmEntry): string {
  const value = entry[key];
  return Array.isArray(value) ? `${key}: [${value.slice(0, 5).join(", ")}]` : `${key}:`;
}
