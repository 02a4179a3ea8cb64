/** Where a cache is, and that a folder is the cache of one store and nothing else. */
import { readdir, readFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import { AirferryError } from "../errors.ts";
import { ifThere, ioError, makeFolder, writeAtomic } from "../io/atomic.ts";
import { digestOf, hexOf } from "../io/digest.ts";
import { parseBytes } from "../io/format.ts";
import { parseJson } from "../io/json.ts";
import { shellWord } from "../io/shell.ts";
import type { S3Target } from "../s3/s3-target.ts";
import { verifyOwn } from "../store/ownership.ts";

const CACHE_FILE = "airferry-cache.json";
const CACHE_VERSION = 1;
/** Enough for the packages of an install tree and some images. */
const DEFAULT_CACHE_SIZE = "10GiB";
/** What is being served must fit, for many clients at once. */
const MIN_CACHE_BYTES = 64 * 1024 * 1024;

/** What a cache says it is of: the store's place, however it is reached. */
export function nameInCache({ bucket, prefix, endpoint }: S3Target): string {
  return `s3://${bucket}/${prefix}${endpoint === undefined ? "" : `?endpoint=${endpoint}`}`;
}

/** Where the cache of a store is by default: systemd's folder for caches of a service, else the user's. */
export function defaultBucketCache(of: string, env: NodeJS.ProcessEnv = process.env): string {
  const [service] = env.CACHE_DIRECTORY?.split(":") ?? [];
  const own = env.XDG_CACHE_HOME ?? join(homedir(), ".cache");
  return join(service || join(own, "airferry", "stores"), hexOf(digestOf(of)).slice(0, 16));
}

/** Reads `--cache-size`. @throws {AirferryError} ERR_USAGE */
export function cacheBytes(text: string = DEFAULT_CACHE_SIZE): number {
  const bytes = parseBytes(text);
  if (bytes !== undefined && bytes >= MIN_CACHE_BYTES) return bytes;
  throw new AirferryError("ERR_USAGE", `cannot use --cache-size "${text}": expected a size of 64MiB or more`, {
    hint: `for example: --cache-size ${DEFAULT_CACHE_SIZE}`,
  });
}

/**
 * Prepares the cache of a store in a folder: a missing or empty one becomes it.
 * @param of the store's name
 * @throws {AirferryError} ERR_USAGE for a folder that is something else, or the cache of another store;
 *   ERR_STORE_INVALID when others can write to it; ERR_IO
 */
export async function prepareCache(dir: string, of: string): Promise<string> {
  const root = resolve(dir);
  const file = join(root, CACHE_FILE);
  const refuse = (fault: string) =>
    new AirferryError("ERR_USAGE", `cannot use cache "${dir}": ${fault}`, {
      path: root,
      hint: `give --cache a new or empty folder; without --cache it is ${shellWord(defaultBucketCache(of))}`,
    });
  try {
    const names = await readdir(root).catch((error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT") return [];
      if (error.code === "ENOTDIR") throw refuse("it is a file");
      throw error;
    });
    const text = await ifThere(file, readFile(file, "utf8"));
    if (text === undefined) {
      if (names.some((it) => it !== "lost+found" && !it.startsWith(".tmp-")))
        throw refuse("it is not a cache but another folder");
      await makeFolder(root, 0o700);
      // First: whoever is killed behind it, or begins at the same time, finds a cache.
      await writeAtomic(file, `${JSON.stringify({ cacheVersion: CACHE_VERSION, of })}\n`);
    } else {
      const { cacheVersion, of: other } = fieldsOf(text);
      if (cacheVersion !== CACHE_VERSION) throw refuse("another version of airferry made it");
      if (other !== of) throw refuse(`it is the cache of ${JSON.stringify(other) ?? "another store"}`);
    }
    await makeOwn(root);
    await verifyOwn(root);
    return root;
  } catch (error) {
    throw ioError("make", dir, error);
  }
}

/** The folders of a store, those that are missing. */
async function makeOwn(root: string): Promise<void> {
  for (const it of [join("blobs", "sha256"), "releases", "incoming"]) await makeFolder(join(root, it));
}

function fieldsOf(text: string): { cacheVersion?: unknown; of?: unknown } {
  try {
    const value = parseJson(text);
    return typeof value === "object" && value !== null ? value : {};
  } catch {
    return {};
  }
}
