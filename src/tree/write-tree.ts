/** Writes a store's current releases as a tree for web servers: takes over, lists, switches. */
import { mkdir, readdir, rm, stat } from "node:fs/promises";
import { verifySpace } from "../io/space.ts";
import type { SilentSite } from "../server/process/silent-site.ts";
import { compose, type IsoChoice, mountName } from "./compose.ts";
import { ContentPool } from "./content-pool.ts";
import { TreeFolder } from "./generation.ts";
import { Listing } from "./listing.ts";
import { webConfig } from "./tree-texts.ts";
import type { StoredFile } from "./types.ts";
import { checkFolderPath } from "./web-site.ts";

/** How a tree is written. */
export interface TreeOptions {
  dir: string;
  /** The store's folder, or that of its cache. */
  store: string;
  /** Where the tree will be served; without it nothing is rendered. */
  base?: string | undefined;
  isos: IsoChoice;
  /** Large files become hard links to the store's. */
  link: boolean;
  /** Hash what is there already. */
  recheck: boolean;
  progress?: ((done: number, total: number) => void) | undefined;
}

/** What was written. */
export interface WrittenTree {
  /** The folder, absolute; or the name of the place in a bucket. */
  dir: string;
  /** Name of the generation that is served. */
  generation: string;
  /** False when everything was there. */
  changed: boolean;
  base: string | null;
  /** Names in the tree. */
  files: number;
  written: { files: number; bytes: number; sharedBytes: number };
  removed: { files: number; bytes: number };
  /** How many paths have no file, and the first of them with the reasons. */
  leftOut: number;
  notes: string[];
  /** The first folder on the way that other users cannot enter, such as a web server's. */
  closed: string | null;
  /** Lines for `/etc/fstab`: their file. */
  fstab: string | null;
  /** Of a bucket: how many objects below the prefix no run wrote. */
  foreign: number;
  /** Their files; of a bucket by its key, and none for Apache. */
  nginx: string;
  apache: string | null;
  /** Of a bucket: the command that shows what to do with it. */
  show: string | null;
}

/** A new inode for each, and about as many folders. */
const INODES_PER_FILE = 2;

/**
 * Writes the tree and switches to it.
 * @throws {AirferryError} ERR_USAGE for the folder; ERR_BUSY; ERR_STORE_INVALID for a damaged blob: then what was
 *   served before is served on; ERR_IO, ERR_SPACE
 */
export async function writeTree(site: SilentSite, options: TreeOptions): Promise<WrittenTree> {
  const { base, isos, link, progress } = options;
  const dir = checkFolderPath(options.dir);
  const folder = await TreeFolder.open(dir, options.store);
  try {
    let done = 0;
    let total = 0;
    const onBytes = (bytes: number) => {
      done += bytes;
      progress?.(Math.min(done, total), total);
    };
    const recheck = options.recheck || folder.isDoubtful;
    const pool = await ContentPool.open(folder.path("pool"), { link, recheck, onBytes });
    const listing = new Listing();
    const plan = async (files: readonly StoredFile[], extracted: number) => {
      total = files.reduce((sum, it) => sum + it.size, extracted);
      const lacking = files.filter((it) => pool.lacks(it));
      const bytes = (await pool.bytesFor(lacking)) + extracted;
      const largest = lacking.reduce((max, it) => Math.max(max, it.size), 0);
      await verifySpace("write", dir, { bytes, files: lacking.length * INODES_PER_FILE, largest });
    };
    const composed = await compose({ site, pool, listing, isos, base, notes: folder.path("isos"), plan });
    const web = { ...composed, dir, base };
    for (const { digest } of composed.mounts)
      await mkdir(folder.path("mounts", mountName(digest)), { recursive: true });
    const { generation, isNew, removed } = await folder.publish(listing, pool, (it) => webConfig(web, it));
    await forgetImages(folder, pool);
    const current = folder.path("current");
    return {
      dir,
      generation,
      changed: isNew,
      base: base ?? null,
      files: listing.places.size,
      written: pool.written,
      removed,
      leftOut: listing.leftOut,
      notes: listing.notes,
      foreign: 0,
      closed: await closedFolder(dir),
      fstab: composed.mounts.length === 0 ? null : `${current}/fstab`,
      nginx: `${current}/nginx/airferry.conf`,
      apache: `${current}/apache/airferry.conf`,
      show: null,
    };
  } finally {
    await folder.release();
  }
}

async function closedFolder(dir: string): Promise<string | null> {
  const parts = dir.split("/");
  for (let count = 1; count <= parts.length; count++) {
    const folder = parts.slice(0, count).join("/") || "/";
    if (((await stat(folder)).mode & 0o001) === 0) return folder;
  }
  return null;
}

/** Removes notes about images that are no longer here. */
async function forgetImages(folder: TreeFolder, pool: ContentPool): Promise<void> {
  const known = new Set([...pool.used].map((it) => `${it.slice("sha256:".length)}.json`));
  for (const name of await readdir(folder.path("isos")))
    if (!known.has(name)) await rm(folder.path("isos", name), { force: true });
}
