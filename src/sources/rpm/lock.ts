/** Locks all repositories of a manifest together: those that are unchanged stay as they are, closures see all of them. */

import type { RpmEntry } from "../../manifest/schema.ts";
import { ModuleIndex } from "../../rpm/modules.ts";
import type { LockedRpm } from "../lock-document.ts";
import type { LockedArtifact } from "../locked-artifact.ts";
import { urlsOf } from "../recorded-urls.ts";
import type { LockContext } from "../types.ts";
import { readBaselines } from "./baseline.ts";
import { type Companion, companionsOf, selectCompanions } from "./companions.ts";
import { openIsoProviders } from "./iso-provider.ts";
import { type RepositoryKeys, readKeys } from "./keys.ts";
import { freshLock, reopen, stays, withLeftOut } from "./locked.ts";
import { readLooseFolder } from "./loose.ts";
import { type Place, placeOf } from "./place.ts";
import { openRepository, type Repository } from "./repository.ts";
import { type Selected, selectPackages } from "./selection.ts";
import { type Snapshot, withSnapshot } from "./snapshot.ts";
import { lockLoose, lockRepository } from "./write-entry.ts";

/** Everything about one entry while it is being locked. */
interface Work {
  entry: RpmEntry;
  place?: Place;
  keys?: RepositoryKeys | undefined;
  /** The earlier lock, where it stays. */
  previous?: LockedRpm;
  /** It carries what belongs to another entry's packages, and takes no part in closures. These come last. */
  companion?: Companion;
}

/** @throws {AirferryError} ERR_UNRESOLVED, ERR_UPSTREAM*, ERR_MANIFEST_INVALID */
export async function lockRepositories(context: LockContext<"rpm">): Promise<LockedRpm[]> {
  const named = context.manifest.rpms ?? [];
  const companions = companionsOf(named);
  const entries = [...named, ...companions.map((it) => it.entry)];
  const fresh = await Promise.all(entries.map((entry) => freshLock(entry, context)));
  const unchanged = fresh.every((it) => it !== undefined) && context.previous.size === entries.length;
  if (unchanged)
    return pinned(
      fresh.filter((it) => it !== undefined),
      context,
    );
  const works: Work[] = [];
  for (const [index, entry] of entries.entries()) {
    const previous = fresh[index];
    const companion = companions[index - named.length];
    const parent = works.find((it) => it.entry.name === companion?.of);
    const staying = previous && (parent ? parent.previous !== undefined : await stays(entry, previous, context));
    if (staying)
      works.push({ entry, previous, ...(await knownPlace(entry, context)), ...(companion && { companion }) });
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

/** Where an entry that stays is, for install trees that name it, as far as that can be told without asking anybody. */
async function knownPlace(entry: RpmEntry, context: LockContext<"rpm">): Promise<Pick<Work, "place">> {
  if (entry.mirrorlist !== undefined || entry.metalink !== undefined) return {};
  const place = await placeOf(entry, context).catch(() => undefined);
  return place ? { place } : {};
}

/** Notes which ISOs were missing, so that the next lock that may fetch them closes over them too. */
function withPending(entry: LockedRpm, pendingIsos: string[]): LockedRpm {
  return { ...entry, detail: { ...entry.detail, pendingIsos } };
}

/** Opens one repository after the other, each inside the snapshot of the one before, so that all are checked at the end. */
async function lockWorks(
  works: readonly Work[],
  open: Repository[],
  providers: readonly Repository[],
  context: LockContext<"rpm">,
): Promise<LockedRpm[]> {
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
  context: LockContext<"rpm">,
): Promise<LockedRpm[]> {
  const files = repositories.flatMap((it) => it.entry.baseline ?? []);
  const baselines = await readBaselines(files, context.baseDir);
  const named = repositories.filter((_it, index) => !works[index]?.companion);
  const selected = (await selectPackages([...named, ...providers], baselines, context.report)).slice(0, named.length);
  for (const [index, { companion, previous }] of works.entries()) {
    if (!companion) continue;
    const parent = named.findIndex((it) => it.name === companion.of);
    const own = repositories[index] as Repository;
    const [from, chosen] = [named[parent] as Repository, selected[parent] as Selected];
    selected.push(
      previous
        ? { packages: new Set(own.primary.packages), why: {}, notes: [], leftOut: [] }
        : selectCompanions(companion, own, from, chosen, context.report),
    );
  }
  const neighbours = works.flatMap(({ entry, place }) => (place ? [{ name: entry.name, place }] : []));
  const locked: LockedRpm[] = [];
  for (const [index, repository] of repositories.entries()) {
    const { keys, previous } = works[index] as Work;
    if (previous) locked.push(repository.stays ? withLeftOut(previous, selected[index]?.leftOut ?? []) : previous);
    else if (repository.loose) locked.push(await lockLoose(repository.entry, repository.loose, keys, context));
    else {
      const remote = repository as Repository & { snapshot: Snapshot };
      const choice = selected[index] as (typeof selected)[number];
      locked.push(await lockRepository(remote, choice, keys, neighbours, context));
    }
  }
  return locked;
}

/** Images of install trees without a published digest are fetched once by `lock`. */
async function pinned(entries: readonly LockedRpm[], context: LockContext<"rpm">): Promise<LockedRpm[]> {
  if (!context.pinFirstSight) return [...entries];
  return Promise.all(
    entries.map(async (entry) => {
      const artifacts: LockedArtifact[] = [];
      for (const it of entry.artifacts) {
        if (it.integrity !== undefined || it.urls === undefined) artifacts.push(it);
        else {
          const { sha256, size, etag } = await context.download(urlsOf(it.urls, entry, context.manifest));
          const integrity = `sha256-${Buffer.from(sha256, "hex").toString("base64")}`;
          artifacts.push({ ...it, size, integrity, ...(etag && { etag }) });
        }
      }
      return { ...entry, artifacts };
    }),
  );
}
