/**
 * Hashes every file of a finished bundle against its SHA256SUMS: `pack` does this with its own bundle before it reports
 * that nothing is left to do. Not a verification: signatures are not checked.
 */
import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import type { Problem } from "../errors.ts";
import { type Digest, digestOf } from "../io/digest.ts";
import type { HashPool } from "../io/hash-pool.ts";
import { SUMS_NAME } from "./media-names.ts";
import { parseSums } from "./sums.ts";

/** The folders of a finished bundle that hold its small files: itself, or one for each medium. */
export async function foldersOf(bundle: string): Promise<string[]> {
  const media = (await readdir(bundle)).filter((name) => name.startsWith("medium-")).sort();
  return media.length > 0 ? media.map((name) => join(bundle, name)) : [bundle];
}

/** `digest` is that of SHA256SUMS when the bundle was finished. Returns what is wrong. */
export async function checkFinished(bundle: string, pool: HashPool, digest: Digest): Promise<Problem[]> {
  const folders = await foldersOf(bundle);
  const problems: Problem[] = [];
  const fault = (path: string, message: string) => problems.push({ code: "ERR_BUNDLE_INVALID", path, message });
  const sums = await readFile(join(folders[0] as string, SUMS_NAME)).catch(() => Buffer.alloc(0));
  const actual = digestOf(sums);
  if (actual !== digest) {
    fault(SUMS_NAME, `expected ${digest}, got ${actual}`);
    return problems;
  }
  const present = new Set<string>();
  for (const { name, digest } of parseSums(sums).lines) {
    for (const folder of folders) {
      const file = join(folder, name);
      if (!(await stat(file).catch(() => undefined))?.isFile()) continue;
      present.add(name);
      const { digest: found } = await pool.hashFile(file);
      if (found !== digest) fault(name, `expected ${digest}, got ${found}`);
    }
    if (!present.has(name)) fault(name, "missing");
  }
  return problems;
}
