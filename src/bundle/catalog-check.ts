/**
 * Checks the catalog of an inventory at least as strictly as those who use it do: the server, render, export and
 * publish turn its strings into names, URLs and paths, and an unusable one must not reach a store. Unknown keys are
 * ignored: the catalog says what entries mean, never what bytes they are. docs/format.md, "Catalog".
 */
import { z } from "zod";
import type { Problem } from "../errors.ts";
import { checkName, checkPath, UNSAFE_CHARACTER } from "../io/path-grammar.ts";
import { isOciDigest } from "../oci/oci-digest.ts";
import { PLATFORM } from "../oci/platform.ts";
import { checkReference, formatReference, isTag, parseReference } from "../oci/reference.ts";
import { printableName } from "./entry-paths.ts";
import type { Catalog, CatalogRpm, InventoryEntry } from "./inventory-types.ts";

/** Text that is shown to people and written to rendered files. */
const text = z
  .string()
  .max(4096)
  .refine((it) => it.isWellFormed() && !UNSAFE_CHARACTER.test(it), "has a control or invisible character");
const texts = z.array(text);
const name = z.string().refine((it) => checkName(it) === undefined, "not a name");
const path = z.string().refine((it) => checkPath(it) === undefined, "not a path");
const prefix = z
  .string()
  .refine((it) => it.endsWith("/") && checkPath(it.slice(0, -1)) === undefined, "not a path and a slash");
const digest = z.string().refine(isOciDigest, "not a digest");
const reference = z.string().refine(isCanonicalReference, "not a canonical image reference");
const fingerprint = z.string().regex(/^(?:[0-9A-F]{40}|[0-9A-F]{64})$/);
const keyid = z.string().regex(/^(?:[0-9a-f]{64}|[0-9A-F]{40}|[0-9A-F]{64})$/);
const established = z.enum(["manifest", "upstream-signed", "upstream-checksum", "first-sight", "generated"]);
const integrity = z.string().regex(/^(?:[a-z0-9]+-[A-Za-z0-9+/]+={0,2})(?: [a-z0-9]+-[A-Za-z0-9+/]+={0,2})*$/);

const catalog = z.looseObject({
  isos: z.array(z.looseObject({ name, path, volumeId: text.optional() })),
  files: z.array(z.looseObject({ path })),
  rpms: z.array(
    z.looseObject({
      name,
      path: prefix,
      mode: z.enum(["exact", "subset", "loose"]),
      repomdSignedBy: z.enum(["upstream", "airferry", "none"]),
      gpgcheck: z.boolean(),
      keys: z.array(path),
      packages: z.int().min(0),
      tree: z.boolean(),
      rpmrepo: z.boolean(),
      moduleHotfixes: z.boolean().optional(),
      legacySignatures: z.boolean().optional(),
      arch: z.array(z.string().regex(/^[a-z0-9_]+$/)).optional(),
    }),
  ),
  images: z.array(
    z.looseObject({
      reference,
      digest,
      mediaType: text,
      size: z.int().min(0),
      platforms: z.array(z.string().regex(PLATFORM)),
      manifests: z.array(digest),
      tags: z.record(z.string().refine(isTag, "not a tag"), digest).optional(),
      source: text.optional(),
      established: established.optional(),
      signedBy: z.array(keyid).optional(),
      attached: z.int().min(0).optional(),
    }),
  ),
  keys: z.array(z.looseObject({ path, fingerprints: z.array(fingerprint), for: texts })),
  provenance: z.array(
    z.looseObject({
      path: z.union([path, prefix]),
      kind: z.enum(["iso", "rpm", "file", "image", "generated"]),
      source: text,
      established,
      signedBy: z.array(keyid).optional(),
      integrity: integrity.optional(),
    }),
  ),
});

function isCanonicalReference(it: string): boolean {
  return checkReference(it) === undefined && formatReference(parseReference(it)) === it;
}

/** Returns the problems of a catalog; `problem` makes one from its place and message. */
export function checkCatalog(
  value: unknown,
  entries: readonly Pick<InventoryEntry, "path">[],
  problem: (where: string, message: string) => Problem,
): Problem[] {
  const parsed = catalog.safeParse(value);
  if (!parsed.success) {
    return parsed.error.issues.slice(0, 20).map((it) => {
      const where = ["catalog", ...it.path.map(String)].join(".");
      return problem(printableName(where), `${printableName(where)}: ${printableName(it.message)}`);
    });
  }
  const it = value as Catalog;
  const paths = new Set(entries.map((entry) => entry.path));
  const problems: Problem[] = [];
  const expect = (fine: boolean, kind: string, message: string) => {
    if (!fine) problems.push(problem(`catalog.${kind}`, `catalog.${kind}: ${printableName(message)}`));
  };
  for (const kind of ["isos", "files", "keys"] as const) {
    for (const { path } of it[kind]) expect(paths.has(path), kind, `no entry "${path}"`);
  }
  for (const { name, path } of it.isos)
    expect(path === `isos/${name}.iso`, "isos", `"${path}": expected isos/${name}.iso`);
  for (const { name, path } of it.rpms) expect(path === `rpms/${name}/`, "rpms", `"${path}": expected rpms/${name}/`);
  for (const [kind, list] of [
    ["isos", it.isos.map((one) => one.name)],
    ["rpms", it.rpms.map((one) => one.name)],
    ["images", it.images.map((one) => one.reference)],
  ] as const) {
    expect(new Set(list).size === list.length, kind, "contains a duplicate");
  }
  const folders = foldersOf(it.rpms, it.provenance, entries);
  for (const { path, keys } of it.rpms) {
    expect(folders.has(path), "rpms", `no entry below "${path}"`);
    for (const key of keys) expect(paths.has(`keys/${key}`), "rpms", `no entry "keys/${key}"`);
  }
  for (const { path } of it.provenance)
    expect(paths.has(path) || folders.has(path), "provenance", `no entry "${path}"`);
  return problems;
}

/** The prefixes in the catalog that have an entry below them. */
function foldersOf(
  rpms: readonly CatalogRpm[],
  provenance: Catalog["provenance"],
  entries: readonly Pick<InventoryEntry, "path">[],
): Set<string> {
  const wanted = new Set([...rpms, ...provenance].map((it) => it.path).filter((it) => it.endsWith("/")));
  const found = new Set<string>();
  if (wanted.size === 0) return found;
  for (const { path } of entries) {
    for (let slash = path.lastIndexOf("/"); slash > 0; slash = path.lastIndexOf("/", slash - 1)) {
      const folder = path.slice(0, slash + 1);
      if (wanted.has(folder)) found.add(folder);
    }
  }
  return found;
}
