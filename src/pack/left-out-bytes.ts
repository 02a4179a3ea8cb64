/**
 * Bytes of items that a delta leaves out: they are checked like all others, and what is made of them is the same. They
 * come from this host, and from upstream where nothing else will do.
 */
import { createHash } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { AirferryError } from "../errors.ts";
import { type Digest, digestOf, RunningDigest } from "../io/digest.ts";
import { throwIfAborted } from "../io/limit.ts";
import { inMemory, openBytes } from "../io/open-bytes.ts";
import { PIECE_BYTES } from "../io/piece-digests.ts";
import { shellWord } from "../io/shell.ts";
import type { RandomAccess } from "../io/types.ts";
import { LockFolder } from "../manifest/lock-folder.ts";
import type { Codec } from "../sources/archive/inflate.ts";
import { compressedFile } from "./fill-order.ts";
import { slice } from "./item-bytes.ts";
import type { ItemSources } from "./item-sources.ts";
import type { PackJob } from "./job.ts";
import type { LeftOutItem } from "./left-out.ts";

/** Open bytes. The caller closes them. */
interface Opened {
  bytes: RandomAccess;
  close(): Promise<void>;
}

/** Finds the bytes of items that are not carried. Nothing to close: the caller closes `sources`. */
export class LeftOutBytes {
  readonly #job: PackJob;
  readonly #sources: ItemSources;
  readonly #digestAt: (path: string) => Digest | undefined;

  /** @param digestAt of items that are not generated: what generated ones are made of */
  constructor(job: PackJob, sources: ItemSources, digestAt: (path: string) => Digest | undefined) {
    this.#job = job;
    this.#sources = sources;
    this.#digestAt = digestAt;
  }

  /** What this host has, unchecked; undefined if nothing. */
  async glance(item: LeftOutItem): Promise<Opened | undefined> {
    for await (const found of this.#places(item, false)) return found;
    return undefined;
  }

  /**
   * The right bytes, and the digests of their pieces.
   * @throws {AirferryError} ERR_UPSTREAM*; ERR_LOCK_STALE when a file of this host was changed since it was locked
   */
  async open(item: LeftOutItem): Promise<Opened & { pieces: Uint8Array }> {
    for await (const found of this.#places(item, true)) {
      const { digest, pieces } = await hashed(found.bytes).catch(async (error: unknown) => {
        await found.close();
        throw error;
      });
      if (digest === item.digest) return { ...found, pieces };
      await found.close();
    }
    const { file } = this.#job.workspace;
    throw new AirferryError(
      "ERR_LOCK_STALE",
      `cannot check "${item.path}": no place has its bytes: expected ${item.digest}`,
      {
        path: item.path,
        hint: `if it was changed on purpose: airferry lock ${shellWord(file)} --update`,
      },
    );
  }

  /**
   * Refuses a file of this host that was changed since it was locked, as without a delta: its new bytes are not what
   * the far side has. One that is no longer there is not needed.
   * @throws {AirferryError} ERR_LOCK_STALE, ERR_IO
   */
  async checkFile({ path, source, size, digest, others }: LeftOutItem): Promise<void> {
    if (source.from !== "file" || source.codec !== undefined || others?.length) return;
    const { file, offset = 0 } = source;
    const found = await openBytes(file).catch(() => undefined);
    if (found === undefined) return;
    try {
      const isWhole = source.offset === undefined ? found.bytes.size === size : found.bytes.size >= offset + size;
      if (isWhole && (await hashed(slice(found.bytes, offset, size))).digest === digest) return;
    } finally {
      await found.close();
    }
    throw new AirferryError("ERR_LOCK_STALE", `cannot pack "${path}": "${file}" changed since it was locked`, {
      path: file,
      hint: `if that is intended: airferry lock ${shellWord(this.#job.workspace.file)} --update`,
    });
  }

  /** All bytes of a small item, which are right. @throws as {@link open} does */
  async read(item: LeftOutItem): Promise<Buffer> {
    const { bytes, close } = await this.open(item);
    try {
      return Buffer.from(await bytes.read(0, bytes.size));
    } finally {
      await close();
    }
  }

  /** Wherever they may be, the nearest first. Whoever stops has one open. */
  async *#places(item: LeftOutItem, mayFetch: boolean): AsyncGenerator<Opened> {
    const { source, size, integrity } = item;
    const { workspace } = this.#job;
    if (source.from === "kept") yield opened(await new LockFolder(workspace.paths.kept).get(source.digest));
    if (source.from === "generated") {
      const made = await source.make((path) => this.#digestAt(path) ?? missing(path), item.path);
      yield opened(made);
    }
    const near = await this.#sources.near(item);
    if (near !== undefined) yield near;
    if (source.from === "file" && compressedFile(source) === undefined) {
      const { offset = 0 } = source;
      const file = await openBytes(source.file).catch(() => undefined);
      if (file !== undefined && file.bytes.size >= offset + size)
        yield { bytes: slice(file.bytes, offset, size), close: file.close };
      else await file?.close();
    }
    if (source.from === "file" && source.codec !== undefined && mayFetch)
      yield await this.#inflated(source.file, source.codec, source.offset ?? 0, size);
    if (source.from !== "url" || !mayFetch) return;
    this.#job.report(`fetching ${item.path} to check it: it is not carried`);
    const { urls, named, auth } = source;
    const got = await workspace.cache.download(workspace.fetcher, { urls, named, auth }, { integrity, maxBytes: size });
    this.#sources.cached.push(got.digest);
    const file = await workspace.cache.file(got.digest);
    if (file !== undefined) yield await openBytes(file);
  }

  /** A part of a compressed archive, in a file that has no name any more. */
  async #inflated(archive: string, codec: Codec, offset: number, size: number): Promise<Opened> {
    const { InflatedFiles } = await import("../sources/archive/inflated-file.ts");
    await using files = new InflatedFiles();
    const scratch = await mkdtemp(join(this.#job.out, ".left-out-"));
    try {
      const file = join(scratch, "part");
      await writeFile(file, files.take(archive, codec, offset, size));
      return await openBytes(file);
    } finally {
      await rm(scratch, { recursive: true, force: true });
    }
  }
}

function opened(bytes: Uint8Array): Opened {
  return { bytes: inMemory(bytes), close: async () => {} };
}

function missing(path: string): never {
  throw new AirferryError("ERR_INTERNAL", `cannot generate what depends on "${path}": it has no digest`);
}

/** SHA-256 of all bytes, and of every piece. */
async function hashed(bytes: RandomAccess): Promise<{ digest: Digest; pieces: Uint8Array }> {
  const running = new RunningDigest();
  const pieces: Buffer[] = [];
  for (let position = 0; position < bytes.size; ) {
    throwIfAborted();
    const chunk = await bytes.read(position, PIECE_BYTES);
    if (chunk.length === 0) break;
    running.update(chunk);
    pieces.push(createHash("sha256").update(chunk).digest());
    position += chunk.length;
  }
  return { digest: bytes.size === 0 ? digestOf("") : running.digest(), pieces: Buffer.concat(pieces) };
}
