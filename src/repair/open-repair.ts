/**
 * What a repair works with: a bundle whose signed root is trusted, and further copies of it or of its parts. Nothing is
 * parsed before the signatures are good.
 */
import { lstat, readdir } from "node:fs/promises";
import { join } from "node:path";
import { type Contents, readContents } from "../bundle/contents.ts";
import { MAX_SUMS_BYTES } from "../bundle/format-limits.ts";
import { onePairEach, readMedia } from "../bundle/media.ts";
import { isParityName, SUMS_NAME } from "../bundle/media-names.ts";
import { parseSums, type SumLine } from "../bundle/sums.ts";
import { judgeMedia, TRUST_HINTS } from "../bundle/trust-rules.ts";
import { volumeIndexOf } from "../bundle/volume-layout.ts";
import { AirferryError, type ErrorCode, type Problem } from "../errors.ts";
import { ioError } from "../io/atomic.ts";
import { type Digest, digestOf } from "../io/digest.ts";
import { readSmall } from "../io/safe-open.ts";
import { shellWords } from "../io/shell.ts";
import { readTrust } from "../sign/whom-to-trust.ts";

/** A folder with more names is not searched. */
const MAX_NAMES = 20_000;

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
  contents: Contents;
  /** All lines of the signed root. */
  lines: SumLine[];
  /** Every copy of each volume in targets and twins, of any size. */
  copies: { dir: string; path: string; size: number }[][];
  /** One file for every listed name that is there. */
  files: ReadonlyMap<string, { path: string; size: number }>;
  loose: LooseCopy[];
  /** Recovery files, those that the signed root lists first. */
  parity: string[];
  /** Of SHA256SUMS. */
  digest: Digest;
  signers: string[];
  /** What of every signer is enough for one medium. */
  signatures: readonly { name: string; bytes: Uint8Array }[];
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
  const own = await readMedia(folders);
  for (const line of own.notices) options.notice(line);
  const { signers, problems } = await judgeMedia(own, source, { now: new Date() });
  refuse(folders, [...problems, ...own.problems]);
  const { twins, loose, parity } = await readFrom(options.from, own.sums);
  const media = twins.length === 0 ? own : await readMedia([...folders, ...twins]);
  const read = await readContents(media);
  const { contents } = read;
  const isFatal = (it: Problem) => contents === undefined || !REPAIRED.has(it.code);
  refuse(folders, read.problems.filter(isFatal), "give a second copy of the bundle with --from");
  if (contents === undefined) throw new Error("a bundle without contents has no problem");
  const targets = own.folders.map((it) => it.dir);
  const listed = contents.spare.filter((it) => isParityName(it.name)).flatMap((it) => it.files.map(({ file }) => file));
  return {
    targets,
    twins: media.folders.map((it) => it.dir).filter((it) => !targets.includes(it)),
    contents,
    lines: parseSums(media.sums).lines,
    copies: contents.inventory.volumes.map(({ name }) =>
      media.folders.flatMap(({ dir, files }) => {
        const size = files.get(name);
        return size === undefined ? [] : [{ dir, path: join(dir, name), size }];
      }),
    ),
    files: new Map(
      media.folders.flatMap(({ dir, files }) =>
        [...files].map(([name, size]) => [name, { path: join(dir, name), size }]),
      ),
    ),
    loose,
    parity: [...listed, ...parity],
    digest: digestOf(media.sums),
    signers,
    signatures: onePairEach(own.signatures),
  };
}

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

/** Sorts what `--from` names: folders of the same bundle, single volumes, recovery files. */
async function readFrom(
  from: readonly string[],
  sums: Buffer,
): Promise<{ twins: string[]; loose: LooseCopy[]; parity: string[] }> {
  const found = { twins: [] as string[], loose: [] as LooseCopy[], parity: [] as string[] };
  for (const place of from) {
    const stats = await lstat(place).catch((error: unknown) => Promise.reject(ioError("read", place, error)));
    if (stats.isFile()) addFile(place, stats.size, found);
    else if (!stats.isDirectory() || !(await addFolder(place, sums, found))) {
      throw new AirferryError("ERR_USAGE", `cannot repair from "${place}": it holds no part of this bundle`, {
        path: place,
        hint: "give another copy of the bundle, a folder with its volumes or recovery files, or such a file",
      });
    }
  }
  return found;
}

type From = Awaited<ReturnType<typeof readFrom>>;

function addFile(path: string, size: number, found: From): void {
  const name = path.slice(path.lastIndexOf("/") + 1);
  if (name.endsWith(".par2")) found.parity.push(path);
  else found.loose.push({ path, size, index: volumeIndexOf(name) });
}

async function addFolder(dir: string, sums: Buffer, found: From): Promise<boolean> {
  const names = await readdir(dir, { withFileTypes: true }).catch((error: unknown) =>
    Promise.reject(ioError("read", dir, error)),
  );
  if (names.length > MAX_NAMES) {
    throw new AirferryError("ERR_SIZE_LIMIT", `cannot read "${dir}": more than ${MAX_NAMES} names`, { path: dir });
  }
  const own = await readSmall(join(dir, SUMS_NAME), MAX_SUMS_BYTES).catch(() => undefined);
  if (own?.equals(sums) === true) {
    found.twins.push(dir);
    return true;
  }
  let isUseful = false;
  for (const it of names) {
    const path = join(dir, it.name);
    if (it.isDirectory() && /^medium-\d+-of-\d+$/.test(it.name)) {
      isUseful = (await addFolder(path, sums, found)) || isUseful;
    } else if (it.isFile() && (volumeIndexOf(it.name) !== undefined || it.name.endsWith(".par2"))) {
      addFile(path, (await lstat(path)).size, found);
      isUseful = true;
    }
  }
  return isUseful;
}
