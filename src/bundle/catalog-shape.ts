/**
 * What a catalog looks like: the types and limits of its values. Written by hand, since every command that reads a
 * bundle needs it, and a schema library takes longer to load than everything else that `verify` loads. Unknown keys are
 * ignored. docs/format.md, "Catalog".
 */
import { checkName, checkPath, UNSAFE_CHARACTER } from "../io/path-grammar.ts";
import { isOrigin } from "../io/web-url.ts";
import { isOciDigest } from "../oci/oci-digest.ts";
import { PLATFORM } from "../oci/platform.ts";
import { checkReference, formatReference, isTag, parseReference } from "../oci/reference.ts";
import { MAX_TEXT_CHARS } from "./format-limits.ts";

/** Where a value is, and what is wrong with it. */
export interface Fault {
  at: string[];
  message: string;
}

/** Returns the faults of a value, with places below it. */
type Shape = (value: unknown) => Fault[];

/** A shape from a condition. */
function shape(isFine: (value: unknown) => boolean, message: string): Shape {
  return (value) => (isFine(value) ? [] : [{ at: [], message }]);
}

function string(isFine: (text: string) => boolean, message: string): Shape {
  return shape((value) => typeof value === "string" && isFine(value), message);
}

function oneOf(...words: string[]): Shape {
  return string((it) => words.includes(it), `expected ${words.join(", ")}`);
}

function optional(of: Shape): Shape {
  return (value) => (value === undefined ? [] : of(value));
}

function list(of: Shape): Shape {
  return (value) =>
    Array.isArray(value)
      ? value.flatMap((it, index) => below(String(index), of(it)))
      : [{ at: [], message: "expected a list" }];
}

function object(shapes: Record<string, Shape>): Shape {
  const all = Object.entries(shapes);
  return (value) =>
    isObject(value)
      ? all.flatMap(([key, of]) => below(key, of(Object.hasOwn(value, key) ? value[key] : undefined)))
      : [{ at: [], message: "expected an object" }];
}

/** An object whose keys are names. */
function mapOf(isKey: (key: string) => boolean, wrongKey: string, of: Shape): Shape {
  return (value) =>
    isObject(value)
      ? Object.entries(value).flatMap(([key, it]) => below(key, isKey(key) ? of(it) : [{ at: [], message: wrongKey }]))
      : [{ at: [], message: "expected an object" }];
}

function below(key: string, faults: Fault[]): Fault[] {
  return faults.map(({ at, message }) => ({ at: [key, ...at], message }));
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Text that is shown to people and written to rendered files. */
const text = string(
  (it) => it.length <= MAX_TEXT_CHARS && it.isWellFormed() && !UNSAFE_CHARACTER.test(it),
  `expected a text of at most ${MAX_TEXT_CHARS} characters, none of them a control or invisible`,
);
const texts = list(text);
const flag = shape((it) => typeof it === "boolean", "expected true or false");
const count = shape((it) => Number.isSafeInteger(it) && (it as number) >= 0, "expected a whole number");
const name = string((it) => checkName(it) === undefined, "not a name");
const path = string((it) => checkPath(it) === undefined, "not a path");
const isPrefix = (it: string) => it.endsWith("/") && checkPath(it.slice(0, -1)) === undefined;
const prefix = string(isPrefix, "not a path and a slash");
const pathOrPrefix = string((it) => isPrefix(it) || checkPath(it) === undefined, "not a path");
const digest = string(isOciDigest, "not a digest");
const reference = string(isCanonicalReference, "not a canonical image reference");
const platform = string((it) => PLATFORM.test(it), "not a platform");
const arch = string((it) => /^[a-z0-9_]+$/.test(it), "not an architecture");
const fingerprint = string((it) => /^(?:[0-9A-F]{40}|[0-9A-F]{64})$/.test(it), "not a fingerprint");
const keyid = string((it) => /^(?:[0-9a-f]{64}|[0-9A-F]{40}|[0-9A-F]{64})$/.test(it), "not a key id");
const origin = string(isOrigin, "not http:// or https:// and a host");
const established = oneOf("manifest", "upstream-signed", "upstream-checksum", "first-sight", "generated");
const integrity = string(
  (it) => /^(?:[a-z0-9]+-[A-Za-z0-9+/]+={0,2})(?: [a-z0-9]+-[A-Za-z0-9+/]+={0,2})*$/.test(it),
  "not an SRI string",
);

const catalog = object({
  isos: list(object({ name, path, volumeId: optional(text) })),
  files: list(object({ path })),
  rpms: list(
    object({
      name,
      path: prefix,
      mode: oneOf("exact", "subset", "loose"),
      repomdSignedBy: oneOf("upstream", "airferry", "none"),
      gpgcheck: flag,
      keys: list(path),
      packages: count,
      tree: flag,
      rpmrepo: flag,
      moduleHotfixes: optional(flag),
      legacySignatures: optional(flag),
      arch: optional(list(arch)),
    }),
  ),
  images: list(
    object({
      reference,
      digest,
      mediaType: text,
      size: count,
      platforms: list(platform),
      manifests: list(digest),
      tags: optional(mapOf(isTag, "not a tag", digest)),
      source: optional(text),
      established: optional(established),
      signedBy: optional(list(keyid)),
      attached: optional(count),
      insecure: optional(shape((it) => it === true, "expected true")),
    }),
  ),
  keys: list(object({ path, fingerprints: list(fingerprint), for: texts })),
  provenance: list(() => []),
  web: optional(list(object({ name, answers: count, origins: list(origin), repositories: optional(count) }))),
  origins: optional(list(object({ path: pathOrPrefix, url: text, list: optional(oneOf("mirrorlist", "metalink")) }))),
});

const line = object({
  path: pathOrPrefix,
  kind: oneOf("iso", "rpm", "file", "image", "generated"),
  source: text,
  established,
  signedBy: optional(list(keyid)),
  integrity: optional(integrity),
});

function isCanonicalReference(it: string): boolean {
  return checkReference(it) === undefined && formatReference(parseReference(it)) === it;
}

/** Returns where an item of `provenance` is not one; `index` is its own. */
export function lineFaults(value: unknown, index: number): Fault[] {
  return below("provenance", below(String(index), line(value)));
}

/** Returns where a catalog is not one, in the order of its keys; the items of `provenance` apart. */
export function catalogFaults(value: unknown): Fault[] {
  return catalog(value);
}
