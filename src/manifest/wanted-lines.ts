/**
 * `plan --wanted`: which line of a manifest would bring what clients asked for in vain, judged from the lock alone. The
 * URLs come from a carried file: they are compared and printed, never requested.
 */
import { isTag, parseReference, servedRepository } from "../oci/reference.ts";
import type { Lock, LockedEntry } from "../sources/lock-document.ts";
import type { Manifest } from "./schema.ts";

/** What the manifest says of one URL. */
export interface WantedLine {
  url: string;
  count: number;
  /**
   * `carried`: an entry has it, so the next bundle brings it · `add`: `line` would bring it · `unknown`: no line is
   * known to bring it.
   */
  verdict: "carried" | "add" | "unknown";
  /** The entry, as `rpms[0] "base"`; absent if it has nothing to do with any. */
  entry?: string;
  /** With `add`: the repository that a package would come from. */
  repository?: string;
  /** To add to the manifest: YAML on one line. */
  line?: string;
  why: string;
}

/** What decides about a URL, from the manifest and its lock: looked up for each of thousands. */
interface Known {
  manifest: Manifest;
  /** `rpms[0] "base"` by entry. */
  places: ReadonlyMap<LockedEntry, string>;
  /** By path in the bundle. */
  byPath: ReadonlyMap<string, LockedEntry>;
  /** By URL in the manifest: ISOs, files, web answers. */
  byUrl: ReadonlyMap<string, LockedEntry>;
  /** Upstream's hosts, with ports, by any entry that names one. */
  hosts: ReadonlyMap<string, LockedEntry>;
  /** By kind and name. */
  byName: ReadonlyMap<string, LockedEntry>;
  /** Repositories by their base URLs, which end in `/`. */
  bases: readonly { base: string; entry: LockedEntry }[];
  /** NEVRAs of a repository's packages by name: `base/bash`. */
  packages: ReadonlyMap<string, string[]>;
  /** Images by every name of their repository. */
  images: ReadonlyMap<string, CarriedImage[]>;
  offered: ReadonlyMap<string, ReadonlySet<string>>;
}

interface CarriedImage {
  entry: LockedEntry;
  host: string;
  /** Its tag and digests. */
  references: readonly (string | undefined)[];
}

/** Keys of the manifest by kind. */
const LISTS = { iso: "isos", file: "files", rpm: "rpms", image: "images", web: "web" } as const;

type Found = Omit<WantedLine, "url" | "count">;

/**
 * Explains URLs, each with the entry that it belongs to.
 * @param offered names of the packages that upstream has, by repository, as far as somebody looked
 */
export function wantedLines(
  wanted: readonly { url: string; count: number }[],
  manifest: Manifest,
  lock: Lock,
  urlsOf: (entry: LockedEntry) => string[],
  offered: Known["offered"] = new Map(),
): WantedLine[] {
  const known: Known = { ...index(manifest, lock, urlsOf), offered };
  return wanted.map((it) => ({ url: it.url, count: it.count, ...explain(it.url, known) }));
}

function index(
  manifest: Manifest,
  { entries }: Lock,
  urlsOf: (entry: LockedEntry) => string[],
): Omit<Known, "offered"> {
  const places = new Map<LockedEntry, string>();
  const byPath = new Map<string, LockedEntry>();
  const byUrl = new Map<string, LockedEntry>();
  const byName = new Map<string, LockedEntry>();
  const hosts = new Map<string, LockedEntry>();
  const bases: { base: string; entry: LockedEntry }[] = [];
  const packages = new Map<string, string[]>();
  const images = new Map<string, CarriedImage[]>();
  const ofKind: Record<string, number> = {};
  for (const entry of entries) {
    const { kind, name } = entry;
    const at = ofKind[kind] ?? 0;
    ofKind[kind] = at + 1;
    places.set(entry, `${LISTS[kind]}[${at}] ${JSON.stringify(name)}`);
    byName.set(`${kind} ${name}`, entry);
    for (const { path, nevra } of entry.artifacts) {
      byPath.set(path, entry);
      const known = nevra && NEVRA.exec(nevra)?.[1];
      if (known) packages.set(`${name}/${known}`, [...(packages.get(`${name}/${known}`) ?? []), nevra]);
    }
    if (kind === "image") {
      for (const it of entry.detail.images) {
        const reference = parseReference(it.reference);
        const { host, path, tag, digest } = reference;
        const carriedImage = { entry, host, references: [tag, digest, it.digest] };
        for (const at of new Set([servedRepository(reference), `${host}/${path}`, path]))
          images.set(at, [...(images.get(at) ?? []), carriedImage]);
      }
      continue;
    }
    const urls = [...urlsOf(entry), ...(kind === "web" ? entry.detail.answers.map((it) => it.url) : [])];
    for (const it of urls) if (URL.canParse(it)) hosts.set(new URL(it).host, entry);
    if (kind === "rpm") for (const it of urls) bases.push({ base: it.replace(/\/?$/, "/"), entry });
    else for (const it of urls) byUrl.set(it, entry);
  }
  return { manifest, places, byPath, byUrl, hosts, byName, bases, packages, images };
}

function explain(url: string, known: Known): Found {
  const parsed = new URL(url);
  const path = decoded(parsed.pathname).replace(/^\/s\/[^/]+(?=\/)/, "");
  const namespace = parsed.searchParams.get("ns") ?? /^\/ns\/([^/]+)\/v2\//.exec(path)?.[1];
  const below = path.replace(/^\/ns\/[^/]+(?=\/v2\/)/, "");
  return (
    upstreamUrl(url, known) ??
    served(below, known) ??
    image(below, namespace ?? undefined, parsed.host, known) ??
    newFile(url, parsed, known) ?? {
      verdict: "unknown",
      why: "no entry of the manifest has anything to do with it, and nobody recorded it",
    }
  );
}

/** A URL as upstream has it, asked of a server that answers under upstream's names. */
function upstreamUrl(url: string, known: Known): Found | undefined {
  const own = known.byUrl.get(url);
  if (own !== undefined) return carried(own, known);
  const found = known.bases.find(({ base }) => url.startsWith(base));
  return found && inRepository(found.entry, url.slice(found.base.length), known);
}

/** A path of the bundle, as airferry itself serves it. */
function served(path: string, known: Known): Found | undefined {
  const [, kind, rest = ""] = /^\/(files|isos|rpms)\/(.+)$/s.exec(path) ?? [];
  if (kind === undefined) return undefined;
  const bare = `${kind}/${rest.replace(/\.sha256(?:sum)?$/, "")}`;
  const owner = known.byPath.get(bare);
  if (owner !== undefined) return carried(owner, known);
  const name = rest.split("/")[0] ?? "";
  if (kind === "rpms") {
    const entry = known.byName.get(`rpm ${name}`);
    if (entry !== undefined) return inRepository(entry, rest.slice(name.length + 1), known);
  }
  if (kind === "isos") {
    const iso = known.byName.get(`iso ${name}`);
    if (iso !== undefined)
      return { verdict: "unknown", entry: placeOf(iso, known), why: "the ISO is carried, and has no such file" };
  }
  return { verdict: "unknown", why: `the manifest has no ${kind} entry that becomes this path` };
}

const PACKAGE_FILE = /(?:^|\/)([^/]+)-[^-/]+-[^-/]+\.([^./]+)\.rpm$/;
const NEVRA = /^(.+)-[^-]+-[^-]+\.[^.]+$/;

/** A path below a repository of the manifest. */
function inRepository(entry: LockedEntry, path: string, known: Known): Found {
  const place = placeOf(entry, known);
  const root = `rpms/${entry.name}/`;
  if (known.byPath.has(`${root}${path}`)) return carried(entry, known);
  const [, name] = PACKAGE_FILE.exec(path) ?? [];
  if (name === undefined) return { verdict: "unknown", entry: place, why: "the repository has no such file" };
  const others = known.packages.get(`${entry.name}/${name}`) ?? [];
  const request = known.manifest.rpms?.find((it) => it.name === entry.name);
  if (others.length > 0) {
    return { verdict: "carried", entry: place, why: `its package is carried as ${others.slice(0, 3).join(", ")}` };
  }
  if (request?.packages === undefined) {
    return { verdict: "unknown", entry: place, why: "the repository is carried as it is, without such a package" };
  }
  const offered = known.offered.get(entry.name);
  if (offered?.has(name) === false)
    return { verdict: "unknown", entry: place, why: `upstream's metadata has no package "${name}"` };
  const has = offered === undefined ? "lock says whether upstream has it" : "upstream's metadata has it";
  const why = `"${name}" is not among its packages: add it to them; ${has}`;
  return { verdict: "add", entry: place, repository: entry.name, line: `packages: [${JSON.stringify(name)}]`, why };
}

const MANIFEST_PATH = /^\/v2\/(.+)\/manifests\/([^/]+)$/s;
const SIGNATURE_TAG = /^sha256-[0-9a-f]{64}(?:\.\w+)?$/;

/** A manifest of an image, by the registry's protocol. */
function image(path: string, namespace: string | undefined, host: string, known: Known): Found | undefined {
  if (!path.startsWith("/v2/")) return undefined;
  const [, repository, reference = ""] = MANIFEST_PATH.exec(path) ?? [];
  if (repository === undefined)
    return { verdict: "unknown", why: "a blob or a list of a registry: the image that it belongs to tells more" };
  if (SIGNATURE_TAG.test(reference))
    return {
      verdict: "unknown",
      why: "clients look whether there is a signature; signatures: of the entry requires one",
    };
  let isHere: string | undefined;
  let registry = namespace;
  for (const it of known.images.get(repository) ?? []) {
    if (namespace !== undefined && namespace !== it.host) continue;
    isHere ??= placeOf(it.entry, known);
    registry ??= it.host;
    if (it.references.includes(reference)) return carried(it.entry, known);
  }
  const named = repository.startsWith(`${registry}/`) ? repository : `${registry}/${repository}`;
  if (registry !== undefined && (isTag(reference) || /^sha(?:256|512):[0-9a-f]+$/.test(reference))) {
    const ref = `${named}${isTag(reference) ? ":" : "@"}${reference}`;
    const why = isHere === undefined ? "no entry has this repository" : "the repository is carried, without this tag";
    return { verdict: "add", ...(isHere && { entry: isHere }), line: `images: [{ref: ${JSON.stringify(ref)}}]`, why };
  }
  return {
    verdict: "unknown",
    why: `the manifest has no image of this repository, and "${host}" may be the server itself`,
  };
}

/** A file of a host that the manifest knows. */
function newFile(url: string, { host, pathname, search }: URL, { hosts }: Known): Found | undefined {
  const other = hosts.get(host);
  if (other === undefined || pathname.endsWith("/") || search !== "") return undefined;
  const why = `no entry has it; ${other.kind} "${other.name}" is of the same host`;
  return { verdict: "add", line: `files: [{url: ${JSON.stringify(url)}}]`, why };
}

function carried(entry: LockedEntry, known: Known): Found {
  return { verdict: "carried", entry: placeOf(entry, known), why: "the manifest has it: the next bundle brings it" };
}

function placeOf(entry: LockedEntry, { places }: Known): string {
  return places.get(entry) ?? entry.name;
}

function decoded(path: string): string {
  try {
    return decodeURIComponent(path);
  } catch {
    return path;
  }
}
