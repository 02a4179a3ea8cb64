/**
 * Checks the catalog of an inventory: the parts that the server and render rely on have the right shape, and paths name
 * entries. Keys that this version does not know are let be: the catalog says what entries mean, never what bytes they are.
 */
import { z } from "zod";
import type { Problem } from "../errors.ts";
import { checkName, checkPath } from "../io/path-grammar.ts";
import type { Catalog, InventoryEntry } from "./inventory-types.ts";
import { printable } from "./paths.ts";

const text = z.string().max(4096);
const name = z.string().refine((it) => checkName(it) === undefined, "not a name");
const digest = z.string().regex(/^(?:sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$/);
const texts = z.array(text);
const established = z.enum(["manifest", "upstream-signed", "upstream-checksum", "first-sight", "generated"]);

const catalog = z.looseObject({
  isos: z.array(z.looseObject({ name, path: text, volumeId: text.optional() })),
  files: z.array(z.looseObject({ path: text })),
  rpms: z.array(
    z.looseObject({
      name,
      path: text,
      mode: z.enum(["exact", "subset", "loose"]),
      repomdSignedBy: z.enum(["upstream", "airferry", "none"]),
      gpgcheck: z.boolean(),
      keys: texts,
      packages: z.int().min(0),
      tree: z.boolean(),
      rpmrepo: z.boolean(),
      moduleHotfixes: z.boolean().optional(),
      legacySignatures: z.boolean().optional(),
      arch: texts.optional(),
    }),
  ),
  images: z.array(
    z.looseObject({
      reference: text,
      digest,
      mediaType: text,
      size: z.int().min(0),
      platforms: texts,
      manifests: z.array(digest),
      tags: z.record(text, digest).optional(),
      source: text.optional(),
      established: established.optional(),
      signedBy: texts.optional(),
      attached: z.int().min(0).optional(),
    }),
  ),
  keys: z.array(z.looseObject({ path: text, fingerprints: texts, for: texts })),
  provenance: z.array(
    z.looseObject({
      path: text,
      kind: z.enum(["iso", "rpm", "file", "image", "generated"]),
      source: text,
      established,
      signedBy: texts.optional(),
      integrity: text.optional(),
    }),
  ),
});

/** Returns the problems of a catalog; `problem` makes one from its place and message. */
export function checkCatalog(
  value: unknown,
  entries: readonly InventoryEntry[],
  problem: (where: string, message: string) => Problem,
): Problem[] {
  const parsed = catalog.safeParse(value);
  if (!parsed.success) {
    return parsed.error.issues.slice(0, 20).map((it) => {
      const where = ["catalog", ...it.path.map(String)].join(".");
      return problem(printable(where), `${printable(where)}: ${printable(it.message)}`);
    });
  }
  const paths = new Set(entries.map((it) => it.path));
  const it = value as Catalog;
  const problems: Problem[] = [];
  for (const [kind, list] of [
    ["isos", it.isos],
    ["files", it.files],
    ["keys", it.keys],
  ] as const) {
    for (const { path } of list) {
      if (!paths.has(path)) problems.push(problem(`catalog.${kind}`, `catalog.${kind}: no entry "${printable(path)}"`));
    }
  }
  for (const { path } of [...it.rpms, ...it.provenance]) {
    const fault = checkPath(path.endsWith("/") ? path.slice(0, -1) : path);
    if (fault !== undefined) problems.push(problem("catalog", `catalog: "${printable(path)}": ${fault}`));
  }
  return problems;
}
