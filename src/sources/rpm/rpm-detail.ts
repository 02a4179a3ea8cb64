/** What the lock says about one RPM repository besides its artifacts. */
import { z } from "zod";
import { digestSchema } from "../../io/own-file.ts";
import { lockedEntry, lockedKey } from "../locked-artifact.ts";

/** A dependency of the form `(a if b)` that nothing carried satisfies, as a rule since nothing carried is b. */
const leftOutDependency = z.strictObject({
  /** NEVRA of the package that has it. */
  package: z.string(),
  /** As upstream writes it. */
  needs: z.string(),
  /** Why it is unavailable, where it was to come: always, or since its condition holds. */
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
  /** Metadata as it stands in the bundle, for what is derived from it later: repomd, primary, filelists, other, modules, … */
  metadata: z.object({ repomd: digestSchema, primary: digestSchema }).catchall(digestSchema),
  /** NEVRA to the chain of requirers, direct one first; empty: named in the manifest. */
  why: z.record(z.string(), z.array(z.string())),
  /** What was decided that one may want to know. */
  notes: z.array(z.string()),
  /** Conditional dependencies of carried packages that nothing carried satisfies. */
  leftOut: z.array(leftOutDependency).exactOptional(),
  /** SHA-256 (hex) of upstream's repomd.xml that a subset was cut from: whether upstream has moved since. */
  upstreamRepomd: z.string().exactOptional(),
  /** Names, sizes and times of a local folder, hashed: whether it has to be read again. */
  listing: z.string().exactOptional(),
  /** ISOs that closures should have counted on but that were not on this host: locked again once they are. */
  pendingIsos: z.array(z.string()).exactOptional(),
  /** Packages that were dropped because they were wrong, wrongly signed or not there. */
  quarantined: z.array(z.strictObject({ path: z.string(), reason: z.string() })).exactOptional(),
});

export type LeftOutDependency = z.output<typeof leftOutDependency>;
export type RpmDetail = z.output<typeof rpmDetail>;
export const lockedRpm = lockedEntry("rpm", "rpms/").extend({ detail: rpmDetail });

/** Names of the records that are kept in the lock by digest and read again. */
export const CUT_RECORDS = ["primary", "filelists", "other", "group", "modules", "updateinfo", "productid"] as const;
