/**
 * An ISO 9660 image as a tree of files, read in place over any random-access bytes: Rock Ridge if present, else Joliet,
 * else the plain names. Directories are parsed on first use and stored in a bounded cache. No network, nothing
 * unpacked.
 */
import type { RandomAccess } from "../io/types.ts";
import { type DirectoryContext, parseDirectory, parseRecord, type RawEntry } from "./directory.ts";
import { isoFault } from "./fault.ts";
import { IsoMember } from "./member.ts";
import { parseSystemUse } from "./susp.ts";
import type { IsoDirectoryEntry, IsoTree } from "./types.ts";
import { readVolumes, SECTOR_BYTES, type VolumeDescriptor } from "./volume.ts";

/** A directory of 6,000 packages takes 1.3 MB. */
const MAX_DIRECTORY_BYTES = 64 * 1024 * 1024;
const MAX_DEPTH = 128;
const MAX_LINKS = 40;
/** For a path with its links resolved: more than any system accepts. */
const MAX_STEPS = 2048;
/** Entries that the cache holds over all directories of an image. */
const MAX_CACHED_ENTRIES = 100_000;
const MAX_WALK_ENTRIES = 2_000_000;
const CONTINUATION_CHUNK_BYTES = 16 * 1024;
const MAX_CONTINUATION_BYTES = 64 * 1024;

/** A parsed directory: entries in the order of the image, and the same by name. */
interface Directory {
  entries: IsoDirectoryEntry[];
  byName: Map<string, IsoDirectoryEntry>;
}

/** An entry and its real path, symbolic links followed. */
interface Located {
  entry: IsoDirectoryEntry;
  /** Without leading slash; "" is the root. */
  path: string;
}

/** An opened image. It owns no file handle: the creator of the random access closes it, when no reader is left. */
export class IsoImage {
  /** Name of the image in messages. */
  readonly label: string;
  readonly tree: IsoTree;
  readonly volumeId: string;
  /** Size according to the volume; the file may be longer. */
  readonly volumeBytes: number;
  /** The image also has a UDF file system, which is not read. */
  readonly udf: boolean;
  readonly root: IsoDirectoryEntry;
  readonly #bytes: RandomAccess;
  readonly #context: DirectoryContext;
  /** By offset of the directory's first byte; the least recently used first. */
  readonly #cache = new Map<number, Promise<Directory>>();
  #cachedEntries = 0;
  readonly #sizes = new Map<number, number>();

  private constructor(
    bytes: RandomAccess,
    volume: VolumeDescriptor,
    root: IsoDirectoryEntry,
    context: DirectoryContext,
    udf: boolean,
  ) {
    this.#bytes = bytes;
    this.#context = context;
    this.label = context.label;
    this.tree = context.tree;
    this.volumeId = volume.volumeId;
    this.volumeBytes = volume.volumeBytes;
    this.udf = udf;
    this.root = root;
  }

  /**
   * Opens an image: reads its volume descriptors and the root's first record, nothing more.
   * @throws {AirferryError} ERR_ISO_INVALID with the offset and the reason: not ISO 9660, UDF only, malformed
   */
  static async open(bytes: RandomAccess, label: string): Promise<IsoImage> {
    const volumes = await readVolumes(bytes, label);
    const plain = contextFor(bytes, label, "iso9660", volumes.primary.blockSize);
    const { entry, suspSkip } = await readRoot(bytes, volumes.primary, plain);
    if (suspSkip !== undefined) {
      const context = { ...plain, tree: "rock-ridge" as const, suspSkip };
      return new IsoImage(bytes, volumes.primary, entry, context, volumes.udf);
    }
    if (volumes.joliet !== undefined) {
      const context = contextFor(bytes, label, "joliet", volumes.joliet.blockSize);
      const root = await readRoot(bytes, volumes.joliet, context);
      return new IsoImage(bytes, volumes.joliet, root.entry, context, volumes.udf);
    }
    return new IsoImage(bytes, volumes.primary, entry, plain, volumes.udf);
  }

  /**
   * Lists a directory by its entry, in the order of the image. The array is shared: do not change it.
   * @throws {AirferryError} ERR_ISO_INVALID with the offset of what is wrong in it
   */
  async list(directory: IsoDirectoryEntry): Promise<readonly IsoDirectoryEntry[]> {
    return (await this.#directory(directory)).entries;
  }

  /**
   * Finds a path (`a/b/c`; leading, trailing and doubled slashes do not matter), following symbolic links, at most 40,
   * over at most 2048 segments. Returns undefined when it does not exist, or a link leaves the image or loops. On a
   * tree of plain upper-case names, case does not matter.
   * @throws {AirferryError} ERR_ISO_INVALID when a directory on the way is malformed
   */
  async find(path: string): Promise<Located | undefined> {
    const todo = segmentsOf(path);
    const at: IsoDirectoryEntry[] = [this.root];
    const names: string[] = [];
    let links = 0;
    let steps = 0;
    for (let name = todo.shift(); name !== undefined; name = todo.shift()) {
      if (++steps > MAX_STEPS) return undefined;
      const directory = at.at(-1) ?? this.root;
      if (directory.kind !== "directory") return undefined;
      if (name === ".") continue;
      if (name === "..") {
        if (names.pop() === undefined) return undefined;
        at.pop();
        continue;
      }
      const entry = await this.#child(directory, name);
      if (entry === undefined) return undefined;
      if (entry.kind === "symlink") {
        if (++links > MAX_LINKS || entry.link === undefined) return undefined;
        if (entry.link.startsWith("/")) {
          at.length = 1;
          names.length = 0;
        }
        todo.unshift(...segmentsOf(entry.link));
        continue;
      }
      this.#checkLoop(at, entry);
      at.push(entry);
      names.push(entry.name);
    }
    return { entry: at.at(-1) ?? this.root, path: names.join("/") };
  }

  /**
   * Gives random access to a file's bytes. Costs nothing; the image's own random access does the reading.
   * @throws {AirferryError} ERR_ISO_INVALID when the content is compressed or interleaved, or it is not a file
   */
  member(entry: IsoDirectoryEntry): IsoMember {
    if (entry.unreadable !== undefined || entry.kind !== "file") {
      throw isoFault(
        this.label,
        entry.recordOffset,
        `cannot read ${JSON.stringify(entry.name)}: ${entry.unreadable ?? `it is a ${entry.kind}`}`,
        { expected: "a plain file", hint: "carry the whole image and mount it where this file is needed" },
      );
    }
    return new IsoMember(this.#bytes, entry.extents);
  }

  /**
   * Walks the whole tree, depth first, directories before what is in them; links are returned, not followed.
   * @throws {AirferryError} ERR_ISO_INVALID on a loop, a directory reached twice, or over two million entries
   */
  async *walk(): AsyncGenerator<Located> {
    const seen = new Set<number>([startOf(this.root)]);
    const stack: { path: string; entries: readonly IsoDirectoryEntry[]; next: number }[] = [
      { path: "", entries: await this.list(this.root), next: 0 },
    ];
    let count = 0;
    for (let top = stack.at(-1); top !== undefined; top = stack.at(-1)) {
      const entry = top.entries[top.next++];
      if (entry === undefined) {
        stack.pop();
        continue;
      }
      const path = top.path === "" ? entry.name : `${top.path}/${entry.name}`;
      if (++count > MAX_WALK_ENTRIES) {
        throw isoFault(this.label, entry.recordOffset, "too many files", { expected: `at most ${MAX_WALK_ENTRIES}` });
      }
      yield { entry, path };
      if (entry.kind !== "directory") continue;
      const start = startOf(entry);
      if (entry.extents.length > 0) {
        if (seen.has(start)) throw this.#loop(entry);
        seen.add(start);
      }
      if (stack.length >= MAX_DEPTH) throw this.#tooDeep(entry);
      stack.push({ path, entries: await this.list(entry), next: 0 });
    }
  }

  async #child(directory: IsoDirectoryEntry, name: string): Promise<IsoDirectoryEntry | undefined> {
    const { byName } = await this.#directory(directory);
    return byName.get(name) ?? (this.tree === "iso9660" ? byName.get(name.toUpperCase()) : undefined);
  }

  #checkLoop(ancestors: readonly IsoDirectoryEntry[], entry: IsoDirectoryEntry): void {
    if (entry.kind !== "directory" || entry.extents.length === 0) return;
    if (ancestors.length >= MAX_DEPTH) throw this.#tooDeep(entry);
    if (ancestors.some((it) => startOf(it) === startOf(entry))) throw this.#loop(entry);
  }

  #loop(entry: IsoDirectoryEntry): Error {
    return isoFault(this.label, entry.recordOffset, `directory ${JSON.stringify(entry.name)} is reached twice`, {
      expected: "a tree without loops",
    });
  }

  #tooDeep(entry: IsoDirectoryEntry): Error {
    return isoFault(this.label, entry.recordOffset, "directories too deep", {
      expected: `at most ${MAX_DEPTH} levels`,
    });
  }

  #directory(entry: IsoDirectoryEntry): Promise<Directory> {
    const start = startOf(entry);
    const cached = this.#cache.get(start);
    if (cached !== undefined) {
      this.#cache.delete(start);
      this.#cache.set(start, cached);
      return cached;
    }
    const loading = this.#load(entry);
    this.#cache.set(start, loading);
    loading.then(
      (directory) => this.#keep(start, loading, directory.entries.length + 1),
      () => {
        if (this.#cache.get(start) === loading) this.#cache.delete(start);
      },
    );
    return loading;
  }

  /** Counts a loaded directory and drops the least recently used ones while there are too many entries. */
  #keep(start: number, loading: Promise<Directory>, entries: number): void {
    if (this.#cache.get(start) !== loading) return;
    this.#sizes.set(start, entries);
    this.#cachedEntries += entries;
    for (const oldest of this.#cache.keys()) {
      if (this.#cachedEntries <= MAX_CACHED_ENTRIES || oldest === start) break;
      this.#cachedEntries -= this.#sizes.get(oldest) ?? 0;
      this.#sizes.delete(oldest);
      this.#cache.delete(oldest);
    }
  }

  async #load(entry: IsoDirectoryEntry): Promise<Directory> {
    const extent = entry.extents[0];
    if (extent === undefined) return { entries: [], byName: new Map() };
    if (extent.size > MAX_DIRECTORY_BYTES) {
      throw isoFault(this.label, entry.recordOffset, `directory ${JSON.stringify(entry.name)} too large`, {
        expected: `at most ${MAX_DIRECTORY_BYTES} bytes`,
        actual: String(extent.size),
      });
    }
    const context = { ...this.#context, readContinuation: continuationReader(this.#bytes, this.label) };
    const records = await this.#bytes.read(extent.offset, extent.size);
    const entries: IsoDirectoryEntry[] = [];
    for (const raw of await parseDirectory(records, extent.offset, context)) {
      if (raw.relocated && raw.childBlock === undefined) continue;
      if (raw.childBlock !== undefined) await this.#moveTo(raw, raw.childBlock);
      entries.push(raw);
    }
    return { entries, byName: new Map(entries.map((it) => [it.name, it])) };
  }

  /** Resolves a relocated directory (CL): its size is in the "." record there. */
  async #moveTo(entry: RawEntry, block: number): Promise<void> {
    const offset = block * this.#context.blockSize;
    const first = await this.#bytes.read(offset, SECTOR_BYTES);
    if (first.length < 34) {
      throw isoFault(
        this.label,
        entry.recordOffset,
        `relocated directory ${JSON.stringify(entry.name)} outside the image`,
        {
          expected: `a place before ${this.#bytes.size}`,
          actual: String(offset),
        },
      );
    }
    const self = parseRecord(first, 0, offset, this.#context);
    if (self.extent.offset !== offset || offset + self.extent.size > this.#bytes.size || self.extent.size === 0) {
      throw isoFault(
        this.label,
        offset,
        `relocated directory ${JSON.stringify(entry.name)} does not begin with itself`,
        {
          expected: `a "." record for byte ${offset}`,
          actual: `one for ${self.extent.offset}, ${self.extent.size} bytes`,
        },
      );
    }
    entry.size = self.extent.size;
    entry.extents = [self.extent];
  }
}

function contextFor(bytes: RandomAccess, label: string, tree: IsoTree, blockSize: number): DirectoryContext {
  const readContinuation = continuationReader(bytes, label);
  return { label, tree, blockSize, imageSize: bytes.size, suspSkip: 0, readContinuation };
}

/** Reads the root's record from the descriptor, and detects Rock Ridge in its "." record. */
async function readRoot(
  bytes: RandomAccess,
  volume: VolumeDescriptor,
  context: DirectoryContext,
): Promise<{ entry: IsoDirectoryEntry; suspSkip?: number }> {
  const record = parseRecord(volume.rootRecord, 0, volume.rootOffset, context);
  const { extent } = record;
  if (extent.size === 0 || extent.offset + extent.size > bytes.size) {
    throw isoFault(context.label, volume.rootOffset, "root directory outside the image", {
      expected: `1 to ${bytes.size} bytes`,
      actual: `${extent.size} bytes at ${extent.offset}`,
    });
  }
  const entry: IsoDirectoryEntry = {
    name: "/",
    kind: "directory",
    size: extent.size,
    extents: [extent],
    recordOffset: volume.rootOffset,
    ...(record.mtime === undefined ? {} : { mtime: record.mtime }),
  };
  const first = await bytes.read(extent.offset, SECTOR_BYTES);
  if (first[0] === 0) return { entry };
  const self = parseRecord(first, 0, extent.offset, context);
  // CD-XA puts 14 bytes before SP (SUSP 5.3).
  const skip = self.systemUse[6] === 0x58 && self.systemUse[7] === 0x41 ? 14 : 0;
  const area = self.systemUse.subarray(skip);
  if (area[0] !== 0x53 || area[1] !== 0x50) return { entry };
  const { label, blockSize, readContinuation } = context;
  const rock = await parseSystemUse(area, self.systemUseOffset + skip, label, blockSize, readContinuation);
  const isRockRidge =
    rock.mode !== undefined || rock.extensions.some((id) => /^(RRIP_1991A|IEEE_P1282|IEEE_1282)$/.test(id));
  return isRockRidge && rock.sharing !== undefined ? { entry, suspSkip: rock.sharing.skip } : { entry };
}

/** Reads continuation areas in larger pieces, since those of one directory are adjacent. */
function continuationReader(bytes: RandomAccess, label: string): DirectoryContext["readContinuation"] {
  let start = 0;
  let chunk = new Uint8Array(0);
  return async (offset, length, from) => {
    if (length > MAX_CONTINUATION_BYTES || offset + length > bytes.size) {
      throw isoFault(label, from, "continuation area out of bounds", {
        expected: `at most ${MAX_CONTINUATION_BYTES} bytes that end at ${bytes.size} or before`,
        actual: `${length} bytes at ${offset}`,
      });
    }
    if (offset < start || offset + length > start + chunk.length) {
      chunk = new Uint8Array(await bytes.read(offset, Math.max(length, CONTINUATION_CHUNK_BYTES)));
      start = offset;
    }
    return chunk.subarray(offset - start, offset - start + length);
  };
}

function startOf(entry: IsoDirectoryEntry): number {
  return entry.extents[0]?.offset ?? -1 - entry.recordOffset;
}

function segmentsOf(path: string): string[] {
  return path.split("/").filter((it) => it !== "");
}
