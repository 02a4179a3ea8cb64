/**
 * What a request under an origin's name is answered with. Several streams that have a URL must agree, as with
 * unqualified paths of the server. docs/origins.md.
 */
import type { InventoryEntry } from "../bundle/inventory-types.ts";
import { hexOf } from "../io/digest.ts";
import { normalizeWebUrl, originOf, resolvedPath } from "../io/web-url.ts";
import type { Release } from "../store/types.ts";
import { formatMetalink } from "./mirror-list.ts";
import { HUB_HOSTS, type MirrorList, originsOfRelease, withoutQuery } from "./release-origins.ts";

/** An answer under an origin's name. */
export type OriginAnswer =
  | { kind: "entry"; entry: InventoryEntry; release: Release }
  /** Key files, one after the other. */
  | { kind: "keys"; entries: InventoryEntry[] }
  /** A list of mirrors, or a checksum file that no release has: made from what there is. */
  | { kind: "text"; text: string; contentType: string; isMadeUp?: true }
  /** The registry that references name `host`, and the path there, `/v2/…`. */
  | { kind: "registry"; host: string; path: string }
  | { kind: "token" }
  /** Streams have it with different content: paths of the server that are not ambiguous. */
  | { kind: "conflict"; paths: string[] };

/** Where the logins of registries are, besides `/token` of Docker Hub's. Everybody gets the same. */
const TOKEN_PATHS = new Set(["/token", "/v2/token", "/v2/auth", "/service/token", "/openshift/token", "/jwt/auth"]);
/** Name of the bundle's own RPM key. */
const OWN_KEY = "airferry";
const HUB_ALIASES = new Set(HUB_HOSTS);

/**
 * The URL that a client means, in normal form; `target` is what it sent, with or without a query. Dots and doubled
 * slashes are resolved, as web servers do.
 * @throws {Error} with a readable fault
 */
export function urlOfRequest(scheme: "http" | "https", authority: string, target: string): string {
  const question = target.indexOf("?");
  const path = question === -1 ? target : target.slice(0, question);
  const query = question === -1 ? "" : target.slice(question);
  return normalizeWebUrl(`${scheme}://${authority}${resolvedPath(path)}${query}`);
}

/** The same without resolving anything, as recorded answers are kept; undefined for what no URL can be. */
export function literalUrl(scheme: "http" | "https", authority: string, target: string): string | undefined {
  try {
    return normalizeWebUrl(`${scheme}://${authority}${target}`);
  } catch {
    return undefined;
  }
}

/** Finds the answer to a GET of a URL in normal form; undefined when no release has it. */
export function findOrigin(releases: readonly Release[], url: string): OriginAnswer | undefined {
  const found = entriesAt(releases, url);
  return (
    keysOf(found) ?? agreed(found) ?? listAt(releases, url) ?? registryAt(releases, url) ?? sidecarAt(releases, url)
  );
}

interface Located {
  entry: InventoryEntry;
  release: Release;
}

function entriesAt(releases: readonly Release[], url: string): readonly Located[] {
  if (url.includes("?")) return [];
  const found: Located[] = [];
  for (const release of releases) {
    const { files, bases } = originsOfRelease(release.inventory);
    const take = (path: string): void => {
      const entry = release.entries.get(path);
      if (entry !== undefined) found.push({ entry, release });
    };
    for (const path of files.get(url) ?? []) take(path);
    // Bases are few, and a client may send any number of slashes.
    for (const [base, repositories] of bases) {
      if (!url.startsWith(base)) continue;
      const below = decodedPath(url.slice(base.length));
      if (below !== undefined) for (const it of repositories) take(it + below);
    }
  }
  return preferred(found);
}

/**
 * Of what has one URL: what an entry of the manifest asks for by itself, such as a repository that has its keys, before
 * upstream's documents, and these before the keys of an entry, but where the bundle's own is needed beside them.
 */
function preferred(found: readonly Located[]): readonly Located[] {
  const [keys, others] = [found.filter(isKey), found.filter((it) => !isKey(it))];
  const asked = others.filter((it) => !isDocument(it));
  if (asked.length > 0) return asked;
  return others.length === 0 || keysOf(keys) !== undefined ? keys : others;
}

/** What is below a repository; undefined where a segment is more than one once it is decoded. */
function decodedPath(path: string): string | undefined {
  if (!path.includes("%")) return path;
  if (/%(?:2F|5C|00)/.test(path)) return undefined;
  try {
    return decodeURIComponent(path).normalize("NFC");
  } catch {
    return undefined;
  }
}

/**
 * A key file under the URL that a client's configuration has for a repository: with the bundle's own key, where that
 * signed the metadata of the repository, since it was cut. Undefined for anything else.
 */
function keysOf(found: readonly Located[]): OriginAnswer | undefined {
  const [first] = found;
  if (first === undefined || !found.every((it) => it.entry.digest === first.entry.digest && isKey(it)))
    return undefined;
  const own = found.flatMap(({ entry, release }) => {
    const name = entry.path.slice("keys/".length);
    const needs = release.inventory.catalog.rpms.some((it) => it.keys.includes(name) && it.keys.includes(OWN_KEY));
    const key = needs ? release.entries.get(`keys/${OWN_KEY}`) : undefined;
    return key === undefined ? [] : [key];
  });
  const distinct = [...new Map(own.map((it) => [it.digest, it])).values()];
  return distinct.length === 0 ? undefined : { kind: "keys", entries: [first.entry, ...distinct] };
}

function isKey({ entry }: Located): boolean {
  return entry.path.startsWith("keys/");
}

/** A list of checksums, its signature or a key, as upstream has it. docs/format.md, "Documents of upstream". */
function isDocument({ entry }: Located): boolean {
  return entry.path.startsWith("upstream/");
}

function agreed(found: readonly Located[]): OriginAnswer | undefined {
  const [first] = found;
  if (first === undefined) return undefined;
  if (found.every((it) => it.entry.digest === first.entry.digest)) return { kind: "entry", ...first };
  return { kind: "conflict", paths: found.map(({ entry, release }) => `/s/${release.stream}/${entry.path}`) };
}

/** `X.sha256` and `X.sha256sum` of a file X that no release has as upstream wrote them: of the digest that it has. */
function sidecarAt(releases: readonly Release[], url: string): OriginAnswer | undefined {
  const [, of, form] = /^(.+)\.(sha256|sha256sum)$/.exec(url) ?? [];
  if (of === undefined || url.includes("?")) return undefined;
  const found = agreed(entriesAt(releases, of).filter(({ entry }) => /^(?:files|isos)\//.test(entry.path)));
  if (found?.kind !== "entry") return found;
  const name = decodedPath(of.slice(of.lastIndexOf("/") + 1));
  if (name === undefined) return undefined;
  const hex = hexOf(found.entry.digest);
  return {
    kind: "text",
    text: form === "sha256" ? `${hex}\n` : `${hex}  ${name}\n`,
    isMadeUp: true,
    contentType: "text/plain; charset=utf-8",
  };
}

/** A list with the addresses of the repository that are here. */
function listAt(releases: readonly Release[], url: string): OriginAnswer | undefined {
  const place = withoutQuery(url);
  const query = new Map(new URL(url).searchParams);
  const found = releases.flatMap((release) =>
    (originsOfRelease(release.inventory).lists.get(place) ?? [])
      .filter(({ parameters }) => [...parameters].every(([name, value]) => query.get(name) === value))
      .map((list) => ({ list, release, bases: basesOf(release, list) })),
  );
  // With fewer parameters than another, a list would also answer for that one.
  const most = Math.max(...found.map((it) => it.list.parameters.size));
  const wanted = found.filter((it) => it.list.parameters.size === most && it.bases.length > 0);
  const [first] = wanted;
  if (first === undefined) return undefined;
  const repomds = wanted.flatMap(({ list, release }) => {
    const entry = release.entries.get(`${list.repository}repodata/repomd.xml`);
    return entry === undefined ? [] : [{ entry, release }];
  });
  const answer = agreed(repomds);
  if (answer?.kind !== "entry") return answer;
  const bases = [...new Set(wanted.flatMap((it) => it.bases))];
  return first.list.kind === "mirrorlist"
    ? { kind: "text", text: bases.map((it) => `${it}\n`).join(""), contentType: "text/plain; charset=utf-8" }
    : {
        kind: "text",
        text: formatMetalink(bases, answer.entry, first.release.inventory.created),
        contentType: "application/metalink+xml; charset=utf-8",
      };
}

function basesOf(release: Release, { repository }: MirrorList): string[] {
  const { bases } = originsOfRelease(release.inventory);
  return [...bases].filter(([, repositories]) => repositories.includes(repository)).map(([base]) => base);
}

function registryAt(releases: readonly Release[], url: string): OriginAnswer | undefined {
  const origin = originOf(url);
  const authority = origin.slice(origin.indexOf("://") + 3);
  const host = HUB_ALIASES.has(authority) ? "docker.io" : authority;
  if (!releases.some((it) => originsOfRelease(it.inventory).registries.has(host))) return undefined;
  const path = withoutQuery(url.slice(origin.length));
  if (TOKEN_PATHS.has(path)) return { kind: "token" };
  return path === "/v2" || path.startsWith("/v2/") ? { kind: "registry", host, path } : undefined;
}
