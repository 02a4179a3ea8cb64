/**
 * Parses manifest text to a typed value, or reports every problem with line and path. See docs/manifest.md.
 */

import { readFile, stat } from "node:fs/promises";
import { dirname, isAbsolute, join } from "node:path";
import { type Document, isMap, isScalar as isScalarNode, LineCounter } from "yaml";
import type { z } from "zod";
import { checkBuilderPaths } from "../builder/builder-paths.ts";
import { AirferryError, type Problem } from "../errors.ts";
import { hintOf, systemFault } from "../io/atomic.ts";
import { plural } from "../io/format.ts";
import { FEW_BYTES, runInThread } from "../io/parser-thread.ts";
import { checkFileName, checkPath } from "../io/path-grammar.ts";
import { redactUrl } from "../io/redact.ts";
import { shellWord } from "../io/shell.ts";
import { MAX_ALIASES, parseYaml } from "../io/yaml.ts";
import { checkReference, formatReference, parseReference } from "../oci/reference.ts";
import { MAX_IMAGE_LIST_BYTES, parseImageList } from "./image-list.ts";
import { type FileEntry, type ImageEntry, type Manifest, manifestSchema } from "./schema.ts";
import { unknownKey } from "./unknown-key.ts";

/** Manifests are written by hand; anything larger is a mistake. */
const MAX_MANIFEST_BYTES = 4 * 1024 * 1024;
const LOCK_SUFFIX = ".lock.json";
/** Most problems reported at once. */
const MAX_PROBLEMS = 100;

/**
 * Reads and validates a manifest file.
 * @throws {AirferryError} ERR_MANIFEST_INVALID with all problems; ERR_NOT_FOUND when there is no such file
 */
export async function readManifest(file: string): Promise<Manifest> {
  let text: string;
  try {
    const { size } = await stat(file);
    if (size > MAX_MANIFEST_BYTES) {
      throw new AirferryError(
        "ERR_MANIFEST_INVALID",
        `cannot read manifest "${file}": too large: expected at most ${MAX_MANIFEST_BYTES} bytes, got ${size}`,
      );
    }
    if (file.endsWith(LOCK_SUFFIX)) {
      throw new AirferryError(
        "ERR_MANIFEST_INVALID",
        `cannot read manifest "${file}": it is a lock: expected a manifest`,
        {
          path: file,
          hint: `give the manifest next to it: ${shellWord(`${file.slice(0, -LOCK_SUFFIX.length)}.yaml`)}`,
        },
      );
    }
    text = await readFile(file, "utf8");
    if (text.includes("\0")) {
      throw new AirferryError("ERR_MANIFEST_INVALID", `cannot read manifest "${file}": it is not text: expected YAML`, {
        path: file,
        hint: "check the path; airferry init creates a manifest to start from",
      });
    }
  } catch (cause) {
    if (cause instanceof AirferryError) throw cause;
    const missing = (cause as NodeJS.ErrnoException).code === "ENOENT";
    throw new AirferryError(
      missing ? "ERR_USAGE" : "ERR_IO",
      `cannot read manifest "${file}": ${missing ? "no such file" : systemFault(cause)}`,
      {
        path: file,
        hint: missing
          ? "check the path; airferry init creates a manifest to start from"
          : (cause as NodeJS.ErrnoException).code === "EISDIR"
            ? "give the manifest's file, not its folder"
            : hintOf((cause as NodeJS.ErrnoException).code),
        cause,
      },
    );
  }
  return withListedImages(await parseInThread(text, file), file);
}

/** Large manifests are parsed in a thread, since YAML cannot be read in pieces. */
async function parseInThread(text: string, file: string): Promise<Manifest> {
  const bytes = Buffer.from(text);
  if (bytes.length <= FEW_BYTES) return parseManifest(text, file);
  const tooMuch = (fault: string) =>
    new AirferryError("ERR_MANIFEST_INVALID", `cannot read manifest "${file}": ${fault}`, {
      path: file,
      hint: "split it into several manifests, each with its own stream",
    });
  return runInThread<Manifest>("manifest", { bytes, args: [file], tooMuch });
}

/** Replaces every `list:` with one entry for each listed image; an image's separate entry takes precedence. */
async function withListedImages(manifest: Manifest, file: string): Promise<Manifest> {
  const { images } = manifest;
  if (images?.every((it) => it.list === undefined) ?? true) return manifest;
  const own = new Set(images?.map((it) => (it.tags ? undefined : canonicalReference(it.as ?? it.ref))));
  const problems: Problem[] = [];
  const entries: ImageEntry[] = [];
  for (const [index, entry] of (images ?? []).entries()) {
    if (entry.list === undefined) {
      entries.push(entry);
      continue;
    }
    const path = `images[${index}].list`;
    const at = isAbsolute(entry.list) ? entry.list : join(dirname(file), entry.list);
    const found = await stat(at).catch((error: NodeJS.ErrnoException) => error.code);
    if (typeof found !== "object" || !found.isFile() || found.size > MAX_IMAGE_LIST_BYTES) {
      const fault =
        typeof found !== "object"
          ? found === "ENOENT"
            ? "no such file"
            : found
          : found.isFile()
            ? "too large"
            : "not a file";
      problems.push({ code: "ERR_MANIFEST_INVALID", path, message: `${fault}: "${entry.list}"` });
      continue;
    }
    const read = parseImageList(await readFile(at, "utf8"), entry, entry.list);
    problems.push(...read.problems);
    for (const listed of read.entries) {
      const name = canonicalReference(listed.ref);
      if (own.has(name)) continue;
      own.add(name);
      entries.push(listed);
    }
  }
  if (problems.length === 0) return { ...manifest, images: entries };
  throw new AirferryError("ERR_MANIFEST_INVALID", `cannot use manifest "${file}": unusable image lists`, {
    problems,
    path: file,
    hint: "paths in a manifest are relative to the manifest's own folder",
  });
}

/**
 * Validates manifest text; problems name the file `name`.
 * @throws {AirferryError} ERR_MANIFEST_INVALID with all problems
 */
export function parseManifest(text: string, name: string): Manifest {
  const lines = new LineCounter();
  const document = parseYaml(text, { lineCounter: lines, merge: true });
  const problems: Problem[] = document.errors.map((error) => ({
    code: "ERR_MANIFEST_INVALID",
    path: `${name}:${error.linePos?.[0].line ?? 1}`,
    message: error.message.split("\n")[0] ?? "not YAML",
  }));
  const report = (path: readonly PropertyKey[], message: string) => {
    // Nobody reads more, and finding each line takes time.
    if (problems.length >= MAX_PROBLEMS) return;
    problems.push({
      code: "ERR_MANIFEST_INVALID",
      path: `${name}:${lineOf(document, lines, path)} ${formatPath(path)}`.trimEnd(),
      message,
    });
  };
  if (problems.length === 0) {
    let value: unknown;
    try {
      value = document.toJS({ maxAliasCount: MAX_ALIASES });
    } catch (cause) {
      report([], (cause as Error).message);
    }
    // An empty file is a mapping without keys: every missing key is reported.
    value ??= {};
    const parsed = manifestSchema.safeParse(value);
    if (problems.length === 0 && !parsed.success) {
      for (const issue of parsed.error.issues) {
        if (issue.code === "unrecognized_keys") {
          for (const key of issue.keys) report([...issue.path, key], unknownKey(key, issue.path));
        } else report(issue.path, describeIssue(issue, valueAt(value, issue.path)));
      }
      // Valid parts are still checked across entries, so that one run shows everything.
      if (typeof value === "object" && value !== null && !Array.isArray(value))
        checkAcrossEntries(value as Manifest, report);
      checkVersions(document, report);
    } else if (parsed.success) {
      checkAcrossEntries(parsed.data, report);
      checkVersions(document, report);
      if (problems.length === 0) return parsed.data;
    }
  }
  problems.sort((a, b) => lineNumber(a.path) - lineNumber(b.path));
  throw new AirferryError(
    "ERR_MANIFEST_INVALID",
    `cannot use manifest "${name}": ${plural(problems.length, "problem")}${problems.length < MAX_PROBLEMS ? "" : " and maybe more"}`,
    {
      problems,
      path: name,
      hint: "docs/manifest.md explains every key; airferry schema prints the JSON Schema for editors",
    },
  );
}

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

function valueAt(value: unknown, path: readonly PropertyKey[]): unknown {
  let it = value as Record<PropertyKey, unknown> | null | undefined;
  for (const key of path) it = it?.[key] as typeof it;
  return it;
}

/** What the schema found, in terms of the manifest. */
function describeIssue(issue: z.core.$ZodIssue, value: unknown): string {
  const shown = typeof value === "string" && /:[^@\s]*@/.test(value) ? redactUrl(value) : value;
  const got = typeof value === "string" || typeof value === "number" ? `, got ${JSON.stringify(shown)}` : "";
  switch (issue.code) {
    case "invalid_type":
      return value === undefined
        ? `is missing: expected ${kindWords(issue.expected)}`
        : `expected ${kindWords(issue.expected)}, got ${kindOf(value)}${issue.expected === "string" && isScalar(value) ? "; write it in quotes" : ""}`;
    case "invalid_value": {
      const wanted = `must be ${issue.values.map((it) => JSON.stringify(it)).join(" or ")}`;
      const quotes = typeof value === "number" && issue.values.every((it) => typeof it === "string");
      return value === undefined ? `is missing: ${wanted}` : `${wanted}${got}${quotes ? "; write it in quotes" : ""}`;
    }
    case "too_small":
      return issue.origin === "string" || issue.origin === "array"
        ? "must not be empty"
        : `must be at least ${issue.minimum}${got}`;
    case "too_big":
      return `must be at most ${issue.maximum}${issue.origin === "string" ? " characters long" : ""}`;
    case "invalid_key":
      return issue.issues[0]?.message ?? issue.message;
    case "invalid_union":
      return `expected text, a number, true or false, got ${kindOf(value)}`;
    default:
      // The schema's own messages are good; the library's defaults are not.
      return /^(Invalid|Unrecognized|Too )/.test(issue.message) ? `cannot be used${got}` : issue.message;
  }
}

const KINDS: Readonly<Record<string, string>> = {
  string: "text",
  object: "a mapping",
  record: "a mapping",
  array: "a list",
  boolean: "true or false",
  number: "a number",
  int: "a whole number",
};

function kindWords(expected: string): string {
  return KINDS[expected] ?? expected;
}

/** The type of a document value, in the same words. */
function kindOf(value: unknown): string {
  if (value === null) return "nothing";
  if (Array.isArray(value)) return "a list";
  if (isScalar(value)) return String(value);
  return typeof value === "string" ? `the text ${JSON.stringify(value.slice(0, 80))}` : "a mapping";
}

function isScalar(value: unknown): value is number | boolean {
  return typeof value === "number" || typeof value === "boolean";
}

const VERSION_KEY = /version|semver|release|series/i;

/**
 * YAML reads unquoted versions as numbers, and `1.30` as 1.3. Reports every version key that holds a number, and every
 * number that does not read as written.
 */
function checkVersions(document: Document, report: Report): void {
  for (const place of ["imageconfig", "packer_vars"]) {
    const map = document.getIn(["builder", place]);
    if (!isMap(map)) continue;
    for (const { key, value } of map.items) {
      if (!isScalarNode(value) || typeof value.value !== "number" || value.source === undefined) continue;
      const name = String(isScalarNode(key) ? key.value : key);
      const isVersion = VERSION_KEY.test(name) && !/^\d+$/.test(value.source);
      if (!isVersion && String(value.value) === value.source) continue;
      const read = String(value.value) === value.source ? "" : `, which YAML reads as ${value.value}`;
      report(["builder", place, name], `is the number ${value.source}${read}: write it in quotes: "${value.source}"`);
    }
  }
}

type Report = (path: readonly PropertyKey[], message: string) => void;

/** Checks beyond the schema: exactly one location, unique names and paths, references that resolve. */
function checkAcrossEntries(manifest: Manifest, report: Report): void {
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

/** The name of an images entry in the lock and for `--update`: as written in the manifest. */
export function imageName(entry: Partial<ImageEntry>): string {
  if (entry.chart !== undefined) return `${entry.as ?? entry.chart}:${entry.version ?? "newest"}`;
  const name = entry.as ?? entry.ref ?? (entry.archive as string);
  return entry.tags === undefined ? name : `${name}:${entry.tags.match ?? "*"}`;
}

/** One image has many spellings; the schema reports invalid references. */
function canonicalReference(text: unknown): string | undefined {
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

/**
 * Path of a `files:` entry below `files/`: `as`, or the last segment of its URL or path. Throws a plain Error when
 * there is none.
 */
export function filePathOf(entry: NonNullable<Manifest["files"]>[number]): string {
  if (entry.as !== undefined) return entry.as;
  const place = entry.url ?? entry.urls?.[0];
  let name: string;
  if (place !== undefined) {
    const segment = new URL(place).pathname.split("/").at(-1) ?? "";
    try {
      name = decodeURIComponent(segment);
    } catch {
      name = segment;
    }
  } else name = (entry.path ?? "").split("/").at(-1) ?? "";
  const fault = checkFileName(name);
  if (fault !== undefined) {
    const where = entry.url === undefined && entry.urls === undefined ? "path" : "URL";
    throw new Error(`has no file name in its ${where} (${fault}); give it as: name`);
  }
  return name;
}

const fileIndexes = new WeakMap<readonly FileEntry[], ReadonlyMap<string, FileEntry>>();

/** The `files:` entry with this {@link filePathOf}; of 10,000 entries each is asked for, so they are indexed once. */
export function fileEntryOf({ files }: Pick<Manifest, "files">, path: string): FileEntry | undefined {
  if (files === undefined) return undefined;
  let index = fileIndexes.get(files);
  if (index === undefined) {
    index = new Map(files.map((it) => [filePathOf(it), it]));
    fileIndexes.set(files, index);
  }
  return index.get(path);
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

/** Line (1-based) of the deepest existing node of `path`. */
function lineOf(document: Document, lines: LineCounter, path: readonly PropertyKey[]): number {
  for (let depth = path.length; depth > 0; depth--) {
    const keys = path.slice(0, depth);
    const parent = document.getIn(keys.slice(0, -1), true) as { items?: unknown[] } | undefined;
    const last = keys.at(-1);
    const pair = parent?.items?.find((item) => (item as { key?: { value?: unknown } } | null)?.key?.value === last) as
      | { key?: { range?: [number, number, number] } }
      | undefined;
    const node = document.getIn(keys, true) as { range?: [number, number, number] } | undefined;
    const offset = pair?.key?.range?.[0] ?? node?.range?.[0];
    if (offset !== undefined) return lines.linePos(offset).line;
  }
  return 1;
}

function lineNumber(path: string): number {
  return Number(/:(\d+)/.exec(path)?.[1] ?? 0);
}

/** `["isos", 0, "url"]` as `isos[0].url`. */
function formatPath(path: readonly PropertyKey[]): string {
  return path
    .map((key, index) => (typeof key === "number" ? `[${key}]` : `${index > 0 ? "." : ""}${String(key)}`))
    .join("");
}

/** JSON with sorted keys, without spaces unless `indent` is set: the same value always gives the same text. */
export function canonicalJson(value: unknown, indent = 0): string {
  const sorted = (_key: string, it: unknown) =>
    it !== null && typeof it === "object" && !Array.isArray(it) && !isSorted(Object.keys(it))
      ? Object.fromEntries(Object.entries(it).sort(([a], [b]) => (a < b ? -1 : 1)))
      : it;
  return JSON.stringify(value, sorted, indent);
}

/** Nearly everything read from a lock is sorted and need not be copied. */
function isSorted(keys: readonly string[]): boolean {
  return keys.every((it, index) => index === 0 || (keys[index - 1] ?? "") < it);
}
