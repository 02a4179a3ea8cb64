/** How much of a disk a cache takes besides its chunks: records of releases, above all. */
import { lstat, readdir } from "node:fs/promises";
import { join } from "node:path";
import { eachLimited } from "../io/limit.ts";
import { blockBytes } from "./chunk-folder.ts";

const FOLDERS = 4;
/** A store's folders are less deep; what is deeper is not of a cache. */
const MAX_DEPTH = 8;

/** Bytes of all files in a cache that are not chunks, in whole blocks. What vanishes meanwhile does not count. */
export async function documentBytes(dir: string): Promise<number> {
  return await bytesIn(dir, ["blobs"], MAX_DEPTH);
}

async function bytesIn(folder: string, without: readonly string[], depth: number): Promise<number> {
  const found = await readdir(folder, { withFileTypes: true }).catch(() => []);
  let bytes = 0;
  await eachLimited(found, FOLDERS, async (it) => {
    const path = join(folder, it.name);
    let more = 0;
    if (it.isFile()) more = blockBytes((await lstat(path).catch(() => undefined))?.size ?? 0);
    else if (it.isDirectory() && depth > 0 && !without.includes(it.name)) more = await bytesIn(path, [], depth - 1);
    bytes += more;
  });
  return bytes;
}
