/** What is compared: the kinds of content, and one thing of them. */

/** One package, image, ISO, file or web answer. */
export interface Item {
  /** What it is another version of: package and repository, image repository, path without its version numbers. */
  name: string;
  /** Of a package: `version-release`; of an image its tag or digest; else the path. */
  version: string;
  /** Of a package; absent where it is unknown, since the names of packages have none. */
  epoch?: number;
  /** Where it is in the bundle; of an image the reference. */
  path: string;
  /** `algorithm:hex`, as many as are known. */
  digests: readonly string[];
  /** Bytes; null if unknown. */
  size: number | null;
  /** Of packages: the repository. */
  repository?: string;
  /** Of images: the platforms that are carried; empty: all. */
  platforms?: readonly string[];
}

export const PARTS = ["packages", "images", "isos", "files", "web"] as const;
export type Part = (typeof PARTS)[number];
