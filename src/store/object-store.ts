/**
 * A store in object storage. Its documents are mirrored into a work folder laid out as a store, where all rules about
 * releases read and write them; {@link ObjectStore.save} writes what changed back, each document that others may write
 * too on the condition that it is as it was read. Blobs are never in the folder: they go up from the medium
 * (copy-objects.ts). docs/object-storage.md.
 */
import { existsSync } from "node:fs";
import { mkdir, readdir, readFile, rm, stat, truncate, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { MAX_INVENTORY_BYTES, MAX_SUMS_BYTES } from "../bundle/format-limits.ts";
import { INVENTORY_NAME, PIECES_NAME, SUMS_NAME } from "../bundle/media-names.ts";
import { AirferryError } from "../errors.ts";
import { type Digest, digestOf, hexOf, parseHex, RunningDigest } from "../io/digest.ts";
import { digestsOfFile } from "../io/hash-file.ts";
import type { HashPool } from "../io/hash-pool.ts";
import { eachLimited } from "../io/limit.ts";
import { isStreamName } from "../io/path-grammar.ts";
import type { HeldLock } from "../io/process-lock.ts";
import { makeWorkFolder } from "../io/scratch-folder.ts";
import { shellWord } from "../io/shell.ts";
import { type Bucket, openBucket } from "../s3/bucket.ts";
import { uploadFile } from "../s3/object-file.ts";
import { placeAbove } from "../s3/places.ts";
import { S3Lease } from "../s3/s3-lease.ts";
import { isS3Name, nameAt, parseS3Target, placeName } from "../s3/s3-target.ts";
import { dropUploads, PART_BYTES } from "../s3/s3-upload.ts";
import { DAMAGED_FILE } from "./known-damage.ts";
import {
  blobKey,
  CURRENT_FILE,
  FLOOR_FILE,
  IMPORT_FILE,
  isReleaseName,
  JOURNAL_FILE,
  LOCK_FILE,
  STORE_FILE,
  STORE_VERSION,
  TRUST_FOLDER,
  versionFault,
} from "./layout.ts";
import { namedAsStored } from "./object-names.ts";
import { openStore, Store } from "./store.ts";

/** Bounds of what is read without a signed size. */
const MAX_SMALL_BYTES = 1024 * 1024;
const MAX_JOURNAL_BYTES = 1024 * 1024 * 1024;
const MAX_PIECES_READ = 256 * 1024 * 1024;
const MAX_BLOBS_NOTE = 256 * 1024 * 1024;
/** More documents than this are no store that airferry wrote. */
const MAX_DOCUMENTS = 1_000_000;
const AT_ONCE = 8;
/** Documents of a release that are read before it is used; of the others only the size is known. */
const READ: Readonly<Record<string, number>> = {
  [SUMS_NAME]: MAX_SUMS_BYTES,
  [INVENTORY_NAME]: MAX_INVENTORY_BYTES,
  [IMPORT_FILE]: MAX_SMALL_BYTES,
  [PIECES_NAME]: MAX_PIECES_READ,
};
const DOCUMENT = /^(?:(?:signatures|trust)\/)?[A-Za-z0-9][A-Za-z0-9._-]*$/;
const TRUST_FILE = /^[A-Za-z0-9][A-Za-z0-9._-]*$/;
const INCOMING_STATE = /^incoming\/[0-9a-f]{64}\/bundle\.json$/;
/** These blobs came with earlier media. */
const INCOMING_BLOBS = /^incoming\/[0-9a-f]{64}\/blobs$/;
/** Documents that a killed or an overtaken process may not replace. */
const CONDITIONAL =
  /^(?:airferry-store\.json|journal\.jsonl|trust\/trust\.\d+\.json|releases\/[^/]+\/(?:current|floor\.json))$/;

/** A document as it is in the bucket. */
interface Known {
  etag: string;
  digest: Digest;
}

/**
 * Opens a store by its name: a folder, or `s3://…`. The caller closes it.
 * @throws {AirferryError} as {@link openStore}; ERR_OBJECT_STORAGE
 */
export async function openNamedStore(name: string, options: { create?: boolean } = {}): Promise<Store> {
  return isS3Name(name) ? ObjectStore.open(name, options) : openStore(name, options);
}

/**
 * Works on a store by its name, and closes it. What the work returns or throws names the store and its documents as an
 * operator knows them.
 */
export async function withStore<T>(name: string, work: (store: Store) => Promise<T>): Promise<T> {
  const store = await openNamedStore(name);
  try {
    return store.shown(await work(store));
  } catch (error) {
    throw store.shown(error);
  } finally {
    await store.close();
  }
}

/** A store whose documents are mirrored in `dir`. */
class ObjectStore extends Store {
  override readonly bucket: Bucket;
  /** By path below the folder. */
  readonly #known = new Map<string, Known>();
  /** Objects of release records by `stream/name`, by the name of the document. */
  readonly #records = new Map<string, Map<string, number>>();
  /** Files that stand for documents which were not read, by path, with their inodes. */
  readonly #sizes = new Map<string, bigint>();
  readonly #read = new Map<string, Promise<void>>();
  #blobs: Map<Digest, number> | undefined;
  #lease: S3Lease | undefined;

  private constructor(bucket: Bucket, dir: string) {
    super(dir, bucket.target.name);
    this.bucket = bucket;
  }

  /**
   * @throws {AirferryError} ERR_NOT_FOUND when there is none and `create` is not set; ERR_STORE_INVALID; ERR_USAGE for
   *   a new one inside something else
   */
  static async open(name: string, { create = false }: { create?: boolean }): Promise<ObjectStore> {
    const bucket = await openBucket(parseS3Target(name));
    let dir: string | undefined;
    try {
      const found = await bucket.get(STORE_FILE, MAX_SMALL_BYTES);
      if (found === undefined && !create) throw noStore(bucket);
      if (found === undefined) await refuseInside(bucket);
      else verifyVersion(bucket, found.bytes);
      dir = await makeWorkFolder(FOLDER);
      const store = new ObjectStore(bucket, dir);
      await store.#refresh();
      return store;
    } catch (error) {
      bucket.close();
      if (dir !== undefined) await rm(dir, { recursive: true, force: true });
      throw error;
    }
  }

  override async close(): Promise<void> {
    this.bucket.close();
    await rm(this.dir, { recursive: true, force: true });
  }

  /** Takes the lease, then reads all documents again: they may have changed since the store was opened. */
  override async lock(): Promise<HeldLock> {
    const lease = await S3Lease.take(this.bucket, LOCK_FILE);
    try {
      await this.#refresh();
    } catch (error) {
      await lease.release();
      throw error;
    }
    this.#lease = lease;
    return {
      release: async () => {
        this.#lease = undefined;
        await lease.release();
      },
    };
  }

  override async recordFolder(stream: string, name: string): Promise<string> {
    const folder = await super.recordFolder(stream, name);
    const key = `${stream}/${name}`;
    const reading = this.#read.get(key) ?? this.#readRecord(key, folder);
    this.#read.set(key, reading);
    await reading.catch((error: unknown) => {
      this.#read.delete(key);
      throw error;
    });
    return folder;
  }

  override hasBlob(digest: Digest, size: number): boolean {
    return this.#blobs?.get(digest) === size;
  }

  override async loadBlobs(): Promise<void> {
    const blobs = new Map<Digest, number>();
    const prefixes = Array.from({ length: 16 }, (_, it) => `blobs/sha256/${it.toString(16)}`);
    await eachLimited(prefixes, AT_ONCE, async (prefix) => {
      for await (const { key, size } of this.bucket.list(prefix)) {
        const [, , folder = "", hex = "", more] = key.split("/");
        const digest = parseHex(hex);
        if (digest !== undefined && hex.startsWith(folder) && folder.length === 2 && more === undefined)
          blobs.set(digest, size);
      }
    });
    this.#blobs = blobs;
  }

  override addBlob(digest: Digest, size: number): void {
    this.#blobs?.set(digest, size);
  }

  /** A blob of several parts has no checksum of the storage that is its digest: it counts as wrong unless `deep`. */
  override async isRight(digest: Digest, size: number, _pool: HashPool, deep = true): Promise<boolean> {
    if (!deep) {
      const found = await this.bucket.head(blobKey(digest));
      return found?.sha256 === Buffer.from(hexOf(digest), "hex").toString("base64");
    }
    const running = new RunningDigest();
    for await (const it of this.bucket.read(blobKey(digest), size)) running.update(it);
    return running.digest() === digest;
  }

  override async *blobs(): AsyncGenerator<{ digest: Digest; file: string; size: number }> {
    if (this.#blobs === undefined) await this.loadBlobs();
    for (const [digest, size] of this.#blobs ?? []) yield { digest, file: this.blobPath(digest), size };
  }

  override async removeBlobs(digests: readonly Digest[]): Promise<void> {
    for (let from = 0; from < digests.length; from += 1000) {
      const some = digests.slice(from, from + 1000);
      await this.#remove(some.map(blobKey));
      for (const it of some) this.#blobs?.delete(it);
    }
  }

  override async dropUploads(): Promise<void> {
    await dropUploads(this.bucket, "blobs/");
    await dropUploads(this.bucket, "incoming/");
  }

  override removeObjects(keys: readonly string[]): Promise<void> {
    return this.#remove(keys);
  }

  /** Does not exist any more for this process; the object stays until something right is written there. */
  override async dropBlob(digest: Digest): Promise<void> {
    this.#blobs?.delete(digest);
  }

  /**
   * Writes to the bucket what changed in the folder: first what others need before they see a release, last what makes
   * it visible, then the journal.
   * @throws {AirferryError} ERR_BUSY when another process holds the lock by now, or changed a document
   */
  override async save(): Promise<void> {
    await this.#lease?.check();
    const files = (await this.#files()).sort((a, b) => rank(a) - rank(b) || (a < b ? -1 : 1));
    // A store has its mark before anything else.
    for (const path of files) {
      // Writing the rest took its time: whoever took the lock since may have removed blobs of an unfinished import.
      if (path.endsWith(`/${CURRENT_FILE}`)) await this.#lease?.check();
      await this.#push(path);
    }
    await this.#forget(new Set(files));
  }

  /** Whoever took the lock since may need what was not needed: it is only removed under the lock. */
  #remove(keys: readonly string[]): Promise<void> {
    return this.bucket.remove(keys, async () => this.#lease?.check());
  }

  override shown<T>(value: T): T {
    return namedAsStored(value, this.dir, this.bucket.target);
  }

  /** Paths of all documents in the folder. */
  async #files(): Promise<string[]> {
    const found = await readdir(this.dir, { recursive: true, withFileTypes: true });
    return found
      .filter((it) => it.isFile())
      .map((it) => join(it.parentPath, it.name).slice(this.dir.length + 1))
      .filter((it) => isDocument(it));
  }

  async #push(path: string): Promise<void> {
    const file = join(this.dir, path);
    const { ino, size } = await stat(file, { bigint: true });
    if (this.#sizes.get(path) === ino) return;
    const known = this.#known.get(path);
    if (size > PART_BYTES && !CONDITIONAL.test(path)) return this.#pushLarge(path, known);
    const bytes = await readFile(file);
    const digest = digestOf(bytes);
    if (known?.digest === digest) return;
    if (!CONDITIONAL.test(path)) {
      this.#known.set(path, { etag: await this.bucket.put(path, bytes), digest });
      return;
    }
    const etag = await this.bucket.putIf(path, bytes, known === undefined ? "absent" : { etag: known.etag });
    if (etag === undefined) {
      throw new AirferryError(
        "ERR_BUSY",
        `cannot write "${path}" of "${this.name}": another airferry changed it meanwhile`,
        {
          path: this.name,
          hint: "run the same command again",
        },
      );
    }
    this.#known.set(path, { etag, digest });
  }

  async #pushLarge(path: string, known: Known | undefined): Promise<void> {
    const file = join(this.dir, path);
    const digest = (await digestsOfFile(file, PART_BYTES + 1, [])).digests.sha256;
    if (known?.digest === digest) return;
    await uploadFile(this.bucket, path, file, digest);
    this.#known.set(path, { etag: "", digest });
  }

  /** Deletes what is gone from the folder: of a record first what makes it one. */
  async #forget(there: ReadonlySet<string>): Promise<void> {
    for (const [key, documents] of this.#records) {
      if (existsSync(join(this.dir, "releases", key))) continue;
      const names = [...documents.keys()].map((it) => `releases/${key}/${it}`);
      await this.#remove([`releases/${key}/${IMPORT_FILE}`]);
      await this.#remove(names);
      this.#records.delete(key);
      for (const it of names) this.#known.delete(it);
    }
    const isNote = (it: string) => isIncoming(it) || it === DAMAGED_FILE;
    const gone = [...this.#known.keys()].filter((it) => !there.has(it) && isNote(it));
    // The state of an import is the last of its objects: without it nobody would look for the others.
    for (const state of gone.filter((it) => INCOMING_STATE.test(it))) {
      const others: string[] = [];
      for await (const { key } of this.bucket.list(`${dirname(state)}/`)) if (key !== state) others.push(key);
      await this.#remove(others);
    }
    await this.#remove(gone);
    for (const it of gone) this.#known.delete(it);
  }

  /** Mirrors all but the records of releases, of which only the names. */
  async #refresh(): Promise<void> {
    for (const it of await readdir(this.dir)) await rm(join(this.dir, it), { recursive: true, force: true });
    for (const it of [this.#known, this.#records, this.#sizes, this.#read]) it.clear();
    for (const it of ["releases", "incoming", "blobs/sha256"]) await mkdir(join(this.dir, it), { recursive: true });
    const wanted = [STORE_FILE, JOURNAL_FILE, DAMAGED_FILE];
    let documents = 0;
    for await (const { key, size } of this.bucket.list("releases/")) {
      if (++documents > MAX_DOCUMENTS) throw invalid(this.bucket, `more than ${MAX_DOCUMENTS} documents of releases`);
      const [, stream = "", name = "", ...rest] = key.split("/");
      if (!isStreamName(stream)) continue;
      if (rest.length === 0) {
        if (name === CURRENT_FILE || name === FLOOR_FILE) wanted.push(key);
      } else if (isReleaseName(name) && DOCUMENT.test(rest.join("/"))) {
        const record = this.#records.get(`${stream}/${name}`) ?? new Map<string, number>();
        this.#records.set(`${stream}/${name}`, record);
        record.set(rest.join("/"), size);
      }
      await mkdir(join(this.dir, "releases", stream), { recursive: true });
    }
    for (const [key, record] of this.#records) {
      // It comes last: before, an import was interrupted.
      if (record.has(IMPORT_FILE)) await mkdir(join(this.dir, "releases", key), { recursive: true });
    }
    for await (const { key } of this.bucket.list(`${TRUST_FOLDER}/`))
      if (TRUST_FILE.test(key.slice(TRUST_FOLDER.length + 1))) wanted.push(key);
    for await (const { key } of this.bucket.list("incoming/")) if (isIncoming(key)) wanted.push(key);
    // A new store begins with the first save.
    await writeFile(join(this.dir, STORE_FILE), `${JSON.stringify({ storeVersion: STORE_VERSION })}\n`);
    const limitOf = (path: string) => (INCOMING_BLOBS.test(path) ? MAX_BLOBS_NOTE : MAX_SMALL_BYTES);
    await eachLimited(wanted, AT_ONCE, (path) =>
      this.#fetch(path, path === JOURNAL_FILE ? MAX_JOURNAL_BYTES : limitOf(path)),
    );
  }

  async #readRecord(key: string, folder: string): Promise<void> {
    const record = this.#records.get(key);
    if (record?.has(IMPORT_FILE) !== true) return;
    await eachLimited(record, AT_ONCE, async ([name, size]) => {
      const path = `releases/${key}/${name}`;
      const most = READ[name];
      if (most !== undefined && size <= most) return this.#fetch(path, most);
      const file = join(folder, name);
      await mkdir(dirname(file), { recursive: true });
      await writeFile(file, "");
      await truncate(file, size);
      this.#sizes.set(path, (await stat(file, { bigint: true })).ino);
    });
  }

  /** Reads a document into the folder, if it exists. */
  async #fetch(path: string, most: number): Promise<void> {
    const found = await this.bucket.get(path, most);
    if (found === undefined) return;
    const file = join(this.dir, path);
    await mkdir(dirname(file), { recursive: true });
    await writeFile(file, found.bytes);
    this.#known.set(path, { etag: found.etag, digest: digestOf(found.bytes) });
  }
}

/** Whether it is noted of an unfinished import. */
function isIncoming(path: string): boolean {
  return INCOMING_STATE.test(path) || INCOMING_BLOBS.test(path);
}

function isDocument(path: string): boolean {
  const [top = "", stream = "", name = "", ...rest] = path.split("/");
  if (top === "incoming") return isIncoming(path);
  if (top === TRUST_FOLDER) return TRUST_FILE.test(path.slice(top.length + 1));
  if (top !== "releases") return path === STORE_FILE || path === JOURNAL_FILE || path === DAMAGED_FILE;
  if (rest.length === 0) return name === CURRENT_FILE || name === FLOOR_FILE;
  return isStreamName(stream) && isReleaseName(name) && DOCUMENT.test(rest.join("/"));
}

/** In which order documents are written. */
function rank(path: string): number {
  if (path === STORE_FILE) return 0;
  if (path.startsWith("incoming/")) return 1;
  if (path.startsWith(`${TRUST_FOLDER}/`)) return /trust\.\d+\.json$/.test(path) ? 3 : 2;
  if (path.endsWith(`/${IMPORT_FILE}`)) return 5;
  if (path.endsWith(`/${FLOOR_FILE}`)) return 6;
  if (path.endsWith(`/${CURRENT_FILE}`)) return 7;
  if (path === JOURNAL_FILE) return 9;
  return path.startsWith("releases/") ? 4 : 8;
}

/** Beginning of the names of work folders. */
const FOLDER = "airferry-s3-";

/** A tree is there for everybody to read, and what a store keeps inside one is in its way. */
async function refuseInside({ target }: Bucket): Promise<void> {
  const above = await placeAbove(target, ["tree"]);
  if (above === undefined) return;
  const { kind, prefix } = above;
  const free = nameAt(target, `${prefix}-store`);
  const what = kind === "tree" ? "a tree that airferry export wrote" : "another store";
  const place = placeName({ bucket: target.bucket, prefix });
  throw new AirferryError("ERR_USAGE", `cannot make a store in "${target.name}": it is inside ${what}: "${place}"`, {
    path: target.name,
    hint:
      prefix === ""
        ? "give it a bucket of its own: everything in this one is below that"
        : `give it a bucket of its own, or a prefix that nothing else has: airferry unpack BUNDLE --trust KEY --store ${shellWord(free)}`,
  });
}

function noStore({ target }: Bucket): AirferryError {
  return new AirferryError("ERR_NOT_FOUND", `cannot open store "${target.name}": no ${STORE_FILE} there`, {
    path: target.name,
    hint: `check its name; to create the store: airferry unpack BUNDLE --trust KEY --store ${shellWord(target.name)}`,
  });
}

function invalid({ target }: Bucket, fault: string): AirferryError {
  return new AirferryError("ERR_STORE_INVALID", `cannot open store "${target.name}": ${fault}`, {
    path: target.name,
    hint: "check the bucket and the prefix",
  });
}

function verifyVersion(bucket: Bucket, bytes: Buffer): void {
  const fault = versionFault(bytes.toString());
  if (fault !== undefined) throw invalid(bucket, fault);
}
