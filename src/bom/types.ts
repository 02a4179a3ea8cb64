/** A bill of materials: what a release is made of. Types only; everything in it is on one line and safe to show. */
import type { Digest } from "../io/digest.ts";
import type { Established } from "../io/types.ts";
import type { OciDigest } from "../oci/oci-digest.ts";
import type { Licence } from "./licence.ts";

/** How the digest of something is known. */
interface Known {
  /** Null: not recorded. */
  established: Established | null;
  /** Fingerprints or keyids. */
  signedBy: readonly string[];
  /** Digests of other algorithms that upstream published or the manifest gave, `algorithm:hex`. */
  published: readonly string[];
}

/** Where something came from: a URL without secrets, or the name of a local file. */
interface Origin {
  source: string;
  /** The source if it is a URL, percent-encoded. */
  url: string | undefined;
}

/** One RPM package of one repository. */
export interface BillPackage extends Known, Origin {
  /** Of the entry. */
  path: string;
  digest: Digest;
  size: number;
  name: string;
  epoch: number;
  /** Empty if only the file's name is known, and it tells nothing. */
  version: string;
  release: string;
  arch: string;
  licence: Licence | undefined;
  vendor: string;
  /** Name of the source package; empty if unknown. */
  sourceRpm: string;
}

/** A repository with its packages, sorted by name. */
export interface RepositoryPart {
  name: string;
  path: string;
  mode: "exact" | "subset" | "loose";
  repomdSignedBy: "upstream" | "airferry" | "none";
  /** Signatures of the packages were checked when it was packed. */
  gpgcheck: boolean;
  packages: BillPackage[];
}

/** An SBOM that is carried with an image. */
export interface CarriedSbom {
  format: "SPDX" | "CycloneDX" | "Syft";
  /** Of the document, or of the attestation that has it. */
  digest: OciDigest;
  size: number;
  /** Of its entry. */
  path: string;
  /** It is inside of an in-toto attestation. */
  attestation: boolean;
}

export interface ImageRow extends Known {
  reference: string;
  /** `host/path`. */
  name: string;
  /** The tag, else the digest. */
  version: string;
  digest: OciDigest;
  size: number;
  platforms: readonly string[];
  source: string;
  licence: Licence | undefined;
  sboms: readonly CarriedSbom[];
}

/** A file or an ISO. */
export interface FileRow extends Known, Origin {
  path: string;
  /** Base name. */
  name: string;
  /** As its name tells; empty otherwise. */
  version: string;
  digest: Digest;
  size: number;
  /** Of an ISO. */
  volumeId?: string;
}

export interface Bill {
  stream: string;
  epoch: number;
  serial: number;
  /** RFC 3339: when the content was locked, or packed if that is unknown. */
  time: string;
  tool: string;
  /** Of the lock. */
  lock: Digest;
  notAfter: string | undefined;
  repositories: RepositoryPart[];
  images: ImageRow[];
  isos: FileRow[];
  files: FileRow[];
  /** What could not be read, and so is not told. */
  gaps: string[];
}
