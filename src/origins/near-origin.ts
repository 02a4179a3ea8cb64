/** What a release has that is most like a URL that it does not have: for people who look for what is missing. */
import type { Inventory } from "../bundle/inventory-types.ts";
import { closestWord } from "../io/closest-word.ts";
import { parseReference } from "../oci/reference.ts";
import { originsOfRelease } from "./release-origins.ts";

/** Names that are compared. */
const MAX_COMPARED = 20_000;

/**
 * The URL, or for a registry the reference, that is most like a URL; undefined when nothing of its host is near.
 * @param recorded URLs of web answers, which no inventory has
 */
export function nearOrigin(
  inventories: readonly Inventory[],
  url: string,
  recorded: readonly string[] = [],
): string | undefined {
  const image = /^https?:\/\/([^/]+)\/v2\/(.+)\/(?:manifests|blobs|tags)\/([^/?]+)/.exec(url);
  if (image !== null) return nearImage(inventories, image);
  const byName = new Map<string, string>();
  const nameOf = (it: string) => it.slice(it.lastIndexOf("/", it.length - 2) + 1);
  const take = (it: string) => {
    if (byName.size < MAX_COMPARED && !byName.has(nameOf(it))) byName.set(nameOf(it), it);
  };
  // With the other scheme, or at another port, it may be just what was meant.
  const { hostname } = new URL(url);
  const isNear = (it: string) => it.includes(hostname) && new URL(it).hostname === hostname;
  for (const it of recorded) if (isNear(it)) take(it);
  for (const inventory of inventories) {
    const { files, bases } = originsOfRelease(inventory);
    for (const it of files.keys()) if (isNear(it)) take(it);
    for (const [base, repositories] of bases) {
      if (!url.startsWith(base)) continue;
      for (const { path } of inventory.entries)
        for (const it of repositories) if (path.startsWith(it)) take(base + path.slice(it.length));
    }
  }
  const near = closestWord(nameOf(url), [...byName.keys()]);
  return near === undefined ? undefined : byName.get(near);
}

function nearImage(inventories: readonly Inventory[], [, host, repository, tag]: RegExpExecArray): string | undefined {
  const references = inventories.flatMap((it) => it.catalog.images.map((image) => image.reference));
  const ofHost = references.filter((it) => parseReference(it).host === host).map((it) => it.slice(`${host}/`.length));
  const near = ofHost.find((it) => it.startsWith(`${repository}:`)) ?? closestWord(`${repository}:${tag}`, ofHost);
  return near === undefined ? undefined : `${host}/${near}`;
}
