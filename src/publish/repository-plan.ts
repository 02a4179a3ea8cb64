/**
 * Which files of the releases go to a site's repository, and in which order: packages first, then what lists them, the
 * entry points last. So clients never find metadata of packages that are still missing. Decided before anything is
 * sent.
 */
import type { InventoryEntry } from "../bundle/inventory-types.ts";
import { AirferryError } from "../errors.ts";
import { compareUtf8 } from "../io/text.ts";
import { openStored } from "../store/read-blob.ts";
import type { Release, StoreReader } from "../store/types.ts";
import type { RepositoryFile } from "./site-repository.ts";

export type FileKind = "rpms" | "files";

/** Files that may go in any order, all of them before those of the next step. */
type Step = RepositoryFile[];

/** What to publish. */
export interface RepositoryPlan {
  steps: Step[];
  /** With metadata that the site makes itself: where it will be, a path for each RPM repository. */
  entryPoints: string[];
}

/** The last of a repository: what dnf asks for first, and its signature before it. */
const LAST = ["repodata/repomd.xml.key", "repodata/repomd.xml.asc", "repodata/repomd.xml"];

/**
 * Plans the publishing of one kind.
 * @param ownMetadata for RPM repositories: the site makes the metadata, so that only packages go there
 * @throws {AirferryError} ERR_PUBLISH when two streams have different files of one path
 */
export function planRepository(
  kind: FileKind,
  releases: readonly Release[],
  store: StoreReader,
  ownMetadata: boolean,
): RepositoryPlan {
  const taken = new Map<string, { entry: InventoryEntry; stream: string }>();
  const steps: Step[] = [[], []];
  const last = new Map<string, Step>();
  const entryPoints = new Set<string>();
  const add = (entry: InventoryEntry, path: string, stream: string, step: Step | undefined) => {
    const other = taken.get(path);
    if (other !== undefined && other.entry.digest !== entry.digest) throw collision(path, [other.stream, stream]);
    const { digest, size } = entry;
    const open = store.openBlob && (() => openStored(store, digest));
    if (other === undefined) step?.push({ path, digest, size, file: store.blobPath(digest), open });
    taken.set(path, { entry, stream });
  };
  for (const { stream, inventory, entries } of releases) {
    if (kind === "files") {
      for (const it of inventory.entries) {
        if (it.path.startsWith("files/")) add(it, it.path.slice("files/".length), stream, steps[0]);
      }
      continue;
    }
    const { rpms } = inventory.catalog;
    for (const repository of rpms) {
      const prefix = repository.path.replace(/\/?$/, "/");
      const name = prefix.slice("rpms/".length);
      for (const it of inventory.entries) {
        if (!it.path.startsWith(prefix)) continue;
        const below = it.path.slice(prefix.length);
        if (ownMetadata && !below.endsWith(".rpm")) continue;
        const at = LAST.indexOf(below);
        const step = at === -1 ? steps[isMetadata(below) ? 1 : 0] : listOf(last, below);
        add(it, name + below, stream, step);
      }
      if (ownMetadata) entryPoints.add(`${name}repodata/repomd.xml`);
    }
    if (ownMetadata) continue;
    for (const key of new Set(rpms.flatMap((it) => it.keys))) {
      const path = key.startsWith("keys/") ? key : `keys/${key}`;
      const entry = entries.get(path);
      if (entry !== undefined) add(entry, path, stream, steps[0]);
    }
  }
  const all = [...steps, ...LAST.map((it) => last.get(it) ?? [])].filter((it) => it.length > 0);
  for (const step of all) step.sort((a, b) => compareUtf8(a.path, b.path));
  return { steps: all, entryPoints: [...entryPoints].sort() };
}

/** Of an installation tree too: it has the checksum of `repomd.xml`. */
function isMetadata(path: string): boolean {
  return /(?:^|\/)repodata\//.test(path) || /^\.?treeinfo$/.test(path);
}

function listOf(lists: Map<string, Step>, name: string): Step {
  const list = lists.get(name) ?? [];
  lists.set(name, list);
  return list;
}

function collision(path: string, streams: string[]): AirferryError {
  return new AirferryError(
    "ERR_PUBLISH",
    `cannot publish "${path}": the streams ${streams.join(" and ")} have different files of this name`,
    { hint: `publish each stream to a repository or folder of its own, with --stream ${streams[0]}` },
  );
}
