/**
 * Entries whose manifest text did not change: whether their lock is reused while others are locked again, and what
 * closures then read of them from the lock's folder. docs/manifest.md, "The lock".
 */
import { EXIT, exitStatusOf } from "../../errors.ts";
import { digestOf, hexOf } from "../../io/digest.ts";
import { shellWord } from "../../io/shell.ts";
import { requestDigest } from "../../manifest/request.ts";
import type { RpmEntry } from "../../manifest/schema.ts";
import { decompress, decompressChunks } from "../../rpm/codecs.ts";
import { readComps } from "../../rpm/comps.ts";
import { ModuleIndex } from "../../rpm/modules.ts";
import { readModules } from "../../rpm/modules-thread.ts";
import { Primary } from "../../rpm/primary.ts";
import { MAX_METADATA_BYTES, maxOpenBytes } from "../../rpm/repomd.ts";
import type { LockedRpm } from "../lock-document.ts";
import { artifactUrls } from "../recorded-urls.ts";
import type { LockContext } from "../types.ts";
import { listingOf } from "./loose-folder.ts";
import { placeOf } from "./place.ts";
import { isPackage } from "./plan-repositories.ts";
import { isSeeded, type Repository } from "./repository.ts";
import type { LeftOutDependency } from "./rpm-detail.ts";
import { fetchRepomd, type Snapshot } from "./snapshot.ts";

/** The earlier lock of an entry when its text, and a local folder's content, are the same. */
export async function freshLock(entry: RpmEntry, context: LockContext<"rpm">): Promise<LockedRpm | undefined> {
  const previous = context.previous.get(entry.name);
  if (previous?.request !== requestDigest(entry) || context.update("rpm", entry.name)) return undefined;
  const { listing, metadata, pendingIsos } = previous.detail;
  if (pendingIsos !== undefined && context.fetchIsos) return undefined;
  for (const digest of Object.values(metadata)) if (!(await context.kept.has(digest))) return undefined;
  if (previous.artifacts.some((it) => isPackage(it) && it.nevra === undefined)) {
    context.report(
      `${entry.name}: locked by an older airferry, which did not record package versions; locking it again`,
    );
    return undefined;
  }
  if (listing === undefined) return previous;
  const place = await placeOf(entry, context);
  return place.kind === "loose" && (await listingOf(place.dir)).listing === listing ? previous : undefined;
}

/**
 * Whether an unchanged entry is reused while others are locked. A whole mirror is. A selection is resolved together
 * with the others, from the metadata that it was locked from; if upstream has other metadata by now, or is unreachable,
 * it keeps its locked packages, which is reported.
 */
export async function stays(entry: RpmEntry, previous: LockedRpm, context: LockContext<"rpm">): Promise<boolean> {
  if (!isSeeded(entry)) return true;
  const { upstreamRepomd } = previous.detail;
  const place = await placeOf(entry, context);
  if (upstreamRepomd === undefined || place.kind === "loose") return false;
  let reason = "upstream has changed since";
  try {
    const repomd = await fetchRepomd(entry, place, context);
    if (hexOf(digestOf(repomd)) === upstreamRepomd) return false;
  } catch (error) {
    if (exitStatusOf(error) !== EXIT.upstream) throw error;
    reason = `upstream is unreachable (${(error as Error).message})`;
  }
  context.report(
    `${entry.name}: still locked as before: ${reason}; to lock what upstream has now: airferry lock MANIFEST --update ${shellWord(entry.name)}`,
  );
  return true;
}

/**
 * A repository as locked. A selection then offers exactly its locked packages.
 * @param options see Primary.read
 */
export async function reopen(
  entry: RpmEntry,
  previous: LockedRpm,
  context: LockContext<"rpm">,
  options: Parameters<Snapshot["primary"]>[0],
): Promise<Repository> {
  const { metadata } = previous.detail;
  const open = async (type: string) => {
    const digest = metadata[type];
    const name = `${entry.name}: ${type}`;
    return digest && decompress(await context.kept.get(digest), { name, maxBytes: maxOpenBytes(type) });
  };
  const modules = await open("modules");
  const group = isSeeded(entry) ? await open("group") : undefined;
  return {
    entry,
    name: entry.name,
    primary: await Primary.readCompressed(await context.kept.get(metadata.primary), entry.name, options),
    ...(isSeeded(entry) && { stays: true }),
    comps: group ? [await readComps(group, `${entry.name}: comps.xml`)] : [],
    modules: new ModuleIndex(modules ? await readModules(modules, `${entry.name}: modules.yaml`) : []),
    filelists: async () => {
      const bytes = await filelistsOf(previous, context);
      return (
        bytes && decompressChunks(bytes, { name: `${entry.name}: filelists`, maxBytes: maxOpenBytes("filelists") })
      );
    },
  };
}

/** A reused entry, with what is omitted now that others are different. */
export function withLeftOut(previous: LockedRpm, left: readonly LeftOutDependency[]): LockedRpm {
  const { leftOut: _before, ...detail } = previous.detail;
  return { ...previous, detail: { ...detail, ...(left.length > 0 && { leftOut: [...left] }) } };
}

async function filelistsOf(previous: LockedRpm, context: LockContext<"rpm">): Promise<Buffer | undefined> {
  const kept = previous.detail.metadata.filelists;
  if (kept) return context.kept.get(kept);
  const artifact = previous.artifacts.find((it) => /\/repodata\/[^/]*filelists\.xml/.test(it.path));
  if (!artifact?.urls || !artifact.integrity) return undefined;
  const { urls, integrity, size } = artifact;
  const target = {
    ...artifactUrls(urls, previous, context.manifest),
    integrity,
    maxBytes: size ?? MAX_METADATA_BYTES,
    ...(size !== undefined && { size }),
  };
  return (await context.fetcher.fetchBytes(target)).bytes;
}
