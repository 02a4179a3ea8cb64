/**
 * Converts URLs to their recorded form in the lock and back: recorded URLs have no secrets (io/redact.ts); requests get
 * them from the current manifest, and run with the rights of whoever named the URL (http/named.ts). docs/manifest.md,
 * "The lock".
 */
import { AirferryError } from "../errors.ts";
import { type Named, namerOf } from "../http/named.ts";
import { redactUrl } from "../io/redact.ts";
import { fileEntryOf } from "../manifest/entry-names.ts";
import type { Manifest } from "../manifest/schema.ts";
import { repositoryUrl } from "../oci/reference.ts";
import type { LockedEntry } from "./lock-document.ts";
import { withCompanions } from "./rpm/companion-entries.ts";
import { expandVariables } from "./rpm/variables.ts";

/** URLs to request, and who named them: what every request needs. */
interface AskedUrls {
  urls: string[];
  named: Named;
}

const HIDDEN = "***";

/**
 * URLs in recorded form. Those at origins that the user named lose what the manifest has anyway; one that upstream
 * published keeps its own query, which is public in its metadata and needed for the request.
 */
export function recordedUrls(urls: readonly string[], byUser: readonly string[]): string[] {
  if (urls.every((it) => byUser.includes(it))) return urls.map(redactUrl);
  const queries = new Set(byUser.map(queryOf));
  const isKnown = (it: string) => namerOf([it], byUser).by === "user" && queries.has(queryOf(it));
  return urls.map((it) => (isKnown(it) ? redactUrl(it) : withoutUser(it)));
}

function queryOf(url: string): string {
  return URL.canParse(url) ? new URL(url).search : "";
}

function withoutUser(text: string): string {
  if (!URL.canParse(text)) return redactUrl(text);
  const url = new URL(text);
  if (url.username === "" && url.password === "") return text;
  url.username = "";
  url.password = "";
  return url.href;
}

/**
 * Recorded URLs in requestable form. `byUser`: what the entry names in the manifest, see {@link userUrlsOf}.
 * @throws {AirferryError} ERR_LOCK_STALE when a URL was recorded without a secret that the manifest does not have
 */
export function askedUrls(recorded: readonly string[], byUser: readonly string[]): AskedUrls {
  return { urls: recorded.map((it) => withSecrets(it, byUser)), named: namerOf(recorded, byUser) };
}

/** The same for an artifact of a locked entry. */
export function artifactUrls(urls: readonly string[], entry: LockedEntry, manifest: Manifest): AskedUrls {
  return askedUrls(urls, userUrlsOf(entry, manifest));
}

function withSecrets(recorded: string, byUser: readonly string[]): string {
  if (!recorded.includes(HIDDEN)) return recorded;
  const same = byUser.find((it) => redactUrl(it) === recorded);
  if (same !== undefined) return same;
  const url = new URL(recorded);
  // A file below a base: the secrets of the longest base that leads to it.
  const named = byUser.filter((it) => URL.canParse(it)).map((it) => new URL(it));
  const bases = named
    .filter((it) => it.origin === url.origin && url.pathname.startsWith(it.pathname.replace(/\/?$/, "/")))
    .sort((a, b) => b.pathname.length - a.pathname.length);
  const wantsUser = url.username === HIDDEN;
  const wantsQuery = url.search === `?${HIDDEN}`;
  const has = (it: URL) => (!wantsUser || it.username + it.password !== "") && (!wantsQuery || it.search !== "");
  // `../` leaves a base, and a mirror list is not one: then whatever was named at the same origin.
  const base = bases.find(has) ?? named.filter((it) => it.origin === url.origin).find(has);
  if (base === undefined) {
    throw new AirferryError(
      "ERR_LOCK_STALE",
      `cannot fetch "${recorded}": the lock records it without its secret, and the manifest does not name it`,
      { path: recorded, hint: "airferry lock MANIFEST --update" },
    );
  }
  if (wantsUser) {
    url.username = base.username;
    url.password = base.password;
  }
  if (wantsQuery) url.search = base.search;
  return url.href;
}

/** The URLs that the manifest names for a locked entry. */
export function userUrlsOf(locked: LockedEntry, manifest: Manifest): string[] {
  const { name } = locked;
  switch (locked.kind) {
    case "iso":
      return placesOf(manifest.isos?.find((it) => it.name === name));
    case "file":
      return placesOf(fileEntryOf(manifest, name));
    case "rpm": {
      const entry = withCompanions(manifest.rpms ?? []).find((it) => it.name === name);
      if (entry === undefined) return [];
      const lists = [entry.metalink, entry.mirrorlist].filter((it) => it !== undefined);
      return [...placesOf(entry), ...lists].map((it) => expandVariables(it, entry));
    }
    case "image": {
      const { registry } = locked.detail;
      return registry === undefined ? [] : [repositoryUrl(registry, registry.insecure)];
    }
    case "web": {
      const { urls = [], git = [] } = manifest.web?.find((it) => it.name === name) ?? {};
      return [...urls.map((it) => (typeof it === "string" ? it : it.url)), ...git];
    }
  }
}

function placesOf(entry: { url?: string | undefined; urls?: readonly string[] | undefined } | undefined): string[] {
  return [...(entry?.url === undefined ? [] : [entry.url]), ...(entry?.urls ?? [])];
}
