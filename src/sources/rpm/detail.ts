/** What the lock says about one RPM repository besides its artifacts. */
import type { Digest } from "../../io/digest.ts";

/** A key file below `keys/`. */
export interface RpmDetailKey {
  /** `keys/NAME`. */
  path: string;
  kept: Digest;
  fingerprints: string[];
}

/** A dependency of the form `(a if b)` that nothing carried satisfies, as a rule since nothing carried is b. */
export interface LeftOutDependency {
  /** NEVRA of the package that has it. */
  package: string;
  /** As upstream writes it. */
  needs: string;
  /** Why it cannot be had, where it was to come: always, or since its condition holds. */
  fault?: string;
}

export interface RpmDetail {
  mode: "exact" | "subset" | "loose";
  /** `upstream`: repomd.xml.asc is upstream's own. `airferry`: the bundle's RPM key signs it at pack. */
  repomdSignedBy: "upstream" | "airferry";
  gpgcheck: boolean;
  /** Clients see its packages although module streams of other repositories have such names. */
  moduleHotfixes?: true;
  /** SHA-1 signatures and short keys count. */
  legacySignatures?: true;
  rpmrepo: boolean;
  quarantine: boolean;
  packages: number;
  /** Has a .treeinfo. */
  tree: boolean;
  arch?: string[];
  keys: RpmDetailKey[];
  /** Metadata as it stands in the bundle, for what is derived from it later: repomd, primary, filelists, other, modules, … */
  metadata: Record<string, Digest>;
  /** NEVRA to the chain of requirers, direct one first; empty: named in the manifest. */
  why: Record<string, string[]>;
  /** What was decided that one may want to know. */
  notes: string[];
  /** Conditional dependencies of carried packages that nothing carried satisfies. */
  leftOut?: LeftOutDependency[];
  /** SHA-256 (hex) of upstream's repomd.xml that a subset was cut from: whether upstream has moved since. */
  upstreamRepomd?: string;
  /** Names, sizes and times of a local folder, hashed: whether it has to be read again. */
  listing?: string;
  /** ISOs that closures should have counted on but that were not on this host: locked again once they are. */
  pendingIsos?: string[];
  /** Packages that were dropped because they were wrong, wrongly signed or not there. */
  quarantined?: { path: string; reason: string }[];
}

/** Names of the records that are kept in the lock by digest and read again. */
export const CUT_RECORDS = ["primary", "filelists", "other", "group", "modules", "updateinfo", "productid"] as const;
