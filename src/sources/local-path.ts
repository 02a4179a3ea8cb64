/** Where a path of the manifest is on this host: next to the manifest, or inside the unpacked vendor archive. */
import { isAbsolute, join, resolve } from "node:path";

/** The vendor's archive in the download cache. */
export interface UnpackedVendor {
  /** The archive's path as the manifest names it. */
  given: string;
  /** Folder of its members. */
  dir: string;
}

/** What paths of a manifest are relative to. */
export interface LocalPlaces {
  /** Folder of the manifest. */
  baseDir: string;
  /** Paths that continue below the archive (`ARCHIVE.tgz/rpmrepo`) are its members. */
  unpacked?: UnpackedVendor | undefined;
}

/** Absolute path of a file or folder that a manifest or a lock names. */
export function localPath(given: string, { baseDir, unpacked }: LocalPlaces): string {
  if (unpacked !== undefined && given.startsWith(`${unpacked.given}/`)) {
    return join(unpacked.dir, given.slice(unpacked.given.length + 1));
  }
  // One text: what path makes is a sum of five, each of which V8 keeps, and there may be 100,000.
  return isAbsolute(given) ? given : Buffer.from(resolve(baseDir, given)).toString();
}
