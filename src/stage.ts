/**
 * `airferry stage DIR`: the folder that the builder's container mounts as its output folder, complete: ISO,
 * imageconfig, ks.cfg, scripts with their modes, the server's certificate, airferry.repo. See docs/build.md, "The
 * builder's folder".
 */

import { openSource, type SourceOptions } from "./cache/open-source.ts";
import { AirferryError } from "./errors.ts";
import { findingLine } from "./io/findings.ts";
import { verifySpace } from "./io/space.ts";
import { checkGuest } from "./render/guest-check.ts";
import { openRender, type RenderFrom } from "./render/open-render.ts";
import { findBuilder } from "./render/view.ts";
import { canGiveFiles, type FolderUsers, StagedFolder } from "./stage/folder.ts";
import { contentIn, readRecord, type StageRecord, writeRecord } from "./stage/stage-record.ts";
import { contentsOf, type StagedFile } from "./stage/staged-files.ts";
import type { StoreReader } from "./store/types.ts";

/** User id of `imagebuilder` in the builders' images. */
const BUILDER_UID = 1000;

export interface StageOptions extends RenderFrom, SourceOptions {
  /** Replace existing files with other content. */
  force?: boolean | undefined;
  /** PEM of the server's CA, if it has its own. */
  ca?: string | undefined;
  /** User id of the builder's container; default {@link BUILDER_UID}. */
  builderUid?: number | undefined;
  /** User id of stage; default: the process's. */
  uid?: number | undefined;
  /** Called with each file once it is in place. */
  onFile?: ((path: string) => void) | undefined;
}

/** What was written, as paths relative to the folder, and what was not, with the reason. */
interface Staged {
  dir: string;
  files: string[];
  /** Bytes of these files. */
  size: number;
  left: { path: string; reason: string }[];
  /** Notes for whoever runs the build, one line each. */
  notes: string[];
}

/**
 * Writes the folder. Files of an earlier run are replaced, or removed if they are no longer part of it; files that
 * somebody else wrote or changed are replaced only with `force`, and without it nothing is written. Never leaves a
 * partial file under its final name.
 * @throws {AirferryError} ERR_RENDER without a builder in the manifest, or when something that the build needs cannot
 *   be rendered or still has a placeholder; ERR_USAGE for changed files (all of them in `problems`), a folder that
 *   others can write to, secrets that others could read; ERR_PATH_UNSAFE for links and names that lead outside;
 *   ERR_SPACE, ERR_IO; of a store in a bucket ERR_OBJECT_STORAGE, ERR_STORE_INVALID
 */
export async function stage(dir: string, options: StageOptions): Promise<Staged> {
  const opened = typeof options.store === "string" ? await openSource(options.store, options) : undefined;
  try {
    return await stageFrom(dir, { ...options, store: opened ?? options.store });
  } finally {
    await opened?.close();
  }
}

async function stageFrom(dir: string, options: StageOptions): Promise<Staged> {
  const { files: all, input, store } = await openRender(options);
  // Resolvers and trust are the site's, not the builder's.
  const rendered = all.filter((it) => it.name !== "origins");
  const found = findBuilder(input, "stage");
  const users: FolderUsers = {
    builderUid: options.builderUid ?? BUILDER_UID,
    uid: options.uid ?? process.getuid?.(),
  };
  const { files, left, findings } = await contentsOf(rendered, input, found, options.ca);
  requireReadersOnly(files, users);
  const notes = [...findings, ...checkGuest(input)].map(findingLine);

  await using folder = await StagedFolder.open(dir, users);
  if (folder.keepsOwner)
    notes.push(`${dir} keeps its owner and mode: uid ${users.builderUid}, the builder, must be able to write there`);
  const record = await readRecord(folder);
  const standing = await compare(folder, files, record, options.force === true);
  const missing = files.filter((it) => !standing.has(it.path));
  const bytes = missing.reduce((sum, it) => sum + it.size, 0);
  const largest = Math.max(0, ...missing.map((it) => it.size));
  await verifySpace("stage", folder.path, { bytes, files: missing.length, largest });

  const wanted: StageRecord = new Map(files.map(({ path, digest, size }) => [path, [{ digest, size }]]));
  // Both stay valid until the end: whenever a run is stopped, the next one recognizes all of its files as stage's own.
  await writeRecord(
    folder,
    new Map([...record, ...wanted].map(([path]) => [path, [...(record.get(path) ?? []), ...(wanted.get(path) ?? [])]])),
  );
  for (const file of files) {
    if (!standing.has(file.path)) await place(folder, file, store);
    options.onFile?.(file.path);
  }
  notes.push(...(await removeOutdated(folder, record, wanted)));
  await writeRecord(folder, wanted);
  await folder.finish();
  return { dir, files: files.map((it) => it.path), size: files.reduce((sum, it) => sum + it.size, 0), left, notes };
}

/** Files with a password must be readable only by the builder's user, which only root or that user can ensure. */
function requireReadersOnly(files: readonly StagedFile[], users: FolderUsers): void {
  const secrets = files.filter((it) => it.isSecret).map((it) => it.path);
  if (secrets.length === 0 || canGiveFiles(users)) return;
  throw new AirferryError(
    "ERR_USAGE",
    `cannot stage ${secrets.map((it) => `"${it}"`).join(", ")}: uid ${users.uid} cannot let the builder, uid ${users.builderUid}, read its secrets without letting everybody read them`,
    {
      expected: `root, or uid ${users.builderUid}`,
      actual: `uid ${users.uid}`,
      hint: `run it as root; or, if the container runs as you (podman run --userns=keep-id:uid=${users.builderUid}), add: --builder-uid ${users.uid}`,
    },
  );
}

/**
 * Checks what is already in the folder. Returns the paths that need no change, with their owner and mode set.
 * @throws {AirferryError} ERR_USAGE for files that match neither an earlier run nor this one
 */
async function compare(
  folder: StagedFolder,
  files: readonly StagedFile[],
  record: StageRecord,
  force: boolean,
): Promise<Set<string>> {
  const standing = new Set<string>();
  const others: string[] = [];
  for (const file of files) {
    const existing = await folder.look(file.path);
    if (existing.is === "nothing") continue;
    if (existing.is === "other") {
      others.push(file.path);
      continue;
    }
    try {
      const content = await contentIn(existing.handle, existing.size, [file, ...(record.get(file.path) ?? [])]);
      if (content === undefined) others.push(file.path);
      else if (content.digest === file.digest && existing.isOwn) {
        await folder.give(existing.handle, file.mode, file.readers);
        standing.add(file.path);
      }
    } finally {
      await existing.handle.close();
    }
  }
  if (others.length === 0 || force) return standing;
  const names = others.map((it) => `"${it}"`).join(", ");
  throw new AirferryError(
    "ERR_USAGE",
    `cannot stage into "${folder.path}": ${names} would be replaced: changed since, or not written by stage`,
    {
      path: folder.path,
      problems: others.map((path) => ({ code: "ERR_USAGE", path, message: "exists already with other content" })),
      hint: "stage into another folder and merge by hand, or replace the existing files with --force",
    },
  );
}

async function place(folder: StagedFolder, file: StagedFile, store: StoreReader): Promise<void> {
  if (file.entry !== undefined) {
    const opened = await store.openBlob?.(file.entry.digest);
    if (opened === undefined) return folder.copyFrom(store.blobPath(file.entry.digest), file.path, file.mode);
    try {
      await folder.writeBytes(opened.bytes, file.path, file.mode);
    } finally {
      await opened.close();
    }
  } else await folder.writeText(file.path, file.text ?? "", file.mode, file.readers);
}

/**
 * Removes what earlier runs wrote and this one does not: an old release's script would still run. Returns what remains,
 * as notes.
 */
async function removeOutdated(folder: StagedFolder, record: StageRecord, wanted: StageRecord): Promise<string[]> {
  const notes: string[] = [];
  for (const [path, contents] of record) {
    if (wanted.has(path)) continue;
    const existing = await folder.look(path);
    if (existing.is !== "file") continue;
    const isUnchanged = (await contentIn(existing.handle, existing.size, contents)) !== undefined;
    await existing.handle.close();
    if (isUnchanged) await folder.remove(path);
    else notes.push(`${path} is no longer staged, but was changed and therefore not removed`);
  }
  return notes;
}
