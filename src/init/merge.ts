/**
 * One manifest out of what several files say: images and files once, packages to the repositories that have them, keys
 * and variables for those. No I/O.
 */
import { AirferryError } from "../errors.ts";
import { plural } from "../io/format.ts";
import { checkPath } from "../io/path-grammar.ts";
import type { FileEntry, ImageEntry, IsoEntry, RpmEntry } from "../manifest/schema.ts";
import { checkReference, formatReference, parseReference } from "../oci/reference.ts";
import { type FoundContent, type Skipped, shown, urlFault } from "./found.ts";
import { type UnitedRepository, uniteRepositories } from "./united-repositories.ts";

/** An entry, and the lines that it comes from, for its comment. */
export interface Origin<Entry> {
  entry: Entry;
  /** `ks.cfg:12`. */
  from: string[];
}

/** What a manifest is made of. */
export interface Merged {
  isos: Origin<IsoEntry>[];
  rpms: Origin<RpmEntry>[];
  files: Origin<FileEntry>[];
  images: Origin<ImageEntry>[];
  skipped: Skipped[];
  /** How many more were skipped. */
  more: number;
  /** What the user should look at. */
  notes: string[];
}

interface MergeOptions {
  /** Values of dnf variables. */
  vars: Readonly<Record<string, string>>;
  /** For images whose file says nothing of platforms. */
  platforms: readonly string[];
  iso?: IsoEntry | undefined;
  /** Paths of given key files as the manifest needs them, by name in {@link FoundContent}. */
  keyPaths: ReadonlyMap<string, string>;
}

/** Most entries and packages of one manifest, and most repositories. */
const MAX_THINGS = 50_000;
const MAX_REPOSITORIES = 1000;

/** Merges in the order of the files. @throws {AirferryError} ERR_USAGE when they say more than one manifest can have */
export function mergeFound(found: readonly FoundContent[], options: MergeOptions): Merged {
  const sum = (count: (it: FoundContent) => number) => found.reduce((before, it) => before + count(it), 0);
  const things = sum(
    (it) => it.images.length + it.files.length + it.packages.wanted.length + it.packages.excluded.length,
  );
  if (things > MAX_THINGS || sum((it) => it.repositories.length) > MAX_REPOSITORIES) {
    throw new AirferryError(
      "ERR_USAGE",
      `cannot make one manifest of this: expected at most ${MAX_THINGS} entries and packages and ${MAX_REPOSITORIES} repositories`,
      { hint: "make several manifests, each with its own --stream" },
    );
  }
  const merged: Merged = {
    isos: [],
    rpms: [],
    files: [],
    images: [],
    skipped: found.flatMap((it) => it.skipped),
    more: sum((it) => it.more),
    notes: [],
  };
  if (options.iso !== undefined) merged.isos.push({ entry: options.iso, from: ["--iso"] });
  mergeImages(found, options.platforms, merged);
  mergeFiles(found, merged);
  mergeRepositories(found, options, merged);
  const images = new Set(merged.images.map((it) => it.entry.ref));
  merged.skipped = merged.skipped.filter((it) => !(images.has(it.what) && it.why.includes("may be an image")));
  const order = new Map(found.map((it, index) => [it.file, index]));
  merged.skipped.sort((a, b) => (order.get(a.file) ?? 0) - (order.get(b.file) ?? 0) || a.line - b.line);
  return merged;
}

/** An image by any of its spellings once: for all platforms if one of its files wants all. */
function mergeImages(found: readonly FoundContent[], platforms: readonly string[], merged: Merged): void {
  const byName = new Map<string, Origin<ImageEntry>>();
  for (const { file, images } of found) {
    for (const { line, entry } of images) {
      const from = `${file}:${line}`;
      const own =
        platforms.length > 0 && entry.platforms === undefined ? { ...entry, platforms: [...platforms] } : entry;
      const name = imageKey(own);
      const known = byName.get(name);
      if (known === undefined) {
        byName.set(name, { entry: own, from: [from] });
        continue;
      }
      if (known.entry.repo !== own.repo) {
        const what = shown(`chart ${own.chart} of ${own.repo}`);
        merged.skipped.push({ file, line, what, why: "a chart of the same name and version comes from elsewhere" });
        continue;
      }
      known.from.push(from);
      known.entry = joined(known.entry, own);
    }
  }
  merged.images.push(...byName.values());
}

function imageKey({ ref, chart, version, tags }: ImageEntry): string {
  if (ref === undefined) return `chart ${chart}:${version ?? "newest"}`;
  return tags === undefined && checkReference(ref) === undefined ? formatReference(parseReference(ref)) : `${ref}:*`;
}

function joined(a: ImageEntry, b: ImageEntry): ImageEntry {
  const { platforms, referrers, ...rest } = { ...b, ...a };
  const both = a.platforms && b.platforms && [...new Set([...a.platforms, ...b.platforms])];
  return {
    ...rest,
    ...(both !== undefined && { platforms: both }),
    ...(a.referrers === false && b.referrers === false && { referrers }),
  };
}

/** Files by URL and name once; another one of the same name gets a path of its own. */
function mergeFiles(found: readonly FoundContent[], merged: Merged): void {
  const byPlace = new Map<string, Origin<FileEntry>>();
  const taken: TakenPaths = { files: new Set(), folders: new Set() };
  for (const { file, files } of found) {
    for (const { line, entry } of files) {
      const { url = "", as = "" } = entry;
      const key = `${url} ${as}`;
      const refuse = (why: string) => {
        merged.skipped.push({ file, line, what: shown(url), why });
      };
      const known = byPlace.get(key);
      const digests = [known?.entry.sha256 ?? known?.entry.integrity, entry.sha256 ?? entry.integrity];
      if (known !== undefined) {
        known.from.push(`${file}:${line}`);
        if (digests[0] === undefined) known.entry = { ...entry, ...known.entry };
        else if (digests[1] !== undefined && digests[0].toLowerCase() !== digests[1].toLowerCase())
          refuse("two files give it different checksums: the first one counts");
        continue;
      }
      const fault = urlFault(url);
      if (fault !== undefined) {
        refuse(fault);
        continue;
      }
      const path = pathFor(entry, taken);
      if (path === undefined) {
        refuse("its URL has no file name that can be used: give it as: NAME under files:");
        continue;
      }
      taken.files.add(path);
      for (const above of foldersOf(path)) taken.folders.add(above);
      const { as: _, ...rest } = entry;
      byPlace.set(key, { entry: path === lastSegment(url) ? rest : { ...rest, as: path }, from: [`${file}:${line}`] });
    }
  }
  merged.files.push(...byPlace.values());
}

function lastSegment(url: string): string {
  const segment = new URL(url).pathname.split("/").at(-1) ?? "";
  try {
    return decodeURIComponent(segment);
  } catch {
    return segment;
  }
}

/** No file may be a folder of another one. */
interface TakenPaths {
  files: Set<string>;
  folders: Set<string>;
}

/** A free path below /files/: the name, or with more and more of the URL before it. */
function pathFor({ url = "", as }: FileEntry, { files, folders }: TakenPaths): string | undefined {
  const { host, pathname } = new URL(url);
  const above = [host.replaceAll(":", "_"), ...pathname.split("/").slice(1, -1)];
  const name = as ?? lastSegment(url);
  if (as === undefined && name.includes("/")) return undefined;
  for (let depth = 0; depth <= above.length; depth++) {
    const path = [...above.slice(above.length - depth), name].join("/");
    if (checkPath(path) !== undefined || files.has(path) || folders.has(path)) continue;
    if (!foldersOf(path).some((it) => files.has(it))) return path;
  }
  return undefined;
}

/** `a` and `a/b` of `a/b/c`. */
function foldersOf(path: string): string[] {
  const parts = path.split("/");
  return parts.slice(1).map((_, index) => parts.slice(0, index + 1).join("/"));
}

function mergeRepositories(found: readonly FoundContent[], options: MergeOptions, merged: Merged): void {
  const { repositories: all, skipped } = uniteRepositories(found, options);
  merged.skipped.push(...skipped);
  for (const [name, path] of options.keyPaths) {
    if (all.some((it) => it.entry.keys?.includes(path))) continue;
    const why = "no repository needs this key: their files name others";
    merged.skipped.push({ file: name, line: 1, what: "OpenPGP key", why });
  }
  const isWhole = assignPackages(found, all, options, merged);
  for (const work of all) {
    if (work.only.length > 0 && isWhole) work.entry.packages = work.only;
    else if (work.only.length > 0) {
      const what = `${work.entry.name} includepkgs`;
      const why = "packages are requested, and may come from it whatever it is limited to: see exclude:";
      merged.skipped.push({ ...placeOf(work.from[0] as string), what, why });
    }
    merged.rpms.push({ entry: work.entry, from: work.from });
    if (isWhole && work.only.length === 0)
      merged.notes.push(`repository ${work.entry.name} is carried whole: name packages: in its entry to carry less`);
    if (work.entry.gpgcheck === false) {
      const reason = work.isOff ? "its file has gpgcheck=0" : "its file names no key; give one: --from KEYFILE";
      merged.notes.push(`signatures of packages of ${work.entry.name} are not checked: ${reason}`);
    }
  }
  const isOnDvd = found.find((it) => it.dvd !== undefined);
  if (isOnDvd !== undefined && options.iso === undefined) {
    const why = "installs from a DVD: give it with --iso URL-OR-PATH";
    merged.skipped.push({ file: isOnDvd.file, line: isOnDvd.dvd ?? 1, what: "installation DVD", why });
  }
}

function placeOf(from: string): { file: string; line: number } {
  const colon = from.lastIndexOf(":");
  return { file: from.slice(0, colon), line: Number(from.slice(colon + 1)) };
}

/**
 * Gives every package to a repository: one of its own file, or one of a repository file. Returns whether none was
 * requested: repositories are then carried whole.
 */
function assignPackages(
  found: readonly FoundContent[],
  works: readonly UnitedRepository[],
  { iso }: MergeOptions,
  merged: Merged,
): boolean {
  const askers = found.filter((it) => it.packages.wanted.length > 0);
  for (const source of found) excludeEverywhere(source, works, askers, iso !== undefined, merged);
  const holders = new Set<UnitedRepository>();
  for (const source of askers) {
    const { packages, file } = source;
    const { candidates } = candidatesOf(file, works);
    const [holder] = candidates;
    if (holder === undefined) {
      withoutRepository(source, iso !== undefined, merged);
      continue;
    }
    holders.add(holder);
    const { entry } = holder;
    entry.packages = [...new Set([...(entry.packages ?? []), ...packages.wanted.map((it) => it.spec)])];
    const lines = packages.wanted.map((it) => it.line);
    holder.from.push(`packages of ${file}:${lines[0]}-${lines.at(-1)}`);
    const arches = new Set(
      packages.wanted.flatMap(({ spec }) => /\.(x86_64|aarch64|ppc64le|s390x)$/.exec(spec)?.[1] ?? []),
    );
    if (arches.size === 1 && !arches.has("x86_64")) for (const it of candidates) it.entry.arch ??= [...arches];
    if (works.length > 1 || iso !== undefined) entry.packages_from = "any";
    if (packages.options.weak_deps === "recommends") entry.weak_deps = "recommends";
    if (packages.options.multilib) entry.multilib = true;
    if (packages.isInstallation && iso === undefined) {
      merged.notes.push(
        `${file}: the installer adds packages by itself (kernel, boot loader, file systems, languages): name them in packages: of ${entry.name}, or leave packages: out to carry all of it`,
      );
    }
  }
  if (holders.size === 0) return true;
  for (const work of works) {
    if (holders.has(work)) continue;
    work.entry.packages = [];
    merged.notes.push(`repository ${work.entry.name}: only what the requested packages are or need is carried of it`);
  }
  return false;
}

function withoutRepository({ file, packages }: FoundContent, isOnDvd: boolean, merged: Merged): void {
  if (isOnDvd && packages.isInstallation) {
    merged.notes.push(
      `${file}: ${plural(packages.wanted.length, "package or group is", "packages and groups are")} to come from the DVD`,
    );
    return;
  }
  const why = "it needs a repository: give a .repo file that has it too";
  const lines = new Map(packages.wanted.toReversed().map((it) => [it.spec, it.line]));
  for (const [spec, line] of lines) merged.skipped.push({ file, line, what: shown(spec), why });
}

/** Where the packages of a file come from: its own repositories, those of repository files, any. */
function candidatesOf(file: string, works: readonly UnitedRepository[]) {
  const own = works.filter((it) => it.files.has(file));
  const ofRepoFiles = works.filter((it) => it.isInRepoFile);
  const from = own.length > 0 ? own : ofRepoFiles;
  const candidates = from.length > 0 ? from : works;
  return { candidates, all: own.length > 0 ? [...own, ...ofRepoFiles] : candidates };
}

/** `exclude:` applies to a whole entry, so it must not be wanted by another file. */
function excludeEverywhere(
  { file, packages }: FoundContent,
  works: readonly UnitedRepository[],
  askers: readonly FoundContent[],
  isOnDvd: boolean,
  merged: Merged,
): void {
  if (packages.excluded.length === 0) return;
  const wanted = new Set(askers.flatMap((it) => it.packages.wanted.map(({ spec }) => spec)));
  const { all } = candidatesOf(file, works);
  const nowhere = isOnDvd ? "a DVD is carried whole" : "it needs a repository: give a .repo file that has it too";
  const specs: string[] = [];
  for (const { spec, line } of packages.excluded) {
    const why = wanted.has(spec) ? "it is requested too" : all.length === 0 ? nowhere : undefined;
    if (why === undefined) specs.push(spec);
    else merged.skipped.push({ file, line, what: `-${shown(spec)}`, why });
  }
  if (specs.length === 0) return;
  for (const { entry } of new Set(all)) entry.exclude = [...new Set([...(entry.exclude ?? []), ...specs])];
}
