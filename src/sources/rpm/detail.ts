/** What the lock says about one RPM repository besides its artifacts. */
import type { Digest } from "../../io/types.ts";

/** A key file below `keys/`. */
export interface RpmDetailKey {
  /** `keys/NAME`. */
  path: string;
  kept: Digest;
  fingerprints: string[];
}

export interface RpmDetail {
  mode: "exact" | "subset" | "loose";
  /** `upstream`: repomd.xml.asc is upstream's own. `airferry`: the bundle's RPM key signs it at pack. */
  repomdSignedBy: "upstream" | "airferry";
  gpgcheck: boolean;
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
  /** SHA-1 signatures and short keys count. */
  legacySignatures?: true;
  why: Record<string, string[]>;
  /** What was decided that one may want to know. */
  notes: string[];
  /** Names, sizes and times of a local folder, hashed: whether it has to be read again. */
  listing?: string;
  /** ISOs that closures should have counted on but that were not on this host: locked again once they are. */
  pendingIsos?: string[];
  /** Packages that were dropped because their bytes or signature were wrong. */
  quarantined?: { path: string; reason: string }[];
}

/** Names of the records that are kept in the lock by digest and read again. */
export const CUT_RECORDS = ["primary", "filelists", "other", "group", "modules", "updateinfo", "productid"] as const;
