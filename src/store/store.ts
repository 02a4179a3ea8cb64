/**
 * A store on disk: creates or opens it, and reads its current releases. The read side takes no lock: blobs and records
 * never change once they have their names, and `current` is replaced atomically.
 */
import { type Dirent, lstatSync } from "node:fs";
import { lstat, readdir, readFile, rm, stat } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { z } from "zod";
import type { EntryTable } from "../bundle/entry-table.ts";
import { ContentSet } from "../bundle/placed-entries.ts";
import { AirferryError } from "../errors.ts";
import { ifThere, ioError, makeFolder, writeAtomic } from "../io/atomic.ts";
import { type Digest, parseHex } from "../io/digest.ts";
import { inventoryDropped } from "../io/flat-memory.ts";
import type { HashPool } from "../io/hash-pool.ts";
import { digestSchema, parseOwn } from "../io/own-file.ts";
import { isStreamName } from "../io/path-grammar.ts";
import { hasPieces } from "../io/piece-digests.ts";
import { type HeldLock, takeLock } from "../io/process-lock.ts";
import { shellWord } from "../io/shell.ts";
import type { Bucket } from "../s3/bucket.ts";
import { isS3Name } from "../s3/s3-target.ts";
import { BlobPieces } from "./blob-pieces.ts";
import {
  blobPathIn,
  CURRENT_FILE,
  FLOOR_FILE,
  isReleaseName,
  LOCK_FILE,
  releaseName,
  STORE_FILE,
  STORE_VERSION,
  streamFolder,
  versionFault,
} from "./layout.ts";
import { verifyOwn } from "./ownership.ts";
import { readIdentity, readRelease } from "./release-record.ts";
import type { Release, ReleaseFault, StoreReader, StoreRecords } from "./types.ts";

const floorSchema = z.strictObject({
  epoch: z.int().min(0),
  serial: z.int().min(0),
  /** Of its SHA256SUMS. */
  digest: digestSchema,
  /**
   * Newest `created` of all imported releases, each at most the local time when it was imported: an earlier local clock
   * is not trusted.
   */
  created: z.iso.datetime(),
});

/** The highest release that a stream ever had here: later ones must be above it. */
export type Floor = z.output<typeof floorSchema>;

/** An open store. Holds no handles; nothing to close. */
export class Store implements StoreReader {
  readonly dir: string;
  #known = new Map<string, { mark: string; release: Release }>();
  #releases: readonly Release[] = [];
  #marks = "";
  readonly #pieces = new BlobPieces();
  faults: readonly ReleaseFault[] = [];

  /** As the operator names it: a folder, or `s3://…`. */
  readonly name: string;
  /** Reads a record from its folder; replaced where others wait meanwhile. */
  readRecord: (folder: string) => Promise<Release> = readRelease;
  /** Where it is object storage: its documents are mirrored in `dir`, its blobs are not. */
  readonly bucket: Bucket | undefined = undefined;

  constructor(dir: string, name = dir) {
    this.dir = dir;
    this.name = name;
  }

  /** Gives back what it holds; a folder holds nothing. */
  async close(): Promise<void> {}

  /**
   * Makes what was written to its documents under the lock the state of the store. A folder has it already.
   * @throws {AirferryError} ERR_BUSY when the lock was lost, and nothing more may be written
   */
  async save(): Promise<void> {}

  /** A message, an error or a report with the names that an operator knows. */
  shown<T>(value: T): T {
    return value;
  }

  /** Folder of a release's record, with the documents in it. */
  async recordFolder(stream: string, name: string): Promise<string> {
    return join(streamFolder(this.dir, stream), name);
  }

  /** Reads the record of a release. @throws {AirferryError} as {@link readRelease} */
  async release(stream: string, name: string): Promise<Release> {
    return this.readRecord(await this.recordFolder(stream, name));
  }

  /**
   * Reads a release without its provenance, lets `look` see it, and gives its memory back before the next one is read:
   * for those who look at the entries of many.
   * @throws {AirferryError} as {@link readRelease}; what `look` throws
   */
  async look<T>(stream: string, name: string, look: (release: Release) => T | Promise<T>): Promise<T> {
    const folder = await this.recordFolder(stream, name);
    // In a frame of its own, which ends: what is still in a variable is not collected.
    const seen = async () => {
      const release = await readRelease(folder, "provenance");
      return { length: release.inventory.entries.length, result: await look(release) };
    };
    const { length, result } = await seen();
    inventoryDropped({ length });
    return result;
  }

  /** Learns which blobs there are, before {@link hasBlob} is asked. A folder is looked at each time. */
  async loadBlobs(): Promise<void> {}

  /** Drops what was uploaded of objects that are not complete; a folder has its quarantine for that. */
  async dropUploads(): Promise<void> {}

  /** Removes objects of an unfinished import; a folder has none. */
  async removeObjects(_keys: readonly string[]): Promise<void> {}

  /** Removes blobs that no release needs. */
  async removeBlobs(digests: readonly Digest[]): Promise<void> {
    for (const it of digests) await rm(this.blobPath(it), { force: true });
  }

  /**
   * Whether a blob is what its name says: by its bytes, or, where it is object storage and unless `deep`, by the
   * checksum that the storage compared when it was written.
   */
  async isRight(digest: Digest, size: number, pool: HashPool, _deep = true): Promise<boolean> {
    return (await pool.hashFile(this.blobPath(digest), { length: size })).digest === digest;
  }

  /** Notes a blob that exists from now on. A folder is looked at each time. */
  addBlob(_digest: Digest, _size: number): void {}

  /** Makes room for the right bytes of a blob. */
  async dropBlob(digest: Digest): Promise<void> {
    await rm(this.blobPath(digest), { force: true });
  }

  blobPath(digest: Digest): string {
    return blobPathIn(this.dir, digest);
  }

  async pieceLists(path: string, size: number): Promise<readonly Uint8Array[] | undefined> {
    const named = parseHex(basename(path));
    const releases = await this.releasesForReads();
    if (named !== undefined && path === this.blobPath(named)) return this.#pieces.of(named, size, releases);
    // A document of a release has no pieces, and is one if it is short.
    const document = releases.flatMap((it) => it.bom ?? []).find((it) => it.file === path);
    return document === undefined || hasPieces(size) ? undefined : this.#pieces.of(document.digest, size, []);
  }

  /** The releases by which what is read is checked. */
  protected releasesForReads(): Promise<readonly Release[]> {
    return this.releases();
  }

  /** Returns whether a file of this size has the blob's path. {@link vouchedBlobs} knows whether it is the blob. */
  hasBlob(digest: Digest, size: number): boolean {
    const found = lstatSync(this.blobPath(digest), { throwIfNoEntry: false });
    return found?.isFile() === true && found.size === size;
  }

  /**
   * Contents of some entries whose blobs were checked when a release of this store was imported. Releases with an
   * unreadable record are skipped.
   */
  async vouchedBlobs(among: EntryTable): Promise<ContentSet> {
    const vouched = new ContentSet(among);
    for (const stream of await this.streams()) {
      for (const name of await this.releaseNames(stream)) {
        await this.look(stream, name, ({ inventory: { entries } }) => {
          for (let index = 0; index < among.length; index++)
            if (!vouched.hasEntry(index) && entries.findDigest(among.digestAt(index)) >= 0) vouched.addEntry(index);
        }).catch((error: unknown) => {
          if (!(error instanceof AirferryError)) throw error;
        });
      }
    }
    return vouched;
  }

  /** Every blob, in real folders of the store: links are not followed, and files without a blob's name are ignored. */
  async *blobs(): AsyncGenerator<{ digest: Digest; file: string; size: number }> {
    const root = join(this.dir, "blobs", "sha256");
    for (const folder of await listed(root)) {
      if (!folder.isDirectory() || !/^[0-9a-f]{2}$/.test(folder.name)) continue;
      for (const it of await listed(join(root, folder.name))) {
        const digest = parseHex(it.name);
        if (!it.isFile() || digest === undefined || !it.name.startsWith(folder.name)) continue;
        const file = join(root, folder.name, it.name);
        const found = await lstat(file).catch(() => undefined);
        if (found?.isFile()) yield { digest, file, size: found.size };
      }
    }
  }

  /** Checks one small file per stream; reads records only when one was replaced. */
  async releases(): Promise<readonly Release[]> {
    const marks: [string, string][] = [];
    for (const stream of await this.streams()) {
      const file = join(streamFolder(this.dir, stream), CURRENT_FILE);
      const stats = await ifThere(file, stat(file));
      if (stats !== undefined) marks.push([stream, `${stats.ino}:${stats.mtimeMs}:${stats.ctimeMs}`]);
    }
    const all = JSON.stringify(marks);
    if (all === this.#marks) return this.#releases;
    const known = new Map<string, { mark: string; release: Release }>();
    const faults: ReleaseFault[] = [];
    for (const [stream, mark] of marks) {
      const before = this.#known.get(stream);
      try {
        known.set(stream, before?.mark === mark ? before : { mark, release: await this.#readCurrent(stream) });
      } catch (error) {
        if (!(error instanceof AirferryError)) throw error;
        faults.push({ stream, error });
        if (before !== undefined) known.set(stream, before);
      }
    }
    this.#known = known;
    this.#releases = Object.freeze([...known.values()].map((it) => it.release));
    this.faults = faults;
    // After a fault the next call checks again.
    this.#marks = faults.length > 0 ? "" : all;
    return this.#releases;
  }

  /** Names of all streams that were ever imported, sorted. */
  async streams(): Promise<string[]> {
    const found = await listed(join(this.dir, "releases"));
    return found
      .filter((it) => it.isDirectory() && isStreamName(it.name))
      .map((it) => it.name)
      .sort();
  }

  /** Folder names of the releases of a stream, oldest first. */
  async releaseNames(stream: string): Promise<string[]> {
    const found = await listed(streamFolder(this.dir, stream));
    const names = found.filter((it) => it.isDirectory()).map((it) => it.name);
    const rank = (name: string) => {
      const [, epoch, serial] = /^(?:e(\d+)-)?(\d+)$/.exec(name) ?? [];
      return Number(epoch ?? 1) * 1e9 + Number(serial);
    };
    return names.filter((it) => isReleaseName(it)).sort((a, b) => rank(a) - rank(b));
  }

  /** Whether a bundle with this digest of its SHA256SUMS was imported, and its record is still here and readable. */
  async hasRelease(digest: Digest): Promise<boolean> {
    for (const stream of await this.streams()) {
      for (const name of await this.releaseNames(stream)) {
        const release = await readIdentity(await this.recordFolder(stream, name)).catch((error: unknown) => {
          if (!(error instanceof AirferryError)) throw error;
        });
        if (release?.digest === digest) return true;
      }
    }
    return false;
  }

  /** Folder name of the served release, undefined before the first. */
  async currentName(stream: string): Promise<string | undefined> {
    const file = join(streamFolder(this.dir, stream), CURRENT_FILE);
    const text = await ifThere(file, readFile(file, "utf8"));
    const name = text?.trim();
    return name !== undefined && isReleaseName(name) ? name : undefined;
  }

  /**
   * Reads the floor of a stream; undefined before its first release.
   * @throws {AirferryError} ERR_STORE_INVALID when it exists but is malformed: without it no release may count as newer
   */
  async floor(stream: string): Promise<Floor | undefined> {
    const file = join(streamFolder(this.dir, stream), FLOOR_FILE);
    const hint = `it prevents rollbacks to old releases. If you know which release was the newest: rm ${shellWord(file)}, then unpack that one again`;
    let text: string;
    try {
      text = await readFile(file, "utf8");
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code === "ENOENT") return undefined;
      throw new AirferryError("ERR_STORE_INVALID", `cannot read "${file}": ${(cause as Error).message}`, {
        path: file,
        hint,
        cause,
      });
    }
    return parseOwn(floorSchema, text, { file, what: "floor", code: "ERR_STORE_INVALID", hint });
  }

  get records(): StoreRecords {
    const nameOf = ({ inventory }: Release) => releaseName(inventory.epoch, inventory.serial);
    const recordPath = (stream: string, name: string) => join(streamFolder(this.dir, stream), name);
    return {
      history: async (stream, limit) => {
        const newest = (await this.releaseNames(stream)).reverse().slice(0, limit);
        const current = await this.currentName(stream);
        const { readHistory } = await import("./history.ts");
        return readHistory(streamFolder(this.dir, stream), newest, current);
      },
      recordPath,
      recordName: nameOf,
      signerNames: async (it) => {
        const { readSignerNames } = await import("./history.ts");
        return readSignerNames(recordPath(it.stream, nameOf(it)));
      },
    };
  }

  /**
   * Locks the store for writing, which only its owner may do: a store that others can write to proves nothing.
   * @throws {AirferryError} ERR_BUSY; ERR_STORE_INVALID when others could have put something into it
   */
  async lock(): Promise<HeldLock> {
    await verifyOwn(this.dir);
    return takeLock(join(this.dir, LOCK_FILE), this.dir);
  }

  async #readCurrent(stream: string): Promise<Release> {
    for (let attempt = 0; ; attempt++) {
      const name = await this.currentName(stream);
      const folder = join(streamFolder(this.dir, stream), name ?? "");
      if (name === undefined) {
        throw new AirferryError(
          "ERR_STORE_INVALID",
          `cannot read "${join(folder, CURRENT_FILE)}": not a release name`,
          {
            path: folder,
          },
        );
      }
      try {
        return await this.release(stream, name);
      } catch (error) {
        // Since the name was read, a newer release may have arrived and the old one may have been pruned.
        const gone = error instanceof AirferryError && error.code === "ERR_NOT_FOUND";
        if (gone && attempt < 3 && (await this.currentName(stream)) !== name) continue;
        if (!gone) throw error;
        throw new AirferryError("ERR_STORE_INVALID", `cannot read release "${folder}": it is incomplete`, {
          path: folder,
          cause: error,
        });
      }
    }
  }
}

/** The names in a folder of the store; empty when it does not exist. */
async function listed(folder: string): Promise<Dirent[]> {
  return (await ifThere(folder, readdir(folder, { withFileTypes: true }))) ?? [];
}

/**
 * Opens a store. With `create` a missing or empty folder becomes one.
 * @throws {AirferryError} ERR_NOT_FOUND, ERR_STORE_INVALID for a folder that is something else or of another version
 */
export async function openStore(dir: string, options: { create?: boolean } = {}): Promise<Store> {
  if (isS3Name(dir)) {
    throw new AirferryError("ERR_USAGE", `cannot open store "${dir}": this command needs a folder`, {
      hint: "object storage is for other commands; see docs/object-storage.md",
    });
  }
  const root = resolve(dir);
  const file = join(root, STORE_FILE);
  const text = await readFile(file, "utf8").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT" || error.code === "ENOTDIR") return undefined;
    throw ioError("read", file, error);
  });
  if (text === undefined) {
    if (options.create !== true) {
      throw await noStore(root, dir);
    }
    await createStore(root, dir);
    return new Store(root);
  }
  const fault = versionFault(text);
  if (fault === undefined) return new Store(root);
  throw new AirferryError("ERR_STORE_INVALID", `cannot open store "${dir}": ${fault}`, {
    path: file,
    hint: "use the airferry that created this store, or a newer one",
  });
}

/** A store can be created if nothing or an empty folder exists; another folder, or a file, is a wrong name. */
async function noStore(root: string, dir: string): Promise<AirferryError> {
  const path = join(root, STORE_FILE);
  const names = await readdir(root).catch((error: NodeJS.ErrnoException) => error.code);
  if (names === "ENOTDIR") {
    return new AirferryError("ERR_NOT_FOUND", `cannot open store "${dir}": it is a file: expected a store's folder`, {
      path: root,
      hint: `give the folder that airferry unpack --store was given`,
    });
  }
  if (Array.isArray(names) && names.length > 0) {
    const near = await storesNear(root, names);
    const known =
      near.length === 0
        ? "give the folder that airferry unpack --store was given"
        : `give --store ${shellWord(near[0] as string)}`;
    return new AirferryError(
      "ERR_NOT_FOUND",
      `cannot open store "${dir}": it is not a store but another folder: no ${STORE_FILE} there`,
      {
        path,
        hint: `${known}; a new store needs a new or empty folder`,
      },
    );
  }
  const fault = names === "ENOENT" ? "no such folder" : `no ${STORE_FILE} there`;
  return new AirferryError("ERR_NOT_FOUND", `cannot open store "${dir}": ${fault}`, {
    path,
    hint: `check the path; to create the store: airferry unpack BUNDLE --trust KEY --store ${shellWord(dir)}`,
  });
}

/** Stores directly above, below or next to a folder. */
async function storesNear(root: string, names: readonly string[]): Promise<string[]> {
  const found: string[] = [];
  const parent = dirname(root);
  const beside = await readdir(parent).catch(() => []);
  const places = [
    parent,
    ...names.slice(0, 100).map((it) => join(root, it)),
    ...beside.slice(0, 100).map((it) => join(parent, it)),
  ];
  for (const folder of places)
    if ((await stat(join(folder, STORE_FILE)).catch(() => undefined)) !== undefined) found.push(folder);
  return found;
}

async function createStore(root: string, dir: string): Promise<void> {
  try {
    await makeFolder(root);
    const names = (await readdir(root)).filter((it) => it !== "lost+found" && !it.startsWith(".tmp-"));
    if (names.some((it) => it !== "blobs" && it !== "releases" && it !== "incoming")) {
      throw new AirferryError("ERR_STORE_INVALID", `cannot create store "${dir}": the folder is not empty`, {
        path: root,
        hint: "give --store a new or empty folder, or the existing store",
      });
    }
    await makeFolder(join(root, "blobs", "sha256"));
    await makeFolder(join(root, "releases"));
    await makeFolder(join(root, "incoming"), 0o700);
    await writeAtomic(join(root, STORE_FILE), `${JSON.stringify({ storeVersion: STORE_VERSION })}\n`);
  } catch (error) {
    throw ioError("make", dir, error);
  }
}
