/**
 * `rpms:` of the manifest: repositories mirrored whole (upstream's metadata byte for byte), cut to chosen packages and
 * what they need, or generated from a folder of loose RPMs. See docs/rpm.md. Neither lock nor plan ever reads a remote
 * RPM.
 */
import { emptyFindings } from "./rpm/empty.ts";
import { excludePackages } from "./rpm/exclude.ts";
import { lockRepositories } from "./rpm/lock-repositories.ts";
import { planRepositories } from "./rpm/plan-repositories.ts";
import type { SourceKind } from "./types.ts";

export const rpmSource: SourceKind<"rpm"> = {
  kind: "rpm",
  lock: lockRepositories,
  plan: (entries, context) => planRepositories(entries, context),
  findings: (entries, { manifest }) => entries.flatMap((entry) => emptyFindings(entry, manifest)),
  exclude: (entry, faults, context) => excludePackages(entry, faults, context),
};
