/**
 * `airferry stage DIR`: the folder that the builder's container mounts as its output folder, complete: ISO, imageconfig,
 * ks.cfg, custom scripts with their modes, the server's certificate, airferry.repo. See docs/build.md, "The builder's folder".
 */

import { createHash, randomBytes } from "node:crypto";
import { constants, createReadStream } from "node:fs";
import { chmod, copyFile, rename, rm, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { InventoryEntry } from "./bundle/inventory-types.ts";
import { AirferryError } from "./errors.ts";
import { ioError, makeFolder, writeAtomic } from "./io/atomic.ts";
import { fileIn, pathIn } from "./io/path-grammar.ts";
import { verifySpace } from "./io/space.ts";
import { parseImageconfig } from "./render/imageconfig.ts";
import { builderOf, buildIso, findBuilder } from "./render/view.ts";
import { openRender, type RenderOptions } from "./render.ts";
import type { StoreReader } from "./store/types.ts";

export interface StageOptions extends Omit<RenderOptions, "out"> {
  /** PEM of the server's CA, when it serves with TLS. */
  ca?: string | undefined;
  /** Told of each file when it is in its place. */
  onFile?: ((path: string) => void) | undefined;
}

/** What was written, as paths relative to the folder, and what was not, with the reason. */
export interface Staged {
  dir: string;
  files: string[];
  left: { path: string; reason: string }[];
}

/**
 * Writes the folder. What it makes replaces what is there under the same names; other files are not touched. Never half a
 * file under its final name.
 * @throws {AirferryError} ERR_RENDER without a builder in the manifest, or when imageconfig cannot be rendered for a
 *   spectro-capi builder; ERR_SPACE
 */
export async function stage(dir: string, options: StageOptions): Promise<Staged> {
  const { files, input, store } = await openRender(options);
  const { builder, release } = findBuilder(input, "stage");
  const staged: Staged = { dir, files: [], left: [] };
  const done = (path: string) => {
    staged.files.push(path);
    options.onFile?.(path);
  };
  // The builder's container runs as a user of its own and writes its result here.
  await makeFolder(dir);
  await chmod(dir, 0o777).catch(() => {});

  const wanted = builder.flavor === "spectro-capi" ? "imageconfig" : "packer-vars";
  let isoName: string | undefined;
  for (const file of files) {
    let text: string;
    try {
      text = await file.make();
    } catch (error) {
      if (!(error instanceof AirferryError) || error.code !== "ERR_RENDER" || file.name === wanted) throw error;
      staged.left.push({ path: file.path, reason: error.message });
      continue;
    }
    if (file.name === "imageconfig") isoName = parseImageconfig(text).get("iso_name");
    const target = pathIn(dir, file.path);
    await makeFolder(dirname(target));
    await writeAtomic(target, text, file.name === "imageconfig" ? 0o640 : 0o644);
    done(file.path);
  }
  if (options.ca !== undefined) {
    await writeAtomic(join(dir, "server.crt"), options.ca);
    done("server.crt");
  } else if (input.privateCa && new URL(input.baseUrl).protocol === "https:") {
    const reason = "the server's own CA was not given: --ca ca.crt (from /ca.crt of the server), or --public-ca";
    staged.left.push({ path: "server.crt", reason });
  }
  for (const kind of ["pre", "post"] as const) {
    for (const path of builder.customScripts[kind]) {
      const entry = release.inventory.entries.find((it) => it.path === `files/${path}`);
      const target = `custom_scripts/${kind}/${path.slice(path.lastIndexOf("/") + 1)}`;
      if (entry === undefined) {
        throw new AirferryError("ERR_RENDER", `cannot stage "${target}": files/${path} was not packed`, {
          hint: `add to the manifest, then lock, pack and carry again:\nfiles:\n  - path: ./${path}\n    as: ${path}`,
        });
      }
      await placeCopy(store, entry, pathIn(dir, target, `builder.custom_scripts.${kind}`));
      done(target);
    }
  }
  const iso = buildIso("stage", builderOf(release), release);
  if (iso !== undefined) {
    const name = isoName !== undefined && isoName !== "" ? isoName : `${iso.iso.name}.iso`;
    await placeLarge(store, iso.entry, fileIn(dir, name, "builder.imageconfig.iso_name"), dir);
    done(name);
  }
  return staged;
}

async function placeCopy(store: StoreReader, entry: InventoryEntry, target: string): Promise<void> {
  await makeFolder(dirname(target));
  await replace(target, async (temporary) => {
    await copyFile(store.blobPath(entry.sha256), temporary, constants.COPYFILE_FICLONE);
    await chmod(temporary, Number.parseInt(entry.mode, 8));
  });
}

/**
 * Copies the ISO, by reference where the file system can. It is never a hard link: the builder's container runs as root and
 * could change the store through it. One that is there already with the right bytes stays.
 */
async function placeLarge(store: StoreReader, entry: InventoryEntry, target: string, dir: string): Promise<void> {
  if (await hasContent(target, entry)) return;
  await verifySpace("stage", dir, { bytes: entry.size, files: 1, largest: entry.size });
  await placeCopy(store, entry, target);
}

async function replace(target: string, write: (temporary: string) => Promise<void>): Promise<void> {
  const temporary = join(dirname(target), `.tmp-${randomBytes(8).toString("hex")}`);
  try {
    await write(temporary);
    await rename(temporary, target);
  } catch (error) {
    throw ioError("write", target, error);
  } finally {
    await rm(temporary, { force: true });
  }
}

async function hasContent(file: string, entry: InventoryEntry): Promise<boolean> {
  const size = await stat(file).then(
    (it) => it.size,
    () => -1,
  );
  if (size !== entry.size) return false;
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(file, { highWaterMark: 1 << 20 })) hash.update(chunk);
  return hash.digest("hex") === entry.sha256;
}
