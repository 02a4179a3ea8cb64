/**
 * The catalog's `origins`: URLs that clients outside use and that the provenance does not show, for a server inside
 * that answers under the origins' names. Only what the manifest names. docs/format.md, "Catalog".
 */
import type { CatalogOrigin } from "../bundle/inventory-types.ts";
import { redactUrl } from "../io/redact.ts";
import type { Manifest } from "../manifest/schema.ts";
import type { LockedEntry, LockedOf, LockedRpm } from "./lock-document.ts";
import { withCompanions } from "./rpm/companion-entries.ts";
import { baseOf } from "./rpm/location.ts";
import { expandVariables } from "./rpm/variables.ts";

/** What tells one list of mirrors from another; all else of a query may be a secret, or is different every time. */
const LIST_PARAMETERS = new Set([
  "arch",
  "basearch",
  "content",
  "path",
  "protocol",
  "release",
  "releasever",
  "repo",
  "version",
]);

/** Further mirrors of the files of entries, and the URLs of an ISO's keys. */
export function artifactOrigins(
  entries: readonly (LockedEntry & LockedOf<"iso" | "file">)[],
  manifest: Manifest,
): CatalogOrigin[] {
  return entries.flatMap((entry) => {
    const mirrors = entry.artifacts.flatMap(({ path, urls = [] }) => urls.slice(1).flatMap((url) => lineOf(path, url)));
    const named = entry.kind === "iso" ? manifest.isos?.find((it) => it.name === entry.name)?.keys : undefined;
    const keyFiles = entry.kind === "iso" ? (entry.detail?.keys ?? []) : [];
    return [...mirrors, ...keyLines(keyFiles, named ?? [])];
  });
}

/** The addresses of repositories, their lists of mirrors, and the URLs of their keys. */
export function repositoryOrigins(entries: readonly LockedRpm[], manifest: Manifest): CatalogOrigin[] {
  const named = new Map(withCompanions(manifest.rpms ?? []).map((it) => [it.name, it]));
  return entries.flatMap(({ name, artifacts, detail }) => {
    const entry = named.get(name);
    if (entry === undefined) return [];
    const path = `rpms/${name}/`;
    const expand = (text: string) => expandVariables(text, entry);
    const { mirrorlist, metalink, url, urls = url === undefined ? [] : [url] } = entry;
    const shown = artifacts.find((it) => it.urls !== undefined)?.urls?.[0];
    const bases = urls.map((it) => baseOf(expand(it))).filter((it) => shown?.startsWith(it) !== true);
    const lists = { mirrorlist, metalink };
    return [
      ...bases.flatMap((it) => lineOf(path, it)),
      ...(["mirrorlist", "metalink"] as const).flatMap((list) => {
        const at = lists[list];
        return at === undefined ? [] : listLine(path, expand(at), list);
      }),
      ...keyLines(detail.keys, (entry.keys ?? []).map(expand)),
    ];
  });
}

/** The key files of an entry are one; each of the URLs leads to it. */
function keyLines(files: readonly { path: string }[], named: readonly string[]): CatalogOrigin[] {
  const [file] = files;
  return file === undefined ? [] : named.filter((it) => /^https?:/.test(it)).flatMap((it) => lineOf(file.path, it));
}

/** Nothing for a URL with a part that may be a secret: without it, it leads nowhere. */
function lineOf(path: string, url: string): CatalogOrigin[] {
  const shown = redactUrl(url);
  return shown.includes("***") ? [] : [{ path, url: shown }];
}

/** Of a list's URL, the parameters that tell it from others. */
function listLine(path: string, text: string, list: "mirrorlist" | "metalink"): CatalogOrigin[] {
  const { origin, pathname, searchParams } = new URL(text);
  const kept = new URLSearchParams([...searchParams].filter(([name]) => LIST_PARAMETERS.has(name.toLowerCase())));
  return lineOf(path, `${origin}${pathname}`).map(({ url }) => ({
    path,
    url: kept.size > 0 ? `${url}?${kept}` : url,
    list,
  }));
}
