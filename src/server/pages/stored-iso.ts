/**
 * Opened ISO images of the store, shared by all requests. They hold no file descriptor: each read borrows the shared
 * one. An image never changes, since its file is named by its digest, so parsed data stays valid.
 */

import type { RandomAccess } from "../../io/types.ts";
import { type InstallTree, readInstallTree } from "../../iso/install-tree.ts";
import { IsoImage } from "../../iso/iso-image.ts";
import type { IsoDirectoryEntry } from "../../iso/types.ts";
import type { SharedFiles } from "../http/handles.ts";

const MAX_OPEN_IMAGES = 32;

/** Random access to a stored file, borrowing its shared descriptor for the length of each read. */
class SharedBytes implements RandomAccess {
  readonly size: number;
  readonly #files: SharedFiles;
  readonly #path: string;

  constructor(files: SharedFiles, path: string, size: number) {
    this.#files = files;
    this.#path = path;
    this.size = size;
  }

  async read(position: number, length: number): Promise<Uint8Array> {
    const wanted = Math.max(0, Math.min(length, this.size - position));
    const bytes = Buffer.allocUnsafeSlow(wanted);
    const file = await this.#files.open(this.#path);
    try {
      return bytes.subarray(0, await file.fill(bytes, wanted, position));
    } finally {
      file.release();
    }
  }
}

/** An image, with its parsed content. */
export class StoredIso {
  readonly image: IsoImage;
  /** The image's file. */
  readonly file: string;
  #tree: Promise<InstallTree> | undefined;
  readonly #sorted = new WeakMap<readonly IsoDirectoryEntry[], readonly IsoDirectoryEntry[]>();

  constructor(image: IsoImage, file: string) {
    this.image = image;
    this.file = file;
  }

  /** Its repositories, kernel and keys. Read once. */
  tree(): Promise<InstallTree> {
    if (this.#tree === undefined) {
      this.#tree = readInstallTree(this.image);
      this.#tree.catch(() => {
        this.#tree = undefined;
      });
    }
    return this.#tree;
  }

  /**
   * The entries of a directory in page order: directories, then files, both by name. Sorted once: it may have many
   * pages.
   */
  async list(directory: IsoDirectoryEntry): Promise<readonly IsoDirectoryEntry[]> {
    const entries = await this.image.list(directory);
    const known = this.#sorted.get(entries);
    if (known !== undefined) return known;
    const sorted = [...entries].sort(
      (a, b) => Number(b.kind === "directory") - Number(a.kind === "directory") || (a.name < b.name ? -1 : 1),
    );
    this.#sorted.set(entries, sorted);
    return sorted;
  }
}

/** The images that one site has open; the least recently used ones are dropped. */
export class StoredIsos {
  readonly #files: SharedFiles;
  readonly #open = new Map<string, Promise<StoredIso>>();

  constructor(files: SharedFiles) {
    this.#files = files;
  }

  /**
   * Opens a stored image, or reuses an open one. `file` must be named by its digest.
   * @throws {AirferryError} ERR_ISO_INVALID when its content is unreadable; the system's error when the file is
   */
  open(file: string, size: number, label: string): Promise<StoredIso> {
    const known = this.#open.get(file);
    if (known !== undefined) {
      this.#open.delete(file);
      this.#open.set(file, known);
      return known;
    }
    const opening = IsoImage.open(new SharedBytes(this.#files, file, size), label).then(
      (image) => new StoredIso(image, file),
    );
    this.#open.set(file, opening);
    opening.catch(() => this.#open.delete(file));
    const [oldest] = this.#open.keys();
    if (oldest !== undefined && this.#open.size > MAX_OPEN_IMAGES) this.#open.delete(oldest);
    return opening;
  }
}
