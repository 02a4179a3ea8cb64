/**
 * Doctor's look at the registry: every image that it lists, its manifests and configs by digest, its layers by their length.
 * What is damaged or missing is named. Bounded in requests and in time; the server is the only one asked, with the login that
 * docker login or podman login left for it. See docs/build.md, "Doctor".
 */
import { AirferryError } from "../errors.ts";
import { eachLimited } from "../io/limit.ts";
import { digestOf, isOciDigest } from "../oci/digest.ts";
import { basicHeader, findLogin } from "../oci/docker-login.ts";
import { type Descriptor, MAX_IMAGE_MANIFEST_BYTES, parseImageManifest } from "../oci/image-manifest.ts";
import { ACCEPT_MANIFESTS, isForeignLayerType } from "../oci/media-types.ts";
import { type CheckContext, Remedy } from "./checks.ts";
import { type Answer, type DoctorClient, firstLines } from "./client.ts";

const MAX_LIST_BYTES = 32 * 1024 * 1024;
/** Larger configs are looked at by their length, as layers are. */
const MAX_CONFIG_BYTES = 4 * 1024 * 1024;
const MAX_REQUESTS = 50_000;
const MAX_CHECK_MS = 120_000;
const AT_ONCE = 8;
/** So many faults are named, the others counted. */
const MAX_NAMED = 10;
/** What the registry says about layers of platforms that `platforms:` left out. */
const LEFT_OUT = /was not packed/;

/** Every image that the registry lists, as far as the bounds let. */
export async function checkRegistry({ client, base, env }: CheckContext): Promise<string> {
  const registry = new RegistryCheck(client, await logIn(client, base, env));
  const images = await registry.images();
  if (images.length === 0) throw new Remedy("no image is served", "add images: to the manifest", "skipped");
  await eachLimited(images, AT_ONCE, (it) => registry.checkImage(it));
  const { faults, isCutShort, looked } = registry;
  if (faults.size > 0) {
    const named = [...faults].slice(0, MAX_NAMED);
    const more = faults.size > named.length ? `; and ${faults.size - named.length} more` : "";
    throw new Remedy(
      `${named.join("; ")}${more}`,
      "check the server's disk; there, remove what is damaged from the store and unpack the bundle again",
    );
  }
  if (isCutShort) {
    throw new Remedy(
      `${looked}: good, but it took too long to look at all of ${images.length} images`,
      "on the server run: airferry verify BUNDLE, for all that it brought",
      "warning",
    );
  }
  return `${images.length} images: ${looked}`;
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

interface Image {
  repository: string;
  tag: string;
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
    const leftOut = this.#leftOut === 0 ? "" : `, ${this.#leftOut} layers of platforms that were not packed`;
    return `${this.#manifests} manifests by digest, ${this.#blobs} blobs there${leftOut}`;
  }

  /** All tags of all repositories: the server gives either list whole. */
  async images(): Promise<Image[]> {
    const { repositories } = await this.#list<{ repositories: string[] }>("/v2/_catalog");
    const images: Image[] = [];
    await eachLimited(repositories, AT_ONCE, async (repository) => {
      if (!this.#mayAsk()) return;
      const { tags } = await this.#list<{ tags: string[] | null }>(`/v2/${repository}/tags/list`);
      for (const tag of tags ?? []) images.push({ repository, tag });
    });
    return images;
  }

  async #list<T>(path: string): Promise<T> {
    const { status, body } = await this.#client.get(path, MAX_LIST_BYTES, this.#headers);
    if (status === 200) return JSON.parse(body.toString()) as T;
    throw new Remedy(`${path} answers ${status}: ${firstLines(body)}`, "is this an airferry server?");
  }

  async checkImage({ repository, tag }: Image): Promise<void> {
    await this.#checkManifest(repository, `${repository}:${tag}`, tag);
  }

  async #checkManifest(repository: string, image: string, reference: string): Promise<void> {
    if (!this.#isNew(reference.includes(":") ? reference : image)) return;
    const what = reference.includes(":") ? `manifest ${reference} of ${image}` : `image ${image}`;
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

  #noteStatus(what: string, { status, body }: Answer): void {
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
