/** Writes a store's current releases as a tree into a bucket: lists, compares, writes in order, removes what is old. */
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { ioError } from "../io/atomic.ts";
import type { Digest } from "../io/digest.ts";
import { digestOf, hexOf } from "../io/digest.ts";
import { eachLimited } from "../io/limit.ts";
import { withWorkFolder } from "../io/scratch-folder.ts";
import { parseS3Target, type S3Target } from "../s3/s3-target.ts";
import { dropUploads } from "../s3/s3-upload.ts";
import type { SilentSite } from "../server/process/silent-site.ts";
import { bucketSite, checkSiteTarget, showCommand } from "./bucket-site.ts";
import { BucketTree } from "./bucket-tree.ts";
import { compose } from "./compose.ts";
import { Listing } from "./listing.ts";
import { OWN_FOLDER, type PlannedObject, planObjects, STEPS } from "./object-plan.ts";
import { ObjectPool } from "./object-pool.ts";
import { digestOfPlan } from "./object-record.ts";
import { splitObjects, writeObjects } from "./write-objects.ts";
import type { TreeOptions, WrittenTree } from "./write-tree.ts";

const MAX_NOTES_BYTES = 256 * 1024 * 1024;
const NOTES_FOLDER = `${OWN_FOLDER}isos/`;
const NOTES_AT_ONCE = 4;

interface BucketTreeOptions extends Pick<TreeOptions, "dir" | "base" | "isos" | "recheck" | "progress"> {
  /** Hears how much of new images was read to find what is inside. */
  reading?: TreeOptions["progress"];
}

interface WriteOptions extends BucketTreeOptions {
  /** Folder of notes about images. */
  notes: string;
  /** Bytes of images that will be read. */
  plan: { images: number };
}

/**
 * Writes the tree. What it changes is in such an order that whoever reads meanwhile finds what it was led to.
 * @throws {AirferryError} ERR_USAGE for the place, or too many objects; ERR_BUSY; ERR_STORE_INVALID for a damaged blob;
 *   ERR_NOT_FOUND for no bucket; ERR_OBJECT_STORAGE, ERR_SPACE, ERR_IO
 */
export async function writeBucketTree(site: SilentSite, options: BucketTreeOptions): Promise<WrittenTree> {
  const target = parseS3Target(options.dir, process.env, "tree");
  checkSiteTarget(target);
  return withWorkFolder("airferry-tree-", async (dir) => {
    const tree = await BucketTree.open(target);
    let read = 0;
    const plan = { images: 0 };
    const pool = new ObjectPool(dir, (bytes) => {
      read += bytes;
      options.reading?.(Math.min(read, plan.images), plan.images);
    });
    try {
      return await write(site, target, tree, pool, { notes: join(dir, "isos"), plan, ...options });
    } finally {
      await pool.close();
      await tree.close();
    }
  });
}

async function write(
  site: SilentSite,
  target: S3Target,
  tree: BucketTree,
  pool: ObjectPool,
  { base, isos, recheck, progress, notes, plan }: WriteOptions,
): Promise<WrittenTree> {
  const { bucket } = tree;
  await mkdir(notes).catch((error: unknown) => {
    throw ioError("create", notes, error);
  });
  if (isos === "extract") for (const it of await fetchNotes(site, tree, notes)) pool.known.add(it);
  const listing = new Listing();
  const composed = await compose({
    site,
    pool,
    listing,
    isos,
    base,
    notes,
    plan: async (_, extracted) => {
      // Blobs that are files are compared with their digests first.
      plan.images = site.store.openBlob === undefined ? 2 * extracted : extracted;
    },
  });
  const isAws = /^(?:|https?:\/\/[^/]*\.amazonaws\.com(?:\.cn)?)$/.test(target.endpoint ?? "");
  const { objects, elsewhere } = await planObjects(listing, composed, pool, { prefix: target.prefix, isAws });
  const { files, rulesLeftOut } = bucketSite({ target, base, elsewhere, hosts: composed.registry.hosts });
  for (const [name, text] of files) objects.unshift(await ownObject(pool, name, Buffer.from(text)));
  for (const name of await readdir(notes))
    objects.unshift(await ownObject(pool, `isos/${name}`, await readFile(join(notes, name))));

  const there = new Map<string, { size: number; etag: string }>();
  for await (const { key, size, etag } of bucket.list("")) there.set(key, { size, etag });
  const planned = new Set(objects.map((it) => it.key));
  const isKnown = await tree.knows();
  const isOwn = (key: string) => planned.has(key) || isKnown(key);
  const current = await tree.current();
  const digest = digestOfPlan(objects);
  const context = { bucket, pool, current, there, recheck, mayWrite: () => tree.mayWrite(), progress };
  const { right, doubtful } = splitObjects(objects, context);
  let done = { records: right, files: 0, bytes: 0 };
  const isSame = tree.digest === digest;
  if (!isSame) await tree.begin(objects, digest, there);
  if (doubtful.length > 0) {
    const written = await writeObjects(doubtful, context);
    done = { ...written, records: [...right, ...written.records] };
  }
  if (isSame && doubtful.length > 0) await tree.refresh(done.records);
  const removed = isSame ? await tree.removeRetired(there) : await tree.finish(done.records, digest, there);
  if (!isSame) {
    // Whatever a killed run was sending: this one has written all that is needed.
    await tree.mayWrite();
    await dropUploads(bucket, "", (fullKey) => isOwn(fullKey.slice(bucket.fullKey("").length)));
  }
  const foreign = [...there.keys()].filter((it) => it !== "" && !isOwn(it));
  return {
    dir: target.name,
    generation: String(tree.generation),
    changed: !isSame || done.files > 0,
    base: base ?? null,
    files: objects.length,
    written: { files: done.files, bytes: done.bytes, sharedBytes: 0 },
    removed,
    leftOut: listing.leftOut,
    notes: [
      ...listing.notes,
      ...(rulesLeftOut > 0 ? [`${rulesLeftOut} rules of website.json: S3 knows 50; nginx.conf has them all`] : []),
    ],
    foreign: foreign.length,
    closed: null,
    fstab: null,
    nginx: `${OWN_FOLDER}nginx.conf`,
    apache: null,
    show: showCommand(target),
  };
}

async function ownObject(pool: ObjectPool, name: string, bytes: Buffer): Promise<PlannedObject> {
  const digest: Digest = await pool.addBytes(bytes);
  const contentType = name.endsWith(".json") ? "application/json" : "text/plain; charset=utf-8";
  const headers = { contentType, cacheControl: "no-cache" };
  return { key: `${OWN_FOLDER}${name}`, digest, size: bytes.length, headers, step: STEPS.content };
}

/** Brings what earlier runs found in images, so that those are not read again; returns which, in hex. */
async function fetchNotes(site: SilentSite, tree: BucketTree, folder: string): Promise<string[]> {
  const known: string[] = [];
  const isKnown = await tree.knows();
  const images = site.view.releases.flatMap(({ inventory, entries }) =>
    inventory.catalog.isos.flatMap((it) => entries.get(it.path)?.digest ?? []),
  );
  await eachLimited(new Set(images.map(hexOf)), NOTES_AT_ONCE, async (hex) => {
    const key = `${NOTES_FOLDER}${hex}.json`;
    const found = await tree.bucket.get(key, MAX_NOTES_BYTES);
    // One that somebody changed could leave out files, or name others.
    if (found === undefined || !isKnown(key, digestOf(found.bytes))) return;
    const file = join(folder, `${hex}.json`);
    await writeFile(file, found.bytes).catch((error: unknown) => {
      throw ioError("write", file, error);
    });
    known.push(hex);
  });
  return known;
}
