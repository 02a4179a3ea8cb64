/**
 * The download cache: complete artifacts that had to be fetched before the layout of a bundle was known, by SHA-256.
 * `lock` fills it when it pins on first sight, `pack` moves its content into the bundle. Partial downloads survive a
 * kill.
 */

import { open, readdir, readFile, rename, rm, stat } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { z } from "zod";
import { AirferryError } from "../errors.ts";
import { fetchChecked } from "../fetch/checked.ts";
import type { Fetcher, FetchSink, FetchTarget } from "../fetch/types.ts";
import { ifThere, ioError, makeFolder } from "../io/atomic.ts";
import { type Digest, digestOf, hexOf, RunningDigest } from "../io/digest.ts";
import { algorithmsIn, type Integrity, mismatchOf } from "../io/integrity.ts";
import { throwIfAborted } from "../io/limit.ts";
import { parseNote } from "../io/own-file.ts";
import { type HeldLock, takeLock } from "../io/process-lock.ts";

/** `$AIRFERRY_CACHE`, else `$XDG_CACHE_HOME/airferry`, else `~/.cache/airferry`. */
export function defaultCacheDir(env: NodeJS.ProcessEnv = process.env): string {
  return env["AIRFERRY_CACHE"] || join(env["XDG_CACHE_HOME"] || join(homedir(), ".cache"), "airferry");
}

/** One that was downloaded; what else upstream said of it. */
export interface CachedArtifact {
  digest: Digest;
  size: number;
  etag?: string;
  lastModified?: string;
  contentType?: string;
}

/**
 * An endless body stops here if no digest or size is known. Larger artifacts exist: they need a digest or a limit in
 * the manifest.
 */
export const MAX_FIRST_SIGHT_BYTES = 64 * 1024 ** 3;

type CacheTarget = Pick<FetchTarget, "urls" | "named" | "auth" | "maxBytes" | "integrity">;

export class DownloadCache {
  readonly #dir: string;
  /** By URL: entries that name the same one share a download. */
  readonly #downloads = new Map<string, Promise<CachedArtifact>>();
  #names: Promise<Set<string>> | undefined;

  constructor(dir: string) {
    this.#dir = dir;
  }

  /** Path of a complete artifact; undefined when it is not cached. Whoever copies its bytes checks them again. */
  async file(digest: Digest): Promise<string | undefined> {
    const name = hexOf(digest);
    if (!(await this.#listed()).has(name)) return undefined;
    const path = join(this.#dir, "sha256", name);
    return stat(path).then(
      () => path,
      () => undefined,
    );
  }

  /** Names of what was here at the first look, or came since by this process: thousands of artifacts are asked for. */
  #listed(): Promise<Set<string>> {
    this.#names ??= readdir(join(this.#dir, "sha256")).then(
      (names) => new Set(names),
      () => new Set(),
    );
    return this.#names;
  }

  async remove(digest: Digest): Promise<void> {
    await rm(join(this.#dir, "sha256", hexOf(digest)), { force: true });
  }

  /**
   * Downloads one artifact, resuming an earlier partial download of the same URL, and stores it under its digest. Two
   * calls for one URL download it once. With `integrity`, from whichever mirror has those bytes.
   * @throws {AirferryError} ERR_UPSTREAM*; ERR_SPACE and ERR_IO when the cache cannot be written
   */
  download(
    fetcher: Fetcher,
    target: Pick<FetchTarget, "urls" | "named" | "auth">,
    limits: { maxBytes?: number | undefined; integrity?: Integrity | undefined } = {},
    progress?: (bytes: number) => void,
  ): Promise<CachedArtifact> {
    const key = [...target.urls, limits.integrity ?? ""].join("\n");
    const running = this.#downloads.get(key);
    if (running !== undefined) return running;
    const maxBytes = limits.maxBytes ?? (limits.integrity === undefined ? MAX_FIRST_SIGHT_BYTES : undefined);
    const started = this.#download(fetcher, { ...target, ...limits, maxBytes }, progress).catch((cause: unknown) => {
      this.#downloads.delete(key);
      throw ioError("store the download in", this.#dir, cause);
    });
    this.#downloads.set(key, started);
    return started;
  }

  async #download(fetcher: Fetcher, target: CacheTarget, progress?: (bytes: number) => void): Promise<CachedArtifact> {
    await makeFolder(join(this.#dir, "sha256"));
    const stem = join(this.#dir, hexOf(digestOf(target.urls[0] ?? "")));
    const lock = await tryLock(`${stem}.lock`);
    // Another process downloads the same artifact: this one stores its bytes separately.
    const part = lock === undefined ? `${stem}.${process.pid}.part` : `${stem}.part`;
    const note = lock === undefined ? undefined : `${stem}.json`;
    try {
      return await this.#fetchInto(fetcher, target, part, note, progress);
    } finally {
      if (lock === undefined) await rm(part, { force: true });
      await lock?.release();
    }
  }

  async #fetchInto(
    fetcher: Fetcher,
    target: CacheTarget,
    part: string,
    note: string | undefined,
    progress?: (bytes: number) => void,
  ): Promise<CachedArtifact> {
    const file = await open(part, "a+", 0o600);
    let noting: Promise<void> = Promise.resolve();
    try {
      let position = 0;
      const algorithms = algorithmsIn(target.integrity);
      let running = new RunningDigest(algorithms);
      const earlier = note === undefined ? undefined : await readNote(note);
      if (earlier) {
        for await (const chunk of file.createReadStream({ start: 0, autoClose: false, highWaterMark: 1 << 20 })) {
          throwIfAborted();
          running.update(chunk as Buffer);
          position += (chunk as Buffer).length;
        }
      } else await file.truncate(0);
      let validator = earlier;
      const sink: FetchSink = {
        get position() {
          return position;
        },
        get validator() {
          return validator;
        },
        async write(chunk) {
          await file.write(chunk);
          running.update(chunk);
          position += chunk.length;
          progress?.(chunk.length);
        },
        async restart() {
          await file.truncate(0);
          running = new RunningDigest(algorithms);
          position = 0;
        },
        began(response) {
          validator = response;
          // Partial bytes are useful only with a validator.
          if (note !== undefined && (response.etag ?? response.lastModified)) {
            noting = noting.then(() => writeNote(note, response)).catch(() => {});
          }
        },
      };
      const check = async (from: string) => faultOf(from, target.integrity, running, position);
      const head = await fetchChecked(fetcher, target, sink, { check });
      await file.sync();
      const digest = running.digest();
      await rename(part, join(this.#dir, "sha256", hexOf(digest)));
      (await this.#listed()).add(hexOf(digest));
      return {
        digest,
        size: position,
        ...(head?.etag && { etag: head.etag }),
        ...(head?.lastModified && { lastModified: head.lastModified }),
        ...(head?.contentType && { contentType: head.contentType }),
      };
    } finally {
      await noting;
      await file.close();
      await dropUseless(part, note).catch(() => {});
    }
  }
}

function faultOf(
  from: string,
  wanted: Integrity | undefined,
  running: RunningDigest,
  size: number,
): AirferryError | undefined {
  const wrong = wanted && mismatchOf(wanted, running.peek());
  if (wrong === undefined) return undefined;
  const { expected, actual } = wrong;
  return new AirferryError(
    "ERR_UPSTREAM_DIGEST",
    `cannot use "${from}": digest mismatch: expected ${expected}, got ${actual} over ${size} bytes`,
    { path: from, expected, actual, hint: "compare with what upstream publishes" },
  );
}

/** What a partial download belongs to. */
const noteSchema = z.object({
  url: z.string(),
  etag: z.string().exactOptional(),
  lastModified: z.string().exactOptional(),
});

async function readNote(path: string): Promise<z.output<typeof noteSchema> | undefined> {
  const text = await readFile(path, "utf8").catch(() => undefined);
  return text === undefined ? undefined : parseNote(noteSchema, text);
}

async function tryLock(file: string): Promise<HeldLock | undefined> {
  try {
    return await takeLock(file, file);
  } catch (error) {
    if (error instanceof AirferryError && error.code === "ERR_BUSY") return undefined;
    throw error;
  }
}

/** Of a partial download and its note, one says nothing without the other, and nothing can be continued of no bytes. */
async function dropUseless(part: string, note: string | undefined): Promise<void> {
  const bytes = (await ifThere(part, stat(part)))?.size ?? 0;
  const isNoted = note !== undefined && (await ifThere(note, stat(note))) !== undefined;
  if (bytes > 0 && isNoted) return;
  await rm(part, { force: true });
  if (note !== undefined) await rm(note, { force: true });
}

async function writeNote(path: string, note: object): Promise<void> {
  const temporary = `${path}.tmp`;
  const file = await open(temporary, "w", 0o600);
  await file.writeFile(JSON.stringify(note));
  await file.close();
  await rename(temporary, path);
}
