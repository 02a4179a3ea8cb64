/**
 * What the configuration of web servers says, whichever server it is. Values of it that are not airferry's own are
 * names by the grammars of hosts, streams, repositories and tags, and the folder's path, see {@link checkFolderPath}.
 */
import { resolve } from "node:path";
import { AirferryError } from "../errors.ts";
import { CONTENT_POLICY } from "../server/http/text-responses.ts";
import type { Composed } from "./compose.ts";

/** One web site. */
export interface WebSite extends Pick<Composed, "registry" | "policies" | "mounts"> {
  /** The folder of the tree, absolute. */
  dir: string;
  /** Where it is served; undefined where nobody said it. */
  base: string | undefined;
}

/** The folder's path, absolute. @throws {AirferryError} ERR_USAGE for one that no configuration can name safely */
export function checkFolderPath(dir: string): string {
  const path = resolve(dir);
  if (/^[\p{L}\p{N} ._+@=,:~/-]+$/u.test(path) && !/ $|\/ /.test(path)) return path;
  throw new AirferryError(
    "ERR_USAGE",
    `cannot write a tree into "${path}": its path has characters that web servers interpret`,
    {
      path,
      expected: "letters, digits, spaces and ._+@=,:~-",
      hint: "give another folder, such as /srv/airferry-tree",
    },
  );
}

/** Where a site listens, and its name. */
export function siteAddress(base: string | undefined): { host: string; port: number; tls: boolean } {
  const url = new URL(base ?? "http://localhost");
  const tls = url.protocol === "https:";
  return { host: url.hostname, port: Number(url.port) || (tls ? 443 : 80), tls };
}

/** The headers of packed content: a browser runs nothing of it. */
export const CONTENT_HEADERS: readonly (readonly [string, string])[] = [
  ["X-Content-Type-Options", "nosniff"],
  ["Content-Security-Policy", CONTENT_POLICY],
];

/** Paths below a tree's or a stream's root whose bytes never change: they are named by their digests. */
export const IMMUTABLE_PATHS = "images/blobs/sha(?:256|512)/[0-9a-f]+";

/** Docker's names of the answer to what is not here. */
export const UNKNOWN_JSON = '{"errors":[{"code":"MANIFEST_UNKNOWN","message":"it was not packed","detail":null}]}';

/** The names that mean this server itself, as clients write them in `?ns=`. */
export function ownNames({ base }: Pick<WebSite, "base">): string[] {
  return base === undefined ? [] : [new URL(base).host];
}

/** A name as clients may write it in a query: a colon may be percent-encoded. */
export function writtenForms(host: string): string[] {
  return host.includes(":") ? [host, host.replaceAll(":", "%3A")] : [host];
}
