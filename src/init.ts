/**
 * `airferry init`: copies a ready manifest into a folder, and fills in what it leaves open from answers. A draft says
 * what would be written; nothing is written before the user has seen it.
 */
import { access } from "node:fs/promises";
import { isAbsolute, join, relative, resolve } from "node:path";
import { AirferryError } from "./errors.ts";
import { answered, type InitAnswers } from "./init/answers.ts";
import { makeFolder, writeAtomic } from "./io/atomic.ts";
import { closestWord } from "./io/closest-word.ts";
import { shellWord } from "./io/shell.ts";
import { parseManifest } from "./manifest/load.ts";
import { readyManifests } from "./manifest/ready.ts";
import { type Manifest, manifestJsonSchema } from "./manifest/schema.ts";

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
