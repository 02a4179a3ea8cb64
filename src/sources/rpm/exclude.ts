/**
 * `on_bad_package: quarantine`: removes packages that are wrong, wrongly signed or missing from the repository and its
 * metadata.
 */

import { AirferryError } from "../../errors.ts";
import { type Digest, hexOf } from "../../io/digest.ts";
import { shellWord } from "../../io/shell.ts";
import { decompress, decompressChunks } from "../../rpm/codecs.ts";
import { readModules } from "../../rpm/modules-thread.ts";
import { formatNevra, Primary } from "../../rpm/primary.ts";
import { MAX_METADATA_BYTES, maxOpenBytes, parseRepomd } from "../../rpm/repomd.ts";
import { rewriteTreeinfo } from "../../rpm/treeinfo.ts";
import type { LockedRpm } from "../lock-document.ts";
import type { LockedArtifact } from "../locked-artifact.ts";
import { artifactUrls } from "../recorded-urls.ts";
import type { ItemFault, PlanContext } from "../types.ts";
import { locate } from "./location.ts";
import type { RpmDetail } from "./rpm-detail.ts";
import { keptArtifact, writeCut } from "./write-metadata.ts";

const METADATA = /\/repodata\//;
const TREEINFO = /^rpms\/[^/]+\/\.?treeinfo$/;

/** Removes packages and rewrites the metadata; an exact mirror becomes a rewritten one. */
export async function excludePackages(
  entry: LockedRpm,
  faults: readonly ItemFault[],
  context: PlanContext,
): Promise<LockedRpm> {
  const detail = entry.detail;
  const bad = new Set(faults.map((it) => it.path));
  const path = `rpms/${entry.name}/`;
  const read = async (type: string): Promise<Buffer | undefined> => {
    const digest = detail.metadata[type];
    if (digest !== undefined) return context.kept.get(digest);
    const artifact = entry.artifacts.find(
      (it) => METADATA.test(it.path) && new RegExp(`[/-]${type}\\.xml`).test(it.path),
    );
    if (artifact?.urls === undefined || artifact.integrity === undefined) return undefined;
    const { urls, integrity, size } = artifact;
    const target = { ...artifactUrls(urls, entry, context.manifest), integrity, maxBytes: size ?? MAX_METADATA_BYTES };
    return (await context.fetcher.fetchBytes({ ...target, ...(size !== undefined && { size }) })).bytes;
  };
  const open = async (type: string) => {
    const bytes = await read(type);
    return bytes && decompress(bytes, { name: `${entry.name}: ${type}`, maxBytes: maxOpenBytes(type) });
  };
  const primary = await Primary.readCompressed((await read("primary")) as Buffer, entry.name);
  const packages = primary.packages.flatMap((it) => {
    const { checksum, href, base } = primary.details(it);
    const { stored, asUpstream } = locate(href, base, checksum, entry.name);
    if (bad.has(`${path}${stored}`)) return [];
    return [{ entry: it, pkgid: hexOf(checksum), href: asUpstream ? undefined : stored }];
  });
  if (packages.length === 0) {
    const first = faults[0]?.reason ?? "";
    throw new AirferryError(
      "ERR_UPSTREAM_INVALID",
      `cannot pack repository "${entry.name}": none of its ${primary.packages.length} packages can be used; the first: ${first}`,
      {
        path: entry.name,
        hint: `upstream may have moved on; run: airferry lock MANIFEST --update ${shellWord(entry.name)}`,
      },
    );
  }
  const modules = await open("modules");
  const repomd = parseRepomd((await read("repomd")) as Buffer, `${entry.name}: repomd.xml`);
  const seconds = Number(repomd.revision) || Date.parse(context.time) / 1000;
  const metadata = await writeCut(
    {
      name: entry.name,
      primary,
      chunks: async (type) => {
        const bytes = await read(type);
        return bytes && decompressChunks(bytes, { name: `${entry.name}: ${type}`, maxBytes: maxOpenBytes(type) });
      },
      open,
      modules: modules ? await readModules(modules, `${entry.name}: modules.yaml`) : [],
      revision: repomd.revision,
      time: new Date(seconds * 1000),
    },
    packages,
    path,
    context.kept,
  );
  const nevras = new Set(packages.map((it) => formatNevra(it.entry)));
  const changed: RpmDetail = {
    ...detail,
    mode: detail.mode === "loose" ? "loose" : "subset",
    repomdSignedBy: "airferry",
    packages: packages.length,
    metadata: metadata.digests,
    why: Object.fromEntries(Object.entries(detail.why).filter(([nevra]) => nevras.has(nevra))),
    quarantined: [...(detail.quarantined ?? []), ...faults],
  };
  const others = entry.artifacts.filter((it) => !METADATA.test(it.path) && !bad.has(it.path));
  const artifacts = await Promise.all(
    others.map((it) => (TREEINFO.test(it.path) ? withChecksum(it, metadata.digests.repomd, context) : it)),
  );
  return { ...entry, artifacts: [...metadata.artifacts, ...artifacts], detail: changed };
}

/** An installation tree names the digest of repomd.xml, which has changed. */
async function withChecksum(artifact: LockedArtifact, repomd: Digest, context: PlanContext): Promise<LockedArtifact> {
  if (artifact.kept === undefined) return artifact;
  const text = (await context.kept.get(artifact.kept)).toString("utf8");
  const checksums = new Map([["repodata/repomd.xml", repomd]]);
  const bytes = Buffer.from(rewriteTreeinfo(text, { checksums }, artifact.path));
  return keptArtifact(artifact.path, bytes, context.kept, { established: "generated" });
}
