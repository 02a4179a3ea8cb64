/** What the lock records about one RPM repository besides its artifacts. */
import { z } from "zod";
import { digestSchema } from "../../io/own-file.ts";
import { lockedEntry, lockedKey } from "../locked-artifact.ts";

/** A dependency of the form `(a if b)` that no included package satisfies, usually because b is not included. */
const leftOutDependency = z.strictObject({
  /** NEVRA of the package that has it. */
  package: z.string(),
  /** As upstream writes it. */
  needs: z.string(),
  /** Why it is unavailable, if it was needed: always, or because its condition holds. */
  fault: z.string().exactOptional(),
});

const rpmDetail = z.strictObject({
  mode: z.enum(["exact", "subset", "loose"]),
  /** `upstream`: repomd.xml.asc is upstream's own. `airferry`: the bundle's RPM key signs it at pack. */
  repomdSignedBy: z.enum(["upstream", "airferry"]),
  gpgcheck: z.boolean(),
  /** Clients see its packages although module streams of other repositories have such names. */
  moduleHotfixes: z.literal(true).exactOptional(),
  /** SHA-1 signatures and short keys count. */
  legacySignatures: z.literal(true).exactOptional(),
  rpmrepo: z.boolean(),
  quarantine: z.boolean(),
  packages: z.int().min(0),
  /** Has a .treeinfo. */
  tree: z.boolean(),
  arch: z.array(z.string()).exactOptional(),
  keys: z.array(lockedKey),
  /**
   * Metadata as it is in the bundle, for what is derived from it later: repomd, primary, filelists, other, modules, …
   */
  metadata: z.object({ repomd: digestSchema, primary: digestSchema }).catchall(digestSchema),
  /** NEVRA to the chain of requirers, direct one first; empty: named in the manifest. */
  why: z.record(z.string(), z.array(z.string())),
  /** Decisions worth knowing. */
  notes: z.array(z.string()),
  /** Conditional dependencies of included packages that no included package satisfies. */
  leftOut: z.array(leftOutDependency).exactOptional(),
  /** SHA-256 (hex) of upstream's repomd.xml that a subset was cut from: whether upstream has moved since. */
  upstreamRepomd: z.string().exactOptional(),
  /** Names, sizes and times of a local folder, hashed: whether it has to be read again. */
  listing: z.string().exactOptional(),
  /** ISOs that closures should use but that were not on this host: the entry is locked again once they are. */
  pendingIsos: z.array(z.string()).exactOptional(),
  /** Packages dropped because they were wrong, wrongly signed or missing. */
  quarantined: z.array(z.strictObject({ path: z.string(), reason: z.string() })).exactOptional(),
});

export type LeftOutDependency = z.output<typeof leftOutDependency>;
export type RpmDetail = z.output<typeof rpmDetail>;
export const lockedRpm = lockedEntry("rpm", "rpms/").extend({ detail: rpmDetail });

/** Names of the records that the lock stores by digest for later reading. */
export const CUT_RECORDS = ["primary", "filelists", "other", "group", "modules", "updateinfo", "productid"] as const;
