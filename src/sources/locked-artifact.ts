/**
 * One file of the bundle in the lock: the building block of every kind of locked entry. docs/manifest.md, "The lock".
 *
 * Small things that only exist at lock time (metadata of RPM repositories, image manifests, rewritten repodata) are
 * stored by digest in `x.lock.d/` next to the lock; an artifact refers to them with `kept`.
 */
import { z } from "zod";
import { formatIntegrity } from "../io/integrity.ts";
import { digestSchema, sriSchema } from "../io/own-file.ts";
import { checkPath } from "../io/path-grammar.ts";

/** Keys in the order of the file, so that formatting it again needs no sorting. */
const lockedArtifact = z.strictObject({
  /** With `file` and `offset`: how the file is compressed as a whole; `offset` counts decompressed bytes. */
  codec: z.enum(["gzip", "zstd", "xz"]).exactOptional(),
  established: z.enum(["manifest", "upstream-signed", "upstream-checksum", "first-sight", "generated"]),
  etag: z.string().exactOptional(),
  /** Absolute path, or path relative to the manifest, of a local file. */
  file: z.string().exactOptional(),
  /**
   * One or several algorithms, strongest first; SRI in the file. Absent when it will be pinned at pack (first sight).
   */
  integrity: sriSchema.exactOptional(),
  /** Digest of a blob in `x.lock.d/`. */
  kept: digestSchema.exactOptional(),
  /** 0755 for executables; default 0644. */
  mode: z.enum(["0644", "0755"]).exactOptional(),
  /** A package of an RPM repository, according to its metadata: `name-epoch:version-release.arch`. */
  nevra: z.string().exactOptional(),
  /** With `file`: the offset of the artifact in it (a blob in an archive). */
  offset: z.int().min(0).exactOptional(),
  /** Path in the bundle, which is also the URL below `/`: `isos/x.iso`, `rpms/k8s/Packages/x.rpm`, … */
  path: z.string(),
  /** Fingerprints of the OpenPGP keys that signed the digest, for `upstream-signed`. */
  signedBy: z.array(z.string()).exactOptional(),
  /** Bytes. Absent only when upstream does not say and nothing had to be downloaded. */
  size: z.int().min(0).exactOptional(),
  /** Mirrors in the order to try, original (never rewritten, never with credentials). Absent for `file` and `kept`. */
  urls: z.array(z.string()).exactOptional(),
});

export type LockedArtifact = z.output<typeof lockedArtifact>;

/**
 * An artifact as in the file, keys in its order: one copy, where spreading and sorting would be two, and
 * there may be 100,000 of them.
 */
export function lockedArtifactInFile(it: LockedArtifact): Record<keyof LockedArtifact, unknown> {
  const { codec, established, etag, file, integrity, kept, mode, nevra, offset, path, signedBy, size, urls } = it;
  const sri = integrity === undefined ? undefined : formatIntegrity(integrity);
  return { codec, established, etag, file, integrity: sri, kept, mode, nevra, offset, path, signedBy, size, urls };
}

/** Checks what the schema cannot for an artifact below `root`: returns the wrong key, and what was expected. */
function artifactFault(
  it: LockedArtifact,
  root: string,
): [key: keyof LockedArtifact | "", expected: string] | undefined {
  if (!it.path.startsWith(root) || checkPath(it.path) !== undefined) return ["path", `expected a path below ${root}`];
  if (it.urls?.every((url) => URL.canParse(url)) === false) return ["urls", "expected URLs"];
  const places = Number(it.urls !== undefined) + Number(it.file !== undefined) + Number(it.kept !== undefined);
  return places === 1 ? undefined : ["", "expected one of urls, file and kept"];
}

/** Artifacts below `root`. Checked in one pass: there may be 100,000 of them. */
function lockedArtifacts(root: string) {
  return z.array(lockedArtifact).check(({ value, issues }) => {
    for (const [index, it] of value.entries()) {
      const fault = artifactFault(it, root);
      if (fault === undefined) continue;
      const [key, message] = fault;
      issues.push({ code: "custom", input: it, path: key === "" ? [index] : [index, key], message });
    }
  });
}

/** A key file below `keys/`. */
export const lockedKey = z.strictObject({
  /** `keys/NAME`. */
  path: z.string().refine((it) => it.startsWith("keys/") && checkPath(it) === undefined, "expected a path below keys/"),
  kept: digestSchema,
  fingerprints: z.array(z.string()),
});

/** Where documents of upstream are. docs/format.md, "Documents of upstream". */
export const DOCUMENTS_ROOT = "upstream/";

/** A document that `checksums:` names. */
export const lockedDocument = z.strictObject({
  established: z.enum(["manifest", "upstream-signed", "first-sight"]),
  kept: digestSchema,
  /** `upstream/…/NAME`. */
  path: z
    .string()
    .refine((it) => it.startsWith(DOCUMENTS_ROOT) && checkPath(it) === undefined, "expected a path below upstream/"),
  signedBy: z.array(z.string()).exactOptional(),
  size: z.int().min(0),
  /** Without user, query and fragment. */
  url: z.string().refine((it) => /^https?:/i.test(it) && URL.canParse(it), "expected a URL"),
});

export type LockedDocument = z.output<typeof lockedDocument>;

/** A whole entry of the manifest of one kind, resolved. */
export function lockedEntry<K extends string>(kind: K, root: string) {
  return z.strictObject({
    artifacts: lockedArtifacts(root),
    kind: z.literal(kind),
    /** Unique per kind: ISO name, repository name, path below files/, image reference or archive path. */
    name: z.string(),
    /** SHA-256 of the canonical JSON of the manifest's entry: when it changes, the entry is locked again. */
    request: z.string(),
  });
}
