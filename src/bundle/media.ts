/**
 * What is on the media, before anything is trusted: lists the folders of one bundle, refuses links, devices and
 * unsigned names, and reads the small files within their size limits. docs/format.md, "Reading".
 */
import { hash } from "node:crypto";
import type { Dirent } from "node:fs";
import { lstat, opendir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { AirferryError, type Problem } from "../errors.ts";
import { ioError } from "../io/atomic.ts";
import { readSmall } from "../io/safe-open.ts";
import { shellWord } from "../io/shell.ts";
import { MAX_SIGNATURE_BYTES } from "../sign/sigstore-bundle.ts";
import { MAX_SIGNATURE_FILES } from "../sign/verify-sums.ts";
import { printableName } from "./entry-paths.ts";
import { MAX_FOLDER_NAMES, MAX_SUMS_BYTES } from "./format-limits.ts";
import { BIN_NAME, isJunkName, SIGNATURES_NAME, SUMS_NAME } from "./media-names.ts";

/** How many bundles of a folder a message names. */
const MAX_NAMED = 5;
const MEDIUM_FOLDER = /^medium-\d+-of-\d+$/;

/** One folder of a bundle as found. */
interface MediaFolder {
  dir: string;
  /**
   * Regular files at the top and in bin/ (`bin/NAME`), with their sizes. SHA256SUMS and signatures/ are not among them.
   */
  files: Map<string, number>;
}

/** One file of signatures/. */
export interface MediaSignature {
  name: string;
  bytes: Buffer;
  /** The folder it was read from. */
  medium: string;
}

/** All folders of one bundle, and the bytes that its trust depends on. */
export interface Media {
  folders: MediaFolder[];
  /** Bytes of SHA256SUMS: the same in every folder. */
  sums: Buffer;
  /**
   * Files of signatures/, sorted by name. A signer's files are listed once for all media on which they are identical: a
   * signer of each medium separately has a pair on each.
   */
  signatures: MediaSignature[];
  /** What is on the media but not allowed. */
  problems: Problem[];
  /** What was skipped, for messages. */
  notices: string[];
}

/**
 * Reads the top of one or several folders of one bundle. A folder of `medium-N-of-M` folders means all of them.
 * @param root bytes that SHA256SUMS should have: what the folders have under this name is not read then
 * @throws {AirferryError} ERR_NOT_FOUND, ERR_BUNDLE_INCOMPLETE without SHA256SUMS, ERR_BUNDLE_INVALID when the folders
 *   are of different bundles, ERR_SIZE_LIMIT, ERR_PATH_UNSAFE, ERR_IO. Lesser faults are collected in `problems`.
 */
export async function readMedia(dirs: readonly string[], root?: Buffer): Promise<Media> {
  const found: Found = { problems: [], notices: [] };
  const folders: MediaFolder[] = [];
  const signatures = new Map<string, MediaSignature[]>();
  let sums: Buffer | undefined;
  for (const dir of await expandMedia(dirs)) {
    const own = root ?? (await readSums(dir));
    if (sums !== undefined && !sums.equals(own)) {
      throw new AirferryError(
        "ERR_BUNDLE_INVALID",
        `cannot read "${dir}": it belongs to another bundle than "${folders[0]?.dir}": their ${SUMS_NAME} differ`,
        { path: join(dir, SUMS_NAME), hint: "give only the folders of one bundle" },
      );
    }
    sums = own;
    folders.push(await readFolder(dir, signatures, found));
  }
  return {
    folders,
    sums: sums ?? Buffer.alloc(0),
    signatures: [...signatures.values()].flat().sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0)),
    ...found,
  };
}

/** One pair per signer is enough for the record: all of them were checked. */
export function onePairEach(signatures: Media["signatures"]): Media["signatures"] {
  const mediumOf = new Map<string, string>();
  for (const { name, medium } of signatures) {
    const signer = name.slice(0, 16);
    if (!mediumOf.has(signer)) mediumOf.set(signer, medium);
  }
  return signatures.filter((it) => mediumOf.get(it.name.slice(0, 16)) === it.medium);
}

/**
 * Sorts folders by the bundle that they belong to, in the order in which each bundle came first. A folder of
 * `medium-N-of-M` folders counts as the first of them.
 * @throws {AirferryError} as {@link readMedia}
 */
export async function groupByBundle(dirs: readonly string[]): Promise<string[][]> {
  const groups = new Map<string, string[]>();
  for (const dir of dirs) {
    const [first = dir] = await expandMedia([dir]);
    const sums = hash("sha256", await readSums(first), "hex");
    groups.set(sums, [...(groups.get(sums) ?? []), dir]);
  }
  return [...groups.values()];
}

function readSums(dir: string): Promise<Buffer> {
  return readSmall(join(dir, SUMS_NAME), MAX_SUMS_BYTES).catch(async (cause: unknown) => {
    throw cause instanceof AirferryError && cause.code === "ERR_NOT_FOUND" ? await notBundle(dir, cause) : cause;
  });
}

interface Found {
  problems: Problem[];
  notices: string[];
}

async function notBundle(dir: string, cause: unknown): Promise<AirferryError> {
  const bundles = await bundlesIn(dir);
  const [first] = bundles;
  const fault =
    first === undefined
      ? "not a bundle, or only a part of one"
      : `it holds ${bundles.length === 1 ? "a bundle" : "bundles"}: ${bundles.map((it) => `"${it}"`).join(", ")}`;
  return new AirferryError("ERR_BUNDLE_INCOMPLETE", `cannot read "${dir}": no ${SUMS_NAME}: ${fault}`, {
    path: join(dir, SUMS_NAME),
    hint: first === undefined ? `give the folder that holds ${SUMS_NAME}` : `give that folder: ${shellWord(first)}`,
    cause,
  });
}

/** The argument is a file of the bundle, another file, or does not exist. */
async function notFolder(dir: string, cause: unknown): Promise<AirferryError> {
  const found = await lstat(dir).catch(() => undefined);
  if (found === undefined || found.isSymbolicLink()) {
    const fault = found === undefined ? "no such folder" : "it is a dangling link";
    return new AirferryError("ERR_NOT_FOUND", `cannot read "${dir}": ${fault}`, {
      path: dir,
      hint: "check the path, and that the medium is mounted",
      cause,
    });
  }
  const parent = dirname(dir);
  const bundle = (await isBundle(parent)) ? parent : (await bundlesIn(parent))[0];
  return new AirferryError("ERR_NOT_FOUND", `cannot read "${dir}": it is a file: expected the folder of a bundle`, {
    path: dir,
    expected: "a folder",
    actual: "a file",
    hint:
      bundle === undefined
        ? `give the folder that holds ${SUMS_NAME}`
        : `give the bundle's folder: ${shellWord(bundle)}`,
    cause,
  });
}

/** The bundles in a folder: the argument is the folder that contains them. */
async function bundlesIn(dir: string): Promise<string[]> {
  const found: string[] = [];
  for (const it of await listNames(dir).catch(() => [])) {
    const folder = join(dir, it.name);
    if (it.isDirectory() && (await isBundle(folder))) found.push(folder);
    if (found.length === MAX_NAMED) break;
  }
  return found;
}

async function isBundle(folder: string): Promise<boolean> {
  const names = await listNames(folder).catch(() => []);
  return names.some((it) => it.name === SUMS_NAME || (it.isDirectory() && MEDIUM_FOLDER.test(it.name)));
}

/** Names of a folder, capped. */
async function listNames(dir: string): Promise<Dirent[]> {
  const names: Dirent[] = [];
  try {
    for await (const it of await opendir(dir)) {
      names.push(it);
      if (names.length > MAX_FOLDER_NAMES) {
        throw new AirferryError("ERR_SIZE_LIMIT", `cannot read "${dir}": more than ${MAX_FOLDER_NAMES} names`, {
          path: dir,
        });
      }
    }
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === "ENOENT" || code === "ENOTDIR") throw await notFolder(dir, error);
    throw ioError("read", dir, error);
  }
  return names.sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** The folders that arguments mean: a folder of `medium-N-of-M` folders means these. @throws {AirferryError} */
export async function expandMedia(dirs: readonly string[]): Promise<string[]> {
  const expanded: string[] = [];
  for (const dir of dirs) {
    const names = await listNames(dir);
    const media = names.filter((it) => it.isDirectory() && MEDIUM_FOLDER.test(it.name));
    const others = names.filter((it) => !media.includes(it) && !isJunkName(it.name));
    if (media.length > 0 && others.length === 0) expanded.push(...media.map((it) => join(dir, it.name)));
    else expanded.push(dir);
  }
  return [...new Set(expanded)];
}

async function readFolder(dir: string, signatures: Map<string, MediaSignature[]>, found: Found): Promise<MediaFolder> {
  const files = new Map<string, number>();
  const folded = new Map<string, string>();
  const refuse = (name: string, code: Problem["code"], fault: string) =>
    found.problems.push({ code, path: printableName(name), message: `"${printableName(name)}" in "${dir}": ${fault}` });
  for (const it of await listNames(dir)) {
    if (isJunkName(it.name)) {
      found.notices.push(`skipped "${printableName(it.name)}" in "${dir}"`);
      continue;
    }
    const twin = folded.get(it.name.toLowerCase());
    if (twin !== undefined) refuse(it.name, "ERR_PATH_UNSAFE", `differs only by case from "${printableName(twin)}"`);
    folded.set(it.name.toLowerCase(), it.name);
    if (it.name === SIGNATURES_NAME) {
      if (it.isDirectory()) await readSignatures(dir, signatures, found);
      else refuse(it.name, "ERR_PATH_UNSAFE", "expected a folder");
    } else if (it.name === BIN_NAME && it.isDirectory()) {
      for (const inner of await listNames(join(dir, BIN_NAME))) {
        if (!isJunkName(inner.name)) await addFile(dir, `${BIN_NAME}/${inner.name}`, inner, files, refuse);
      }
    } else if (it.isDirectory()) {
      refuse(it.name, "ERR_BUNDLE_EXTRA", "a folder that is not part of a bundle");
    } else await addFile(dir, it.name, it, files, refuse);
  }
  files.delete(SUMS_NAME);
  return { dir, files };
}

async function addFile(
  dir: string,
  name: string,
  it: Dirent,
  files: Map<string, number>,
  refuse: (name: string, code: Problem["code"], fault: string) => void,
): Promise<void> {
  if (isMangled(name)) return refuse(name, "ERR_PATH_UNSAFE", NO_UTF8);
  const stats = await lstat(join(dir, name)).catch((error: unknown) => Promise.reject(ioError("read", name, error)));
  if (stats.isFile() && it.isFile()) files.set(name, stats.size);
  else refuse(name, "ERR_PATH_UNSAFE", stats.isSymbolicLink() ? "a link" : "not a regular file");
}

const NO_UTF8 = "a name that is not UTF-8";

/**
 * Whether bytes of a name were lost in decoding: the disk has no such name, and no bundle has a name with this
 * character.
 */
function isMangled(name: string): boolean {
  return name.includes("\ufffd");
}

async function readSignatures(medium: string, signatures: Map<string, MediaSignature[]>, found: Found): Promise<void> {
  const dir = join(medium, SIGNATURES_NAME);
  const own = new Map<string, MediaSignature[]>();
  let count = 0;
  for (const it of await listNames(dir)) {
    const path = `${SIGNATURES_NAME}/${printableName(it.name)}`;
    if (isJunkName(it.name)) {
      found.notices.push(`skipped "${path}" in "${dir}"`);
    } else if (isMangled(it.name)) {
      found.problems.push({ code: "ERR_PATH_UNSAFE", path, message: `"${path}" in "${medium}": ${NO_UTF8}` });
    } else if (!it.isFile()) {
      found.problems.push({ code: "ERR_PATH_UNSAFE", path, message: `"${path}": not a regular file` });
    } else if (++count > MAX_SIGNATURE_FILES) {
      found.problems.push({
        code: "ERR_SIZE_LIMIT",
        path,
        message: `more than ${MAX_SIGNATURE_FILES} signature files`,
      });
      return;
    } else {
      try {
        const bytes = await readSmall(join(dir, it.name), MAX_SIGNATURE_BYTES);
        const signer = it.name.slice(0, 16);
        own.set(signer, [...(own.get(signer) ?? []), { name: it.name, bytes, medium }]);
      } catch (error) {
        if (!(error instanceof AirferryError)) throw error;
        found.problems.push({ code: error.code, path, message: error.message });
      }
    }
  }
  for (const files of own.values()) {
    const content = hash("sha256", files.map((it) => `${it.name} ${it.bytes.toString("base64")}\n`).join(""), "hex");
    if (!signatures.has(content)) signatures.set(content, files);
  }
}
