/**
 * One repository of a registry, as a source of images. See OCI distribution-spec v1.1, "Pulling" and "Content
 * Discovery".
 */

import { AirferryError } from "../../errors.ts";
import type { FetchedBytes, Fetcher } from "../../fetch/types.ts";
import type { Authenticator } from "../../http/authenticator.ts";
import { httpStatusOf, isAddressRefused } from "../../http/failure.ts";
import { BY_USER } from "../../http/named.ts";
import { digestOf } from "../../io/digest.ts";
import { redactUrl } from "../../io/redact.ts";
import { type Descriptor, MAX_IMAGE_MANIFEST_BYTES, parseImageManifest } from "../../oci/image-manifest.ts";
import { ACCEPT_MANIFESTS, isSchema1Type, OCI_INDEX } from "../../oci/media-types.ts";
import { isDigestTag, isOciDigest, type OciDigest } from "../../oci/oci-digest.ts";
import { digestTag, type Reference, repositoryUrl } from "../../oci/reference.ts";
import type { BlobPlace, ImageOrigin, OriginManifest } from "./origin.ts";
import { tagsIn, withoutForeignDigests } from "./registry-lists.ts";

interface RegistryOptions {
  reference: Reference;
  insecure: boolean;
  fetcher: Fetcher;
  auth: Authenticator;
  /** Failures in a row before a request is given up; default: the engine's. */
  retries?: number | undefined;
  name: string;
  report: (line: string) => void;
}

/** 5,000 referrers at 25 a page are 200. */
const MAX_PAGES = 1000;
/** Repositories with more tags exist, but nobody mirrors them. */
const MAX_TAGS = 200_000;
/** Statuses of registries without a referrers API. */
const NO_API = [404, 405, 406, 501];
/** Statuses that some send for a missing tag or API; they may also mean a missing permission. */
const DOUBTFUL = [400, 403, 405];
/** These are not named in the airferry manifest. */
const DIGEST_TAGS = "tags of signatures, attestations and SBOMs";
/** Fewer remaining manifest requests than this are reported. */
const FEW_REQUESTS_LEFT = 20;

export class RegistryOrigin implements ImageOrigin {
  readonly name: string;
  readonly #o: RegistryOptions;
  readonly #base: string;
  #warned = false;
  readonly #doubted = new Set<string>();

  constructor(options: RegistryOptions) {
    this.#o = options;
    this.name = options.name;
    this.#base = repositoryUrl(options.reference, options.insecure);
  }

  async manifest(wanted: Descriptor | { tag: string }): Promise<OriginManifest | undefined> {
    const digest = "digest" in wanted ? wanted.digest : undefined;
    const url = `${this.#base}/manifests/${digest ?? ("tag" in wanted ? wanted.tag : "")}`;
    const size = "size" in wanted && wanted.size > 0 ? wanted.size : undefined;
    const known = { size, integrity: digest };
    const answer =
      "tag" in wanted && isDigestTag(wanted.tag)
        ? await this.#dispensable(() => this.#get(url, ACCEPT_MANIFESTS, known, [404], DIGEST_TAGS))
        : await this.#get(url, ACCEPT_MANIFESTS, known);
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
        `cannot lock image "${this.name}": ${url} does not match its own header: expected ${claimed}, got ${digestOf(answer.bytes, claimed)}`,
        { path: url, expected: claimed, actual, hint: "the registry, or a proxy in front of it, changes its answers" },
      );
    }
    return { bytes: answer.bytes, digest: actual, ...(contentType !== undefined && { contentType }) };
  }

  async blob(descriptor: Descriptor): Promise<Buffer | undefined> {
    const answer = await this.#get(this.#blobUrl(descriptor), "*/*", {
      size: descriptor.size,
      integrity: descriptor.digest,
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
    const url = `${this.#base}/manifests/${tag}`;
    return this.#dispensable(() => this.#isThere(url, ACCEPT_MANIFESTS, DIGEST_TAGS));
  }

  /**
   * The current digest of a tag, without a manifest request if the registry answers HEAD with it; undefined: no such
   * tag.
   */
  async digestOfTag(tag: string): Promise<OciDigest | undefined> {
    const url = `${this.#base}/manifests/${tag}`;
    const { fetcher, auth, retries } = this.#o;
    try {
      const { etag } = await fetcher.head({
        urls: [url],
        named: BY_USER,
        auth,
        retries,
        headers: { accept: ACCEPT_MANIFESTS },
      });
      const digest = etag?.replace(/^W\/|"/g, "");
      if (isOciDigest(digest)) return digest;
    } catch (error) {
      if (httpStatusOf(error) === 404) return undefined;
      throw error;
    }
    return (await this.manifest({ tag }))?.digest;
  }

  async referrers(subject: OciDigest): Promise<Descriptor[]> {
    return (await this.#dispensable(() => this.#listedReferrers(subject))) ?? this.#taggedReferrers(subject);
  }

  /** Undefined if there is no referrers API. */
  async #listedReferrers(subject: OciDigest): Promise<Descriptor[] | undefined> {
    const url = `${this.#base}/referrers/${subject}`;
    const found: Descriptor[] = [];
    const isComplete = await this.#pages(
      url,
      "referrers",
      (link) => this.#get(url, OCI_INDEX, { link }, NO_API, "its referrers"),
      (answer, page) => {
        if (answer === undefined || headerOf(answer, "content-type")?.split(";")[0] !== OCI_INDEX) {
          if (page === 0) return false;
          throw this.#badPage(url, "a page of referrers is not an index");
        }
        found.push(...this.#descriptorsIn(answer.bytes, "referrers", OCI_INDEX));
        return true;
      },
    );
    return isComplete ? found : undefined;
  }

  /**
   * All tags of the repository, in the registry's order.
   * @throws {AirferryError} ERR_UPSTREAM*; ERR_UPSTREAM_INVALID when an answer is not a list of tags
   */
  async tags(): Promise<string[]> {
    const url = `${this.#base}/tags/list`;
    const found = new Set<string>();
    await this.#pages(
      url,
      "tags",
      (link) => this.#get(url, "application/json", { link }),
      (answer) => {
        if (answer === undefined) {
          throw new AirferryError("ERR_UPSTREAM", `cannot lock image "${this.name}": the registry has no tags for it`, {
            path: url,
            hint: "check the name in the manifest; some registries also answer this if a login is needed",
          });
        }
        for (const tag of tagsIn(answer.bytes)) {
          if (tag === undefined) throw this.#badPage(url, "a page of tags is not a list of tags");
          found.add(tag);
        }
        if (found.size > MAX_TAGS) throw this.#badPage(url, `it lists more than ${MAX_TAGS} tags`);
        return true;
      },
    );
    return [...found];
  }

  /**
   * Reads a list page by page; `take` returns false to stop, which is then returned. Follows `Link` the same way for
   * all lists.
   */
  async #pages(
    url: string,
    what: string,
    ask: (link: string | undefined) => Promise<FetchedBytes | undefined>,
    take: (answer: FetchedBytes | undefined, page: number) => boolean,
  ): Promise<boolean> {
    const asked = new Set<string>();
    let link: string | undefined;
    for (let page = 0; page < MAX_PAGES; page++) {
      const answer = await ask(link);
      if (!take(answer, page) || answer === undefined) return false;
      asked.add(link ?? answer.askedUrl).add(answer.finalUrl);
      link = this.#nextPage(answer, what);
      if (link === undefined) return true;
      if (asked.has(link)) throw this.#badPage(url, `its pages of ${what} form a loop: "${redactUrl(link)}" again`);
    }
    throw this.#badPage(url, `more than ${MAX_PAGES} pages of ${what}`);
  }

  /**
   * The next page of a list. A page that may not be requested does not end the list: signatures would be lost silently.
   */
  #nextPage(answer: FetchedBytes, what: string): string | undefined {
    const target = nextLink(headerOf(answer, "link") ?? "");
    if (target === undefined) return undefined;
    const { url, askedUrl, finalUrl } = answer;
    if (!URL.canParse(target, finalUrl)) {
      throw this.#badPage(url, `its next page of ${what} has an invalid URL: "${redactUrl(target)}"`);
    }
    const next = new URL(target, finalUrl);
    next.hash = "";
    const allowed = [askedUrl, finalUrl].map((it) => new URL(it).origin);
    if (allowed.includes(next.origin)) return next.href;
    throw this.#badPage(
      url,
      `its next page of ${what} is at another origin: expected ${[...new Set(allowed)].join(" or ")}, got "${redactUrl(next)}"`,
    );
  }

  #badPage(url: string, fault: string): AirferryError {
    return new AirferryError("ERR_UPSTREAM_INVALID", `cannot lock image "${this.name}": ${url}: ${fault}`, {
      path: url,
      hint: "the registry, or a proxy in front of it, is at fault",
    });
  }

  /** @see distribution-spec v1.1, "Referrers Tag Schema" */
  async #taggedReferrers(subject: OciDigest): Promise<Descriptor[]> {
    const tag = digestTag(subject);
    if (!(await this.hasTag(tag))) return [];
    const found = await this.manifest({ tag });
    return found === undefined ? [] : this.#descriptorsIn(found.bytes, tag, found.contentType);
  }

  /** The descriptors of a list. Digests of unsupported algorithms are dropped and reported. */
  #descriptorsIn(bytes: Buffer, where: string, contentType: string | undefined): Descriptor[] {
    const { known, left } = withoutForeignDigests(bytes);
    for (const digest of left) {
      this.#o.report(`${this.name}: skipped ${digest} of its ${where}: unsupported algorithm`);
    }
    return parseImageManifest(known, `${this.name} (${where})`, contentType).manifests;
  }

  /** Runs a request for what refers to an image, and hints how to continue without it. */
  async #dispensable<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof AirferryError) || !error.code.startsWith("ERR_UPSTREAM")) throw error;
      const { code, message, hint, path, expected, actual, cause } = error;
      const instead = "to continue without signatures and SBOMs: referrers: false";
      throw new AirferryError(code, message, {
        path,
        expected,
        actual,
        cause,
        hint: hint ? `${hint}; ${instead}` : instead,
      });
    }
  }

  /**
   * Whether an error means "missing". `about`: what is requested, if refusals other than 404 count as missing, which is
   * reported.
   */
  #isAbsence(error: unknown, absent: readonly number[], about: string | undefined): boolean {
    const status = httpStatusOf(error);
    if (status === undefined) return false;
    if (absent.includes(status)) return true;
    if (!about || !DOUBTFUL.includes(status) || isAddressRefused(error)) return false;
    if (!this.#doubted.has(about)) {
      this.#doubted.add(about);
      this.#o.report(
        `${this.name}: requested ${about}, the registry answered ${status}: treated as none; anything this login may not see is omitted`,
      );
    }
    return true;
  }

  async #isThere(url: string, accept: string, about?: string): Promise<boolean> {
    const { fetcher, auth, retries } = this.#o;
    try {
      await fetcher.head({ urls: [url], named: BY_USER, auth, retries, headers: { accept } });
      return true;
    } catch (error) {
      if (this.#isAbsence(error, [404], about)) return false;
      throw error;
    }
  }

  async #get(
    url: string,
    accept: string,
    known: { size?: number | undefined; integrity?: OciDigest | undefined; link?: string | undefined },
    absent: readonly number[] = [404],
    about?: string,
  ): Promise<FetchedBytes | undefined> {
    const { fetcher, auth, retries } = this.#o;
    try {
      return await fetcher.fetchBytes({
        urls: [url],
        named: BY_USER,
        auth,
        retries,
        headers: { accept },
        maxBytes: MAX_IMAGE_MANIFEST_BYTES,
        ...known,
      });
    } catch (error) {
      if (this.#isAbsence(error, absent, about)) return undefined;
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
    this.#o.report(`${this.#o.reference.host} allows ${left} more manifest requests for now; log in for more`);
  }
}

function headerOf({ headers }: FetchedBytes, name: string): string | undefined {
  const value = headers[name];
  return Array.isArray(value) ? value[0] : value;
}

const PARAMETER = /;\s*([^\s=;,"]+)(?:\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;,"]*)))?/g;

/** The target of the link whose relation is `next`. @see RFC 8288, section 3 */
export function nextLink(header: string): string | undefined {
  for (const [, target, parameters = ""] of header.matchAll(/<([^>]*)>((?:"(?:[^"\\]|\\.)*"|[^",])*)/g)) {
    for (const [, name, quoted, plain = ""] of parameters.matchAll(PARAMETER)) {
      if (name?.toLowerCase() !== "rel") continue;
      if ((quoted ?? plain).toLowerCase().split(/\s+/).includes("next")) return target;
      // Only the first counts.
      break;
    }
  }
  return undefined;
}
