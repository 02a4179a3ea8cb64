/**
 * Where the contents of a tree in a bucket come from: files of the store, files inside images, and texts that were
 * made, which wait in a work folder. Nothing is copied here: whoever writes an object reads its content from here and
 * compares it with the digest.
 */
import { createHash } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { AirferryError, bug } from "../errors.ts";
import { ioError } from "../io/atomic.ts";
import { type Digest, digestOf, hexOf } from "../io/digest.ts";
import { digestsOfFile } from "../io/hash-file.ts";
import { throwIfAborted } from "../io/limit.ts";
import { openBytes } from "../io/open-bytes.ts";
import type { RandomAccess } from "../io/types.ts";
import { IsoImage } from "../iso/iso-image.ts";
import type { OpenBlob } from "../store/types.ts";
import { damagedBlob } from "./content-pool.ts";
import type { InsideImage, StoredFile, TreeContents } from "./types.ts";

const CHUNK_BYTES = 1024 * 1024;

type Source = { size: number } & ({ stored: StoredFile } | { file: string } | { from: InsideImage });

/** The contents of one tree. Close it. */
export class ObjectPool implements TreeContents {
  /** Images of which it is known what is inside, in hex. */
  readonly known = new Set<string>();
  readonly #dir: string;
  readonly #onRead: ((bytes: number) => void) | undefined;
  readonly #sources = new Map<Digest, Source>();
  readonly #images = new Map<Digest, Promise<{ image: IsoImage; close(): Promise<void> }>>();
  readonly #verified = new Map<Digest, Promise<void>>();

  /**
   * @param dir an empty folder, for texts
   * @param onRead hears of bytes of images that are read to find what is inside
   */
  constructor(dir: string, onRead?: (bytes: number) => void) {
    this.#dir = dir;
    this.#onRead = onRead;
  }

  async close(): Promise<void> {
    const open = [...this.#images.values()];
    this.#images.clear();
    for (const it of open) await (await it.catch(() => undefined))?.close();
  }

  async addFile(stored: StoredFile): Promise<void> {
    this.#sources.set(stored.digest, { size: stored.size, stored });
  }

  async addBytes(bytes: Uint8Array): Promise<Digest> {
    throwIfAborted();
    const digest = digestOf(bytes);
    if (this.#sources.has(digest)) return digest;
    const file = join(this.#dir, hexOf(digest));
    this.#sources.set(digest, { size: bytes.length, file });
    await writeFile(file, bytes).catch((error: unknown) => {
      throw ioError("write", file, error);
    });
    return digest;
  }

  async addAll(source: RandomAccess, from: InsideImage): Promise<Digest> {
    const hash = createHash("sha256");
    for (let at = 0; at < source.size; ) {
      throwIfAborted();
      const chunk = await source.read(at, Math.min(CHUNK_BYTES, source.size - at));
      if (chunk.length === 0) throw new AirferryError("ERR_IO", `cannot read a file in an ISO: it ends at byte ${at}`);
      hash.update(chunk);
      at += chunk.length;
      this.#onRead?.(chunk.length);
    }
    const digest: Digest = `sha256:${hash.digest("hex")}`;
    await this.has(digest, source.size, from);
    return digest;
  }

  async has(digest: Digest, size: number, from: InsideImage): Promise<boolean> {
    if (!this.#sources.has(digest)) this.#sources.set(digest, { size, from });
    return true;
  }

  lacks({ digest }: StoredFile): boolean {
    return !this.known.has(hexOf(digest));
  }

  /** Bytes of a content that was added. */
  sizeOf(digest: Digest): number {
    return this.#source(digest).size;
  }

  async openImage(digest: Digest): Promise<OpenBlob> {
    const source = this.#source(digest);
    if (!("stored" in source)) bug(`${digest} is no file of the store`);
    const { stored } = source;
    if (stored.open !== undefined) return stored.open();
    // What is inside has no digest of its own to compare with.
    const verified = this.#verified.get(digest) ?? verifyFile(stored, this.#onRead);
    this.#verified.set(digest, verified);
    await verified;
    return openBytes(stored.file);
  }

  /** Opens a content that was added; what is read of it was not compared with anything. The caller closes it. */
  async open(digest: Digest): Promise<OpenBlob> {
    const source = this.#source(digest);
    if ("file" in source) return openBytes(source.file);
    if ("stored" in source) {
      if (source.stored.open !== undefined) return source.stored.open();
      const { file } = source.stored;
      return openBytes(file).catch((error: NodeJS.ErrnoException) => {
        if (error.code === "ENOENT") throw damagedBlob(source.stored, "no such file");
        throw ioError("read", file, error);
      });
    }
    const { iso, path } = source.from;
    const { image } = await this.#image(iso);
    const found = await image.find(path);
    if (found === undefined)
      throw new AirferryError("ERR_STORE_INVALID", `cannot read "${path}" of an ISO: it is gone`);
    return { bytes: image.member(found.entry), close: async () => {} };
  }

  /** What a content is of, for a message about one that is damaged. */
  nameOf(digest: Digest): Pick<StoredFile, "digest" | "file"> {
    const source = this.#source(digest);
    return {
      digest,
      file: "stored" in source ? source.stored.file : "file" in source ? source.file : source.from.path,
    };
  }

  /** All of a small content. */
  async read(digest: Digest): Promise<Uint8Array> {
    const { bytes, close } = await this.open(digest);
    try {
      return await bytes.read(0, bytes.size);
    } finally {
      await close();
    }
  }

  #image(digest: Digest): Promise<{ image: IsoImage; close(): Promise<void> }> {
    const known = this.#images.get(digest);
    if (known !== undefined) return known;
    const opened = this.openImage(digest).then(async ({ bytes, close }) => ({
      image: await IsoImage.open(bytes, digest),
      close,
    }));
    this.#images.set(digest, opened);
    return opened;
  }

  #source(digest: Digest): Source {
    return this.#sources.get(digest) ?? bug(`the content ${digest} was not added`);
  }
}

async function verifyFile(stored: StoredFile, onRead: ((bytes: number) => void) | undefined): Promise<void> {
  const { digests, read } = await digestsOfFile(stored.file, stored.size, [], onRead).catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") throw damagedBlob(stored, "no such file");
    throw ioError("read", stored.file, error);
  });
  if (read !== stored.size || digests.sha256 !== stored.digest)
    throw damagedBlob(stored, `${read} bytes, ${digests.sha256}`);
}
