/**
 * The renderers' view of the releases: one entry by its path, its URL, the builder. A path with different bytes in two
 * streams is available below `/s/STREAM/`, as on the server.
 */

import { type Builder, parseBuilder } from "../builder/builder.ts";
import type { CatalogIso, InventoryEntry } from "../bundle/inventory-types.ts";
import { AirferryError, bug } from "../errors.ts";
import type { RenderInput, RenderRelease } from "./types.ts";

/** An entry with its release. */
interface Located {
  entry: InventoryEntry;
  release: RenderRelease;
}

/** The releases in use: all, or the one of `stream`. */
export function releasesOf(input: RenderInput): readonly RenderRelease[] {
  return input.stream === undefined ? input.releases : input.releases.filter((it) => it.stream === input.stream);
}

/** An entry of a release that is there: its path came out of the same inventory. */
export function entryAt(release: RenderRelease, path: string): InventoryEntry {
  return release.inventory.entries.get(path) ?? bug(`"${path}" is no entry of its own release`);
}

/**
 * Prefix of the URLs of a release's own content: the base, or the base with `/s/STREAM` if another stream has different
 * content at `path`.
 */
export function rootFor(input: RenderInput, release: RenderRelease, path: string): string {
  if (input.stream !== undefined) return `${input.baseUrl}/s/${release.stream}`;
  const mine = release.inventory.entries.get(path);
  const differs = input.releases.some((other) => {
    const theirs = other === release ? undefined : other.inventory.entries.get(path);
    return theirs !== undefined && theirs.digest !== mine?.digest;
  });
  return differs ? `${input.baseUrl}/s/${release.stream}` : input.baseUrl;
}

/** URL of an entry, percent-encoded where URLs need it. */
export function entryUrl(input: RenderInput, { entry, release }: Located): string {
  return `${rootFor(input, release, entry.path)}/${encodeUrlPath(entry.path)}`;
}

/** Percent-encodes a path; `:`, `+`, `@` and `~` stay, since repositories have them in their names. */
export function encodeUrlPath(path: string): string {
  return path
    .split("/")
    .map((it) => encodeURIComponent(it).replaceAll("%3A", ":").replaceAll("%2B", "+").replaceAll("%40", "@"))
    .join("/");
}

/**
 * `host:port` of the base URL, as image references start with it, and the host alone. IPv6 hosts keep their brackets in
 * `authority` and lose them in `host`.
 */
export function addressOf(baseUrl: string): { authority: string; host: string; tls: boolean } {
  const url = new URL(baseUrl);
  const tls = url.protocol === "https:";
  // References treat a first segment without dot and colon as a repository of Docker Hub: `mirror` needs its port.
  const port = /[.:]/.test(url.host) || url.host === "localhost" ? "" : tls ? ":443" : ":80";
  return { authority: `${url.host}${port}`, host: url.hostname.replace(/^\[|\]$/g, ""), tls };
}

/**
 * Finds the release whose manifest describes a builder, of the given flavor if one is given.
 * @throws {AirferryError} ERR_RENDER when none does, or when several do and no stream was named
 */
export function findBuilder(
  input: RenderInput,
  what: string,
  flavor?: Builder["flavor"],
): { builder: Builder; release: RenderRelease } {
  const found = releasesOf(input).flatMap((release) => {
    const builder = builderOf(release);
    return builder !== undefined && (flavor === undefined || builder.flavor === flavor) ? [{ builder, release }] : [];
  });
  const [only, more] = found;
  if (only !== undefined && more === undefined) return only;
  if (found.length === 0) {
    throw new AirferryError("ERR_RENDER", `cannot render "${what}": no release here has a builder`, {
      expected: `builder: { flavor: ${flavor ?? "spectro-capi"} } in the manifest`,
      hint: ["add to the manifest, then pack again:", "builder:", `  flavor: ${flavor ?? "spectro-capi"}`],
    });
  }
  const streams = found.map((it) => it.release.stream);
  throw new AirferryError("ERR_RENDER", `cannot render "${what}": ${streams.length} streams describe a builder`, {
    expected: "one stream",
    actual: streams.join(", "),
    hint: `name one: --stream ${streams[0]}, or ${input.baseUrl}/s/${streams[0]}/config/`,
  });
}

/** Reads the builder from an inventory, which is signed but possibly written by another version. */
export function builderOf(release: RenderRelease): Builder | undefined {
  return parseBuilder(release.inventory.builder);
}

/**
 * Finds the ISO that the build installs from: the one the builder names, or the only one of its release.
 * Undefined when the release has none.
 * @throws {AirferryError} ERR_RENDER when it has several and the builder names none, or a missing one
 */
export function buildIso(
  what: string,
  builder: Builder | undefined,
  release: RenderRelease,
): { iso: CatalogIso; entry: InventoryEntry } | undefined {
  const { isos } = release.inventory.catalog;
  const iso = builder?.iso === undefined ? isos[0] : isos.find((it) => it.name === builder.iso);
  if (builder?.iso === undefined ? isos.length > 1 : iso === undefined) {
    throw new AirferryError("ERR_RENDER", `cannot render "${what}": several ISOs, and the builder does not name one`, {
      expected: `builder.iso to be one of ${isos.map((it) => it.name).join(", ") || "the manifest's isos"}`,
      actual: builder?.iso ?? "none",
      hint: `add to the manifest's builder: iso: ${isos[0]?.name ?? "NAME"}`,
    });
  }
  const entry = iso === undefined ? undefined : release.inventory.entries.get(iso.path);
  return iso === undefined || entry === undefined ? undefined : { iso, entry };
}
