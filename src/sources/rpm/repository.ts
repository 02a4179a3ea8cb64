/** One repository entry while it is being locked: its packages and the metadata that selection and closure need. */
import type { RpmEntry } from "../../manifest/schema.ts";
import { type Comps, readComps } from "../../rpm/comps.ts";
import { ModuleIndex } from "../../rpm/modules.ts";
import { readModules } from "../../rpm/modules-thread.ts";
import type { Primary } from "../../rpm/primary.ts";
import { type Advisory, forEachAdvisory } from "../../rpm/updateinfo.ts";
import type { LooseFolder } from "./loose-folder.ts";
import type { Snapshot } from "./snapshot.ts";

/** A repository that takes part in a lock. */
export interface Repository {
  entry: RpmEntry;
  name: string;
  primary: Primary;
  /** One of the two; neither when the earlier lock of a whole repository is reused. */
  snapshot?: Snapshot;
  loose?: LooseFolder;
  /** It offers only its locked packages, all of which are kept. */
  stays?: boolean;
  /** Only offers packages from an ISO that is carried anyway; nothing of it is carried as a repository. */
  provider?: true;
  comps: Comps[];
  modules: ModuleIndex;
  /** The uncompressed filelists.xml in pieces. Loose folders need none: their primary lists every file. */
  filelists?: () => Promise<AsyncIterable<Uint8Array> | undefined>;
  /** Runs a reader of upstream's files: when it fails, another mirror may have better ones. */
  blame?: <T>(work: () => Promise<T>) => Promise<T>;
}

/** Runs a reader of a repository's files, so that a failure is attributed to it. */
export function blaming<T>({ blame }: Repository, work: () => Promise<T>): Promise<T> {
  return blame ? blame(work) : work();
}

/** Whether closures begin with packages that an entry requests; otherwise it is mirrored whole or filtered. */
export function isSeeded(entry: RpmEntry): boolean {
  return (entry.packages !== undefined && entry.dependencies !== "none") || entry.advisories !== undefined;
}

/** Whether an entry is filtered by something other than packages that closures begin with. */
export function isFiltered(entry: RpmEntry): boolean {
  const isListed = entry.dependencies === "none";
  return isListed || entry.exclude !== undefined || entry.arch !== undefined || entry.newest !== undefined;
}

/**
 * Reads what selection needs of a snapshot. Groups are read from whichever form upstream has. `options`: see
 * Primary.read.
 */
export async function openRepository(
  entry: RpmEntry,
  snapshot: Snapshot,
  options: Parameters<Snapshot["primary"]>[0],
): Promise<Repository> {
  const primary = await snapshot.primary(options);
  const comps: Comps[] = [];
  const modulesYaml = await snapshot.open("modules");
  const modules = modulesYaml ? await readModules(modulesYaml, `${entry.name}: modules.yaml`) : [];
  for (const { fault } of modules) if (fault !== undefined) snapshot.report(`modules.yaml: ignored ${fault}`);
  if (isSeeded(entry)) {
    const bytes = await openGroup(snapshot);
    if (bytes) comps.push(await readComps(bytes, `${entry.name}: comps.xml`));
  }
  return {
    entry,
    name: entry.name,
    primary,
    snapshot,
    comps,
    modules: new ModuleIndex(modules),
    filelists: () => snapshot.openChunks("filelists"),
  };
}

/** comps.xml; repositories list it plain, compressed, or both, and a listed one may be missing. */
export async function openGroup(snapshot: Snapshot): Promise<Buffer | undefined> {
  for (const type of ["group", "group_gz", "group_xz", "group_zst"]) {
    const bytes = await snapshot.open(type);
    if (bytes) return bytes;
  }
  return undefined;
}

/** All advisories of a repository. */
export function readAdvisories(repository: Repository): Promise<Advisory[]> {
  return blaming(repository, async () => {
    const bytes = await repository.snapshot?.open("updateinfo");
    const advisories: Advisory[] = [];
    if (bytes) await forEachAdvisory(bytes, `${repository.name}: updateinfo.xml`, (it) => advisories.push(it));
    return advisories;
  });
}
