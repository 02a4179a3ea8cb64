/**
 * The git repositories of a release, `web/git.json`: refs of each, and the one pack that holds everything they lead to.
 * docs/format.md, "Git repositories".
 */
import { parseJson } from "./json.ts";
import { checkPath } from "./path-grammar.ts";
import { normalizeWebUrl } from "./web-url.ts";

/** Its path among the entries of a release. */
export const GIT_INDEX = "web/git.json";
/** Largest index, in bytes. */
export const MAX_GIT_INDEX_BYTES = 64 * 1024 * 1024;
/** Most refs of one repository. */
export const MAX_GIT_REFS = 100_000;

/** A ref, and the object that it names. */
export interface GitRef {
  /** `HEAD`, `refs/heads/…` or `refs/tags/…`. */
  name: string;
  oid: string;
  /** Of an annotated tag: what it is on. */
  peeled?: string;
}

export interface GitRepository {
  /** In the form of `normalizeWebUrl()`, without a slash at its end. */
  url: string;
  format: "sha1" | "sha256";
  /** The branch that HEAD is; absent if it is none. */
  head?: string;
  refs: GitRef[];
  /** The entry that is the pack; absent if there are no objects. */
  path?: string;
}

const NAME = /^(?:HEAD|refs\/(?:heads|tags)\/[^\u0000- ~^:?*[\\\u007f]{1,900})$/;
const OID = { sha1: /^[0-9a-f]{40}$/, sha256: /^[0-9a-f]{64}$/ } as const;

/** Returns whether a ref is one that is carried, with object names of the format. */
export function isGitRef({ name, oid, peeled }: GitRef, format: GitRepository["format"]): boolean {
  return isGitRefName(name) && OID[format].test(oid) && (peeled === undefined || OID[format].test(peeled));
}

/** Returns whether a name is that of HEAD, a branch or a tag. git-check-ref-format(1). */
export function isGitRefName(name: string): boolean {
  return NAME.test(name) && !/\.\.|@\{|\/\/|\.lock$|\/$|\/\./.test(name) && name.isWellFormed();
}

/** Reads the index. @throws {Error} with a readable fault for anything that no packer writes */
export function parseGitIndex(text: string): GitRepository[] {
  if (text.length > MAX_GIT_INDEX_BYTES) throw new Error(`is larger than ${MAX_GIT_INDEX_BYTES} bytes`);
  const value = parseJson(text) as { repositories?: unknown } | null;
  const list = typeof value === "object" && value !== null ? value.repositories : undefined;
  if (!Array.isArray(list)) throw new Error("has no list of repositories");
  for (const [at, it] of list.entries()) if (!isGitRepository(it)) throw new Error(`has a wrong repositories[${at}]`);
  const urls = new Set((list as GitRepository[]).map((it) => it.url));
  if (urls.size !== list.length) throw new Error("has a repository twice");
  return list as GitRepository[];
}

/** Returns whether a value is a repository as in the index: every ref one that is carried, the URL in normal form. */
export function isGitRepository(value: unknown): value is GitRepository {
  if (typeof value !== "object" || value === null) return false;
  const { url, format, head, refs, path } = value as Record<string, unknown>;
  if (format !== "sha1" && format !== "sha256") return false;
  const isFine = typeof url === "string" && isGitUrl(url) && Array.isArray(refs) && refs.length <= MAX_GIT_REFS;
  const isHead =
    head === undefined || (typeof head === "string" && head.startsWith("refs/heads/") && isGitRefName(head));
  const isPath =
    path === undefined || (typeof path === "string" && path.startsWith("web/") && checkPath(path) === undefined);
  return isFine && isHead && isPath && refs.every((it) => isRefLike(it) && isGitRef(it, format));
}

function isRefLike(value: unknown): value is GitRef {
  if (typeof value !== "object" || value === null) return false;
  const { name, oid, peeled } = value as Record<string, unknown>;
  return typeof name === "string" && typeof oid === "string" && ["string", "undefined"].includes(typeof peeled);
}

function isGitUrl(url: string): boolean {
  try {
    return gitUrl(url) === url;
  } catch {
    return false;
  }
}

/** The URL of a repository in normal form. @throws {Error} as `normalizeWebUrl()`, and for one with a query */
export function gitUrl(text: string): string {
  const url = normalizeWebUrl(text).replace(/\/+$/, "");
  if (url.includes("?")) throw new Error("has a query, which the URL of a git repository cannot have");
  return url;
}

/** The other URL of a repository, which servers answer alike: with `.git` at its end, or without. */
export function otherGitUrl(url: string): string {
  return url.endsWith(".git") ? url.slice(0, -".git".length) : `${url}.git`;
}

/** What a URL asks a repository for. */
interface GitRequest {
  repository: GitRepository;
  service: "info/refs" | "git-upload-pack";
}

/** Finds what a URL in normal form asks for; clients may leave out `.git`, or add it. */
export function findGitRequest(repositories: readonly GitRepository[], url: string): GitRequest | undefined {
  const [, place, service, query = ""] = /^(.*)\/(info\/refs|git-upload-pack)(?:\?(.*))?$/.exec(url) ?? [];
  if (place === undefined || (service !== "info/refs" && service !== "git-upload-pack")) return undefined;
  if (service === "info/refs" && !query.split("&").includes("service=git-upload-pack")) return undefined;
  const bare = place.replace(/\.git$/, "");
  const repository =
    repositories.find((it) => it.url === place) ?? repositories.find((it) => it.url.replace(/\.git$/, "") === bare);
  return repository && { repository, service };
}
