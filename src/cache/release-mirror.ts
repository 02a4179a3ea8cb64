/**
 * Keeps the records of current releases in a cache as they are in the bucket. Everything that SHA256SUMS names is
 * checked by its digest before the record has its name; `current` is switched last. A bucket that does not answer
 * changes nothing.
 */
import { createHash, randomBytes } from "node:crypto";
import { type FileHandle, lstat, mkdir, open, readdir, readFile, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { MAX_INVENTORY_BYTES, MAX_PIECES_BYTES, MAX_SUMS_BYTES } from "../bundle/format-limits.ts";
import { BOM_NAMES, INVENTORY_NAME, PIECES_NAME, SIGNATURES_NAME, SUMS_NAME } from "../bundle/media-names.ts";
import { parseSums } from "../bundle/sums.ts";
import { AirferryError } from "../errors.ts";
import { ifThere, ioError, makeFolder, writeAtomic } from "../io/atomic.ts";
import { type Digest, digestOf, parseHex } from "../io/digest.ts";
import { releaseMemory } from "../io/flat-memory.ts";
import { eachLimited } from "../io/limit.ts";
import { checkName, isStreamName } from "../io/path-grammar.ts";
import { shellWord } from "../io/shell.ts";
import {
  CURRENT_FILE,
  IMPORT_FILE,
  isReleaseName,
  PACKAGES_FILE,
  STORE_FILE,
  streamFolder,
  versionFault,
} from "../store/layout.ts";
import { readReleaseApart } from "../store/read-apart.ts";
import type { BucketHealth } from "./bucket-health.ts";
import { alteredBlob } from "./chunk-folder.ts";
import type { BucketObjects } from "./types.ts";

const MAX_SMALL_BYTES = 1024 * 1024;
const MAX_CURRENT_BYTES = 100;
const MAX_DOCUMENT_BYTES = 512 * 1024 * 1024;
const MAX_PACKAGES_BYTES = 128 * 1024 * 1024;
const MAX_STREAMS = 1000;
const MAX_NAMES = 1000;
/** Former releases of a stream that are mirrored. */
const MAX_PAST = 20;
/** Documents at once. */
const DOWNLOADS = 4;
const TEMPORARY = ".tmp-";
const OLD_TEMPORARY_MS = 3_600_000;
/** How long a record that is not right is left alone: it may be large, and be repaired any time. */
const REFUSED_MS = 15_000;
const FIRST_REFUSED_MS = 500;

/** What must pass before a release is mirrored; throws for one that is not wanted. */
export type Admit = (folder: string) => Promise<void>;

/** The mirror of one bucket's releases in one folder. */
export class ReleaseMirror {
  readonly #objects: BucketObjects;
  readonly #dir: string;
  readonly #health: BucketHealth;
  readonly #admit: Admit | undefined;
  /** ETags of the `current` objects that were mirrored, by stream. */
  readonly #etags = new Map<string, string>();
  /** Names of releases that may be missing, newest first, by stream. */
  readonly #past = new Map<string, string[]>();
  /** Streams whose records in the cache are damaged. */
  readonly #doubted = new Set<string>();
  /** Streams whose records in the bucket are not right, and when they are looked at again. */
  readonly #refused = new Map<string, { error: AirferryError; pauseMs: number; untilMs: number }>();
  #isStore = false;
  #changes = 0;
  #polling: Promise<void> | undefined;

  constructor(objects: BucketObjects, dir: string, health: BucketHealth, admit?: Admit) {
    this.#objects = objects;
    this.#dir = dir;
    this.#health = health;
    this.#admit = admit;
  }

  /**
   * Looks at the bucket once, and mirrors what is new. Faults of single releases do not stop others; the first is
   * thrown in the end. @throws {AirferryError} ERR_OBJECT_STORAGE; ERR_STORE_INVALID for records that are not right
   */
  poll(): Promise<void> {
    this.#polling ??= this.#poll().finally(() => {
      this.#polling = undefined;
    });
    return this.#polling;
  }

  /**
   * Mirrors what pages show of the last releases of each stream, where that is not here: not what is only needed to
   * serve them. @throws as {@link ReleaseMirror.poll}
   */
  async past(): Promise<void> {
    for (const [stream, names] of this.#past) {
      this.#past.delete(stream);
      for (const name of names) {
        const folder = join(streamFolder(this.#dir, stream), name);
        if ((await ifThere(folder, stat(folder))) === undefined) await this.#fetch(stream, name, true);
      }
    }
  }

  /** Grows whenever records come or go. */
  get changes(): number {
    return this.#changes;
  }

  /** Names of the streams in the bucket. */
  async #streams(): Promise<string[]> {
    const names = await this.#objects.list("releases/", MAX_STREAMS);
    return names
      .filter((it) => it.endsWith("/"))
      .map((it) => it.slice(0, -1))
      .filter(isStreamName);
  }

  /** Names of the releases of a stream in the bucket. */
  async #names(stream: string): Promise<string[]> {
    const names = await this.#objects.list(`releases/${stream}/`, MAX_NAMES);
    return names
      .filter((it) => it.endsWith("/"))
      .map((it) => it.slice(0, -1))
      .filter(isReleaseName);
  }

  /** Mirrors a stream again with the next look, whatever its ETag: its record in the cache is damaged. */
  doubt(stream: string): void {
    this.#etags.delete(stream);
    this.#doubted.add(stream);
  }

  async #poll(): Promise<void> {
    let streams: string[];
    try {
      streams = await this.#streams();
      // A bucket that has lost all is no reason to forget what is here.
      if (streams.length === 0 || !this.#isStore) await this.#verifyStore();
      this.#health.answered();
    } catch (error) {
      this.#health.failed(error);
      throw error;
    }
    let fault: unknown;
    for (const stream of streams) {
      const refused = this.#refused.get(stream);
      if (refused !== undefined && refused.untilMs > performance.now()) {
        fault ??= refused.error;
        continue;
      }
      try {
        await this.#follow(stream);
        this.#refused.delete(stream);
      } catch (error) {
        this.#health.failed(error);
        fault ??= error;
        if (!(error instanceof AirferryError) || isBucketFault(error)) continue;
        const pauseMs = Math.min(REFUSED_MS, refused === undefined ? FIRST_REFUSED_MS : refused.pauseMs * 2);
        this.#refused.set(stream, { error, pauseMs, untilMs: performance.now() + pauseMs });
      }
    }
    for (const stream of await this.#here()) if (!streams.includes(stream)) await this.#drop(stream);
    if (fault !== undefined) throw fault;
  }

  /** @throws {AirferryError} ERR_NOT_FOUND when no store is there, ERR_STORE_INVALID when it is of another version */
  async #verifyStore(): Promise<void> {
    const { name } = this.#objects;
    const mark = await this.#objects.read(STORE_FILE, { maxBytes: MAX_SMALL_BYTES });
    if (typeof mark !== "object") {
      throw new AirferryError("ERR_NOT_FOUND", `cannot open store "${name}": no ${STORE_FILE} there`, {
        path: name,
        hint: `check its name; to create the store: airferry unpack BUNDLE --trust KEY --store ${shellWord(name)}`,
      });
    }
    const fault = versionFault(mark.bytes.toString());
    if (fault !== undefined) {
      throw new AirferryError("ERR_STORE_INVALID", `cannot open store "${name}": ${fault}`, {
        path: name,
        hint: "use the airferry that created this store, or a newer one",
      });
    }
    this.#isStore = true;
  }

  /** Streams that are mirrored. */
  async #here(): Promise<string[]> {
    const found = (await ifThere(this.#dir, readdir(join(this.#dir, "releases"), { withFileTypes: true }))) ?? [];
    return found.filter((it) => it.isDirectory() && isStreamName(it.name)).map((it) => it.name);
  }

  async #drop(stream: string): Promise<void> {
    this.#etags.delete(stream);
    await rm(streamFolder(this.#dir, stream), { recursive: true, force: true });
    this.#changes++;
  }

  async #follow(stream: string): Promise<void> {
    const etag = this.#etags.get(stream);
    const found = await this.#objects.read(`releases/${stream}/${CURRENT_FILE}`, { maxBytes: MAX_CURRENT_BYTES, etag });
    if (found === "unchanged") return;
    // A stream whose first release is being unpacked.
    if (found === undefined) return;
    const name = found.bytes.toString("latin1").trim();
    if (!isReleaseName(name)) throw alteredBlob(`releases/${stream}/${CURRENT_FILE}`, "not the name of a release");
    const folder = streamFolder(this.#dir, stream);
    if (this.#doubted.has(stream) || !(await this.#isSame(stream, name))) await this.#fetch(stream, name);
    this.#doubted.delete(stream);
    const file = join(folder, CURRENT_FILE);
    const before = await ifThere(file, readFile(file, "latin1"));
    if (before?.trim() !== name) await writeAtomic(file, `${name}\n`);
    this.#etags.set(stream, found.etag);
    await this.#prune(stream, name);
  }

  /** Whether the record in the cache is whole, and that of the bucket. */
  async #isSame(stream: string, name: string): Promise<boolean> {
    const here = await readReleaseApart(join(streamFolder(this.#dir, stream), name)).catch(() => undefined);
    if (here === undefined) return false;
    const sums = await this.#objects.read(`releases/${stream}/${name}/${SUMS_NAME}`, { maxBytes: MAX_SUMS_BYTES });
    if (typeof sums !== "object" || digestOf(sums.bytes) !== here.digest) return false;
    // Of a former release less is here.
    const wanted = parseSums(sums.bytes).lines.filter(({ name: it }) => BOM_NAMES.includes(it) || it === PIECES_NAME);
    return (here.bom?.length ?? 0) + Number(here.pieces !== undefined) === wanted.length;
  }

  /** Removes records that the bucket no longer has. */
  async #prune(stream: string, current: string): Promise<void> {
    const names = await this.#names(stream);
    const newest = names
      .filter((it) => it !== current)
      .sort((a, b) => Number(a.length < b.length || (a.length === b.length && a < b)) * 2 - 1);
    this.#past.set(stream, newest.slice(0, MAX_PAST));
    const folder = streamFolder(this.#dir, stream);
    for (const name of await readdir(folder)) {
      const isPruned = isReleaseName(name) && name !== current && !names.includes(name);
      const path = join(folder, name);
      // Another process may be at work in a young one.
      const isLeft = name.startsWith(TEMPORARY) && Date.now() - (await lstat(path)).mtimeMs > OLD_TEMPORARY_MS;
      if (!isPruned && !isLeft) continue;
      await rm(path, { recursive: true, force: true });
      this.#changes++;
    }
  }

  async #fetch(stream: string, name: string, isPast = false): Promise<void> {
    const folder = streamFolder(this.#dir, stream);
    const key = `releases/${stream}/${name}`;
    await makeFolder(folder);
    const temporary = join(folder, `${TEMPORARY}${randomBytes(8).toString("hex")}`);
    // Reading a record compares the names of both folders.
    const record = join(temporary, stream, name);
    try {
      await mkdir(record, { recursive: true });
      const sums = await this.#download(`${key}/${SUMS_NAME}`, join(record, SUMS_NAME), MAX_SUMS_BYTES);
      if (sums === undefined) throw alteredBlob(key, `it has no ${SUMS_NAME}`);
      const { lines } = parseSums(await readFile(join(record, SUMS_NAME)));
      const documents = lines.filter(
        ({ name: it }) => it === INVENTORY_NAME || (!isPast && (BOM_NAMES.includes(it) || it === PIECES_NAME)),
      );
      await eachLimited(documents, DOWNLOADS, async (it) => {
        const limit = maxBytesOf(it.name);
        const found = await this.#download(`${key}/${it.name}`, join(record, it.name), limit, it.digest);
        // Without the digests of pieces large blobs are read whole first; without the rest there is no release.
        if (found === undefined && it.name === INVENTORY_NAME) throw alteredBlob(key, `it has no ${it.name}`);
      });
      await this.#download(`${key}/${IMPORT_FILE}`, join(record, IMPORT_FILE), MAX_SMALL_BYTES);
      if (!isPast) await this.#download(`${key}/${PACKAGES_FILE}`, join(record, PACKAGES_FILE), MAX_PACKAGES_BYTES);
      await this.#folder(`${key}/${SIGNATURES_NAME}/`, join(record, SIGNATURES_NAME));
      await readReleaseApart(record);
      // It is read again from its place: before that, what was read here may go, which can be large.
      releaseMemory();
      await this.#admit?.(record);
      const place = join(folder, name);
      await rm(join(temporary, "old"), { recursive: true, force: true });
      await rename(place, join(temporary, "old")).catch(ignoreMissing);
      await rename(record, place);
    } catch (error) {
      throw ioError("write", folder, error);
    } finally {
      await rm(temporary, { recursive: true, force: true });
      this.#changes++;
    }
  }

  /** Small files of a folder. */
  async #folder(prefix: string, to: string): Promise<void> {
    const names = (await this.#objects.list(prefix, MAX_NAMES)).filter((it) => checkName(it) === undefined);
    if (names.length === 0) return;
    await mkdir(to);
    await eachLimited(names, DOWNLOADS, async (it) => {
      await this.#download(`${prefix}${it}`, join(to, it), MAX_SMALL_BYTES);
    });
  }

  /**
   * Copies an object to a new file. Returns its digest; undefined when there is none.
   * @throws {AirferryError} ERR_STORE_INVALID when it is not as signed
   */
  async #download(key: string, file: string, maxBytes: number, signed?: Digest): Promise<Digest | undefined> {
    const hash = createHash("sha256");
    let handle: FileHandle | undefined;
    try {
      handle = await open(file, "wx", 0o644);
      const to = handle;
      const found = await this.#objects.stream(key, { maxBytes }, async (bytes) => {
        hash.update(bytes);
        await to.writeFile(bytes);
      });
      if (found === undefined) {
        await rm(file);
        return undefined;
      }
    } finally {
      await handle?.close();
    }
    const actual = parseHex(hash.digest("hex"));
    if (signed !== undefined && actual !== signed) throw alteredBlob(key, `expected ${signed}, got ${actual}`);
    return actual;
  }
}

function maxBytesOf(name: string): number {
  if (name === INVENTORY_NAME) return MAX_INVENTORY_BYTES;
  return name === PIECES_NAME ? MAX_PIECES_BYTES : MAX_DOCUMENT_BYTES;
}

function ignoreMissing(error: NodeJS.ErrnoException): void {
  if (error.code !== "ENOENT") throw error;
}

/** Whether an error is one of the bucket, which may pass. */
export function isBucketFault(error: unknown): boolean {
  return error instanceof AirferryError && error.code === "ERR_OBJECT_STORAGE";
}
