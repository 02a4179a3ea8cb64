/** What is said of packages when people look for them. Types only. */

import type { BytesPlace } from "../io/held-files.ts";

/** A package in a list. */
export interface PackageRow {
  name: string;
  /** `epoch:version-release`, without an epoch of 0. */
  evr: string;
  arch: string;
  summary: string;
  /** Below its repository, as upstream wrote it; empty where it is elsewhere. */
  href: string;
  /** Bytes; 0 if unknown. */
  size: number;
}

/** A repository whose packages can be looked up. */
export interface ListedRepository {
  /** Path below the server's address, not encoded; ends in `/`. */
  path: string;
  packages: number;
}

/** Where the metadata of one repository is. Plain data: it goes to a thread. */
export type MetadataPlace =
  | {
      kind: "files";
      /** `rpms/NAME/`. */
      path: string;
      /** Path below the repository (`repodata/repomd.xml`, …) → file in the store. */
      files: Readonly<Record<string, BytesPlace>>;
    }
  | {
      kind: "iso";
      /** `isos/NAME/`. */
      path: string;
      /** The image's file in the store. */
      file: BytesPlace;
    };

/** The bytes of an index: a file, or memory. */
export interface IndexSource {
  readonly size: number;
  /** Fills all of `bytes` from a position; rejects when there is less. */
  fill(bytes: Buffer, position: number): Promise<void>;
}
