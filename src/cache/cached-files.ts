/**
 * What a server opens of a cache: small blobs are files at their paths, once they were asked for; large ones are not.
 */
import { utimes } from "node:fs/promises";
import { basename } from "node:path";
import { type Digest, parseHex } from "../io/digest.ts";
import type { FileSource, PartedFile } from "../server/http/handles.ts";
import { CachedBlob, USED_MS } from "./cached-blob.ts";
import { chunkPath } from "./chunk-folder.ts";
import type { AskCache } from "./types.ts";

const MAX_OPEN = 1024;

/** The files of a cache, for one thread. */
export class CachedFiles implements FileSource {
  readonly #dir: string;
  readonly #ask: AskCache;
  readonly #isAlways: boolean;
  readonly #open = new Map<string, CachedBlob>();
  hits = 0;

  /** @param isAlways compare with digests each time */
  constructor(dir: string, ask: AskCache, isAlways: boolean) {
    this.#dir = dir;
    this.#ask = ask;
    this.#isAlways = isAlways;
  }

  #hit = (): void => {
    this.hits++;
  };

  opened(path: string): PartedFile | undefined {
    return this.#open.get(path);
  }

  async bring(path: string): Promise<PartedFile | undefined> {
    const digest = this.#digestOf(path);
    if (digest === undefined) throw Object.assign(new Error(`no such file: ${path}`), { code: "ENOENT" });
    const facts = await this.#ask({ kind: "open", digest });
    if (facts === undefined || !("size" in facts) || facts.pieces === undefined) return undefined;
    const blob = new CachedBlob(
      { digest, size: facts.size, pieces: facts.pieces },
      { dir: this.#dir, ask: this.#ask, isAlways: this.#isAlways, onHit: this.#hit },
    );
    this.#open.set(path, blob);
    if (this.#open.size > MAX_OPEN) {
      const [oldest] = this.#open.keys();
      if (oldest !== undefined) this.#open.delete(oldest);
    }
    return blob;
  }

  async discard(path: string): Promise<boolean> {
    const chunk = this.#digestOf(path);
    if (chunk === undefined) return false;
    await this.#ask({ kind: "discard", chunk });
    return true;
  }

  used(path: string, { atimeMs, mtimeMs }: { atimeMs: number; mtimeMs: number }): void {
    this.hits++;
    const now = Date.now();
    if (now - Math.max(atimeMs, mtimeMs) > USED_MS) utimes(path, now / 1000, mtimeMs / 1000).catch(() => {});
  }

  /** Where clients get a blob from the bucket itself. @throws {AirferryError} ERR_OBJECT_STORAGE */
  async urlOf(path: string): Promise<string | undefined> {
    const digest = this.#digestOf(path);
    const answer = digest && (await this.#ask({ kind: "presign", digest }));
    return answer !== undefined && "url" in answer ? answer.url : undefined;
  }

  /** The blob that has a path; undefined for other files of the cache. */
  #digestOf(path: string): Digest | undefined {
    const digest = parseHex(basename(path));
    return digest !== undefined && path === chunkPath(this.#dir, digest) ? digest : undefined;
  }
}
