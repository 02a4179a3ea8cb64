/**
 * Everything that a server would answer, as places in a tree. Bytes of entries come from the store, all else from the
 * server's own handlers, asked without a server: nothing is said in two places.
 *
 * ```
 * tree/       what is served by its path; NAME is where /NAME is
 * registry/   what is served below /v2/, see registry-places.ts
 * ```
 */
import { AirferryError } from "../errors.ts";
import { type Digest, hexOf, isDigest } from "../io/digest.ts";
import { eachLimited, throwIfAborted } from "../io/limit.ts";
import { configFiles } from "../render/config-files.ts";
import { encodePath } from "../server/pages/entry-tree.ts";
import type { SilentSite } from "../server/process/silent-site.ts";
import { type IsoMembers, readIsoMembers } from "./iso-members.ts";
import type { Listing } from "./listing.ts";
import { RegistryPlaces } from "./registry-places.ts";
import type { StoredFile, TreeContents } from "./types.ts";

/** The file that has a folder's page. Nothing that was packed is served under this name. */
export const PAGE_FILE = ".airferry.html";
/** The same of a bill of materials. */
export const BOM_PAGE_FILE = "BOM.html";

/** What becomes of the files inside ISOs: extracted, shown where the image is mounted, or left out. */
export type IsoChoice = "extract" | "mount" | "none";

interface ComposeOptions {
  site: SilentSite;
  pool: TreeContents;
  listing: Listing;
  isos: IsoChoice;
  /** Where the tree is served, as configuration says it; undefined: nothing is rendered. */
  base: string | undefined;
  /** Where notes about images are kept. */
  notes: string;
  /** Called once with the files of the store that the tree has, before they are taken over. */
  plan(files: readonly StoredFile[], extracted: number): Promise<void>;
}

/** What the configuration of web servers is made from. */
export interface Composed {
  registry: Pick<RegistryPlaces, "hosts" | "tags">;
  /** The Content-Security-Policy of pages, and of bills of materials. */
  policies: { page?: string; bom?: string };
  /** ISOs to be mounted. */
  mounts: { name: string; digest: Digest }[];
}

/** Copies at a time: most of the time is waiting. */
const COPIES = 4;

/** Lists the whole tree, and puts its contents into the pool. @throws {AirferryError} as the store and the pool do */
export async function compose(options: ComposeOptions): Promise<Composed> {
  const composer = new Composer(options);
  const scopes = [undefined, ...options.site.view.releases.map((it) => it.stream)];
  await composer.takeOver(scopes);
  for (const stream of scopes) await composer.addScope(stream);
  return composer.result();
}

class Composer {
  readonly #options: ComposeOptions;
  readonly #registry: RegistryPlaces;
  readonly #policies: Composed["policies"] = {};
  readonly #mounts = new Map<Digest, string>();
  readonly #members = new Map<Digest, IsoMembers | undefined>();

  constructor(options: ComposeOptions) {
    this.#options = options;
    this.#registry = new RegistryPlaces(options.site, options.pool, options.listing);
  }

  result(): Composed {
    const mounts = [...this.#mounts].map(([digest, name]) => ({ name, digest }));
    return { registry: this.#registry, policies: this.#policies, mounts };
  }

  /** Adds the entries, and puts their contents into the pool. */
  async takeOver(scopes: readonly (string | undefined)[]): Promise<void> {
    const { listing, pool, plan, isos, site } = this.#options;
    const files = new Map<Digest, StoredFile>();
    for (const stream of scopes) {
      for (const [path, stored] of this.#entries(stream)) {
        if (path.endsWith(`/${PAGE_FILE}`) || path === PAGE_FILE) {
          listing.leaveOut(path, "its name is that of the pages of folders");
          continue;
        }
        if (listing.add(folderOf(stream), path, { digest: stored.digest })) files.set(stored.digest, stored);
      }
    }
    const images = site.view.releases.flatMap((release) =>
      release.inventory.catalog.isos.map((it) => release.entries.get(it.path)),
    );
    const extracted = new Set(images.filter((it) => it !== undefined).map((it) => it.digest));
    const all = [...files.values()];
    const inside = isos === "extract" ? all.filter((it) => extracted.has(it.digest) && pool.lacks(it)) : [];
    await plan(
      all,
      inside.reduce((sum, it) => sum + it.size, 0),
    );
    await eachLimited(all, COPIES, (it) => pool.addFile(it));
  }

  async addScope(stream: string | undefined): Promise<void> {
    await this.#addSidecars(stream);
    for (const it of ["files/PULP_MANIFEST", "isos/PULP_MANIFEST"])
      if (!this.#options.listing.places.has(`${folderOf(stream)}${it}`)) await this.#addDocument(stream, it);
    await this.#addIsos(stream);
    for (const name of ["index.json", "openapi.json", "BOM.html", "BOM.cdx.json", "ca.crt", "rpmrepo/server.crt"])
      await this.#addDocument(stream, name);
    if (this.#options.base !== undefined) await this.#addConfig(stream, this.#options.base);
    await this.#registry.add(stream);
    await this.#addPages(stream);
  }

  /** What a plain GET of a path is answered with, where that is an entry. */
  *#entries(stream: string | undefined): Generator<[path: string, StoredFile]> {
    const { site } = this.#options;
    const { releases } = site.view;
    const seen = new Set<string>();
    for (const release of releases) {
      if (stream !== undefined && release.stream !== stream) continue;
      for (const path of pathsOf(release)) {
        if (seen.has(path)) continue;
        seen.add(path);
        const found = site.content(`${rootOf(stream)}/${encodePath(path)}`);
        if (found?.file !== undefined) {
          const { digest, size } = found;
          if (isDigest(digest)) yield [path, this.#stored(digest, size)];
          continue;
        }
        // Their handlers look into images, and ask for logins.
        if (!/^(?:isos|images)\//.test(path)) continue;
        const entry = site.view.find(path, stream);
        if (entry === undefined || "conflict" in entry) continue;
        const { digest, size } = entry.entry;
        yield [path, this.#stored(digest, size)];
      }
    }
  }

  #stored(digest: Digest, size: number): StoredFile {
    const { store } = this.#options.site;
    return { digest, file: store.blobPath(digest), size, open: store.openBlob?.bind(store, digest) };
  }

  async #addSidecars(stream: string | undefined): Promise<void> {
    const folder = folderOf(stream);
    const { listing } = this.#options;
    for (const place of [...listing.places.keys()]) {
      if (!place.startsWith(folder)) continue;
      const path = place.slice(folder.length);
      if (!/^(?:files|isos)\//.test(path) || /\.sha256(?:sum)?$/.test(path)) continue;
      for (const suffix of [".sha256", ".sha256sum"])
        if (!listing.places.has(`${place}${suffix}`)) await this.#addDocument(stream, `${path}${suffix}`);
    }
  }

  async #addIsos(stream: string | undefined): Promise<void> {
    const { isos, listing, site } = this.#options;
    if (isos === "none") return;
    const folder = folderOf(stream);
    const names = new Set(
      site.view.releases
        .filter((it) => stream === undefined || it.stream === stream)
        .flatMap((it) => it.inventory.catalog.isos.map(({ name }) => name)),
    );
    for (const name of names) {
      const found = site.view.find(`isos/${name}.iso`, stream);
      if (found === undefined || "conflict" in found) continue;
      const { entry } = found;
      if (isos === "mount") {
        this.#mounts.set(entry.digest, name);
        const up = "../".repeat(folder.split("/").length);
        listing.add(folder, `isos/${name}`, { link: `${up}../../mounts/${mountName(entry.digest)}` });
        continue;
      }
      const members = await this.#membersOf(entry, name);
      if (members === undefined) continue;
      const below = `${folder}isos/${name}/`;
      listing.addFolder(below.slice(0, -1));
      for (const it of members.folders) listing.addFolder(`${below}${it}`);
      for (const [path, , digest] of members.files)
        if (path !== PAGE_FILE && !path.endsWith(`/${PAGE_FILE}`)) listing.add(below, path, { digest });
      for (const [path, to] of members.links) {
        const up = "../".repeat(path.split("/").length - 1);
        listing.add(below, path, { link: `${up}${to}` || "." });
      }
      if (stream === undefined || site.view.releases.length > 1)
        for (const [path, fault] of members.leftOut) listing.leaveOut(`${below}${path}`, fault);
    }
  }

  /** Undefined for an image whose content cannot be read: it is still served whole. */
  async #membersOf(entry: { digest: Digest; size: number }, name: string): Promise<IsoMembers | undefined> {
    const { pool, listing, notes } = this.#options;
    if (this.#members.has(entry.digest)) return this.#members.get(entry.digest);
    let members: IsoMembers | undefined;
    try {
      members = await readIsoMembers(entry, name, pool, notes);
    } catch (error) {
      if (!(error instanceof AirferryError) || error.code !== "ERR_ISO_INVALID") throw error;
      listing.leaveOut(`isos/${name}/`, error.message);
    }
    this.#members.set(entry.digest, members);
    return members;
  }

  async #addConfig(stream: string | undefined, baseUrl: string): Promise<void> {
    const { releases } = this.#options.site.view;
    // Only their paths: each is rendered where it is asked for.
    const input = { releases, baseUrl, stream, trees: new Map(), privateCa: false };
    const files = configFiles(input, async () => "");
    for (const { path } of files) await this.#addDocument(stream, `config/${path}`);
    this.#options.listing.addFolder(`${folderOf(stream)}config`);
  }

  async #addPages(stream: string | undefined): Promise<void> {
    const { listing, site } = this.#options;
    const folder = folderOf(stream);
    const others = [...site.view.releases].map((it) => `tree/s/${it.stream}`);
    const below = [...listing.folders].filter(
      (it) =>
        it.startsWith(folder) &&
        (stream !== undefined ||
          (it !== "tree/s" && !others.some((other) => it === other || it.startsWith(`${other}/`)))),
    );
    const paths = below.map((it) => `${it.slice(folder.length)}/`);
    const history = await this.#releaseNames(stream);
    for (const path of ["", "registry", "releases/", ...history.map((it) => `releases/${it}`), ...paths]) {
      throwIfAborted();
      const { status, headers, body } = await site.ask(`${rootOf(stream)}/${encodePath(path)}`);
      if (status !== 200 || headers.get("content-type")?.startsWith("text/html") !== true) continue;
      this.#policies.page ??= headers.get("content-security-policy") ?? "";
      const place = path === "" || path.endsWith("/") ? path : `${path}/`;
      listing.add(folder, `${place}${PAGE_FILE}`, { digest: await this.#options.pool.addBytes(body) });
    }
  }

  async #releaseNames(stream: string | undefined): Promise<string[]> {
    return stream === undefined ? [] : this.#options.site.history(stream);
  }

  async #addDocument(stream: string | undefined, path: string): Promise<void> {
    throwIfAborted();
    const { listing, site, pool } = this.#options;
    const { status, headers, body } = await site.ask(`${rootOf(stream)}/${encodePath(path)}`);
    if (status !== 200) return;
    if (path === BOM_PAGE_FILE) this.#policies.bom ??= headers.get("content-security-policy") ?? "";
    listing.add(folderOf(stream), path, { digest: await pool.addBytes(body) });
  }
}

/** The folder below `mounts/` where an image is to be mounted. */
export function mountName(digest: Digest): string {
  return hexOf(digest).slice(0, 16);
}

/** Where the files of a stream are in a generation. */
function folderOf(stream: string | undefined): string {
  return stream === undefined ? "tree/" : `tree/s/${stream}/`;
}

function rootOf(stream: string | undefined): string {
  return stream === undefined ? "" : `/s/${stream}`;
}

/** Paths of all entries, and what `/rpmrepo/` has of other repositories. */
function* pathsOf({ inventory }: SilentSite["view"]["releases"][number]): Generator<string> {
  const merged = inventory.catalog.rpms.filter((it) => it.rpmrepo).map((it) => it.name);
  for (const { path } of inventory.entries) {
    yield path;
    const [, name] = /^rpms\/([^/]+)\/.+\.rpm$/.exec(path) ?? [];
    if (name !== undefined && merged.includes(name)) yield `rpmrepo/${path.slice("rpms/".length)}`;
  }
}
