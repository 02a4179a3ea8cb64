/**
 * Loose RPMs: what a repository's metadata says about package files in a folder. Headers and bytes are read in one
 * pass; the hash runs over the same pieces. Does no I/O itself.
 */
import { type Digest, RunningDigest } from "../io/digest.ts";
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
  /** If already known; otherwise the whole file is read and hashed. */
  digest?: Digest | undefined;
  /** Seconds since 1970; default: the build time, so that metadata does not depend on how a file was copied. */
  fileTime?: number | undefined;
}

/** A package, described. */
export interface LoosePackage extends PackageXml {
  href: string;
  digest: Digest;
  size: number;
  info: PackageInfo;
}

/**
 * Describes one package file.
 * @throws {AirferryError} ERR_UPSTREAM_INVALID for damaged headers, or text that XML cannot hold
 */
export async function readLoosePackage(file: LooseFile): Promise<LoosePackage> {
  const info = packageInfoOf(await readRpmFile(file.bytes, file.href));
  const digest = file.digest ?? (await digestOf(file.bytes));
  const place = { digest, href: file.href, fileTime: file.fileTime ?? info.buildTime };
  return { ...formatPackageXml(info, place), href: file.href, digest, size: file.bytes.size, info };
}

/** Hashes everything, reading the next piece while one is hashed. */
async function digestOf(bytes: RandomAccess): Promise<Digest> {
  const running = new RunningDigest();
  let next = bytes.read(0, READ_BYTES);
  for (let at = 0; at < bytes.size; ) {
    const piece = await next;
    if (piece.length === 0) break;
    at += piece.length;
    if (at < bytes.size) next = bytes.read(at, READ_BYTES);
    running.update(piece);
  }
  return running.digest();
}

/** Writes the metadata of described packages, ordered by location, then checksum. */
export async function writeLooseRepodata(
  packages: readonly LoosePackage[],
  time: Date,
): Promise<{ files: RepodataFile[]; repomd: Buffer }> {
  const sorted = packages.toSorted((a, b) => order(a.href, b.href) || order(a.digest, b.digest));
  const revision = String(Math.trunc(time.getTime() / 1000));
  return writeRepodata({ revision, time, ...documentsOf(sorted) });
}

function order(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
