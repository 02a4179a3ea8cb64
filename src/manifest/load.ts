/**
 * Parses manifest text to a typed value, or reports every problem with line and path. See docs/manifest.md.
 */
import { readFile, stat } from "node:fs/promises";
import { dirname, isAbsolute, join } from "node:path";
import { type Document, isMap, isScalar, LineCounter } from "yaml";
import { AirferryError, type Problem } from "../errors.ts";
import { hintOf, systemFault } from "../io/atomic.ts";
import { plural } from "../io/format.ts";
import { readNamed } from "../io/named-file.ts";
import { inTurns, Pace } from "../io/pace.ts";
import { FEW_BYTES, runInThread } from "../io/parser-thread.ts";
import { shellWord } from "../io/shell.ts";
import { MAX_ALIASES, parseYaml } from "../io/yaml.ts";
import { canonicalReference, checkAcrossEntries, type Report } from "./check-entries.ts";
import { describeIssue, formatPath, valueAt } from "./describe-issue.ts";
import { MAX_IMAGE_LIST_BYTES, parseImageList } from "./image-list.ts";
import { type NamedLocally, namedLocally } from "./named-locally.ts";
import { readInPieces } from "./pieces.ts";
import { type ImageEntry, type Manifest, manifestSchema } from "./schema.ts";
import { unknownKey } from "./unknown-key.ts";

/** Manifests are written by hand; anything larger is a mistake. */
const MAX_MANIFEST_BYTES = 4 * 1024 * 1024;
const LOCK_SUFFIX = ".lock.json";
/** Most problems reported at once. */
const MAX_PROBLEMS = 100;

/** The manifest that is read from standard input. */
export const STDIN = "-";

/**
 * Reads and validates a manifest file, or standard input ({@link STDIN}).
 * @param onText gets its text before anything is checked
 * @throws {AirferryError} ERR_MANIFEST_INVALID with all problems; ERR_USAGE when there is no such file
 */
export async function readManifest(file: string, onText: (text: string) => void = () => {}): Promise<Manifest> {
  const text = await readManifestText(file);
  onText(text);
  const manifest = (await parseInPieces(text, file)) ?? (await parseInThread<Manifest>("manifest", text, file));
  return withListedImages(manifest, file);
}

/**
 * Reads the text of a manifest, and reports everything that is wrong with it instead of throwing.
 * @throws {AirferryError} ERR_USAGE, ERR_MANIFEST_INVALID or ERR_IO when there is no text
 */
export async function readExamined(file: string): Promise<ExaminedManifest> {
  return parseInThread<ExaminedManifest>("examinedManifest", await readManifestText(file), file);
}

async function readManifestText(file: string): Promise<string> {
  let text: string;
  try {
    if (file === STDIN) return await readStdin();
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
    text = (await readNamed(file)).toString("utf8");
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
  return text;
}

async function readStdin(): Promise<string> {
  const { text } = await import("node:stream/consumers");
  const given = await text(process.stdin);
  if (given.length <= MAX_MANIFEST_BYTES) return given;
  throw new AirferryError(
    "ERR_MANIFEST_INVALID",
    `cannot read the manifest on standard input: too large: expected at most ${MAX_MANIFEST_BYTES} bytes`,
  );
}

/** Long lists of entries that are right are parsed in pieces; undefined for everything else. */
async function parseInPieces(text: string, file: string): Promise<Manifest | undefined> {
  if (text.length <= FEW_BYTES) return undefined;
  const read = await inTurns(readInPieces(text), new Pace((fault) => tooMuch(file, fault)));
  const parsed = manifestSchema.safeParse(read?.value);
  if (read === undefined || !parsed.success) return undefined;
  let isRight = true;
  const report = () => {
    isRight = false;
  };
  checkAcrossEntries(parsed.data, report);
  checkVersions(read.document, report);
  return isRight ? parsed.data : undefined;
}

/** Other large manifests are parsed in a thread, since the package reads a text as a whole. */
async function parseInThread<T>(parser: "manifest" | "examinedManifest", text: string, file: string): Promise<T> {
  const bytes = Buffer.from(text);
  if (bytes.length <= FEW_BYTES)
    return (parser === "manifest" ? parseManifest(text, file) : examineManifest(text, file)) as T;
  return runInThread<T>(parser, { bytes, args: [file], tooMuch: (fault) => tooMuch(file, fault) });
}

function tooMuch(file: string, fault: string): AirferryError {
  return new AirferryError("ERR_MANIFEST_INVALID", `cannot read manifest "${file}": ${fault}`, {
    path: file,
    hint: "split it into several manifests, each with its own stream",
  });
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
  const { manifest, problems } = examineManifest(text, name);
  if (manifest !== undefined) return manifest;
  throw manifestError(name, problems);
}

/** All problems of one manifest as one error. */
function manifestError(name: string, problems: readonly Problem[]): AirferryError {
  return new AirferryError(
    "ERR_MANIFEST_INVALID",
    `cannot use manifest "${name}": ${plural(problems.length, "problem")}${problems.length < MAX_PROBLEMS ? "" : " and maybe more"}`,
    {
      problems,
      path: name,
      hint: "docs/manifest.md explains every key; airferry schema prints the JSON Schema for editors",
    },
  );
}

/** A manifest's text as it was understood. */
interface ExaminedManifest {
  /** Only if there is no problem. */
  manifest?: Manifest;
  /** The document, whatever it is: for checks that need only parts of it. */
  value: unknown;
  /** In the order of their lines. */
  problems: Problem[];
  /** What the document names on this host, each with the place for messages: `m.yaml:12 isos[0].path`. */
  named: (NamedLocally & { place: string })[];
}

/** Validates manifest text and returns everything that was found; problems name the file `name`. */
export function examineManifest(text: string, name: string): ExaminedManifest {
  const lines = new LineCounter();
  const document = parseYaml(text, { lineCounter: lines, merge: true });
  const problems: Problem[] = document.errors.map((error) => ({
    code: "ERR_MANIFEST_INVALID",
    path: `${name}:${error.linePos?.[0].line ?? 1}`,
    message: error.message.split("\n")[0] ?? "not YAML",
  }));
  const placeOf = (path: readonly PropertyKey[]) =>
    `${name}:${lineOf(document, lines, path)} ${formatPath(path)}`.trimEnd();
  const report = (path: readonly PropertyKey[], message: string) => {
    // Nobody reads more, and finding each line takes time.
    if (problems.length >= MAX_PROBLEMS) return;
    problems.push({ code: "ERR_MANIFEST_INVALID", path: placeOf(path), message });
  };
  let manifest: Manifest | undefined;
  let value: unknown;
  if (problems.length === 0) {
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
      if (problems.length === 0) manifest = parsed.data;
    }
  }
  problems.sort((a, b) => lineNumber(a.path) - lineNumber(b.path));
  const named = namedLocally(value).map((it) => ({ ...it, place: placeOf(it.path) }));
  return { ...(manifest && { manifest }), value, problems, named };
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
      if (!isScalar(value) || typeof value.value !== "number" || value.source === undefined) continue;
      const name = String(isScalar(key) ? key.value : key);
      const isVersion = VERSION_KEY.test(name) && !/^\d+$/.test(value.source);
      if (!isVersion && String(value.value) === value.source) continue;
      const read = String(value.value) === value.source ? "" : `, which YAML reads as ${value.value}`;
      report(["builder", place, name], `is the number ${value.source}${read}: write it in quotes: "${value.source}"`);
    }
  }
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
