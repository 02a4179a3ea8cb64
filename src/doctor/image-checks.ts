/**
 * Doctor's look at the registry: every image that it lists, its manifests and configs by digest, its layers by their length.
 * What is damaged or missing is named. Bounded in requests and in time; the server is the only one asked, with the login that
 * docker login or podman login left for it. See docs/build.md, "Doctor".
 */
import { AirferryError } from "../errors.ts";
import { basicHeader } from "../http/basic-auth.ts";
import type { ClientResponse } from "../http/client.ts";
import { digestOf } from "../io/digest.ts";
import { plural } from "../io/format.ts";
import { eachLimited } from "../io/limit.ts";
import { findLogin } from "../oci/docker-login.ts";
import { type Descriptor, MAX_IMAGE_MANIFEST_BYTES, parseImageManifest } from "../oci/image-manifest.ts";
import { ACCEPT_MANIFESTS, isForeignLayerType } from "../oci/media-types.ts";
import { isOciDigest } from "../oci/oci-digest.ts";
import type { ServedContext } from "./content-checks.ts";
import { type DoctorClient, firstLines } from "./doctor-client.ts";
import { Remedy, throwFaults } from "./remedy.ts";
import type { Served } from "./served.ts";

const MAX_LIST_BYTES = 32 * 1024 * 1024;
/** Larger configs are looked at by their length, as layers are. */
const MAX_CONFIG_BYTES = 4 * 1024 * 1024;
const MAX_REQUESTS = 50_000;
const MAX_CHECK_MS = 120_000;
const AT_ONCE = 8;
/** What the registry says about layers of platforms that `platforms:` left out. */
const LEFT_OUT = /was not packed/;

/** Every image of the index, as far as the bounds let. */
export async function checkRegistry({ client, base, env, served }: ServedContext): Promise<string> {
  const images = imagesOf(served);
  if (images.length === 0) throw new Remedy("no image is served", "add images: to the manifest", "skipped");
  const registry = new RegistryCheck(client, await logIn(client, base, env));
  await eachLimited(images, AT_ONCE, (it) => registry.checkImage(it));
  const { faults, isCutShort, looked } = registry;
  throwFaults(
    faults,
    "check the server's disk; there, remove what is damaged from the store and unpack the bundle again",
  );
  if (isCutShort) {
    throw new Remedy(
      `${looked}: good, but it took too long to look at all of ${plural(images.length, "image")}`,
      "on the server run: airferry verify BUNDLE, for all that it brought",
      "warning",
    );
  }
  return `${plural(images.length, "image")}: ${looked}`;
}

/** The Authorization header that the registry wants; none where it lets everybody in. */
async function logIn(client: DoctorClient, base: URL, env: NodeJS.ProcessEnv): Promise<Record<string, string>> {
  if ((await client.get("/v2/", MAX_LIST_BYTES)).status !== 401) return {};
  const port = base.port || (base.protocol === "https:" ? "443" : "80");
  const login = async (host: string) => {
    const found = await findLogin(host, "", env).catch((error: unknown) => {
      if (!(error instanceof AirferryError)) throw error;
      throw new Remedy(error.message, error.hint ?? "log in again with docker login or podman login");
    });
    return found && basicHeader(found);
  };
  const authorization = (await login(base.host)) ?? (await login(`${base.hostname}:${port}`));
  if (authorization === undefined) {
    throw new Remedy(
      `the registry wants a login, and docker login or podman login left none for ${base.host}`,
      `podman login ${base.host}, then run doctor again`,
      "warning",
    );
  }
  if ((await client.get("/v2/", MAX_LIST_BYTES, { authorization })).status === 401) {
    throw new Remedy(
      `the registry refuses the login that docker login or podman login left for ${base.host}`,
      `podman login ${base.host}, with a user of the server's --htpasswd file`,
    );
  }
  return { authorization };
}

/** Every image of the index once, though several streams have it. */
function imagesOf({ images }: Served): Image[] {
  const found = new Map<string, Image>();
  for (const { repository, tag, digest, tags } of images) {
    const name = tag === undefined ? `${repository}@${digest}` : `${repository}:${tag}`;
    const known = found.get(name)?.references ?? (tag === undefined ? [] : [tag]);
    const references = [...new Set([...known, digest, ...Object.keys(tags ?? {})])];
    found.set(name, { repository, name, references });
  }
  return [...found.values()];
}

interface Image {
  repository: string;
  /** For people. */
  name: string;
  /** Tags and digests to ask for, its own tag first. */
  references: string[];
}

class RegistryCheck {
  /** In words, each of them once. */
  readonly faults = new Set<string>();
  /** The bounds were reached before everything was looked at. */
  isCutShort = false;
  readonly #client: DoctorClient;
  readonly #headers: Record<string, string>;
  readonly #seen = new Set<string>();
  readonly #end = performance.now() + MAX_CHECK_MS;
  #requests = 0;
  #manifests = 0;
  #blobs = 0;
  #leftOut = 0;

  constructor(client: DoctorClient, headers: Record<string, string>) {
    this.#client = client;
    this.#headers = headers;
  }

  /** What was looked at and found good, in words. */
  get looked(): string {
    const leftOut = this.#leftOut === 0 ? "" : `, ${plural(this.#leftOut, "layer")} of platforms that were not packed`;
    return `${this.#manifests} manifests by digest, ${this.#blobs} blobs there${leftOut}`;
  }

  async checkImage({ repository, name, references }: Image): Promise<void> {
    const before = this.faults.size;
    for (const reference of references) {
      // What a tag leads to and is damaged has been named.
      if (isOciDigest(reference) && this.faults.size > before) continue;
      await this.#checkManifest(repository, name, reference);
    }
  }

  async #checkManifest(repository: string, image: string, reference: string): Promise<void> {
    if (!this.#isNew(reference.includes(":") ? reference : `${repository}:${reference}`)) return;
    const isName = image.endsWith(`:${reference}`);
    const what = isName ? `image ${image}` : `manifest ${reference} of ${image}`;
    const path = `/v2/${repository}/manifests/${reference}`;
    const answer = await this.#ask(what, () =>
      this.#client.get(path, MAX_IMAGE_MANIFEST_BYTES, { ...this.#headers, accept: ACCEPT_MANIFESTS }),
    );
    if (answer === undefined) return;
    if (answer.status !== 200) return this.#noteStatus(what, answer);
    const said = isOciDigest(reference) ? reference : answer.headers["docker-content-digest"];
    if (!isOciDigest(said)) return this.#note(`${what} has no digest`);
    const actual = digestOf(answer.body, said);
    if (actual !== said) return this.#note(`${what} is damaged: expected ${said}, got ${actual}`);
    // Asked for by a tag: what it leads to need not be asked for again.
    if (said !== reference && !this.#isNew(said)) return;
    const manifest = await this.#ask(what, async () =>
      parseImageManifest(answer.body, image, answer.headers["content-type"]),
    );
    if (manifest === undefined) return;
    this.#manifests++;
    const { config, layers, manifests } = manifest;
    for (const it of manifests) await this.#checkManifest(repository, image, it.digest);
    if (config !== undefined) await this.#checkConfig(repository, image, config);
    for (const it of layers) await this.#checkThere(repository, image, it);
  }

  /** Configs are small, so the bytes can be looked at. */
  async #checkConfig(repository: string, image: string, config: Descriptor): Promise<void> {
    if (config.size > MAX_CONFIG_BYTES) return this.#checkThere(repository, image, config);
    if (!this.#isNew(config.digest)) return;
    const what = `config ${config.digest} of ${image}`;
    const answer = await this.#ask(what, () =>
      this.#client.get(`/v2/${repository}/blobs/${config.digest}`, MAX_CONFIG_BYTES, this.#headers),
    );
    if (answer === undefined) return;
    if (answer.status !== 200) return this.#noteStatus(what, answer);
    const actual = digestOf(answer.body, config.digest);
    if (actual !== config.digest) return this.#note(`${what} is damaged: got ${actual}`);
    this.#blobs++;
  }

  async #checkThere(repository: string, image: string, { digest, size, mediaType }: Descriptor): Promise<void> {
    if (!this.#isNew(digest)) return;
    const what = `blob ${digest} of ${image}`;
    const path = `/v2/${repository}/blobs/${digest}`;
    const there = await this.#ask(what, () => this.#client.head(path, this.#headers));
    if (there === undefined) return;
    if (there.status === 200) {
      const length = there.headers["content-length"];
      if (length !== String(size)) return this.#note(`${what} is damaged: expected ${size} bytes, got ${length}`);
      this.#blobs++;
      return;
    }
    if (there.status !== 404) {
      return this.#note(
        `${what} answers ${there.status}: its file is missing or has another length; see the server's log`,
      );
    }
    // Only a GET says why.
    const answer = await this.#ask(what, () => this.#client.get(path, MAX_LIST_BYTES, this.#headers));
    if (answer === undefined) return;
    if (LEFT_OUT.test(answer.body.toString()) || isForeignLayerType(mediaType)) this.#leftOut++;
    else this.#noteStatus(what, answer);
  }

  #isNew(name: string): boolean {
    if (this.#seen.has(name)) return false;
    this.#seen.add(name);
    return true;
  }

  /** Asks within the bounds; undefined where they are reached, or the answer broke off, which is a fault of this one thing. */
  async #ask<T>(what: string, ask: () => Promise<T>): Promise<T | undefined> {
    if (!this.#mayAsk()) return undefined;
    try {
      return await ask();
    } catch (error) {
      this.#note(`${what}: ${error instanceof Error ? error.message : String(error)}`);
      return undefined;
    }
  }

  #mayAsk(): boolean {
    if (this.#requests++ < MAX_REQUESTS && performance.now() < this.#end) return true;
    this.isCutShort = true;
    return false;
  }

  #noteStatus(what: string, { status, body }: ClientResponse): void {
    this.#note(`${what} answers ${status}: ${wordsOf(body)}`);
  }

  #note(fault: string): void {
    this.faults.add(fault);
  }
}

/** The registry's own words, without the JSON around them. */
function wordsOf(body: Buffer): string {
  return /"message":"((?:[^"\\]|\\.)*)"/.exec(body.subarray(0, 4096).toString())?.[1] ?? firstLines(body);
}
