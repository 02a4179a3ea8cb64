/**
 * Hashes every file of a finished bundle against its SHA256SUMS: what `pack` does with its own bundle before it says that
 * nothing is left to do. Not a verification: trust is not asked.
 */
import { createHash } from "node:crypto";
import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import type { Problem } from "../errors.ts";
import type { HashPool } from "../io/hash-pool.ts";
import { parseInventoryInTurns } from "./inventory.ts";
import { INVENTORY_NAME, SUMS_NAME } from "./media-names.ts";
import { parseSums } from "./sums.ts";

/** The folders of a finished bundle that hold its small files: itself, or one for each medium. */
export async function foldersOf(bundle: string): Promise<string[]> {
  const media = (await readdir(bundle)).filter((name) => name.startsWith("medium-")).sort();
  return media.length > 0 ? media.map((name) => join(bundle, name)) : [bundle];
}

/** `digest` is the SHA-256 (hex) that SHA256SUMS had when the bundle was finished. Size counts the volumes. */
export async function checkFinished(
  bundle: string,
  pool: HashPool,
  digest: string,
): Promise<{ problems: Problem[]; entries: number; size: number }> {
  const folders = await foldersOf(bundle);
  const problems: Problem[] = [];
  const fault = (path: string, message: string) => problems.push({ code: "ERR_BUNDLE_INVALID", path, message });
  const sums = await readFile(join(folders[0] as string, SUMS_NAME)).catch(() => Buffer.alloc(0));
  const actual = createHash("sha256").update(sums).digest("hex");
  if (actual !== digest) {
    fault(SUMS_NAME, `expected sha256:${digest}, got sha256:${actual}`);
    return { problems, entries: 0, size: 0 };
  }
  const found = new Set<string>();
  for (const { name, sha256 } of parseSums(sums)) {
    for (const folder of folders) {
      const file = join(folder, name);
      if (!(await stat(file).catch(() => undefined))?.isFile()) continue;
      found.add(name);
      const { digests } = await pool.hashFile(file);
      if (digests["sha256"] !== sha256) fault(name, `expected sha256:${sha256}, got sha256:${digests["sha256"]}`);
    }
    if (!found.has(name)) fault(name, "missing");
  }
  if (problems.length > 0) return { problems, entries: 0, size: 0 };
  const inventory = await parseInventoryInTurns(await readFile(join(folders[0] as string, INVENTORY_NAME)));
  return { problems, entries: inventory.entries.length, size: inventory.streamSize };
}
