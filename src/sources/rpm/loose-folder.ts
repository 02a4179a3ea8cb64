/** A folder of loose RPMs: every `.rpm` below it, described from its header as createrepo_c does. */
import { createHash } from "node:crypto";
import { readdir, stat } from "node:fs/promises";
import { join, relative } from "node:path";
import { AirferryError } from "../../errors.ts";
import { HashPool } from "../../io/hash-pool.ts";
import { mapLimited } from "../../io/limit.ts";
import { withHead } from "../../io/open-bytes.ts";
import { checkFileName } from "../../io/path-grammar.ts";
import { FIRST_READ_BYTES } from "../../rpm/header.ts";
import { type LoosePackage, readLoosePackage, writeLooseRepodata } from "../../rpm/loose-packages.ts";
import type { RepodataFile } from "../../rpm/metadata-writer.ts";
import { Primary } from "../../rpm/primary.ts";
import type { HashedBytes } from "../hashed-bytes.ts";

const MAX_FILES = 200_000;
const READERS = 4;

export interface LooseFolder {
  /** As the manifest writes it. */
  given: string;
  packages: LoosePackage[];
  files: RepodataFile[];
  repomd: Buffer;
  listing: string;
  primary: Primary;
}

/** Hash over names, sizes and times of all RPMs of a folder: changes when the folder has to be read again. */
export async function listingOf(dir: string): Promise<{ listing: string; files: { file: string; size: number }[] }> {
  const files: { file: string; size: number }[] = [];
  const hash = createHash("sha256");
  for (const file of await rpmsBelow(dir)) {
    const { size, mtimeMs } = await stat(join(dir, file));
    files.push({ file, size });
    hash.update(`${file}\0${size}\0${mtimeMs}\0`);
  }
  return { listing: hash.digest("hex"), files };
}

/**
 * Reads a folder.
 * @throws {AirferryError} ERR_MANIFEST_INVALID for a folder without RPMs, ERR_UPSTREAM_INVALID for damaged ones
 */
export async function readLooseFolder(
  name: string,
  dir: string,
  given: string,
  hashed: HashedBytes,
): Promise<LooseFolder> {
  const { listing, files } = await listingOf(dir);
  if (files.length === 0) {
    throw new AirferryError(
      "ERR_MANIFEST_INVALID",
      `cannot lock rpms "${name}": no .rpm file and no repodata/ in "${given}"`,
      {
        path: given,
        hint: "put the packages there, or name the folder that has them; paths are relative to the manifest's own folder",
      },
    );
  }
  for (const { size } of files) hashed.expect(size);
  const pool = new HashPool();
  const packages = await mapLimited(files, READERS, async ({ file, size }) => {
    const path = join(dir, file);
    const { digest, head } = await pool.hashWithHead(path, size, FIRST_READ_BYTES);
    hashed.add(size, `${given}/${file}`);
    return await readLoosePackage({ href: file, bytes: withHead(head, size, path), digest });
  }).finally(() => pool.close());
  // The time comes from the packages, so that the same folder always gives the same metadata.
  const newest = packages.reduce((latest, it) => Math.max(latest, Number(it.info.buildTime) || 0), 0);
  const { files: repodata, repomd } = await writeLooseRepodata(packages, new Date(newest * 1000));
  const primary = repodata.find((it) => it.type === "primary") as RepodataFile;
  return {
    given,
    packages,
    files: repodata,
    repomd,
    listing,
    primary: await Primary.readCompressed(primary.bytes, name),
  };
}

async function rpmsBelow(dir: string): Promise<string[]> {
  const found: string[] = [];
  const folders = [dir];
  for (let folder = folders.pop(); folder !== undefined; folder = folders.pop()) {
    for (const it of await readdir(folder, { withFileTypes: true })) {
      const path = join(folder, it.name);
      const fault = it.isDirectory() || it.name.endsWith(".rpm") ? checkFileName(it.name) : undefined;
      if (fault !== undefined) {
        throw new AirferryError("ERR_MANIFEST_INVALID", `cannot lock "${path}": unusable name: ${fault}`, {
          path,
          hint: "rename the file or folder",
        });
      }
      if (it.isDirectory()) folders.push(path);
      else if (it.isFile() && it.name.endsWith(".rpm")) found.push(relative(dir, path).split("\\").join("/"));
      if (found.length > MAX_FILES) {
        throw new AirferryError("ERR_MANIFEST_INVALID", `cannot lock "${dir}": more than ${MAX_FILES} files`);
      }
    }
  }
  return found.sort((a, b) => (a < b ? -1 : 1));
}
