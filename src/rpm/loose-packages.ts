/**
 * Loose RPMs: what a repository's metadata says about package files in a folder. Headers and bytes are read in one
 * pass; the hash runs over the same pieces. Does no I/O itself.
 */
import { createHash } from "node:crypto";
import type { RandomAccess } from "../io/types.ts";
import { readRpmFile } from "./header.ts";
import { documentsOf, type RepodataFile, writeRepodata } from "./metadata-writer.ts";
import { type PackageInfo, packageInfoOf } from "./package-info.ts";
import { formatPackageXml, type PackageXml } from "./package-xml.ts";

const READ_BYTES = 1024 * 1024;

/** One package file of a folder. */
interface LooseFile {
  /** Location in the repository, relative, not percent-encoded. */
  href: string;
  bytes: RandomAccess;
  /** SHA-256, lower-case hex, if already known; otherwise the whole file is read and hashed. */
  sha256?: string | undefined;
  /** Seconds since 1970; default: the build time, so that metadata does not depend on how a file was copied. */
  fileTime?: number | undefined;
}

/** A package, described. */
export interface LoosePackage extends PackageXml {
  href: string;
  /** Lower-case hex. */
  sha256: string;
  size: number;
  info: PackageInfo;
}

/**
 * Describes one package file.
 * @throws {AirferryError} ERR_UPSTREAM_INVALID for damaged headers, or text that XML cannot hold
 */
export async function readLoosePackage(file: LooseFile): Promise<LoosePackage> {
  const info = packageInfoOf(await readRpmFile(file.bytes, file.href));
  const sha256 = file.sha256 ?? (await hashOf(file.bytes));
  const place = { sha256, href: file.href, fileTime: file.fileTime ?? info.buildTime };
  return { ...formatPackageXml(info, place), href: file.href, sha256, size: file.bytes.size, info };
}

/** Hashes everything, reading the next piece while one is hashed. */
async function hashOf(bytes: RandomAccess): Promise<string> {
  const hash = createHash("sha256");
  let next = bytes.read(0, READ_BYTES);
  for (let at = 0; at < bytes.size; ) {
    const piece = await next;
    if (piece.length === 0) break;
    at += piece.length;
    if (at < bytes.size) next = bytes.read(at, READ_BYTES);
    hash.update(piece);
  }
  return hash.digest("hex");
}

/** Writes the metadata of described packages, ordered by location, then checksum. */
export async function writeLooseRepodata(
  packages: readonly LoosePackage[],
  time: Date,
): Promise<{ files: RepodataFile[]; repomd: Buffer }> {
  const sorted = packages.toSorted((a, b) => order(a.href, b.href) || order(a.sha256, b.sha256));
  const revision = String(Math.trunc(time.getTime() / 1000));
  return writeRepodata({ revision, time, ...documentsOf(sorted) });
}

function order(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
