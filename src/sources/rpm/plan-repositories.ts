/**
 * Turns locked repositories into files of the bundle: packages with their check, metadata, signatures, keys and
 * /rpmrepo/.
 */
import type { Catalog, CatalogKey, CatalogRpm } from "../../bundle/inventory-types.ts";
import { AirferryError } from "../../errors.ts";
import { decompress } from "../../rpm/codecs.ts";
import { readModules } from "../../rpm/modules-thread.ts";
import { maxOpenBytes } from "../../rpm/repomd.ts";
import type { OpenPgpKeyring } from "../../sign/openpgp-keyring.ts";
import { generatedItem, itemOf } from "../artifact.ts";
import type { LockedRpm } from "../lock-document.ts";
import type { LockedArtifact } from "../locked-artifact.ts";
import { repositoryOrigins } from "../origin-lines.ts";
import { userUrlsOf } from "../recorded-urls.ts";
import type { PlanContext, PlanItem } from "../types.ts";
import { writeMergedRepository } from "./merged-repository.ts";
import type { RpmDetail } from "./rpm-detail.ts";

/** Path of the bundle's own RPM key. */
const OWN_KEY = "keys/airferry";

/** Whether an artifact of a repository is a package. */
export function isPackage(artifact: LockedArtifact): boolean {
  return artifact.kept === undefined && artifact.path.endsWith(".rpm");
}

/** Items and catalog of all repositories. */
export async function planRepositories(
  entries: readonly LockedRpm[],
  context: PlanContext,
): Promise<{ items: PlanItem[]; catalog: Pick<Catalog, "rpms" | "keys" | "origins"> }> {
  const items: PlanItem[] = [];
  const rpms: CatalogRpm[] = [];
  const keys: CatalogKey[] = [];
  const signs = context.signRpmMetadata !== undefined;
  for (const entry of entries) {
    const detail = entry.detail;
    const check = checkOf(detail, context);
    const { baseDir, unpacked } = context;
    const where = { baseDir, unpacked, byUser: userUrlsOf(entry, context.manifest) };
    for (const artifact of entry.artifacts) {
      const item = itemOf("rpm", artifact, where);
      items.push(isPackage(artifact) ? { ...item, ...check(artifact) } : item);
    }
    const repomd = `rpms/${entry.name}/repodata/repomd.xml`;
    if (detail.repomdSignedBy === "airferry") items.push(...(await signatureOf(repomd, detail, context)));
    for (const key of detail.keys) {
      const bytes = await context.kept.get(key.kept);
      items.push({
        path: key.path,
        kind: "rpm",
        mode: "0644",
        size: bytes.length,
        integrity: key.kept,
        established: "manifest",
        source: { from: "kept", digest: key.kept },
      });
      keys.push({ path: key.path, fingerprints: key.fingerprints, for: [entry.name] });
    }
    const own = detail.repomdSignedBy === "airferry" && signs;
    rpms.push({
      name: entry.name,
      path: `rpms/${entry.name}/`,
      mode: detail.mode,
      repomdSignedBy: detail.repomdSignedBy === "upstream" ? "upstream" : signs ? "airferry" : "none",
      gpgcheck: detail.gpgcheck,
      ...(detail.legacySignatures && { legacySignatures: true }),
      ...(detail.moduleHotfixes && { moduleHotfixes: true }),
      keys: [...detail.keys.map((it) => it.path), ...(own ? [OWN_KEY] : [])].map((it) => it.slice("keys/".length)),
      packages: detail.packages,
      tree: detail.tree,
      rpmrepo: detail.rpmrepo,
      ...(detail.arch && { arch: detail.arch }),
    });
  }
  const merged = entries.filter((it) => it.detail.rpmrepo);
  if (merged.length > 0) items.push(...(await planMerged(merged, context)));
  if (signs && context.rpmPublicKey && entries.length > 0) {
    const bytes = Buffer.from(context.rpmPublicKey);
    items.push(generatedItem(OWN_KEY, bytes));
    const { readOpenPgpKeyring } = await import("../../sign/openpgp-keyring.ts");
    const { keys: own } = await readOpenPgpKeyring([bytes], { name: "the bundle's RPM key" });
    keys.push({ path: OWN_KEY, fingerprints: own.map((it) => it.fingerprint), for: ["airferry"] });
  }
  return { items, catalog: { rpms, keys, origins: repositoryOrigins(entries, context.manifest) } };
}

/** `/rpmrepo/`: one repository over the packages of several, which are not moved. */
async function planMerged(entries: readonly LockedRpm[], context: PlanContext): Promise<PlanItem[]> {
  const { files, repomd } = await writeMergedRepository(entries, context);
  const items = files.map((it) => generatedItem(`rpmrepo/${it.path}`, it.bytes));
  items.push(generatedItem("rpmrepo/repodata/repomd.xml", repomd));
  const signature = await context.signRpmMetadata?.(repomd);
  if (signature) items.push(generatedItem("rpmrepo/repodata/repomd.xml.asc", Buffer.from(signature)));
  return items;
}

async function signatureOf(repomd: string, detail: RpmDetail, context: PlanContext): Promise<PlanItem[]> {
  if (context.signRpmMetadata === undefined) return [];
  const bytes = await context.kept.get(detail.metadata.repomd);
  return [generatedItem(`${repomd}.asc`, Buffer.from(await context.signRpmMetadata(bytes)))];
}

/** The check that runs once a package's digest is right; keys are read for the first package. */
function checkOf(detail: RpmDetail, context: PlanContext): (artifact: LockedArtifact) => Partial<PlanItem> {
  let keyring: Promise<OpenPgpKeyring> | undefined;
  let modular: Promise<Set<string>> | undefined;
  const keys = async () => {
    const files = await Promise.all(detail.keys.map((it) => context.kept.get(it.kept)));
    const { readOpenPgpKeyring } = await import("../../sign/openpgp-keyring.ts");
    return readOpenPgpKeyring(files, { fingerprints: detail.keys.flatMap((it) => it.fingerprints) });
  };
  return ({ path, nevra }) => ({
    ...(detail.quarantine && { quarantine: true as const }),
    check: async (bytes) => {
      keyring ??= detail.gpgcheck ? keys() : undefined;
      const { verifyPackage } = await import("../../rpm/verify-package.ts");
      const verdict = await verifyPackage(bytes, await keyring, {
        name: path,
        gpgcheck: detail.gpgcheck,
        legacy: detail.legacySignatures,
      });
      requireListed(path, verdict.nevra, nevra);
      if (verdict.modularityLabel === undefined || detail.mode !== "subset" || detail.moduleHotfixes) return;
      modular ??= modularOf(detail, context);
      if ((await modular).has(verdict.nevra)) return;
      throw new AirferryError(
        "ERR_UPSTREAM_INVALID",
        `cannot use package "${path}": it belongs to module ${verdict.modularityLabel}, but upstream's module metadata does not list it`,
        { path, hint: "dnf would refuse to install it; exclude it, or ask for the module by @name:stream" },
      );
    },
  });
}

/** A well-signed package under another name, such as an older version, is not what the metadata promised. */
function requireListed(path: string, nevra: string, listed: string | undefined): void {
  if (listed === nevra) return;
  throw new AirferryError(
    "ERR_UPSTREAM_INVALID",
    `cannot use package "${path}": it does not match its repository's metadata: expected ${listed}, got ${nevra}`,
    { path, hint: "upstream, or the mirror, delivers a package under another one's name; use another mirror" },
  );
}

async function modularOf(detail: RpmDetail, context: PlanContext): Promise<Set<string>> {
  const digest = detail.metadata.modules;
  if (digest === undefined) return new Set();
  const open = await decompress(await context.kept.get(digest), {
    name: "modules.yaml",
    maxBytes: maxOpenBytes("modules"),
  });
  return new Set((await readModules(open, "modules.yaml")).flatMap((it) => it.artifacts));
}
