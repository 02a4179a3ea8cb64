/**
 * One repository of a registry, as a place to take images from. See OCI distribution-spec v1.1, "Pulling" and "Content
 * Discovery".
 */
import { AirferryError } from "../../errors.ts";
import { httpStatusOf } from "../../fetch/fetcher.ts";
import type { Authenticator, FetchedBytes, Fetcher } from "../../fetch/types.ts";
import { digestOf, digestSri, isOciDigest, type OciDigest } from "../../oci/digest.ts";
import { type Descriptor, MAX_IMAGE_MANIFEST_BYTES, parseImageManifest } from "../../oci/image-manifest.ts";
import { ACCEPT_MANIFESTS, isSchema1Type, OCI_INDEX } from "../../oci/media-types.ts";
import { apiHost, digestTag, type Reference } from "../../oci/reference.ts";
import type { BlobPlace, ImageOrigin, OriginManifest } from "./origin.ts";

export interface RegistryOptions {
  reference: Reference;
  insecure: boolean;
  fetcher: Fetcher;
  auth: Authenticator;
  name: string;
  report: (line: string) => void;
}

const MAX_REFERRER_PAGES = 100;
/** Fewer manifest requests left than this are worth a line. */
const FEW_REQUESTS_LEFT = 20;

/** URL of a repository's API. */
export function repositoryUrl({ host, path }: { host: string; path: string }, insecure: boolean): string {
  return `${insecure ? "http" : "https"}://${apiHost(host)}/v2/${path}`;
}

export class RegistryOrigin implements ImageOrigin {
  readonly name: string;
  readonly #o: RegistryOptions;
  readonly #base: string;
  #warned = false;

  constructor(options: RegistryOptions) {
    this.#o = options;
    this.name = options.name;
    this.#base = repositoryUrl(options.reference, options.insecure);
  }

  async manifest(wanted: Descriptor | { tag: string }): Promise<OriginManifest | undefined> {
    const digest = "digest" in wanted ? wanted.digest : undefined;
    const url = `${this.#base}/manifests/${digest ?? ("tag" in wanted ? wanted.tag : "")}`;
    const size = "size" in wanted && wanted.size > 0 ? wanted.size : undefined;
    if (size !== undefined && size > MAX_IMAGE_MANIFEST_BYTES) throw tooLarge(this.name, url, size);
    const answer = await this.#get(url, ACCEPT_MANIFESTS, { size, integrity: digest && digestSri(digest) });
    if (answer === undefined) return undefined;
    this.#noteLimits(answer);
    const contentType = headerOf(answer, "content-type");
    if (contentType !== undefined && isSchema1Type(contentType.split(";")[0] as string)) {
      parseImageManifest(answer.bytes, this.name, contentType);
    }
    const actual = digestOf(answer.bytes, digest);
    const claimed = headerOf(answer, "docker-content-digest");
    if (claimed !== undefined && isOciDigest(claimed) && digestOf(answer.bytes, claimed) !== claimed) {
      throw new AirferryError(
        "ERR_UPSTREAM_DIGEST",
        `cannot lock image "${this.name}": ${url} is not what its own header says: expected ${claimed}, got ${digestOf(answer.bytes, claimed)}`,
        { path: url, expected: claimed, actual, hint: "the registry, or a proxy before it, changes what it answers" },
      );
    }
    return { bytes: answer.bytes, digest: actual, ...(contentType !== undefined && { contentType }) };
  }

  async blob(descriptor: Descriptor): Promise<Buffer | undefined> {
    const answer = await this.#get(this.#blobUrl(descriptor), "*/*", {
      size: descriptor.size,
      integrity: digestSri(descriptor.digest),
    });
    return answer?.bytes;
  }

  async place(descriptor: Descriptor): Promise<BlobPlace> {
    return { urls: [this.#blobUrl(descriptor)] };
  }

  async hasBlob(descriptor: Descriptor): Promise<boolean> {
    return this.#isThere(this.#blobUrl(descriptor), "*/*");
  }

  async hasTag(tag: string): Promise<boolean> {
    return this.#isThere(`${this.#base}/manifests/${tag}`, ACCEPT_MANIFESTS);
  }

  /** The digest that a tag has now, without a manifest request where the registry tells by HEAD; undefined: no such tag. */
  async digestOfTag(tag: string): Promise<OciDigest | undefined> {
    const url = `${this.#base}/manifests/${tag}`;
    const { fetcher, auth } = this.#o;
    try {
      const { etag } = await fetcher.head({ urls: [url], auth, headers: { accept: ACCEPT_MANIFESTS } });
      const digest = etag?.replace(/^W\/|"/g, "");
      if (isOciDigest(digest)) return digest;
    } catch (error) {
      if (httpStatusOf(error) === 404) return undefined;
      throw error;
    }
    return (await this.manifest({ tag }))?.digest;
  }

  async referrers(subject: OciDigest): Promise<Descriptor[]> {
    const found: Descriptor[] = [];
    let next: string | undefined = `${this.#base}/referrers/${subject}`;
    for (let page = 0; next !== undefined; page++) {
      if (page >= MAX_REFERRER_PAGES)
        throw invalid(this.name, next, `more than ${MAX_REFERRER_PAGES} pages of referrers`);
      // Registries without the API answer in many ways.
      const answer = await this.#get(next, OCI_INDEX, {}, [400, 403, 404, 405, 406, 501]);
      const contentType = answer && headerOf(answer, "content-type")?.split(";")[0];
      if (answer === undefined || contentType !== OCI_INDEX) {
        if (page === 0) return this.#taggedReferrers(subject);
        throw invalid(this.name, next, "a page of referrers is not an index");
      }
      found.push(...parseImageManifest(answer.bytes, `${this.name} (referrers)`, OCI_INDEX).manifests);
      next = nextPage(headerOf(answer, "link"), next);
    }
    return found;
  }

  /** @see distribution-spec v1.1, "Referrers Tag Schema" */
  async #taggedReferrers(subject: OciDigest): Promise<Descriptor[]> {
    const tag = digestTag(subject);
    if (!(await this.hasTag(tag))) return [];
    const found = await this.manifest({ tag });
    return found === undefined
      ? []
      : parseImageManifest(found.bytes, `${this.name} (${tag})`, found.contentType).manifests;
  }

  async #isThere(url: string, accept: string): Promise<boolean> {
    const { fetcher, auth } = this.#o;
    try {
      await fetcher.head({ urls: [url], auth, headers: { accept } });
      return true;
    } catch (error) {
      if (httpStatusOf(error) === 404) return false;
      throw error;
    }
  }

  async #get(
    url: string,
    accept: string,
    known: { size?: number | undefined; integrity?: string | undefined },
    absent: readonly number[] = [404],
  ): Promise<FetchedBytes | undefined> {
    const { fetcher, auth } = this.#o;
    try {
      return await fetcher.fetchBytes({
        urls: [url],
        auth,
        headers: { accept },
        maxBytes: MAX_IMAGE_MANIFEST_BYTES,
        ...known,
      });
    } catch (error) {
      const status = httpStatusOf(error);
      if (status !== undefined && absent.includes(status)) return undefined;
      throw error;
    }
  }

  #blobUrl({ digest }: Descriptor): string {
    return `${this.#base}/blobs/${digest}`;
  }

  /** Docker Hub counts manifest requests and says how many are left. */
  #noteLimits(answer: FetchedBytes): void {
    const left = Number.parseInt(headerOf(answer, "ratelimit-remaining") ?? "", 10);
    if (this.#warned || Number.isNaN(left) || left > FEW_REQUESTS_LEFT) return;
    this.#warned = true;
    this.#o.report(`${this.#o.reference.host} allows ${left} more manifest requests for now; log in to have more`);
  }
}

function headerOf({ headers }: FetchedBytes, name: string): string | undefined {
  const value = headers[name];
  return Array.isArray(value) ? value[0] : value;
}

/** The next page of a list, on the same origin only. */
function nextPage(link: string | undefined, from: string): string | undefined {
  const target = link && /<([^>]+)>\s*;[^,]*\brel="?next"?/i.exec(link)?.[1];
  if (!target || !URL.canParse(target, from)) return undefined;
  const next = new URL(target, from);
  return next.origin === new URL(from).origin && next.href !== from ? next.href : undefined;
}

function tooLarge(name: string, url: string, size: number): AirferryError {
  return new AirferryError(
    "ERR_SIZE_LIMIT",
    `cannot lock image "${name}": the manifest at ${url} is too large: expected at most ${MAX_IMAGE_MANIFEST_BYTES} bytes, got ${size}`,
    { path: url },
  );
}

function invalid(name: string, url: string, fault: string): AirferryError {
  return new AirferryError("ERR_UPSTREAM_INVALID", `cannot lock image "${name}": ${url}: ${fault}`, { path: url });
}
