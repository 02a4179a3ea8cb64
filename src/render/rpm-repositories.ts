/**
 * Every served RPM repository, with what clients need to use it: packed ones, and those inside the ISOs. The source of
 * airferry.repo, of the kickstart rewrite and of `k8s_rpm_server`.
 */
import type { CatalogRpm } from "../bundle/inventory-types.ts";
import { AirferryError } from "../errors.ts";
import type { RenderInput, RenderRelease } from "./types.ts";
import { encodeUrlPath, releasesOf, rootFor } from "./view.ts";

export interface ServedRepository {
  /** Unique over all of them: `airferry-NAME`, or with the stream if two streams differ. */
  id: string;
  title: string;
  /** With a trailing slash. */
  url: string;
  /** URLs of the keys for packages and metadata. */
  keys: string[];
  /** Entry paths of the keys in the release; the rest are inside the ISO. */
  keyPaths: string[];
  /** Architectures that the manifest named; empty: unspecified. */
  arch: readonly string[];
  gpgcheck: boolean;
  /** repodata/repomd.xml.asc exists, by one of `keys`. */
  repoGpgcheck: boolean;
  moduleHotfixes: boolean;
  /** SHA-1 signatures and short keys were accepted. */
  legacySignatures: boolean;
  /** Set for a repository inside an ISO. */
  iso?: { name: string; path: string };
  release: RenderRelease;
  /** Prefix of its files' paths in the bundle; absent inside an ISO. */
  prefix?: string;
}

/** Lists the served repositories: packed ones first, in the order of their catalogs, then those inside ISOs. */
export function repositoriesOf(input: RenderInput): ServedRepository[] {
  const found: ServedRepository[] = [];
  const taken = new Set<string>();
  const add = (repository: ServedRepository, key: string) => {
    // Identical repositories of two streams at one URL are merged.
    if (taken.has(key)) return;
    taken.add(key);
    found.push(repository);
  };
  for (const release of releasesOf(input)) {
    for (const rpm of release.inventory.catalog.rpms) {
      const repository = packed(input, release, rpm);
      add(repository, repository.url);
    }
  }
  for (const release of releasesOf(input)) {
    for (const repository of insideIsos(input, release)) add(repository, repository.url);
  }
  return found;
}

/**
 * Finds the repository that serves a package by its path in the bundle.
 * @throws {AirferryError} ERR_RENDER when no catalogued repository has it
 */
export function repositoryServing(
  repositories: readonly ServedRepository[],
  path: string,
  release: RenderRelease,
): ServedRepository {
  const found = repositories.find(
    (it) =>
      it.prefix !== undefined && path.startsWith(it.prefix) && it.release.inventory.entries.get(path) !== undefined,
  );
  if (found !== undefined) return found;
  throw new AirferryError(
    "ERR_RENDER",
    `cannot determine which repository serves "${path}": none in stream "${release.stream}" does`,
    {
      hint: "the bundle's catalog is incomplete: pack again with this version of airferry",
    },
  );
}

function packed(input: RenderInput, release: RenderRelease, rpm: CatalogRpm): ServedRepository {
  const repomd = `${rpm.path}repodata/repomd.xml`;
  const root = rootFor(input, release, repomd);
  const qualified = root !== input.baseUrl && input.stream === undefined;
  return {
    id: qualified ? `airferry-${release.stream}-${rpm.name}` : `airferry-${rpm.name}`,
    title: `${rpm.name} (${release.stream}, ${rpm.mode})`,
    url: `${root}/${encodeUrlPath(rpm.path)}`,
    keys: rpm.keys.map((key) => keyUrl(input, release, key)),
    keyPaths: rpm.keys.map(keyPath),
    arch: rpm.arch ?? [],
    gpgcheck: rpm.gpgcheck,
    repoGpgcheck: rpm.repomdSignedBy !== "none" && release.inventory.entries.has(`${repomd}.asc`),
    moduleHotfixes: rpm.moduleHotfixes === true,
    legacySignatures: rpm.legacySignatures === true,
    release,
    prefix: rpm.path,
  };
}

/** `CatalogRpm.keys` are paths below `keys/`, with or without that prefix. */
function keyPath(key: string): string {
  return key.startsWith("keys/") ? key : `keys/${key}`;
}

function keyUrl(input: RenderInput, release: RenderRelease, key: string): string {
  const path = keyPath(key);
  return `${rootFor(input, release, path)}/${encodeUrlPath(path)}`;
}

function* insideIsos(input: RenderInput, release: RenderRelease): Generator<ServedRepository> {
  const { isos, keys } = release.inventory.catalog;
  for (const iso of isos) {
    const entry = release.inventory.entries.get(iso.path);
    const tree = entry === undefined ? undefined : input.trees.get(entry.digest);
    if (tree === undefined) continue;
    const root = `${rootFor(input, release, iso.path)}/isos/${encodeUrlPath(iso.name)}`;
    const keyPaths = keys.filter((it) => it.for.includes(iso.path)).map((it) => keyPath(it.path));
    const carried = keyPaths.map((it) => keyUrl(input, release, it));
    // The bundle's signature covers the image, so the vendor's keys in its root are as trustworthy as separate ones.
    const own = tree.keys.map((name) => `${root}/${encodeUrlPath(name)}`);
    for (const repository of tree.repositories) {
      const path = repository.path === "" ? "" : `${encodeUrlPath(repository.path)}/`;
      yield {
        id: `airferry-${iso.name}-${repository.id}`.replace(/[^A-Za-z0-9._:-]/g, "-"),
        title: `${repository.id} of ${iso.name}.iso (${release.stream})`,
        url: `${root}/${path}`,
        keys: carried.length > 0 ? carried : own,
        keyPaths,
        arch: [],
        gpgcheck: true,
        repoGpgcheck: false,
        moduleHotfixes: false,
        legacySignatures: false,
        iso: { name: iso.name, path: repository.path },
        release,
      };
    }
  }
}

/** URL of the whole installation tree of an ISO of a release, with a slash at its end. */
export function treeUrl(input: RenderInput, isoName: string, release: RenderRelease): string | undefined {
  const path = `isos/${isoName}.iso`;
  if (!release.inventory.entries.has(path)) return undefined;
  return `${rootFor(input, release, path)}/isos/${encodeUrlPath(isoName)}/`;
}
