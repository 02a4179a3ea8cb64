/**
 * Gives verified files their final names as blobs. Data is forced to disk before a name exists, many files at a time,
 * so that a power loss can leave a blob missing but never empty or wrong.
 */
import { chmodSync, lstatSync, mkdirSync, renameSync } from "node:fs";
import { dirname } from "node:path";
import { ioError, syncPath } from "../io/atomic.ts";
import type { Digest } from "../io/digest.ts";
import { eachLimited, runToEnd } from "../io/limit.ts";
import { syncFiles } from "../io/sync-fs.ts";
import { blobPathIn } from "./layout.ts";

/** A group is committed when it has this many files or bytes. */
const GROUP_FILES = 16_384;
const GROUP_BYTES = 512 * 1024 * 1024;

/** Collects verified files of one store. Its creator calls `finish`, or drops it after a failure. */
export class Committer {
  readonly #dir: string;
  readonly #named: (digests: readonly Digest[]) => void;
  readonly #folders = new Set<string>();
  #group: { file: string; digest: Digest }[] = [];
  #bytes = 0;
  #running: Promise<void> = Promise.resolve();

  /** @param named called with blobs as soon as they have their names */
  constructor(dir: string, named: (digests: readonly Digest[]) => void) {
    this.#dir = dir;
    this.#named = named;
  }

  /**
   * Adds one read-only file whose bytes have been compared with its digest. Waits while earlier groups are still being
   * synced.
   */
  async add(file: string, digest: Digest, size: number): Promise<void> {
    this.#group.push({ file, digest });
    this.#bytes += size;
    if (this.#group.length >= GROUP_FILES || this.#bytes >= GROUP_BYTES) await this.flush();
  }

  /** Names one file at once that its writer has synced already. */
  addSynced(file: string, digest: Digest): void {
    try {
      chmodSync(file, 0o444);
    } catch (error) {
      throw ioError("write", file, error);
    }
    this.#name([{ file, digest }]);
  }

  /** Commits what was collected so far. */
  flush(): Promise<void> {
    const group = this.#group;
    this.#group = [];
    this.#bytes = 0;
    if (group.length === 0) return this.#running;
    this.#running = this.#running.then(async () => {
      await runToEnd(() =>
        syncFiles(
          this.#dir,
          group.map((it) => it.file),
        ),
      ).catch((error: unknown) => Promise.reject(ioError("write", this.#dir, error)));
      this.#name(group);
    });
    return this.#running;
  }

  /** Commits the rest and makes all new names durable. */
  async finish(): Promise<void> {
    await this.flush();
    await eachLimited(this.#folders, 8, syncPath);
    this.#folders.clear();
  }

  #name(group: { file: string; digest: Digest }[]): void {
    for (const { file, digest } of group) {
      const blob = blobPathIn(this.#dir, digest);
      try {
        const folder = dirname(blob);
        if (!this.#folders.has(folder)) {
          mkdirSync(folder, { recursive: true, mode: 0o755 });
          if (!lstatSync(folder).isDirectory()) throw new Error("a link instead of a folder");
          this.#folders.add(folder);
          this.#folders.add(dirname(folder));
        }
        renameSync(file, blob);
      } catch (error) {
        throw ioError("write", blob, error);
      }
    }
    this.#named(group.map((it) => it.digest));
  }
}
