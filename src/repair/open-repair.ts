/**
 * What a repair works with: a bundle whose signed root is trusted, and further copies of it or of its parts. Nothing is
 * parsed before the signatures are good.
 */
import type { Dirent } from "node:fs";
import { lstat, opendir } from "node:fs/promises";
import { join } from "node:path";
import { type Contents, readContents } from "../bundle/contents.ts";
import { expandMedia, type Media } from "../bundle/media.ts";
import { BIN_NAME, isParityName } from "../bundle/media-names.ts";
import type { SumLine } from "../bundle/sums.ts";
import { TRUST_HINTS } from "../bundle/trust-rules.ts";
import { volumeIndexOf } from "../bundle/volume-layout.ts";
import { AirferryError, type ErrorCode, type Problem } from "../errors.ts";
import { ioError } from "../io/atomic.ts";
import { type Digest, digestOf } from "../io/digest.ts";
import { shellWords } from "../io/shell.ts";
import { readTrust } from "../sign/whom-to-trust.ts";
import { type Donor, openDonors } from "./donors.ts";
import { findRoot, type TrustedRoot } from "./trusted-root.ts";

/** Volumes and recovery files outside of copies of the bundle, in all folders: more than any bundle has. */
const MAX_LOOSE = 20_000;

/** A file that may be a copy of a volume. */
interface LooseCopy {
  path: string;
  size: number;
  /** Of which volume, by its name; undefined: of any. */
  index: number | undefined;
}

/** A bundle and what may repair it. */
export interface RepairJob {
  /** Folders of the bundle, those of a set of media one by one. */
  targets: string[];
  /** Further folders of the same bundle. */
  twins: string[];
  /** Those of both that have its signed root, so that an import takes them as they are. */
  whole: ReadonlySet<string>;
  contents: Contents;
  /** All lines of the signed root. */
  lines: SumLine[];
  /** Every copy of each volume in targets and twins, of any size; 0 also for what is no file. */
  copies: { dir: string; path: string; size: number }[][];
  /** One file for every listed name that is there. */
  files: ReadonlyMap<string, { path: string; size: number }>;
  loose: LooseCopy[];
  /** Other bundles that may have the same content. */
  donors: Donor[];
  /** Recovery files, those that the signed root lists first. */
  parity: string[];
  /** Of SHA256SUMS. */
  digest: Digest;
  root: TrustedRoot;
}

interface OpenOptions {
  trust: readonly string[];
  threshold?: number | undefined;
  /** Folders and files. */
  from: readonly string[];
  notice: (line: string) => void;
}

/** What a repair is for; every other problem ends it. */
const REPAIRED: ReadonlySet<ErrorCode> = new Set([
  "ERR_DIGEST_MISMATCH",
  "ERR_SIZE_MISMATCH",
  "ERR_SIZE_LIMIT",
  "ERR_BUNDLE_INCOMPLETE",
  "ERR_IO",
]);

/**
 * Opens a bundle for repair.
 * @throws {AirferryError} as `unpack` does for whatever is no damage; ERR_USAGE when `--from` has nothing of use
 */
export async function openRepair(folders: readonly string[], options: OpenOptions): Promise<RepairJob> {
  const source = await readTrust(options.trust, options.threshold);
  const places = await readPlaces(options.from);
  const root = await findRoot(await expandMedia(folders), places.dirs, source);
  if (Array.isArray(root)) {
    refuse(folders, root, SECOND_COPY);
    throw new Error("a root that is not trusted has a problem");
  }
  for (const line of root.targets.flatMap((it) => it.notices)) options.notice(line);
  refuse(folders, root.problems);
  const dirsOf = (all: readonly Media[]) => all.flatMap((it) => it.folders.map(({ dir }) => dir));
  const [targets, twins] = [dirsOf(root.targets), dirsOf(root.twins)];
  const strange = places.dirs.filter((it) => !twins.includes(it));
  const donors = await openDonors(strange, source, options.notice);
  const { loose, parity } = await readLoose(places, [...twins, ...donors.flatMap((it) => it.dirs)]);
  const media = mediaOf(root);
  const read = await readContents(media);
  const { contents } = read;
  const isFatal = (it: Problem) => contents === undefined || !REPAIRED.has(it.code);
  refuse(folders, read.problems.filter(isFatal), SECOND_COPY);
  if (contents === undefined) throw new Error("a bundle without contents has no problem");
  // A link, a pipe or an empty folder in place of a file.
  const inPlaceOf = new Set(
    root.targets.flatMap(({ folders, problems }) =>
      problems.flatMap(({ path }) => folders.map(({ dir }) => join(dir, path))),
    ),
  );
  const listed = contents.spare.filter((it) => isParityName(it.name)).flatMap((it) => it.files.map(({ file }) => file));
  return {
    targets,
    twins,
    whole: new Set([...targets, ...root.whole]),
    contents,
    lines: root.lines,
    copies: contents.inventory.volumes.map(({ name }) =>
      media.folders.flatMap(({ dir, files }) => {
        const size = files.get(name) ?? (inPlaceOf.has(join(dir, name)) ? 0 : undefined);
        return size === undefined ? [] : [{ dir, path: join(dir, name), size }];
      }),
    ),
    files: new Map(
      media.folders.flatMap(({ dir, files }) =>
        [...files].map(([name, size]) => [name, { path: join(dir, name), size }]),
      ),
    ),
    loose,
    donors,
    parity: [...listed, ...parity],
    digest: digestOf(media.sums),
    root,
  };
}

/** All folders. What else is in those of another copy does not matter, nor a file in the place of the programs. */
function mediaOf({ sums, lines, targets, twins }: TrustedRoot): Media {
  const listed = new Set(lines.map((it) => it.name));
  const hasPrograms = lines.some((it) => it.name.startsWith(`${BIN_NAME}/`));
  const only = (files: Map<string, number>, isWanted: (name: string) => boolean) =>
    new Map([...files].filter(([name]) => isWanted(name)));
  const folders = [
    ...targets
      .flatMap((it) => it.folders)
      .map(({ dir, files }) => ({
        dir,
        files: hasPrograms ? only(files, (name) => name !== BIN_NAME) : files,
      })),
    ...twins
      .flatMap((it) => it.folders)
      .map(({ dir, files }) => ({ dir, files: only(files, (name) => listed.has(name)) })),
  ];
  return { folders, sums, signatures: [], problems: [], notices: [] };
}

const SECOND_COPY = "give a second copy of the bundle with --from";

function refuse(folders: readonly string[], problems: readonly Problem[], hint?: string): void {
  const [first] = problems;
  if (first === undefined) return;
  const more = problems.length > 1 ? ` (and ${problems.length - 1} more)` : "";
  throw new AirferryError(first.code, `cannot repair "${folders.join('", "')}": ${first.message}${more}`, {
    path: first.path,
    problems,
    hint: HINTS[first.code] ?? hint ?? `for details run: airferry verify ${shellWords(folders)} --trust KEY`,
  });
}

const HINTS: Partial<Record<ErrorCode, string>> = {
  ...TRUST_HINTS,
  ERR_BUNDLE_EXTRA: "move what is not part of the bundle elsewhere; if it is a renamed volume, give it with --from",
  ERR_KEY_UNTRUSTED: "give the signer's public key with --trust, after comparing its fingerprint out of band",
};

/** What `--from` names. */
interface Places {
  /** Folders, and those of a set of media in them. */
  dirs: string[];
  /** By the argument that named it: these folders, or a file. */
  of: Map<string, { dirs: string[] } | { file: string; size: number }>;
}

async function readPlaces(from: readonly string[]): Promise<Places> {
  const places: Places = { dirs: [], of: new Map() };
  for (const place of from) {
    const stats = await lstat(place).catch((error: unknown) => Promise.reject(ioError("read", place, error)));
    if (stats.isFile()) places.of.set(place, { file: place, size: stats.size });
    else if (!stats.isDirectory()) throw useless(place);
    else {
      const dirs = [place];
      for await (const it of namesIn(place)) {
        if (it.isDirectory() && /^medium-\d+-of-\d+$/.test(it.name)) dirs.push(join(place, it.name));
      }
      places.of.set(place, { dirs });
      places.dirs.push(...dirs);
    }
  }
  return places;
}

/** Finds single volumes and recovery files in what is no copy of the bundle. */
async function readLoose(places: Places, twins: readonly string[]) {
  const found = { loose: [] as LooseCopy[], parity: [] as string[] };
  const add = (path: string, size: number) => {
    const name = path.slice(path.lastIndexOf("/") + 1);
    if (name.endsWith(".par2")) found.parity.push(path);
    else found.loose.push({ path, size, index: volumeIndexOf(name) });
  };
  for (const [place, it] of places.of) {
    if ("file" in it) {
      add(it.file, it.size);
      continue;
    }
    let isUseful = it.dirs.some((dir) => twins.includes(dir));
    for (const dir of it.dirs.filter((dir) => !twins.includes(dir))) {
      for await (const { name } of namesIn(
        dir,
        (it) => volumeIndexOf(it.name) !== undefined || it.name.endsWith(".par2"),
      )) {
        const path = join(dir, name);
        const stats = await lstat(path).catch(() => undefined);
        if (stats?.isFile() !== true) continue;
        add(path, stats.size);
        isUseful = true;
        if (found.loose.length + found.parity.length > MAX_LOOSE) throw tooMany(place);
      }
    }
    if (!isUseful) throw useless(place);
  }
  return found;
}

/** Names in a folder of any size, one after the other. */
async function* namesIn(dir: string, isWanted: (it: Dirent) => boolean = () => true): AsyncGenerator<Dirent> {
  try {
    for await (const it of await opendir(dir)) if (isWanted(it)) yield it;
  } catch (error) {
    throw ioError("read", dir, error);
  }
}

function useless(place: string): AirferryError {
  return new AirferryError("ERR_USAGE", `cannot repair from "${place}": it holds no part of this bundle`, {
    path: place,
    hint: "give another copy of the bundle, a folder with its volumes or recovery files, or such a file",
  });
}

function tooMany(place: string): AirferryError {
  const fault = `expected at most ${MAX_LOOSE} volumes and recovery files`;
  return new AirferryError("ERR_SIZE_LIMIT", `cannot repair from "${place}": ${fault}`, {
    path: place,
    hint: "give only the files of this bundle: --from FILE…, or a folder with nothing else",
  });
}
