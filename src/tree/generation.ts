/**
 * The folder of a written tree and its generations. What a web server sees changes in one step:
 *
 * ```
 * DIR/
 *   airferry-tree.json        {"treeVersion":1}
 *   current -> generations/7  replaced by rename; the web server's root is in here
 *   generations/7/            tree/, registry/, nginx/, apache/, README.txt, contents.txt
 *   generations/6/            the one before, for whoever wants to go back
 *   pool/                     the contents, see content-pool.ts
 *   isos/                     what is inside images, see iso-members.ts
 *   mounts/                   where images are mounted, with --isos mount
 *   lock
 * ```
 * A run that is killed leaves a folder without a name, which the next one removes, and contents in the pool, which the
 * next one finds.
 */
import { linkSync, lstatSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import {
  copyFile,
  lstat,
  mkdir,
  readdir,
  readFile,
  readlink,
  realpath,
  rename,
  rm,
  symlink,
  utimes,
} from "node:fs/promises";
import { basename, dirname, join, relative, resolve, sep } from "node:path";
import { AirferryError } from "../errors.ts";
import { ifThere, ioError, isLeftover, makeFolder, syncPath, writeAtomic } from "../io/atomic.ts";
import { type Digest, digestOf, hexOf } from "../io/digest.ts";
import { throwIfAborted } from "../io/limit.ts";
import { type HeldLock, takeLock } from "../io/process-lock.ts";
import { shellWord } from "../io/shell.ts";
import { syncFolder } from "../io/sync-fs.ts";
import { type ContentPool, timeOf } from "./content-pool.ts";
import type { Listing } from "./listing.ts";

const TREE_FILE = "airferry-tree.json";
const TREE_VERSION = 1;
const CURRENT = "current";
const CONTENTS_FILE = "contents.txt";
/** Names that this run is making, or was removing when it was killed. */
const UNFINISHED = /^\.(?:new|old)-/;
/** There while a run writes: after a power loss nothing is taken for granted. */
const UNSYNCED_FILE = "unsynced";
/** Links that are made before others get their turn. */
const LINKS_AT_ONCE = 500;

/**
 * The files for web servers, by their paths in a generation of this name: what is not served. Texts for the name "" are
 * only compared.
 */
type WebConfig = (generation: string) => ReadonlyMap<string, string>;

/** A generation that was made or is still the current one. */
interface Switched {
  /** Its folder's name. */
  generation: string;
  isNew: boolean;
}

/** The folder of a tree, locked for writing. Release it. */
export class TreeFolder {
  readonly dir: string;
  /** Whether the system went down while a run was writing: the pool is to be hashed. */
  readonly isDoubtful: boolean;
  readonly #lock: HeldLock;

  private constructor(dir: string, isDoubtful: boolean, lock: HeldLock) {
    this.dir = dir;
    this.isDoubtful = isDoubtful;
    this.#lock = lock;
  }

  /**
   * Opens or makes the folder and locks it.
   * @param store the folder of the store, which the tree has to stay out of
   * @throws {AirferryError} ERR_USAGE for a folder that is something else; ERR_BUSY; ERR_IO
   */
  static async open(dir: string, store: string): Promise<TreeFolder> {
    const root = resolve(dir);
    await refuseInside(root, store);
    await makeFolder(root);
    await claimFolder(root, dir);
    const lock = await takeLock(join(root, "lock"), dir);
    try {
      for (const name of ["generations", "isos", "mounts", "pool"]) await makeFolder(join(root, name));
      const mark = await ifThere(join(root, UNSYNCED_FILE), readFile(join(root, UNSYNCED_FILE), "utf8"));
      const boot = await bootId();
      const folder = new TreeFolder(root, mark !== undefined && (mark !== boot || boot === ""), lock);
      await folder.#removeUnfinished();
      if (mark === undefined || !folder.isDoubtful) await writeAtomic(join(root, UNSYNCED_FILE), boot);
      return folder;
    } catch (error) {
      await lock.release();
      throw error;
    }
  }

  /** Path of something in the folder. */
  path(...names: string[]): string {
    return join(this.dir, ...names);
  }

  /**
   * Makes a generation and switches to it, unless the current one is the same. Then the one before stays, and all older
   * ones go, with the contents that only they had.
   * @throws {AirferryError} ERR_IO, ERR_SPACE
   */
  async publish(
    listing: Listing,
    pool: ContentPool,
    config: WebConfig,
  ): Promise<Switched & { removed: { files: number; bytes: number } }> {
    const digest = digestWith(listing, config(""));
    const current = await this.currentName();
    // Contents that were put right are new files, which a generation has to link to.
    const isAlike = pool.written.files === 0 && current !== undefined;
    const isSame = isAlike && (await this.#digestOf(current)) === digest;
    const made = isSame ? { generation: current, isNew: false } : await this.#make(listing, pool, config, digest);
    await rm(this.path(UNSYNCED_FILE), { force: true });
    return { ...made, removed: await this.#prune(made.generation, made.isNew ? current : undefined, pool) };
  }

  /** Name of the generation that is served; undefined before the first. */
  async currentName(): Promise<string | undefined> {
    const target = await ifThere(this.path(CURRENT), readlink(this.path(CURRENT)).catch(notThere));
    const name = target === undefined ? undefined : basename(target);
    return name !== undefined && /^\d+$/.test(name) ? name : undefined;
  }

  /** The number of the next generation. */
  async nextName(): Promise<string> {
    const names = (await readdir(this.path("generations"))).filter((it) => /^\d+$/.test(it)).map(Number);
    return String(Math.max(0, ...names) + 1);
  }

  release(): Promise<void> {
    return this.#lock.release();
  }

  async #make(listing: Listing, pool: ContentPool, config: WebConfig, digest: Digest): Promise<Switched> {
    const generation = await this.nextName();
    const folder = this.path("generations", `.new-${generation}`);
    await mkdir(folder);
    try {
      for (const it of [...listing.folders].sort()) mkdirSync(join(folder, it));
      let count = 0;
      for (const [path, place] of listing.places) {
        const name = join(folder, path);
        if ("link" in place) symlinkSync(place.link, name);
        else await linkOrCopy(pool.path(place.digest), name, place.digest);
        if (++count % LINKS_AT_ONCE === 0) {
          throwIfAborted();
          await new Promise((resolve) => setImmediate(resolve));
        }
      }
      for (const [path, text] of config(generation)) {
        mkdirSync(dirname(join(folder, path)), { recursive: true });
        writeFileSync(join(folder, path), text, { mode: 0o644 });
      }
      const used = new Set([...listing.places.values()].flatMap((it) => ("link" in it ? [] : [hexOf(it.digest)])));
      await writeAtomic(join(folder, CONTENTS_FILE), `${hexOf(digest)}\n${[...used].join("\n")}\n`);
      await syncFolder(folder);
      await rename(folder, this.path("generations", generation));
      await this.#switchTo(generation);
      return { generation, isNew: true };
    } catch (error) {
      throw ioError("write", folder, error);
    }
  }

  async #switchTo(generation: string): Promise<void> {
    const link = this.path(`.new-${CURRENT}`);
    await rm(link, { force: true });
    await symlink(join("generations", generation), link);
    await rename(link, this.path(CURRENT));
    await syncPath(this.dir);
  }

  async #digestOf(generation: string): Promise<Digest | undefined> {
    const [first] = await this.#contentsOf(generation);
    return first === undefined ? undefined : `sha256:${first}`;
  }

  /** The digest of a generation, then those of all its contents, in hex. */
  async #contentsOf(generation: string): Promise<string[]> {
    const file = this.path("generations", generation, CONTENTS_FILE);
    const text = await ifThere(file, readFile(file, "utf8"));
    return (text ?? "").split("\n").filter((it) => it !== "");
  }

  /** @param before the generation that was current before this run; without it the newest older one stays */
  async #prune(
    current: string,
    before: string | undefined,
    pool: ContentPool,
  ): Promise<{ files: number; bytes: number }> {
    const names = (await readdir(this.path("generations"))).filter((it) => /^\d+$/.test(it));
    const older = names.filter((it) => it !== current).sort((a, b) => Number(b) - Number(a));
    const kept = [current, ...[before ?? older[0]].filter((it) => it !== undefined)];
    for (const name of names.filter((it) => !kept.includes(it))) {
      const aside = this.path("generations", `.old-${name}`);
      await rename(this.path("generations", name), aside);
      await rm(aside, { recursive: true, force: true });
    }
    const needed = new Set([...pool.used].map(hexOf));
    for (const name of kept) for (const it of await this.#contentsOf(name)) needed.add(it);
    return pool.prune(needed);
  }

  async #removeUnfinished(): Promise<void> {
    for (const folder of [this.dir, this.path("generations"), this.path("isos")]) {
      for (const name of await readdir(folder))
        if (UNFINISHED.test(name) || isLeftover(name)) await rm(join(folder, name), { recursive: true, force: true });
    }
  }
}

function digestWith(listing: Listing, texts: ReadonlyMap<string, string>): Digest {
  return digestOf(JSON.stringify([listing.digest(), ...texts]));
}

/** File systems limit how many names a file has: then it is copied. */
async function linkOrCopy(file: string, name: string, digest: Digest): Promise<void> {
  try {
    linkSync(file, name);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== "EMLINK" && code !== "EPERM" && code !== "ENOTSUP" && code !== "EOPNOTSUPP") throw error;
    await copyFile(file, name);
    await utimes(name, timeOf(digest), timeOf(digest));
  }
}

/** A new or empty folder becomes a tree; any other has to be one. */
async function claimFolder(root: string, dir: string): Promise<void> {
  const file = join(root, TREE_FILE);
  const text = await ifThere(file, readFile(file, "utf8"));
  if (text !== undefined) {
    let version: unknown;
    try {
      version = (JSON.parse(text) as { treeVersion?: unknown }).treeVersion;
    } catch {
      version = undefined;
    }
    if (version === TREE_VERSION) return;
    throw new AirferryError("ERR_USAGE", `cannot write the tree "${dir}": its version is not ${TREE_VERSION}`, {
      path: file,
      hint: "use the airferry that wrote it, or a new folder",
    });
  }
  const names = (await readdir(root)).filter((it) => it !== "lost+found" && !it.startsWith(".tmp-"));
  if (names.length > 0) {
    throw new AirferryError("ERR_USAGE", `cannot write a tree into "${dir}": it has other files`, {
      path: root,
      hint: `give a new or empty folder, such as ${shellWord(join(dir, "airferry"))}`,
    });
  }
  await writeAtomic(file, `${JSON.stringify({ treeVersion: TREE_VERSION })}\n`);
}

/** A tree in a store, or a store in a tree, would be damaged by what belongs to the other. */
async function refuseInside(root: string, store: string): Promise<void> {
  const real = async (path: string): Promise<string> => {
    for (let at = path; ; at = dirname(at)) {
      const found = await realpath(at).catch(() => undefined);
      if (found !== undefined) return join(found, relative(at, path));
      if (at === dirname(at)) return path;
    }
  };
  const [tree, other] = [await real(root), await real(resolve(store))];
  const isIn = (a: string, b: string) => a === b || a.startsWith(b.endsWith(sep) ? b : `${b}${sep}`);
  if (!isIn(tree, other) && !isIn(other, tree)) {
    const found = await lstat(root).catch(() => undefined);
    if (found !== undefined && !lstatSync(tree).isDirectory())
      throw new AirferryError("ERR_USAGE", `cannot write a tree into "${root}": it is not a folder`, {
        path: root,
        hint: "give a new or empty folder",
      });
    return;
  }
  throw new AirferryError(
    "ERR_USAGE",
    `cannot write a tree into "${root}": one is inside the other: the store "${store}"`,
    {
      path: root,
      hint: "give a folder of its own, best on the same file system",
    },
  );
}

async function notThere(): Promise<undefined> {
  return undefined;
}

/** Names this run of the system; empty where it cannot be told. */
async function bootId(): Promise<string> {
  return (await readFile("/proc/sys/kernel/random/boot_id", "latin1").catch(() => "")).trim();
}
