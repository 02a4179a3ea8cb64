/**
 * Names of images, `host[:port]/path[:tag][@digest]`, as docker and all other clients read them: without a host it is
 * docker.io, and one segment there is `library/`. See the distribution-spec v1.1, "Pulling manifests", and
 * docs/manifest.md.
 */
import { AirferryError } from "../errors.ts";
import { isOciDigest, type OciDigest } from "./oci-digest.ts";

/** A parsed, normalized reference. */
export interface Reference {
  /** Lower case, with the port, if given: `docker.io`, `registry.example.com:5000`. */
  host: string;
  /** `library/busybox`. */
  path: string;
  /** Absent only when there is a digest. */
  tag?: string;
  digest?: OciDigest;
}

const SEGMENT = "[a-z0-9]+(?:(?:\\.|_|__|-+)[a-z0-9]+)*";
const PATH = new RegExp(`^${SEGMENT}(?:/${SEGMENT})*$`);
const TAG = /^[a-zA-Z0-9_][a-zA-Z0-9._-]*$/;
const HOST =
  /^(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?$/;
/** All names of Docker Hub. */
export const DOCKER_HUB_HOSTS: ReadonlySet<string> = new Set([
  "docker.io",
  "index.docker.io",
  "registry-1.docker.io",
  "registry.hub.docker.com",
]);
/** A reference with an optional digest. */
const DIGEST_PART = /^(.*?)(?:@((?:sha\d|md5|blake)[^@]*))?$/is;
/** Longest path and longest tag that registries accept. */
const MAX_NAME_LENGTH = 255;
const MAX_TAG_LENGTH = 128;
/** Longer than any host, name, tag and digest together. */
const MAX_LENGTH = 1024;

/** Returns whether a string is a repository path: `a/b-c`. */
export function isRepositoryPath(text: string): boolean {
  return text.length <= MAX_NAME_LENGTH && PATH.test(text);
}

/** Returns whether a string is a tag. */
export function isTag(text: string): boolean {
  return text.length <= MAX_TAG_LENGTH && TAG.test(text);
}

/** Docker Hub has several names; the one that references use is `docker.io`. Lower case. */
export function canonicalHost(host: string): string {
  const lower = host.toLowerCase();
  return DOCKER_HUB_HOSTS.has(lower) ? "docker.io" : lower;
}

/** Why a text is not a reference, and what to write instead. */
interface ReferenceFault {
  fault: string;
  hint: string;
}

/**
 * Parses a reference; tag `latest` without tag and digest.
 * @throws {AirferryError} ERR_REFERENCE_INVALID
 */
export function parseReference(text: string): Reference {
  const read = readReference(text);
  if (!("fault" in read)) return read;
  const shown = withoutLogin(text);
  throw new AirferryError("ERR_REFERENCE_INVALID", `cannot read image reference "${shown}": ${read.fault}`, {
    path: shown,
    hint: read.hint,
  });
}

/** Returns why a text is not a reference; undefined when it is one. Never shows a login in it. */
export function checkReference(text: string): ReferenceFault | undefined {
  const read = readReference(text);
  return "fault" in read ? read : undefined;
}

function readReference(text: string): Reference | ReferenceFault {
  if (text.length > MAX_LENGTH)
    return invalid(`too long: expected at most ${MAX_LENGTH} characters, got ${text.length}`);
  const scheme = /^[a-z][a-z0-9+.-]*:\/\//i.exec(text)?.[0];
  if (scheme !== undefined) return { fault: `it starts with "${scheme}"`, hint: `remove ${scheme}` };
  const [, named = "", digest] = DIGEST_PART.exec(text) ?? [];
  if (named.includes("@")) {
    return {
      fault: `the text after "@" is not a digest`,
      hint: "a reference has no user and password: use docker login, or hosts: in the manifest",
    };
  }
  if (digest !== undefined && !isOciDigest(digest)) {
    return invalid(`bad digest "${digest}": expected sha256: and 64 lower-case hex digits`);
  }
  const colon = named.lastIndexOf(":");
  const hasTag = colon > named.lastIndexOf("/");
  const tag = hasTag ? named.slice(colon + 1) : undefined;
  const name = hasTag ? named.slice(0, colon) : named;
  if (tag !== undefined && tag.length > MAX_TAG_LENGTH) return tooLong("tag", tag, MAX_TAG_LENGTH);
  if (tag !== undefined && !isTag(tag)) {
    const underscored = tag.replaceAll("+", "_");
    return isTag(underscored)
      ? { fault: `bad tag "${tag}"`, hint: `registries write + as _: ${name}:${underscored}` }
      : invalid(`bad tag "${tag}": expected letters, digits, '.', '_' and '-'`);
  }
  const slash = name.indexOf("/");
  const first = slash === -1 ? "" : name.slice(0, slash);
  const hasHost = slash !== -1 && (/[.:]/.test(first) || first === "localhost" || first !== first.toLowerCase());
  const host = hasHost ? canonicalHost(first) : "docker.io";
  // Docker treats such a word as a host, but in lower case, as hosts are written, it would not be read as one again.
  if (hasHost && !/[.:]/.test(first) && first.toLowerCase() !== "localhost") {
    return invalid(`"${first}" is neither a repository name (lower case) nor a host (with a dot or a port)`);
  }
  let path = hasHost ? name.slice(slash + 1) : name;
  // The host becomes part of a URL: its port and address must be valid.
  if (!HOST.test(host) || !URL.canParse(`https://${host}`)) return invalid(`bad registry host "${first}"`);
  if (host === "docker.io" && !path.includes("/")) path = `library/${path}`;
  if (path.length > MAX_NAME_LENGTH) return tooLong("repository name", path, MAX_NAME_LENGTH);
  if (!isRepositoryPath(path)) {
    return invalid(`bad repository name "${path}": expected lower-case letters, digits and single separators`);
  }
  return {
    host,
    path,
    ...(tag !== undefined ? { tag } : digest === undefined ? { tag: "latest" } : {}),
    ...(digest !== undefined && { digest }),
  };
}

/** The text for messages: anything before an `@` may be a password. */
function withoutLogin(text: string): string {
  if (text.length > MAX_LENGTH) return "…";
  const [, named = "", digest] = DIGEST_PART.exec(text) ?? [];
  const at = named.lastIndexOf("@");
  return at === -1 ? text : `***${named.slice(at)}${digest === undefined ? "" : `@${digest}`}`;
}

/** Formats the canonical text: `host/path[:tag][@digest]`. */
export function formatReference({ host, path, tag, digest }: Reference): string {
  return `${host}/${path}${tag === undefined ? "" : `:${tag}`}${digest === undefined ? "" : `@${digest}`}`;
}

/** `host/path` without tag and digest. */
export function repositoryOf({ host, path }: Reference): string {
  return `${host}/${path}`;
}

/** The repository's name in the served registry: a colon is illegal there, so a port is joined with `_`. */
export function servedRepository(reference: Reference): string {
  return `${servedHost(reference.host)}/${reference.path}`;
}

/** A source host as a path segment of the served registry: `host_port`; `0__1_5000` for `[::1]:5000`. */
export function servedHost(host: string): string {
  // A segment starts and ends with a letter or digit, so `::` at the ends is written with zeros.
  const address = (text: string) => text.replace(/^\[:/, "0:").replace(/:\]/, ":0").replace(/[[\]]/g, "");
  return address(canonicalHost(host)).replaceAll(":", "_");
}

/** The API host of a registry: Docker Hub's has another name. */
export function apiHost(host: string): string {
  return host === "docker.io" ? "registry-1.docker.io" : host;
}

/** URL of a repository's API. */
export function repositoryUrl({ host, path }: { host: string; path: string }, insecure: boolean): string {
  return `${insecure ? "http" : "https"}://${apiHost(host)}/v2/${path}`;
}

/** Tag under which referrers of a manifest, or a legacy cosign artifact (with a suffix), are stored. */
export function digestTag(digest: OciDigest, suffix = ""): string {
  // distribution-spec v1.1, "Referrers tag schema": at most 32 and 64 characters.
  const [algorithm, hex] = digest.split(":") as [string, string];
  return `${algorithm.slice(0, 32)}-${hex.slice(0, 64)}${suffix}`;
}

function tooLong(what: string, text: string, max: number): ReferenceFault {
  return invalid(`${what} too long: expected at most ${max} characters, got ${text.length}: "${text.slice(0, 40)}…"`);
}

function invalid(fault: string): ReferenceFault {
  return {
    fault,
    hint: "write it as host/path:tag or host/path@sha256:…, for example registry.k8s.io/pause:3.10",
  };
}
