/**
 * One manifest out of what several files say: images and files once, packages to the repositories that have them, keys
 * and variables for those. No I/O.
 */
import { AirferryError } from "../errors.ts";
import { checkPath, MAX_NAME_BYTES } from "../io/path-grammar.ts";
import type { FileEntry, ImageEntry, IsoEntry, RpmEntry } from "../manifest/schema.ts";
import { checkReference, formatReference, parseReference } from "../oci/reference.ts";
import { type FoundContent, type FoundRepository, type Skipped, shown } from "./found.ts";
import { keyForPlace, publishedKey, usualVariable } from "./vendor-keys.ts";

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

/** Why a manifest cannot have a URL. */
function urlFault(url: string): string | undefined {
  if (!/^https?:\/\/[^/?#@\s]*(?:[/?#]\S*)?$/i.test(url) || !URL.canParse(url)) {
    return /^https?:\/\/[^/?#\s]*@/i.test(url)
      ? "it has a user or password: name variables under hosts: (username_env, password_env), and give the URL without"
      : "not a URL";
  }
  return /^https?:\/\//.test(url) ? undefined : "write http or https in lower case";
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

/** A repository with its entry, and the files that name it. */
interface Work extends Origin<RpmEntry> {
  files: Set<string>;
  only: string[];
  isInRepoFile: boolean;
}

function mergeRepositories(found: readonly FoundContent[], options: MergeOptions, merged: Merged): void {
  const works = new Map<string, Work>();
  const names = new Set<string>();
  const release = oneRelease(found);
  const keys = givenKeys(found, options.keyPaths);
  for (const source of found) {
    for (const it of source.repositories) addRepository(it, source, { works, names, release, keys, options, merged });
  }
  for (const [name, path] of options.keyPaths) {
    if ([...works.values()].some((it) => it.entry.keys?.includes(path))) continue;
    const why = "no repository needs this key: their files name others";
    merged.skipped.push({ file: name, line: 1, what: "OpenPGP key", why });
  }
  const all = [...works.values()];
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
      const reason = work.isInRepoFile ? "its file has gpgcheck=0" : "its file names no key; give one: --from KEYFILE";
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

/** The release that all files agree on. */
function oneRelease(found: readonly FoundContent[]): string | undefined {
  const releases = new Set(found.flatMap((it) => it.releases));
  return releases.size === 1 ? [...releases][0] : undefined;
}

/** Key files that were given: by the name that a repository file has for them, and those that none names. */
interface GivenKeys {
  byName: ReadonlyMap<string, string>;
  others: string[];
}

function givenKeys(found: readonly FoundContent[], paths: ReadonlyMap<string, string>): GivenKeys {
  const named = new Set(found.flatMap((it) => it.repositories.flatMap(({ keys }) => keys.map(baseName))));
  return {
    byName: new Map([...paths].map(([name, path]) => [baseName(name), path])),
    others: [...paths].flatMap(([name, path]) => (named.has(baseName(name)) ? [] : [path])),
  };
}

function baseName(path: string): string {
  return path.split("/").at(-1) ?? "";
}

interface AddContext {
  works: Map<string, Work>;
  names: Set<string>;
  release: string | undefined;
  keys: GivenKeys;
  options: MergeOptions;
  merged: Merged;
}

function addRepository(it: FoundRepository, { file, formats }: FoundContent, context: AddContext): void {
  const { works, names, release, options, merged } = context;
  const { place, line } = it;
  const locations = [place.url, ...(place.urls ?? []), place.mirrorlist, place.metalink].filter(
    (at) => at !== undefined,
  );
  const first = locations[0] ?? "";
  const refuse = (why: string) => {
    merged.skipped.push({ file, line, what: shown(`repository ${it.name === "" ? first : it.name}`), why });
  };
  const key = first.replace(/\/+$/, "");
  const from = `${file}:${line}`;
  const known = works.get(key);
  const isInRepoFile = formats.includes("dnf repository file");
  if (known !== undefined) {
    known.from.push(from);
    known.files.add(file);
    known.isInRepoFile ||= isInRepoFile;
    return;
  }
  const fault = locations.map((at) => urlFault(at.replace(/\$\{?\w+\}?/g, "x"))).find((at) => at !== undefined);
  if (fault !== undefined) {
    refuse(fault);
    return;
  }
  const chosen = keysFor(it, first, isInRepoFile, context.keys);
  if ("fault" in chosen) {
    refuse(chosen.fault);
    return;
  }
  const { keys } = chosen;
  const vars: Record<string, string> = {};
  for (const [, braced, plain] of [...locations, ...keys].join(" ").matchAll(/\$(?:\{(\w+)\}|(\w+))/g)) {
    const name = (braced ?? plain) as string;
    const value = options.vars[name] ?? usualVariable(name, release);
    if (value !== undefined) vars[name] = value;
    else if (name !== "basearch" && name !== "arch") {
      refuse(`$${name} has no value: give it with --var ${name}=VALUE`);
      return;
    }
  }
  const arch = /\/(aarch64|ppc64le|s390x)(?:\/|$)/.exec(first)?.[1];
  const entry: RpmEntry = {
    name: freeName(it.name === "" ? nameFromUrl(first) : it.name, names),
    ...place,
    ...(Object.keys(vars).length > 0 && { vars }),
    ...(keys.length > 0 ? { keys } : { gpgcheck: false }),
    ...it.entry,
    ...(arch !== undefined && { arch: [arch] }),
  };
  works.set(key, { entry, from: [from], files: new Set([file]), only: it.only, isInRepoFile });
}

/** Keys of an entry; none where its file wants no check. A fault when keys are needed that are not known. */
function keysFor(
  { keys, entry }: FoundRepository,
  url: string,
  isInRepoFile: boolean,
  given: GivenKeys,
): { keys: string[] } | { fault: string } {
  const isChecked = entry.gpgcheck !== false || entry.repo_gpgcheck === true;
  const found: string[] = [];
  for (const key of keys) {
    const at = given.byName.get(baseName(key)) ?? (/^https?:\/\//.test(key) ? key : publishedKey(key));
    const fault = at !== undefined && /^https?:/.test(at) ? urlFault(at.replace(/\$\{?\w+\}?/g, "x")) : undefined;
    if (at !== undefined && fault === undefined) found.push(at);
    else if (isChecked) {
      return {
        fault: fault ?? `its key ${shown(key)} is a file of the target: give that too: --from ${shown(baseName(key))}`,
      };
    }
  }
  if (found.length > 0 || !isChecked) return { keys: found };
  const published = keyForPlace(url);
  const others = published === undefined ? given.others : [published];
  if (others.length > 0 || !isInRepoFile) return { keys: others };
  return { fault: "it names no key, and does not have gpgcheck=0: give its key too: --from KEYFILE" };
}

/** The last part of a URL that says what it is: `BaseOS` of `…/9/BaseOS/x86_64/os/`. */
function nameFromUrl(url: string): string {
  const { pathname, searchParams, hostname } = new URL(url.replace(/\$\{?(\w+)\}?/g, "$1"));
  const asked = searchParams.get("repo");
  const ordinary = /^(?:os|tree|packages|rpms?|repos?|x86_64|aarch64|ppc64le|s390x|basearch|v?\d[\w.]*|)$/i;
  return asked ?? pathname.split("/").findLast((it) => !ordinary.test(it)) ?? hostname;
}

/** A name that an entry may have, and no other one has. */
function freeName(text: string, taken: Set<string>): string {
  const base =
    text
      .replace(/[^A-Za-z0-9._-]+/g, "-")
      .replace(/^[^A-Za-z0-9]+|-+$/g, "")
      .slice(0, MAX_NAME_BYTES - 8) || "repository";
  let name = base;
  for (let number = 2; taken.has(name); number++) name = `${base}-${number}`;
  taken.add(name);
  return name;
}

/**
 * Gives every package to a repository: one of its own file, or one of a repository file. Returns whether none was
 * requested: repositories are then carried whole.
 */
function assignPackages(
  found: readonly FoundContent[],
  works: readonly Work[],
  { iso }: MergeOptions,
  merged: Merged,
): boolean {
  const askers = found.filter((it) => it.packages.wanted.length > 0);
  if (askers.length === 0) return true;
  const holders = new Set<Work>();
  for (const source of askers) {
    const { packages, file } = source;
    const own = works.filter((it) => it.files.has(file));
    const from = own.length > 0 ? own : works.filter((it) => it.isInRepoFile);
    const candidates = from.length > 0 ? from : works;
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
    exclude(source, own.length > 0 ? [...own, ...works.filter((it) => it.isInRepoFile)] : candidates, askers, merged);
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
    merged.notes.push(`${file}: its ${packages.wanted.length} packages and groups are to come from the DVD`);
    return;
  }
  const why = "it needs a repository: give a .repo file that has it too";
  const lines = new Map(packages.wanted.toReversed().map((it) => [it.spec, it.line]));
  for (const [spec, line] of lines) merged.skipped.push({ file, line, what: shown(spec), why });
}

/** `exclude:` applies to a whole entry, so it must not be wanted by another file. */
function exclude(
  { file, packages }: FoundContent,
  works: readonly Work[],
  askers: readonly FoundContent[],
  merged: Merged,
): void {
  const wanted = new Set(askers.flatMap((it) => it.packages.wanted.map(({ spec }) => spec)));
  const conflicts = packages.excluded.filter((it) => wanted.has(it.spec));
  for (const { spec, line } of conflicts) {
    merged.skipped.push({ file, line, what: `-${shown(spec)}`, why: "it is requested too" });
  }
  const specs = packages.excluded.map((it) => it.spec).filter((it) => !wanted.has(it));
  if (specs.length === 0) return;
  for (const { entry } of new Set(works)) entry.exclude = [...new Set([...(entry.exclude ?? []), ...specs])];
}
