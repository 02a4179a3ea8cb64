/** Locks all repositories of a manifest together: unchanged ones are reused, closures see all of them. */

import { mapLimited } from "../../io/limit.ts";
import type { RpmEntry } from "../../manifest/schema.ts";
import { ModuleIndex } from "../../rpm/modules.ts";
import type { LockedRpm } from "../lock-document.ts";
import type { LockedArtifact } from "../locked-artifact.ts";
import { artifactUrls } from "../recorded-urls.ts";
import type { LockContext } from "../types.ts";
import { readBaselines } from "./baseline.ts";
import { type Companion, companionsOf } from "./companion-entries.ts";
import { selectCompanions } from "./companions.ts";
import { openIsoProviders } from "./iso-provider.ts";
import { freshLock, reopen, stays, withLeftOut } from "./locked.ts";
import { readLooseFolder } from "./loose-folder.ts";
import { type Opening, openingOf, SnapshotOpening, untilSettled } from "./open-repositories.ts";
import { type Place, placeOf } from "./place.ts";
import { blaming, isFiltered, isSeeded, type Repository } from "./repository.ts";
import { type RepositoryKeys, readKeys } from "./repository-keys.ts";
import type { Selected } from "./selected.ts";
import { selectPackages } from "./selection.ts";
import type { Snapshot } from "./snapshot.ts";
import { lockLoose, lockRepository } from "./write-entry.ts";

/** Entries whose locations and keys are requested at once; the fetcher limits requests per host by itself. */
const ASK_TOGETHER = 16;
/** Repositories whose metadata is fetched and read at the same time. */
const OPEN_TOGETHER = 4;
/** Repositories that are locked at once if they are independent. */
const LOCK_APART = 2;
/** Blocks of packages that are kept uncompressed for closures, which come back to them; of all repositories. */
const PLAIN_BYTES = 64 * 1024 * 1024;

/** Everything about one entry while it is being locked. */
interface Work {
  entry: RpmEntry;
  place?: Place;
  keys?: RepositoryKeys | undefined;
  /** The earlier lock, if it is reused. */
  previous?: LockedRpm;
  /** It accompanies another entry's packages and takes no part in closures. These come last. */
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
  const works = await mapLimited(named, ASK_TOGETHER, (entry, index) => workOn(entry, fresh[index], context));
  const accompanying = await mapLimited(companions, ASK_TOGETHER, async (companion, index): Promise<Work> => {
    const parent = works.find((it) => it.entry.name === companion.of);
    const previous = parent?.previous && fresh[named.length + index];
    const work = previous ? staying(companion.entry, previous, context) : lockedAnew(companion.entry, context);
    return { ...(await work), companion };
  });
  works.push(...accompanying);
  const isos = await openIsoProviders(context);
  try {
    const locked = await lockWorks(works, isos.repositories, context);
    return await pinned(isos.pending.length > 0 ? locked.map((it) => withPending(it, isos.pending)) : locked, context);
  } finally {
    await isos.close();
  }
}

async function workOn(entry: RpmEntry, previous: LockedRpm | undefined, context: LockContext<"rpm">): Promise<Work> {
  return previous && (await stays(entry, previous, context))
    ? staying(entry, previous, context)
    : lockedAnew(entry, context);
}

async function lockedAnew(entry: RpmEntry, context: LockContext<"rpm">): Promise<Work> {
  return { entry, place: await placeOf(entry, context), keys: await readKeys(entry, context) };
}

/** Install trees that name it need its location, as far as it is known without requests. */
async function staying(entry: RpmEntry, previous: LockedRpm, context: LockContext<"rpm">): Promise<Work> {
  if (entry.mirrorlist !== undefined || entry.metalink !== undefined) return { entry, previous };
  const place = await placeOf(entry, context).catch(() => undefined);
  return { entry, previous, ...(place && { place }) };
}

/** Records which ISOs were missing, so that the next lock that may fetch them includes them in closures. */
function withPending(entry: LockedRpm, pendingIsos: string[]): LockedRpm {
  return { ...entry, detail: { ...entry.detail, pendingIsos } };
}

/** Several at once, but only as many as needed if no closure has to see all: each can be large. */
async function lockWorks(
  works: readonly Work[],
  providers: readonly Repository[],
  context: LockContext<"rpm">,
): Promise<LockedRpm[]> {
  const isTogether = works.some((it) => isSeeded(it.entry) || it.companion !== undefined);
  const plainBytes = isTogether ? PLAIN_BYTES / works.length : 0;
  const openings = works.map((it) =>
    openingFor(it, context, { plainBytes, detailsOnly: !isTogether && !isFiltered(it.entry) }),
  );
  const open = (index: number) => (openings[index] as Opening).open();
  return untilSettled(openings, async () => {
    if (isTogether) {
      const repositories = await mapLimited(works, OPEN_TOGETHER, (_it, index) => open(index));
      return lockOpened(works, repositories, providers, context);
    }
    const locked = await mapLimited(works, LOCK_APART, async (it, index) =>
      it.previous ? [it.previous] : lockOpened([it], [await open(index)], [], context, works),
    );
    return locked.flat();
  });
}

function openingFor(
  { entry, place, keys, previous }: Work,
  context: LockContext<"rpm">,
  options: Parameters<Snapshot["primary"]>[0],
): Opening {
  if (previous !== undefined) return openingOf(() => reopen(entry, previous, context, options));
  if (place !== undefined && place.kind !== "loose") {
    context.report(`${entry.name}: reading metadata`);
    return new SnapshotOpening(entry, place, keys, context, options);
  }
  return openingOf(async () => {
    const loose = await readLooseFolder(
      entry.name,
      (place as { dir: string }).dir,
      entry.path as string,
      context.hashed,
    );
    return { entry, name: entry.name, primary: loose.primary, loose, comps: [], modules: new ModuleIndex([]) };
  });
}

/** Removes each repository from the array once it is locked: all of them together are large. */
async function lockOpened(
  works: readonly Work[],
  repositories: Repository[],
  providers: readonly Repository[],
  context: LockContext<"rpm">,
  all: readonly Work[] = works,
): Promise<LockedRpm[]> {
  const selected = await selectFrom(works, repositories, providers, context);
  const neighbours = all.flatMap(({ entry, place }) => (place ? [{ name: entry.name, place }] : []));
  const locked: LockedRpm[] = [];
  for (const { keys, previous } of works) {
    const [repository, choice] = [repositories.shift() as Repository, selected.shift() as Selected];
    if (previous) locked.push(repository.stays ? withLeftOut(previous, choice.leftOut) : previous);
    else if (repository.loose) locked.push(await lockLoose(repository.entry, repository.loose, keys, context));
    else {
      const remote = repository as Repository & { snapshot: Snapshot };
      locked.push(await blaming(remote, () => lockRepository(remote, choice, keys, neighbours, context)));
    }
  }
  return locked;
}

/** What each repository carries: closures first, then what accompanies it. */
async function selectFrom(
  works: readonly Work[],
  repositories: readonly Repository[],
  providers: readonly Repository[],
  context: LockContext<"rpm">,
): Promise<Selected[]> {
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
  return selected;
}

/** Kernels, initial RAM disks and installers: the largest have a few GiB. */
const MAX_TREE_IMAGE_BYTES = 16 * 1024 ** 3;

/** Images of install trees without a published digest are fetched once by `lock`. */
async function pinned(entries: readonly LockedRpm[], context: LockContext<"rpm">): Promise<LockedRpm[]> {
  if (!context.pinFirstSight) return [...entries];
  return Promise.all(
    entries.map(async (entry) => {
      const artifacts: LockedArtifact[] = [];
      for (const it of entry.artifacts) {
        if (it.integrity !== undefined || it.urls === undefined) artifacts.push(it);
        else {
          const { digest, size, etag } = await context.download(artifactUrls(it.urls, entry, context.manifest), {
            maxBytes: MAX_TREE_IMAGE_BYTES,
          });
          artifacts.push({ ...it, size, integrity: digest, ...(etag && { etag }) });
        }
      }
      return { ...entry, artifacts };
    }),
  );
}
