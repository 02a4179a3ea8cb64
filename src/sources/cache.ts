/**
 * The download cache: whole artifacts that had to be fetched before the layout of a bundle could be known, by SHA-256.
 * `lock` fills it when it pins on first sight, `pack` empties it into the bundle. Partial downloads survive a kill.
 */
import { createHash } from "node:crypto";
import { mkdir, open, readFile, rename, rm, stat } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import type { Fetcher } from "../fetch/types.ts";

/** `$AIRFERRY_CACHE`, else `$XDG_CACHE_HOME/airferry`, else `~/.cache/airferry`. */
export function defaultCacheDir(env: NodeJS.ProcessEnv = process.env): string {
  return env["AIRFERRY_CACHE"] ?? join(env["XDG_CACHE_HOME"] ?? join(homedir(), ".cache"), "airferry");
}

export interface CachedArtifact {
  sha256: string;
  size: number;
  etag?: string;
}

export class DownloadCache {
  readonly #dir: string;

  constructor(dir: string) {
    this.#dir = dir;
  }

  /** Path of a whole artifact; undefined when it is not here. Its bytes are checked again by whoever copies them. */
  async file(sha256: string): Promise<string | undefined> {
    const path = join(this.#dir, "sha256", sha256);
    return stat(path).then(
      () => path,
      () => undefined,
    );
  }

  async remove(sha256: string): Promise<void> {
    await rm(join(this.#dir, "sha256", sha256), { force: true });
  }

  /** Downloads one artifact, continuing an earlier partial download of the same URL, and keeps it under its digest. */
  async download(
    fetcher: Fetcher,
    urls: readonly string[],
    limits: { maxBytes?: number } = {},
    progress?: (bytes: number) => void,
  ): Promise<CachedArtifact> {
    await mkdir(join(this.#dir, "sha256"), { recursive: true });
    const stem = join(
      this.#dir,
      createHash("sha256")
        .update(urls[0] ?? "")
        .digest("hex"),
    );
    const part = `${stem}.part`;
    const note = `${stem}.json`;
    const file = await open(part, "a+", 0o600);
    try {
      let position = 0;
      let hash = createHash("sha256");
      const earlier = (await readFile(note, "utf8").then(JSON.parse, () => undefined)) as
        | { url: string; etag?: string; lastModified?: string }
        | undefined;
      if (earlier) {
        for await (const chunk of file.createReadStream({ start: 0, autoClose: false, highWaterMark: 1 << 20 })) {
          hash.update(chunk as Buffer);
          position += (chunk as Buffer).length;
        }
      } else await file.truncate(0);
      let validator = earlier;
      const head = await fetcher.fetchInto(
        { urls, ...limits },
        {
          get position() {
            return position;
          },
          get validator() {
            return validator;
          },
          async write(chunk) {
            await file.write(chunk);
            hash.update(chunk);
            position += chunk.length;
            progress?.(chunk.length);
          },
          async restart() {
            await file.truncate(0);
            hash = createHash("sha256");
            position = 0;
          },
          began(response) {
            validator = response;
            // Only a validator makes the partial bytes worth keeping.
            if (response.etag ?? response.lastModified) void writeNote(note, response);
          },
        },
      );
      await file.sync();
      const sha256 = hash.digest("hex");
      await rename(part, join(this.#dir, "sha256", sha256));
      await rm(note, { force: true });
      return { sha256, size: position, ...(head.etag && { etag: head.etag }) };
    } finally {
      await file.close();
    }
  }
}

async function writeNote(path: string, note: object): Promise<void> {
  const temporary = `${path}.tmp`;
  const file = await open(temporary, "w", 0o600);
  await file.writeFile(JSON.stringify(note));
  await file.close();
  await rename(temporary, path).catch(() => {});
}
