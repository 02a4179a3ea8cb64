/**
 * Opened ISO images of the store, shared by all requests. They hold no file descriptor: each read borrows the shared one.
 * An image never changes, since its file is named by its digest, so what was parsed stays right.
 */

import type { RandomAccess } from "../../io/types.ts";
import { IsoImage } from "../../iso/image.ts";
import { type InstallTree, readInstallTree } from "../../iso/install-tree.ts";
import { openShared } from "../http/handles.ts";

const MAX_OPEN_IMAGES = 32;

/** Random access to a stored file, borrowing its shared descriptor for the length of each read. */
class SharedBytes implements RandomAccess {
  readonly size: number;
  readonly #path: string;

  constructor(path: string, size: number) {
    this.#path = path;
    this.size = size;
  }

  async read(position: number, length: number): Promise<Uint8Array> {
    const wanted = Math.max(0, Math.min(length, this.size - position));
    const bytes = Buffer.allocUnsafeSlow(wanted);
    const file = await openShared(this.#path);
    try {
      return bytes.subarray(0, await file.fill(bytes, wanted, position));
    } finally {
      file.release();
    }
  }
}

/** An image, with what was found out about it once. */
export interface StoredIso {
  image: IsoImage;
  /** The file that the image's bytes are in. */
  file: string;
  /** Repositories, kernel and keys in it. Read once. */
  tree(): Promise<InstallTree>;
}

const open = new Map<string, Promise<StoredIso>>();

/**
 * Opens a stored image, or takes it from the ones that are open. `file` must be named by its digest.
 * @throws {AirferryError} ERR_ISO_INVALID when its inside cannot be read; the system's error when the file cannot
 */
export function openStoredIso(file: string, size: number, label: string): Promise<StoredIso> {
  const known = open.get(file);
  if (known !== undefined) {
    open.delete(file);
    open.set(file, known);
    return known;
  }
  const opening = openIso(file, size, label);
  open.set(file, opening);
  opening.catch(() => open.delete(file));
  if (open.size > MAX_OPEN_IMAGES) open.delete(open.keys().next().value!);
  return opening;
}

async function openIso(file: string, size: number, label: string): Promise<StoredIso> {
  const image = await IsoImage.open(new SharedBytes(file, size), label);
  let tree: Promise<InstallTree> | undefined;
  return {
    image,
    file,
    tree() {
      if (tree === undefined) {
        tree = readInstallTree(image);
        tree.catch(() => {
          tree = undefined;
        });
      }
      return tree;
    },
  };
}
