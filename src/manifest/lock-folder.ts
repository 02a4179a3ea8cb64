/**
 * The folder `x.lock.d/` next to a lock: small blobs that the lock depends on, by digest. docs/manifest.md, "The lock".
 */
import { readdir, readFile, rm, stat } from "node:fs/promises";
import { basename, join } from "node:path";
import { AirferryError } from "../errors.ts";
import { ifThere, makeFolder, writeAtomic } from "../io/atomic.ts";
import { type Digest, digestOf, hexOf, parseHex } from "../io/digest.ts";

/** The blobs of `x.lock.d/`, each in a file named by its 64 hex digits. */
export class LockFolder {
  readonly #dir: string;

  constructor(dir: string) {
    this.#dir = dir;
  }

  /** Path of a blob's file, whether it exists or not. */
  fileOf(digest: Digest): string {
    return join(this.#dir, hexOf(digest));
  }

  async put(bytes: Uint8Array): Promise<Digest> {
    const digest = digestOf(bytes);
    if (!(await this.has(digest))) {
      await makeFolder(this.#dir);
      await writeAtomic(this.fileOf(digest), bytes);
    }
    return digest;
  }

  async has(digest: Digest): Promise<boolean> {
    const file = this.fileOf(digest);
    return (await ifThere(file, stat(file))) !== undefined;
  }

  /**
   * @throws {AirferryError} ERR_LOCK_INVALID when it is missing or its bytes do not match the digest; ERR_IO when it
   *   cannot be read
   */
  async get(digest: Digest): Promise<Buffer> {
    const file = this.fileOf(digest);
    const bytes = await ifThere(file, readFile(file));
    const actual = bytes && digestOf(bytes);
    if (bytes === undefined || actual !== digest) {
      throw new AirferryError(
        "ERR_LOCK_INVALID",
        `cannot read "${basename(file)}" of the lock: ${bytes ? `expected ${digest}, got ${actual}` : "missing"}`,
        { path: file, hint: "restore the folder next to the lock, or run airferry lock MANIFEST --update" },
      );
    }
    return bytes;
  }

  /** Removes blobs that no lock entry refers to. */
  async retain(used: ReadonlySet<string>): Promise<void> {
    for (const name of (await ifThere(this.#dir, readdir(this.#dir))) ?? []) {
      const digest = parseHex(name);
      if (digest !== undefined && !used.has(digest)) await rm(join(this.#dir, name), { force: true });
    }
  }
}
