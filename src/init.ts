/**
 * `airferry init`: copies a ready manifest into a folder, and fills in what it leaves open from answers; or makes one
 * from files that other tools read. A draft says what would be written; nothing is written before the user has seen it.
 */
import { access, stat } from "node:fs/promises";
import { basename, isAbsolute, join, relative, resolve } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { AirferryError, bug } from "./errors.ts";
import { answered, type InitAnswers } from "./init/answers.ts";
import { type FoundContent, type Skipped, shown } from "./init/found.ts";
import { type Merged, mergeFound, type Origin } from "./init/merge.ts";
import { readSourceFile } from "./init/source-file.ts";
import { manifestText } from "./init/write-manifest.ts";
import { makeFolder, writeAtomic } from "./io/atomic.ts";
import { closestWord } from "./io/closest-word.ts";
import { MAX_STREAM_BYTES } from "./io/path-grammar.ts";
import { shellWord } from "./io/shell.ts";
import { describeIssue, valueAt } from "./manifest/describe-issue.ts";
import { parseManifest } from "./manifest/load.ts";
import { readyManifests } from "./manifest/ready.ts";
import { type IsoEntry, type Manifest, manifestJsonSchema, manifestSchema } from "./manifest/schema.ts";
import { PLATFORM } from "./oci/platform.ts";

interface InitOptions {
  /** Folder to write into; created if needed. */
  dir: string;
  /** Name of a ready manifest: `rocky-9-capi`, …; default `starter`. */
  for?: string | undefined;
  answers?: InitAnswers | undefined;
  /** Replace an existing manifest. */
  force?: boolean | undefined;
}

/** A manifest that is ready to be written. */
export interface InitDraft {
  dir: string;
  /** Path of the manifest. */
  path: string;
  text: string;
  manifest: Manifest;
  /** What the user should still look at. */
  notes: string[];
}

interface FromOptions {
  /** Files to read; `-` is standard input. */
  from: readonly string[];
  /** Folder to write into; created if needed. */
  dir: string;
  /** Default: the first file's name. */
  stream?: string | undefined;
  /** The installation DVD of kickstart files: a URL or a path. */
  iso?: string | undefined;
  isoSha256?: string | undefined;
  /** Values of dnf variables: `releasever`. */
  vars?: Readonly<Record<string, string>> | undefined;
  /** Of images whose file names none. */
  platforms?: readonly string[] | undefined;
  force?: boolean | undefined;
}

/** What files said that a manifest was made from. */
interface SourceReport {
  /** The files and what they were recognised as; no format: as nothing. */
  sources: { file: string; formats: string[] }[];
  /** What is not carried over. */
  skipped: Skipped[];
  /** How many more are not, beyond the first thousand of a file. */
  more: number;
}

/** What was written. */
interface InitResult {
  manifest: string;
  files: string[];
  /** What the user should still look at. */
  notes: string[];
}

/**
 * Writes the manifest and the schema for completion in editors.
 * @throws {AirferryError} as {@link draftManifest}
 */
export async function init(options: InitOptions): Promise<InitResult> {
  return writeDraft(await draftManifest(options));
}

/**
 * Fills in a ready manifest and validates it; writes nothing.
 * @throws {AirferryError} ERR_USAGE for an unknown name, a bad answer, or an existing manifest;
 *   ERR_MANIFEST_INVALID when an answer violates the schema
 */
export async function draftManifest(options: InitOptions): Promise<InitDraft> {
  const { dir } = options;
  const name = options.for ?? "starter";
  const ready = await readyManifests();
  const original = ready.get(name);
  if (original === undefined) {
    throw new AirferryError(
      "ERR_USAGE",
      `cannot create a manifest for "${name}": no such ready manifest: expected one of ${[...ready.keys()].join(", ")}`,
      {
        expected: [...ready.keys()].join(", "),
        actual: name,
        hint: `airferry init ${shellWord(dir)} --for ${closestWord(name, [...ready.keys()]) ?? [...ready.keys()][0]}`,
      },
    );
  }
  const notes: string[] = [];
  const given = options.answers ?? {};
  const text = answered(original, { ...given, iso: given.iso && (await fromFolder(given.iso, dir)) }, notes);
  const stream = given.stream ?? /^stream: (.*)$/m.exec(text)?.[1] ?? name;
  const path = join(dir, `${stream}.yaml`);
  const manifest = parseManifest(text, path);
  if (options.force !== true && (await exists(path))) {
    throw new AirferryError("ERR_USAGE", `cannot write "${path}": it exists already`, {
      path,
      hint: "give another --stream or folder, or replace it with --force",
    });
  }
  for (const local of localPaths(manifest)) {
    if (!(await exists(resolve(dir, local)))) notes.push(`put ${local} next to ${path}`);
  }
  return { dir, path, text, manifest, notes };
}

/**
 * Makes a manifest from files that other tools read, and validates it; writes nothing.
 * @throws {AirferryError} ERR_USAGE for a file that cannot be read, when nothing can be carried over, for an existing
 *   manifest, and always when the manifest would replace one of the files
 */
export async function draftFromFiles(options: FromOptions): Promise<InitDraft & SourceReport> {
  const { dir } = options;
  const from = [...new Set(options.from)];
  for (const platform of options.platforms ?? []) {
    if (!PLATFORM.test(platform)) {
      throw new AirferryError("ERR_USAGE", `cannot use platform "${platform}": expected os/architecture`, {
        hint: "write it as linux/amd64 or linux/arm64",
      });
    }
  }
  const found: FoundContent[] = [];
  for (const file of from) found.push(await readSourceFile(file));
  const keyPaths = new Map<string, string>();
  for (const [index, it] of found.entries()) {
    if (it.isKey) keyPaths.set(it.file, await fromFolder(from[index] as string, dir));
  }
  const iso = await isoEntry(options);
  const merged = mergeFound(found, { vars: options.vars ?? {}, platforms: options.platforms ?? [], iso, keyPaths });
  dropInvalid(merged);
  const sources = found.map(({ file, formats }) => ({ file, formats }));
  const { skipped, more, notes } = merged;
  if (merged.isos.length + merged.rpms.length + merged.files.length + merged.images.length === 0) {
    const rows = skipped.map(({ file, line, what, why }) => ({
      code: "ERR_USAGE" as const,
      path: `${file}:${line}`,
      message: `${what}: ${why}`,
    }));
    throw new AirferryError("ERR_USAGE", `cannot make a manifest: nothing in ${named(found)} can be carried over`, {
      problems: rows.slice(0, 100),
      hint: found.some((it) => it.dvd !== undefined)
        ? `give the DVD too: airferry init --from ${from.map(shellWord).join(" ")} --iso DVD.iso`
        : "airferry init --help names the formats that --from reads",
    });
  }
  const stream = options.stream ?? (await streamFor(from, dir));
  const path = join(dir, `${stream}.yaml`);
  const text = manifestText(
    stream,
    found.map((it) => it.file),
    merged,
  );
  const manifest = parseManifest(text, path);
  const entries = (of: readonly Origin<unknown>[]) => (of.length === 0 ? undefined : of.map((it) => it.entry));
  for (const kind of ["isos", "rpms", "files", "images"] as const) {
    if (!isDeepStrictEqual(manifest[kind], entries(merged[kind]))) bug(`${kind}: of ${path} are not read as written`);
  }
  await refuseToReplace(from, path, options.force === true);
  for (const local of localPaths(manifest)) {
    if (!(await exists(resolve(dir, local)))) notes.push(`put ${local} next to ${path}`);
  }
  return { dir, path, text, manifest, notes, sources, skipped, more };
}

function named(found: readonly FoundContent[]): string {
  return found.length === 1 ? `"${found[0]?.file}"` : `${found.length} files`;
}

/** Entries that a manifest cannot have, whatever their file is: they are listed instead. */
function dropInvalid(merged: Merged): void {
  for (const kind of ["isos", "rpms", "files", "images"] as const) {
    const origins: Origin<object>[] = merged[kind];
    const good = origins.filter(({ entry, from: [from = ""] }) => {
      const value = { apiVersion: "airferry/v1", stream: "x", [kind]: [entry] };
      const issue = manifestSchema.safeParse(value).error?.issues[0];
      if (issue === undefined) return true;
      const colon = from.lastIndexOf(":");
      const place = { file: from.slice(0, colon), line: Number(from.slice(colon + 1)) || 1 };
      const why = shown(describeIssue(issue, valueAt(value, issue.path)), 500);
      const { ref, chart, url, name } = entry as Partial<Record<string, string>>;
      const what = shown(`${ref ?? chart ?? url ?? name ?? kind} ${issue.path.slice(3).join(".")}`);
      merged.skipped.push({ ...place, what, why });
      return false;
    });
    origins.splice(0, origins.length, ...good);
  }
}

/** The DVD that kickstart files install from. */
async function isoEntry({ iso, isoSha256, dir }: FromOptions): Promise<IsoEntry | undefined> {
  if (iso === undefined) return undefined;
  const isUrl = /^https?:\/\//.test(iso);
  const file = isUrl && URL.canParse(iso) ? new URL(iso).pathname : iso;
  return {
    name: nameOf(basename(file).replace(/\.iso$/i, "")) || "dvd",
    ...(isUrl ? { url: iso } : { path: await fromFolder(iso, dir) }),
    ...(isoSha256 !== undefined && { sha256: isoSha256 }),
    packages: true,
  };
}

/** A name that a stream and an entry may have, of any text; empty when nothing of it can be used. */
function nameOf(text: string): string {
  return text
    .replace(/[^A-Za-z0-9._-]+/g, "-")
    .replace(/^[^A-Za-z0-9]+|[^A-Za-z0-9]+$/g, "")
    .slice(0, MAX_STREAM_BYTES - "-airferry".length);
}

/** The first file's name; another one where the manifest would replace a file that it is made from. */
async function streamFor(from: readonly string[], dir: string): Promise<string> {
  const first = from.find((it) => it !== "-");
  const name = (first && nameOf(basename(first).replace(/(?:\.[A-Za-z]\w{0,5})+$/, ""))) || "manifest";
  return (await isOneOf(from, join(dir, `${name}.yaml`))) ? `${name}-airferry` : name;
}

async function isOneOf(files: readonly string[], path: string): Promise<boolean> {
  const identity = (file: string) =>
    stat(file).then(
      ({ dev, ino }) => `${dev}:${ino}`,
      () => undefined,
    );
  const own = await identity(path);
  const others = await Promise.all(files.map(identity));
  return own !== undefined && others.includes(own);
}

async function refuseToReplace(from: readonly string[], path: string, mayReplace: boolean): Promise<void> {
  const isSource = await isOneOf(from, path);
  if (!isSource && (mayReplace || !(await exists(path)))) return;
  const fault = isSource ? "it is one of the files that are read" : "it exists already";
  throw new AirferryError("ERR_USAGE", `cannot write "${path}": ${fault}`, {
    path,
    hint: isSource ? "give another --stream or folder" : "give another --stream or folder, or replace it with --force",
  });
}

/** Writes a draft, and the schema that editors complete it with. */
export async function writeDraft({ dir, path, text, notes }: InitDraft): Promise<InitResult> {
  await makeFolder(dir);
  const schema = join(dir, "manifest.schema.json");
  await writeAtomic(schema, `${JSON.stringify(manifestJsonSchema(), null, 2)}\n`);
  await writeAtomic(path, text);
  return { manifest: path, files: [path, schema], notes };
}

/**
 * The path of a local file as the manifest in `dir` needs it. People type it as seen from where they are; when nothing
 * is there, it stays as typed and is meant to be put beside the manifest.
 */
async function fromFolder(typed: string, dir: string): Promise<string> {
  if (/^https?:\/\//.test(typed) || isAbsolute(typed)) return typed;
  if ((await exists(resolve(dir, typed))) || !(await exists(resolve(typed)))) return typed;
  return relative(resolve(dir), resolve(typed));
}

/** Files that the manifest takes from disk. */
function localPaths({ isos = [], rpms = [], files = [], images = [] }: Manifest): string[] {
  return [...isos, ...rpms, ...files, ...images].flatMap((it) => [
    ...("path" in it && typeof it.path === "string" ? [it.path] : []),
    ...("archive" in it && typeof it.archive === "string" ? [it.archive] : []),
  ]);
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
