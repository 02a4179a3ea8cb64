/** Where a path of the manifest is on this host: beside the manifest, or inside the vendor's archive, which is taken apart. */
import { isAbsolute, join, resolve } from "node:path";

/** The vendor's archive as it lies in the download cache. */
export interface UnpackedVendor {
  /** The archive's path as the manifest has it. */
  given: string;
  /** Folder that its members are in. */
  dir: string;
}

/** What paths of a manifest are relative to. */
export interface LocalPlaces {
  /** Folder of the manifest. */
  baseDir: string;
  /** Paths that go on behind the archive's own (`ARCHIVE.tgz/rpmrepo`) are members of it. */
  unpacked?: UnpackedVendor | undefined;
}

/** Absolute path of a file or folder that a manifest or a lock names. */
export function localPath(given: string, { baseDir, unpacked }: LocalPlaces): string {
  if (unpacked !== undefined && given.startsWith(`${unpacked.given}/`)) {
    return join(unpacked.dir, given.slice(unpacked.given.length + 1));
  }
  return isAbsolute(given) ? given : resolve(baseDir, given);
}
