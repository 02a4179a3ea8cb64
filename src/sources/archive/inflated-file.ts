/**
 * Reads compressed files from front to back, without a copy on disk; offsets count decompressed bytes. Everything
 * before an offset is decompressed and skipped, so callers read several parts in the file's order.
 */
import { createReadStream, type ReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { pipeline } from "node:stream";
import { COMPRESSIONS, type Codec, type Compression, inflateFault, inflaters } from "./inflate.ts";

/** One compressed file that is being read. The caller who opens it disposes it. */
export class InflatedFile implements AsyncDisposable {
  readonly #name: string;
  readonly #source: ReadStream;
  readonly #chunks: AsyncIterator<Buffer>;
  #rest: Buffer = Buffer.alloc(0);
  #position = 0;

  private constructor(file: string, compression: Compression, size: number, name: string) {
    const [inflate, limiter] = inflaters(compression, size, name);
    this.#name = name;
    this.#source = createReadStream(file, { highWaterMark: 1 << 20 });
    // Any failure is reported by the last stream, to its reader.
    pipeline(this.#source, inflate, limiter, () => {});
    this.#chunks = limiter[Symbol.asyncIterator]();
  }

  /**
   * @param name the file as the manifest names it, for messages
   * @throws {AirferryError} ERR_UPSTREAM_INVALID for an unsupported compression; system errors such as ENOENT unchanged
   */
  static async open(file: string, compression: Compression | Codec, name: string): Promise<InflatedFile> {
    const { size } = await stat(file);
    const known = COMPRESSIONS.find((it) => it === compression || it.name === compression) as Compression;
    return new InflatedFile(file, known, size, name);
  }

  /** Decompressed bytes already consumed. */
  get position(): number {
    return this.#position;
  }

  /**
   * Skips to `offset` and returns up to `length` bytes from there, fewer only at the end of the file. The offset must
   * not be consumed already.
   * @throws {AirferryError} ERR_UPSTREAM_INVALID for damage and for a decompression bomb
   */
  async *take(offset: number, length: number): AsyncGenerator<Buffer> {
    const end = offset + length;
    while (this.#position < end) {
      if (this.#rest.length === 0) {
        const next = await this.#next();
        if (next === undefined) return;
        this.#rest = next;
      }
      const until = this.#position < offset ? offset : end;
      const chunk = this.#rest.subarray(0, until - this.#position);
      const wanted = this.#position >= offset;
      this.#rest = this.#rest.subarray(chunk.length);
      this.#position += chunk.length;
      if (wanted) yield chunk;
    }
  }

  async #next(): Promise<Buffer | undefined> {
    try {
      const { done, value } = await this.#chunks.next();
      return done ? undefined : value;
    } catch (error) {
      throw inflateFault(error, this.#name);
    }
  }

  /** As a file handle reads, forward only. */
  async read(buffer: Buffer, at: number, length: number, position: number): Promise<{ bytesRead: number }> {
    let bytesRead = 0;
    for await (const chunk of this.take(position, length)) bytesRead += chunk.copy(buffer, at + bytesRead);
    return { bytesRead };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#source.destroy();
    await this.#chunks.return?.().catch(() => {});
  }
}

/** The compressed files that parts are read from: each is read once, as long as parts are requested in order. */
export class InflatedFiles implements AsyncDisposable {
  /** Idle readers, by file. */
  readonly #idle = new Map<string, InflatedFile>();

  /** `size` decompressed bytes at `offset`, fewer at the end of the file. @throws as {@link InflatedFile} does */
  async *take(file: string, codec: Codec, offset: number, size: number): AsyncGenerator<Buffer> {
    let reader = this.#idle.get(file);
    this.#idle.delete(file);
    if (reader !== undefined && reader.position > offset) {
      await reader[Symbol.asyncDispose]();
      reader = undefined;
    }
    reader ??= await InflatedFile.open(file, codec, file);
    let isWhole = false;
    try {
      yield* reader.take(offset, size);
      isWhole = true;
    } finally {
      // Two callers may have used separate readers at once: only one stays open.
      if (isWhole && !this.#idle.has(file)) this.#idle.set(file, reader);
      else await reader[Symbol.asyncDispose]();
    }
  }

  /** Closes a file that is no longer needed. */
  async close(file: string): Promise<void> {
    await this.#idle.get(file)?.[Symbol.asyncDispose]();
    this.#idle.delete(file);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const file of [...this.#idle.keys()]) await this.close(file);
  }
}
