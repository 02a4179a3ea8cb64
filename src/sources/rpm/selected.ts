/** What selection decides for one repository: the packages that it carries, and why. */
import type { PackageEntry } from "../../rpm/primary.ts";
import type { LeftOutDependency } from "./rpm-detail.ts";

/** What one repository carries. */
export interface Selected {
  packages: Set<PackageEntry>;
  /** NEVRA to chain, for what closures brought in or the manifest named. */
  why: Record<string, string[]>;
  notes: string[];
  leftOut: LeftOutDependency[];
  /** Clients see its packages although module streams of others have such names. */
  moduleHotfixes?: true;
}
