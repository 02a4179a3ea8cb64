/**
 * What the schema of a manifest cannot say: keys that exclude or require each other, and names that must be unique
 * across entries. docs/manifest.md.
 */
import { checkBuilderPaths } from "../builder/builder-paths.ts";
import { checkPath } from "../io/path-grammar.ts";
import { checkReference, formatReference, parseReference } from "../oci/reference.ts";
import { formatPath } from "./describe-issue.ts";
import { filePathOf, imageName } from "./entry-names.ts";
import type { FileEntry, ImageEntry, Manifest } from "./schema.ts";

/** Architecture names of containers and Debian, and RPM's. */
const FOREIGN_ARCH: Readonly<Record<string, string>> = {
  amd64: "x86_64",
  x64: "x86_64",
  "x86-64": "x86_64",
  arm64: "aarch64",
  armhf: "armv7hl",
  ppc64el: "ppc64le",
  386: "i686",
  x86: "i686",
  all: "noarch",
  any: "noarch",
};

export type Report = (path: readonly PropertyKey[], message: string) => void;

/** Checks beyond the schema: exactly one location, unique names and paths, references that resolve. */
export function checkAcrossEntries(manifest: Manifest, report: Report): void {
  const list = <T>(value: T[] | undefined): Partial<T>[] =>
    Array.isArray(value) ? value.map((it) => (it !== null && typeof it === "object" ? it : {})) : [];
  list(manifest.isos).forEach((entry, index) => {
    exactlyOne(entry, ["url", "urls", "path"], ["isos", index], report);
    onlyOneProof(entry, ["isos", index], report);
    if (entry.fingerprints !== undefined && entry.keys === undefined) {
      report(["isos", index, "fingerprints"], "pins keys, but the entry has none");
    }
  });
  list(manifest.files).forEach((entry, index) => {
    exactlyOne(entry, ["url", "urls", "path"], ["files", index], report);
    onlyOneProof(entry, ["files", index], report);
    const fault = typeof entry.as === "string" && entry.as !== "" ? checkPath(entry.as) : undefined;
    if (fault !== undefined) report(["files", index, "as"], `is not a path below /files/: ${fault}`);
  });
  list(manifest.rpms).forEach((entry, index) => {
    if (entry.dependencies === "none") {
      const isPlain = entry.packages?.every((it) => !it.startsWith("@")) === true && entry.advisories === undefined;
      if (!isPlain)
        report(
          ["rpms", index, "dependencies"],
          "none needs packages: with names or NEVRAs, without groups, modules and advisories:",
        );
    }
    exactlyOne(entry, ["url", "urls", "mirrorlist", "metalink", "path"], ["rpms", index], report);
    if (entry.fingerprints !== undefined && entry.keys === undefined) {
      report(["rpms", index, "fingerprints"], "pins keys, but the entry has none");
    }
    if (entry.keys === undefined && entry.gpgcheck !== false && entry.path === undefined) {
      report(
        ["rpms", index],
        "needs keys: to check package signatures with, or gpgcheck: false for an unsigned upstream",
      );
    }
  });
  list(manifest.rpms).forEach((entry, index) => {
    for (const [at, arch] of (Array.isArray(entry.arch) ? entry.arch : []).entries()) {
      const right = FOREIGN_ARCH[String(arch).toLowerCase()];
      if (right !== undefined)
        report(["rpms", index, "arch", at], `is not an RPM architecture: got "${arch}": write ${right}`);
    }
  });
  list(manifest.images).forEach((entry, index) => {
    exactlyOne(entry, ["ref", "list", "archive", "chart"], ["images", index], report);
    checkImageKeys(entry, ["images", index], report);
    if (entry.signatures !== undefined && entry.referrers === false) {
      report(["images", index, "referrers"], "excludes the signatures that signatures: requires");
    }
  });
  list(manifest.web).forEach((entry, index) => {
    exactlyOne(entry, ["urls", "recording", "git"], ["web", index], report);
    for (const key of ["hosts"] as const)
      if (entry[key] !== undefined && entry.recording === undefined)
        report(["web", index, key], "chooses answers of a recording, but the entry has none");
    for (const [at, it] of (Array.isArray(entry.urls) ? entry.urls : []).entries())
      if (typeof it === "object" && it !== null) onlyOneProof(it, ["web", index, "urls", at], report);
  });
  unique(
    list(manifest.web).map((it) => it.name),
    (index) => ["web", index, "name"],
    "name",
    report,
  );
  unique(
    list(manifest.isos).map((it) => it.name),
    (index) => ["isos", index, "name"],
    "name",
    report,
  );
  unique(
    list(manifest.rpms).map((it) => it.name),
    (index) => ["rpms", index, "name"],
    "name",
    report,
  );
  unique(
    list(manifest.images).map((it) => (it.tags || it.chart ? imageName(it) : canonicalReference(it.as ?? it.ref))),
    (index) => ["images", index],
    "reference",
    report,
  );
  unique(
    list(manifest.files).map((it) => {
      try {
        return filePathOf(it as Manifest["files"] extends (infer F)[] | undefined ? F : never);
      } catch {
        return undefined;
      }
    }),
    (index) => ["files", index],
    "path below /files/",
    report,
    "give one of them as: other/name",
  );
  nested(list(manifest.files), report);
  list(manifest.files).forEach((entry, index) => {
    const place = entry.url ?? entry.urls?.[0] ?? entry.path;
    // The schema reports a location that is neither a URL nor a path.
    const readable = entry.path !== undefined ? entry.path !== "" : URL.canParse(place ?? "");
    if (entry.as === undefined && typeof place === "string" && readable) {
      try {
        filePathOf(entry as NonNullable<Manifest["files"]>[number]);
      } catch (error) {
        report(["files", index], (error as Error).message);
      }
    }
  });
  for (const { at, fault } of checkBuilderPaths(manifest.builder))
    report(["builder", ...at], `is not a path: ${fault}`);
  if (manifest.vendor !== undefined) {
    list(manifest.rpms).forEach((entry, index) => {
      if (entry.name === "vendor") report(["rpms", index, "name"], "is reserved for the rpmrepo/ of vendor:");
    });
  }
  const iso = manifest.builder?.iso;
  if (iso !== undefined && !list(manifest.isos).some((it) => it.name === iso)) {
    report(["builder", "iso"], `names "${iso}", which is not in isos:`);
  }
}

/** Keys that require others, and names that get their tag elsewhere. */
function checkImageKeys(entry: Partial<ImageEntry>, path: PropertyKey[], report: Report): void {
  const needs = (key: keyof ImageEntry, ...others: (keyof ImageEntry)[]) => {
    if (entry[key] === undefined || others.some((it) => entry[it] !== undefined)) return;
    report([...path, key], `requires ${others.join(" or ")}`);
  };
  needs("tags", "ref");
  needs("repo", "chart");
  needs("version", "chart");
  needs("keys", "chart", "ref");
  needs("fingerprints", "keys");
  needs("images", "chart", "ref");
  needs("values", "images");
  if (entry.chart !== undefined && entry.repo === undefined) report([...path, "repo"], "is missing: expected a URL");
  if (entry.list !== undefined && entry.as !== undefined)
    report([...path, "as"], "names one image, but a list has many");
  if (entry.tags !== undefined && entry.images !== undefined)
    report([...path, "images"], "cannot be combined with tags");
  for (const key of ["ref", "as"] as const) {
    const text = entry[key];
    const isTagged = typeof text === "string" && /[:@]/.test(text.slice(text.lastIndexOf("/") + 1));
    if (isTagged && (entry.tags !== undefined || (entry.chart !== undefined && key === "as"))) {
      report([...path, key], `must have no tag: ${entry.tags ? "tags:" : "the chart's version"} gives it`);
    }
  }
}

/** One image has many spellings; the schema reports invalid references. */
export function canonicalReference(text: unknown): string | undefined {
  if (typeof text !== "string" || checkReference(text) !== undefined) return undefined;
  return formatReference(parseReference(text));
}

/** A file cannot be below another file: `a` and `a/b` conflict. */
function nested(files: readonly Partial<FileEntry>[], report: Report): void {
  const paths = files.map((it) => {
    try {
      return filePathOf(it as FileEntry);
    } catch {
      return "";
    }
  });
  const indexes = new Map(paths.map((path, index) => [path, index]));
  paths.forEach((path, index) => {
    for (let slash = path.indexOf("/"); slash > 0; slash = path.indexOf("/", slash + 1)) {
      const above = path.slice(0, slash);
      const other = indexes.get(above);
      if (other !== undefined && above !== "") {
        report(
          ["files", index],
          `is below "${above}", which is a file: files[${other}]; give one of them as: other/name`,
        );
      }
    }
  });
}

function exactlyOne(entry: object, keys: string[], path: PropertyKey[], report: Report): void {
  const present = keys.filter((key) => (entry as Record<string, unknown>)[key] !== undefined);
  if (present.length !== 1) {
    report(
      path,
      `needs exactly one of ${keys.join(", ")}${present.length > 1 ? `, has ${present.join(" and ")}` : ""}`,
    );
  }
}

function onlyOneProof(entry: object, path: PropertyKey[], report: Report): void {
  const present = ["sha256", "integrity", "checksums"].filter(
    (key) => (entry as Record<string, unknown>)[key] !== undefined,
  );
  if (present.length > 1) report(path, `gives its digest twice: ${present.join(" and ")}`);
}

function unique(
  values: readonly (string | undefined)[],
  pathOf: (index: number) => PropertyKey[],
  what: string,
  report: Report,
  remedy?: string,
): void {
  const first = new Map<string, number>();
  values.forEach((value, index) => {
    if (typeof value !== "string") return;
    const earlier = first.get(value);
    if (earlier === undefined) first.set(value, index);
    else {
      report(
        pathOf(index),
        `has the same ${what} as ${formatPath(pathOf(earlier))}: "${value}"${remedy ? `; ${remedy}` : ""}`,
      );
    }
  });
}
