/**
 * Doctor's checks of the registry: every listed image, its manifests and configs by digest, its layers by size. Reports
 * what is damaged or missing. Bounded in requests and time; it contacts only the server, with the login of docker login
 * or podman login. See docs/build.md, "Doctor".
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
/** Larger configs are checked by size, as layers are. */
const MAX_CONFIG_BYTES = 4 * 1024 * 1024;
const MAX_REQUESTS = 50_000;
const MAX_CHECK_MS = 120_000;
const AT_ONCE = 8;
/** The registry's response for layers of platforms that `platforms:` excluded. */
const LEFT_OUT = /was not packed/;

/** Every image of the index, within the limits. */
export async function checkRegistry({ client, base, env, served }: ServedContext): Promise<string> {
  const images = imagesOf(served);
  if (images.length === 0) throw new Remedy("no image is served", "add images: to the manifest", "skipped");
  const registry = new RegistryCheck(client, await logIn(client, base, env));
  await eachLimited(images, AT_ONCE, (it) => registry.checkImage(it));
  const { faults, isCutShort, looked } = registry;
  throwFaults(faults, "check the server's disk, remove what is damaged from its store, and unpack the bundle again");
  if (isCutShort) {
    throw new Remedy(
      `${looked}: good, but checking all of ${plural(images.length, "image")}`,
      "to check everything, on the server run: airferry verify BUNDLE",
      "warning",
    );
  }
  return `${plural(images.length, "image")}: ${looked}`;
}

/** The Authorization header that the registry requires; none if access is open. */
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
      `the registry requires a login, and docker login or podman login has none for ${base.host}`,
      `podman login ${base.host}, then run doctor again`,
      "warning",
    );
  }
  if ((await client.get("/v2/", MAX_LIST_BYTES, { authorization })).status === 401) {
    throw new Remedy(
      `the registry refuses the login of docker login or podman login for ${base.host}`,
      `podman login ${base.host}, with a user of the server's --htpasswd file`,
    );
  }
  return { authorization };
}

/** Every image of the index once, even if several streams have it. */
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
  /** For messages. */
  name: string;
  /** Tags and digests to request, its own tag first. */
  references: string[];
}

class RegistryCheck {
  /** As text, each once. */
  readonly faults = new Set<string>();
  /** The limits were reached before everything was checked. */
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

  /** What was checked and is good, as text. */
  get looked(): string {
    const leftOut = this.#leftOut === 0 ? "" : `, ${plural(this.#leftOut, "layer")} of platforms that were not packed`;
    return `${this.#manifests} manifests by digest, ${this.#blobs} blobs available${leftOut}`;
  }

  async checkImage({ repository, name, references }: Image): Promise<void> {
    const before = this.faults.size;
    for (const reference of references) {
      // Damage at the target of a tag is already reported.
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
    // Requested by tag: its target need not be requested again.
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

  /** Configs are small, so their bytes can be checked. */
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
    // Only a GET gives the reason.
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

  /**
   * Requests within the limits; undefined when they are reached, or the response broke off, which is a fault of this
   * item.
   */
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

/** The registry's own message, without the JSON around it. */
function wordsOf(body: Buffer): string {
  return /"message":"((?:[^"\\]|\\.)*)"/.exec(body.subarray(0, 4096).toString())?.[1] ?? firstLines(body);
}
