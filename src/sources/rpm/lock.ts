/** Locks all repositories of a manifest together: those that are unchanged stay as they are, closures see all of them. */
import { requestDigest } from "../../manifest/load.ts";
import type { LockedArtifact, LockedEntry } from "../../manifest/lock-types.ts";
import type { RpmEntry } from "../../manifest/schema.ts";
import { decompress, decompressChunks } from "../../rpm/codecs.ts";
import { ModuleIndex, parseModules } from "../../rpm/modules.ts";
import { Primary } from "../../rpm/primary.ts";
import type { LockContext } from "../types.ts";
import { readBaselines } from "./baseline.ts";
import { type Companion, companionsOf, selectCompanions } from "./companions.ts";
import type { RpmDetail } from "./detail.ts";
import { openIsoProviders } from "./iso-provider.ts";
import { type RepositoryKeys, readKeys } from "./keys.ts";
import { listingOf, readLooseFolder } from "./loose.ts";
import { type Place, placeOf } from "./place.ts";
import { isSeeded, openRepository, type Repository } from "./repository.ts";
import { type Selected, selectPackages } from "./selection.ts";
import { type Snapshot, withSnapshot } from "./snapshot.ts";
import { lockLoose, lockRepository } from "./write-entry.ts";

const MAX_OPEN_BYTES = 4 * 1024 ** 3;

/** Everything about one entry while it is being locked. */
interface Work {
  entry: RpmEntry;
  /** Undefined when the earlier lock of a whole repository stays. */
  place?: Place;
  keys?: RepositoryKeys | undefined;
  previous?: LockedEntry;
  /** It carries what belongs to another entry's packages, and takes no part in closures. These come last. */
  companion?: Companion;
}

/** @throws {AirferryError} ERR_UNRESOLVED, ERR_UPSTREAM*, ERR_MANIFEST_INVALID */
export async function lockRepositories(context: LockContext): Promise<LockedEntry[]> {
  const named = context.manifest.rpms ?? [];
  const companions = companionsOf(named);
  const entries = [...named, ...companions.map((it) => it.entry)];
  const fresh = await Promise.all(entries.map((entry) => freshLock(entry, context)));
  const unchanged = fresh.every((it) => it !== undefined) && context.previous.size === entries.length;
  if (unchanged) return pinned(fresh as LockedEntry[], context);
  const works: Work[] = [];
  for (const [index, entry] of entries.entries()) {
    const previous = isSeeded(entry) ? undefined : fresh[index];
    const companion = companions[index - named.length];
    if (previous !== undefined) works.push({ entry, previous });
    else
      works.push({
        entry,
        place: await placeOf(entry, context),
        keys: await readKeys(entry, context),
        ...(companion && { companion }),
      });
  }
  const isos = await openIsoProviders(context);
  try {
    const locked = await lockWorks(works, [], isos.repositories, context);
    return await pinned(isos.pending.length > 0 ? locked.map((it) => withPending(it, isos.pending)) : locked, context);
  } finally {
    await isos.close();
  }
}

/** Notes which ISOs were missing, so that the next lock that may fetch them closes over them too. */
function withPending(entry: LockedEntry, pendingIsos: string[]): LockedEntry {
  return { ...entry, detail: { ...(entry.detail as RpmDetail), pendingIsos } };
}

/** The earlier lock of an entry when its text, and a local folder's content, are the same. */
async function freshLock(entry: RpmEntry, context: LockContext): Promise<LockedEntry | undefined> {
  const previous = context.previous.get(entry.name);
  if (previous?.request !== requestDigest(entry) || context.update("rpm", entry.name)) return undefined;
  const { listing, metadata, pendingIsos } = previous.detail as RpmDetail;
  if (pendingIsos !== undefined && context.fetchIsos) return undefined;
  for (const digest of Object.values(metadata)) if (!(await context.kept.has(digest))) return undefined;
  if (listing === undefined) return previous;
  const place = await placeOf(entry, context);
  return place.kind === "loose" && (await listingOf(place.dir)).listing === listing ? previous : undefined;
}

/** Opens one repository after the other, each inside the snapshot of the one before, so that all are checked at the end. */
async function lockWorks(
  works: readonly Work[],
  open: Repository[],
  providers: readonly Repository[],
  context: LockContext,
): Promise<LockedEntry[]> {
  const work = works[open.length];
  if (work === undefined) return lockOpened(works, open, providers, context);
  const { entry, place, previous } = work;
  if (previous !== undefined)
    return lockWorks(works, [...open, await reopen(entry, previous, context)], providers, context);
  if (place === undefined || place.kind === "loose") {
    const loose = await readLooseFolder(entry.name, (place as { dir: string }).dir, entry.path as string);
    const repository = {
      entry,
      name: entry.name,
      primary: loose.primary,
      loose,
      comps: [],
      modules: new ModuleIndex([]),
    };
    return lockWorks(works, [...open, repository], providers, context);
  }
  context.report(`${entry.name}: reading metadata`);
  return withSnapshot(entry, place, work.keys, context, async (snapshot) =>
    lockWorks(works, [...open, await openRepository(entry, snapshot)], providers, context),
  );
}

async function lockOpened(
  works: readonly Work[],
  repositories: readonly Repository[],
  providers: readonly Repository[],
  context: LockContext,
): Promise<LockedEntry[]> {
  const files = repositories.flatMap((it) => it.entry.baseline ?? []);
  const baselines = await readBaselines(files, context.baseDir);
  const named = repositories.filter((_it, index) => !works[index]?.companion);
  const selected = (await selectPackages([...named, ...providers], baselines, context.report)).slice(0, named.length);
  for (const [index, { companion }] of works.entries()) {
    if (!companion) continue;
    const parent = named.findIndex((it) => it.name === companion.of);
    const own = repositories[index] as Repository;
    const [from, chosen] = [named[parent] as Repository, selected[parent] as Selected];
    selected.push(selectCompanions(companion, own, from, chosen, context.report));
  }
  const neighbours = works.flatMap(({ entry, place }) => (place ? [{ name: entry.name, place }] : []));
  const locked: LockedEntry[] = [];
  for (const [index, repository] of repositories.entries()) {
    const { keys, previous } = works[index] as Work;
    if (previous) locked.push(previous);
    else if (repository.loose) locked.push(await lockLoose(repository.entry, repository.loose, keys, context));
    else {
      const remote = repository as Repository & { snapshot: Snapshot };
      const choice = selected[index] as (typeof selected)[number];
      locked.push(await lockRepository(remote, choice, keys, neighbours, context));
    }
  }
  return locked;
}

/** A whole repository as its lock has it: what closures look at comes from the lock's folder. */
async function reopen(entry: RpmEntry, previous: LockedEntry, context: LockContext): Promise<Repository> {
  const { metadata } = previous.detail as RpmDetail;
  const open = async (type: string) => {
    const digest = metadata[type];
    const name = `${entry.name}: ${type}`;
    return digest && decompress(await context.kept.get(digest), { name, maxBytes: MAX_OPEN_BYTES });
  };
  const modules = await open("modules");
  return {
    entry,
    name: entry.name,
    primary: new Primary((await open("primary")) as Buffer, `${entry.name}: primary.xml`),
    comps: [],
    modules: new ModuleIndex(modules ? parseModules(modules, `${entry.name}: modules.yaml`) : []),
    filelists: async () => {
      const bytes = await filelistsOf(previous, context);
      return bytes && decompressChunks(bytes, { name: `${entry.name}: filelists`, maxBytes: MAX_OPEN_BYTES });
    },
  };
}

async function filelistsOf(previous: LockedEntry, context: LockContext): Promise<Buffer | undefined> {
  const kept = (previous.detail as RpmDetail).metadata.filelists;
  if (kept) return context.kept.get(kept);
  const artifact = previous.artifacts.find((it) => /\/repodata\/[^/]*filelists\.xml/.test(it.path));
  if (!artifact?.urls || !artifact.integrity) return undefined;
  const { urls, integrity, size } = artifact;
  const target = { urls, integrity, maxBytes: size ?? MAX_OPEN_BYTES, ...(size !== undefined && { size }) };
  return (await context.fetcher.fetchBytes(target)).bytes;
}

/** Images of install trees without a published digest are fetched once by `lock`. */
async function pinned(entries: readonly LockedEntry[], context: LockContext): Promise<LockedEntry[]> {
  if (!context.pinFirstSight) return [...entries];
  return Promise.all(
    entries.map(async (entry) => {
      const artifacts: LockedArtifact[] = [];
      for (const it of entry.artifacts) {
        if (it.integrity !== undefined || it.urls === undefined) artifacts.push(it);
        else {
          const { sha256, size, etag } = await context.download(it.urls);
          const integrity = `sha256-${Buffer.from(sha256, "hex").toString("base64")}`;
          artifacts.push({ ...it, size, integrity, ...(etag && { etag }) });
        }
      }
      return { ...entry, artifacts };
    }),
  );
}
