/**
 * Under which URLs upstream has the content of a release: read from its catalog, once for each inventory. Where a whole
 * repository is below one address, its packages take no memory here. docs/origins.md.
 */
import type { Catalog, Inventory } from "../bundle/inventory-types.ts";
import { isOwnHost, normalizeWebUrl, originOf } from "../io/web-url.ts";
import { apiHost, parseReference } from "../oci/reference.ts";

/** A list of mirrors that upstream has. */
export interface MirrorList {
  kind: "mirrorlist" | "metalink";
  /** The parameters that tell it from others at the same URL. */
  parameters: ReadonlyMap<string, string>;
  /** `rpms/NAME/`. */
  repository: string;
}

/** What upstream has under which URL. URLs are in the normal form of io/web-url.ts. */
interface ReleaseOrigins {
  /** Paths of entries, by URL. */
  readonly files: ReadonlyMap<string, readonly string[]>;
  /** Repositories (`rpms/NAME/`) by the URL that they are below, with its slash. */
  readonly bases: ReadonlyMap<string, readonly string[]>;
  /** By their URL without a query. */
  readonly lists: ReadonlyMap<string, readonly MirrorList[]>;
  /** Registries as references name them: `docker.io`, `registry.example.com:5000`. */
  readonly registries: ReadonlySet<string>;
  /** `https://host`, `http://host:8080`: all that a client may connect to. */
  readonly origins: ReadonlySet<string>;
}

/** Docker Hub has several names; its logins are at one of their own. */
export const HUB_HOSTS: readonly string[] = [apiHost("docker.io"), "index.docker.io", "docker.io", "auth.docker.io"];

/** What a client can name; a URL's host may have quotes and more, which must not get into anybody's configuration. */
const HOST = /^(?:[a-z0-9](?:[a-z0-9._-]{0,251}[a-z0-9])?|\[[0-9a-f:.]{2,45}\])(?::\d{1,5})?$/;

const known = new WeakMap<Inventory, ReleaseOrigins>();

/** Returns where upstream has what a release contains. */
export function originsOfRelease(inventory: Inventory): ReleaseOrigins {
  let origins = known.get(inventory);
  if (origins === undefined) {
    origins = readOrigins(inventory.catalog);
    known.set(inventory, origins);
  }
  return origins;
}

function readOrigins(catalog: Catalog): ReleaseOrigins {
  const files = new Map<string, string[]>();
  const bases = new Map<string, string[]>();
  const lists = new Map<string, MirrorList[]>();
  const repositories = new Set(catalog.rpms.map((it) => it.path));
  const baseOf = new Map<string, string>();
  for (const { path, source } of catalog.provenance) {
    if (!isUrl(source) || isElsewhere(path)) continue;
    const repository = repositoryOf(path, repositories);
    if (repository === undefined) {
      add(files, normalOf(source), path);
      continue;
    }
    const below = path.slice(repository.length);
    const base = baseOf.get(repository);
    if (base !== undefined && isBelow(source, base, below)) continue;
    const own = baseFor(source, below);
    if (own === undefined) add(files, normalOf(source), path);
    else if (base === undefined || bases.get(own)?.includes(repository) !== true) {
      baseOf.set(repository, own);
      add(bases, normalOf(own), repository);
    }
  }
  for (const { path, url, list } of catalog.origins ?? []) {
    const normal = isUrl(url) || list !== undefined ? normalOf(url) : undefined;
    if (normal === undefined || isElsewhere(path)) continue;
    if (list !== undefined) add(lists, withoutQuery(normal), listOf(list, normal, path));
    else if (repositories.has(path)) add(bases, normal.endsWith("/") ? normal : `${normal}/`, path);
    else if (!path.endsWith("/")) add(files, normal, path);
  }
  const registries = new Set<string>();
  const registryOrigins = new Set<string>();
  for (const { reference, insecure } of catalog.images) {
    const { host } = parseReference(reference);
    registries.add(host);
    for (const it of host === "docker.io" ? HUB_HOSTS : [host])
      if (isForeign(it)) registryOrigins.add(`${insecure === true ? "http" : "https"}://${it}`);
  }
  const origins = new Set<string>();
  for (const it of (catalog.web ?? []).flatMap((one) => one.origins))
    if (isForeign(it.slice(it.indexOf("://") + 3))) origins.add(it);
  for (const it of [...files.keys(), ...bases.keys(), ...lists.keys()]) origins.add(originOf(it));
  for (const it of registryOrigins) origins.add(it);
  return { files, bases, lists, registries, origins };
}

function isUrl(source: string): boolean {
  return /^https?:\/\//i.test(source) && !source.includes("***") && !source.includes("?");
}

/** Web answers are in an index of their own, with status and headers; what images are made of may need a login. */
function isElsewhere(path: string): boolean {
  return /^(?:web|images)\//.test(path);
}

function normalOf(url: string): string | undefined {
  try {
    return normalizeWebUrl(url).replace(/(?<!:)\/{2,}/g, "/");
  } catch {
    // What no client can ask for.
    return undefined;
  }
}

function add<T>(map: Map<string, T[]>, key: string | undefined, value: T): void {
  if (key === undefined || !isForeign(new URL(key).host)) return;
  const list = map.get(key);
  if (list === undefined) map.set(key, [value]);
  else if (!list.includes(value)) list.push(value);
}

function isForeign(host: string): boolean {
  return HOST.test(host) && !isOwnHost(host);
}

function repositoryOf(path: string, repositories: ReadonlySet<string>): string | undefined {
  if (!path.startsWith("rpms/")) return undefined;
  const end = path.indexOf("/", "rpms/".length);
  const repository = path.slice(0, end + 1);
  return path.length > repository.length && repositories.has(repository) ? repository : undefined;
}

/** Whether a URL is that of a path below a base. */
function isBelow(source: string, base: string, path: string): boolean {
  if (source.startsWith(base) && source.length === base.length + path.length && source.endsWith(path)) return true;
  return baseFor(source, path) === base;
}

/** The URL that a path is below, if it is how `source` ends; with a slash. */
function baseFor(source: string, path: string): string | undefined {
  let cut = source.length;
  for (const _ of path.split("/")) cut = source.lastIndexOf("/", cut - 1);
  const base = source.slice(0, cut + 1);
  if (!/^https?:\/\/[^/]+\//i.test(base)) return undefined;
  try {
    return decodeURIComponent(source.slice(base.length)) === path ? base : undefined;
  } catch {
    return undefined;
  }
}

function listOf(kind: MirrorList["kind"], url: string, repository: string): MirrorList {
  return { kind, parameters: new Map(new URL(url).searchParams), repository };
}

/** Up to the question mark. */
export function withoutQuery(url: string): string {
  const question = url.indexOf("?");
  return question === -1 ? url : url.slice(0, question);
}
