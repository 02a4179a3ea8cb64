/** The pinned Node of scripts/lib/node.lock for a platform, installed once below .cache/ and checked before it is used. */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { extract } from "tar";

interface PinnedNode {
  version: string;
  /** SRI of the npm package. */
  integrity: string;
  /** Hex, of bin/node. */
  sha256: string;
}

function pinnedNode(root: string, platform: string): PinnedNode {
  const rows = readFileSync(join(root, "scripts", "lib", "node.lock"), "utf8")
    .split("\n")
    .map((line) => line.split(/\s+/));
  const version = rows.find(([name]) => name === "version")?.[1];
  const [, integrity, sha256] = rows.find(([name]) => name === platform) ?? [];
  if (version === undefined || integrity === undefined || sha256 === undefined) {
    throw new Error(`cannot build for ${platform}: no Node is pinned for it in scripts/lib/node.lock`);
  }
  return { version, integrity, sha256 };
}

/**
 * The folder of the pinned Node: `bin/node` and `LICENSE` are in it.
 * @throws when npm cannot get it, or the registry has other bytes
 */
export async function nodeFolder(root: string, platform: string): Promise<string> {
  const { version, integrity, sha256 } = pinnedNode(root, platform);
  const name = `node-${platform}`;
  const isPinned = (folder: string) =>
    existsSync(join(folder, "bin", "node")) && digest("sha256", join(folder, "bin", "node"), "hex") === sha256;
  const own = join(root, ".cache", "node", "node_modules", name);
  if (isPinned(own)) return own;
  const folder = join(root, ".cache", `${name}-${version}`);
  if (isPinned(folder)) return folder;
  mkdirSync(join(root, ".cache"), { recursive: true });
  const work = mkdtempSync(join(root, ".cache", `.${name}-`));
  try {
    execFileSync("npm", ["pack", "--silent", "--pack-destination", work, `${name}@${version}`], {
      cwd: work,
      stdio: ["ignore", "ignore", "inherit"],
    });
    const archive = join(work, `${name}-${version}.tgz`);
    const actual = `sha512-${digest("sha512", archive, "base64")}`;
    if (actual !== integrity) throw new Error(`${name}@${version}: expected ${integrity}, got ${actual}`);
    await extract({ file: archive, cwd: work });
    if (!isPinned(join(work, "package"))) throw new Error(`${name}@${version}: bin/node is not the pinned one`);
    rmSync(folder, { recursive: true, force: true });
    renameSync(join(work, "package"), folder);
    return folder;
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

function digest(algorithm: string, file: string, encoding: "hex" | "base64"): string {
  return createHash(algorithm).update(readFileSync(file)).digest(encoding);
}
