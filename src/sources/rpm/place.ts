/** Resolves where the repository of a manifest entry is: base URLs, mirrors, or a folder on this host. */
import { stat } from "node:fs/promises";
import { resolve } from "node:path";
import { AirferryError } from "../../errors.ts";
import { BY_USER } from "../../http/named.ts";
import { redactUrl } from "../../io/redact.ts";
import type { RpmEntry } from "../../manifest/schema.ts";
import { localPath } from "../local-path.ts";
import type { UpstreamContext } from "../types.ts";
import { baseOf } from "./location.ts";
import { looksLikeMetalink, type Mirrors, parseMetalink, parseMirrorlist } from "./metalink.ts";
import { expandVariables } from "./variables.ts";

const MAX_MIRROR_FILE_BYTES = 4 * 1024 * 1024;

/** Where a repository is. */
export type Place =
  /** `byUser`: what the manifest names: the bases themselves or a list of them. */
  | ({ kind: "remote"; byUser: string[] } & Mirrors)
  /** `dir` is absolute; `given` is as written in the manifest. */
  | { kind: "disk"; dir: string; given: string }
  | { kind: "loose"; dir: string; given: string };

/**
 * Resolves it.
 * @throws {AirferryError} ERR_MANIFEST_INVALID for unknown variables and missing folders; ERR_UPSTREAM*
 */
export async function placeOf(entry: RpmEntry, context: UpstreamContext): Promise<Place> {
  if (entry.path !== undefined) {
    const dir = localPath(entry.path, context);
    const found = await stat(dir).catch(() => undefined);
    if (!found?.isDirectory()) {
      throw new AirferryError(
        "ERR_MANIFEST_INVALID",
        `cannot lock rpms "${entry.name}": ${found === undefined ? "no such folder" : "a file, expected a folder"}: "${entry.path}"`,
        {
          path: entry.path,
          hint: "paths in a manifest are relative to the manifest's own folder",
        },
      );
    }
    const repository = (await stat(resolve(dir, "repodata/repomd.xml")).catch(() => undefined))?.isFile() ?? false;
    return { kind: repository ? "disk" : "loose", dir, given: entry.path };
  }
  const expand = (text: string) => expandVariables(text, entry);
  if (entry.mirrorlist !== undefined || entry.metalink !== undefined) {
    const url = expand((entry.metalink ?? entry.mirrorlist) as string);
    const { bytes } = await context.fetcher.fetchBytes({
      urls: [url],
      named: BY_USER,
      maxBytes: MAX_MIRROR_FILE_BYTES,
    });
    const shown = redactUrl(url);
    const isMetalink = entry.metalink !== undefined || looksLikeMetalink(bytes);
    const mirrors = isMetalink ? await parseMetalink(bytes, shown) : parseMirrorlist(bytes, shown);
    return { kind: "remote", ...mirrors, bases: withinReach(url, mirrors.bases.map(expand)), byUser: [url] };
  }
  const urls = entry.urls ?? [entry.url as string];
  const bases = urls.map(expand).map(baseOf);
  return { kind: "remote", bases, repomds: [], byUser: bases };
}

/** Lists mix http mirrors with others: a list that came over https leads to none of the http ones (http/named.ts). */
function withinReach(list: string, bases: string[]): string[] {
  const fit = list.startsWith("https:") ? bases.filter((it) => it.startsWith("https:")) : bases;
  return fit.length > 0 ? fit : bases;
}
