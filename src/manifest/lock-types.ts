/**
 * The lock: every artifact of a manifest pinned, so that the plan is a pure function of it. Types only; lock-file.ts reads
 * and writes it, docs/manifest.md ("The lock") describes it.
 *
 * Small things that only exist at lock time (metadata of RPM repositories, image manifests, rewritten repodata) are kept by
 * digest in `x.lock.d/` beside the lock; an artifact refers to them with `kept`. Anything that generated files need a time
 * for uses `time`, so that the same lock always gives the same bytes.
 */
import type { Digest } from "../io/digest.ts";
import type { Established, Kind } from "../io/types.ts";

/** One file of the bundle that comes from somewhere: upstream, this host's disk, or the lock's own folder. */
export interface LockedArtifact {
  /** Path in the bundle, which is also the URL below `/`: `isos/x.iso`, `rpms/k8s/Packages/x.rpm`, … */
  path: string;
  /** Mirrors in the order to try, original (never rewritten, never with credentials). Absent for `file` and `kept`. */
  urls?: string[];
  /** Absolute path, or path relative to the manifest, of a local file. */
  file?: string;
  /** With `file`: where in it the artifact begins (a blob in an archive); the rest of the file is something else. */
  offset?: number;
  /** With `file` and `offset`: how the file is compressed as a whole; `offset` counts plain bytes. */
  codec?: "gzip" | "zstd";
  /** Digest of a blob in `x.lock.d/`. */
  kept?: Digest;
  /** Bytes. Absent only when upstream does not tell and nothing had to be downloaded. */
  size?: number;
  /** SRI, one or several algorithms, strongest known. Absent when it will be pinned at pack (first sight). */
  integrity?: string;
  established: Established;
  /** Fingerprints of the OpenPGP keys that signed the digest, for `upstream-signed`. */
  signedBy?: string[];
  etag?: string;
  /** 0755 for executables; default 0644. */
  mode?: "0644" | "0755";
}

/** One manifest entry, resolved. */
export interface LockedEntry {
  kind: Kind;
  /** Unique per kind: ISO name, repository name, path below files/, image reference or archive path. */
  name: string;
  /** SHA-256 of the canonical JSON of the manifest's entry: when it changes, the entry is locked again. */
  request: string;
  artifacts: LockedArtifact[];
  /** What only this kind needs, JSON: RpmDetail, ImageDetail, … */
  detail?: unknown;
}

export interface Lock {
  lockVersion: 1;
  stream: string;
  /** RFC 3339 UTC, whole seconds: when the lock's content last changed; the mtime of everything generated. */
  time: string;
  /** The last release that was packed of it, so that a fresh clone goes on from there. Not content: no part of the lock's digest. */
  last?: { serial: number; sha256: string };
  entries: LockedEntry[];
}
