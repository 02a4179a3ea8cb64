/**
 * What repository metadata says about one package, taken from its headers. The choice and order of requirements, files
 * and changelog entries follow createrepo_c, since clients expect that; the tests compare byte by byte.
 */
import { rpmvercmp } from "./evr.ts";
import { archiveSizeOf, invalidRpm, isSourcePackage, type RpmFile, type RpmHeader } from "./header.ts";
import { FILE_GHOST, SENSE, TAG } from "./header-tags.ts";

/**
 * All paths of one package together: headers store folder and name separately, so a few bytes can expand to very many.
 */
const MAX_PATH_CHARACTERS = 256 * 1024 * 1024;

/** createrepo_c's default: the newest ten. */
const CHANGELOG_LIMIT = 10;

/** One provided or required capability. `name` holds a rich dependency whole. */
export interface PackageDependency {
  name: string;
  /** Absent: any version. */
  flags?: "EQ" | "LT" | "GT" | "LE" | "GE";
  /** Set together when the header has a version; `epoch` is "0" when it names none. */
  epoch?: string;
  version?: string;
  release?: string;
  /** Needed before scriptlets run. */
  pre?: true;
}

export interface PackageFile {
  path: string;
  type: "file" | "dir" | "ghost";
}

interface PackageChangelog {
  author: string;
  /** Seconds since 1970. */
  date: number;
  text: string;
}

/** The kinds of dependencies, in the order of primary.xml. */
export const DEPENDENCY_KINDS = [
  "provides",
  "requires",
  "conflicts",
  "obsoletes",
  "suggests",
  "enhances",
  "recommends",
  "supplements",
] as const;
type DependencyKind = (typeof DEPENDENCY_KINDS)[number];

/** Everything that primary, filelists and other say except checksum, location and file time. */
export interface PackageInfo {
  name: string;
  /** "src" for source packages. */
  arch: string;
  /** "0" when the header has none. */
  epoch: string;
  version: string;
  release: string;
  summary: string;
  description: string;
  packager: string;
  url: string;
  license: string;
  vendor: string;
  group: string;
  buildHost: string;
  sourceRpm: string;
  /** Seconds since 1970. */
  buildTime: number;
  /** Bytes. */
  size: number;
  installedSize: number;
  archiveSize: number;
  headerStart: number;
  headerEnd: number;
  dependencies: Record<DependencyKind, PackageDependency[]>;
  /** In the header's order. */
  files: PackageFile[];
  /** Oldest first, at most {@link CHANGELOG_LIMIT}. */
  changelog: PackageChangelog[];
  /** `name:stream:version:context` of a modular package; never part of primary.xml. */
  modularityLabel?: string;
}

/**
 * Reads all of it from the headers of a package.
 * @throws {AirferryError} ERR_UPSTREAM_INVALID when its file list is inconsistent, or it has no name
 */
export function packageInfoOf(file: RpmFile): PackageInfo {
  const { header } = file;
  const text = (tag: number) => header.string(tag) ?? "";
  if (!text(TAG.name) || !text(TAG.version)) throw invalidRpm(file.name, file.headerStart, "no name or no version");
  const files = filesOf(file);
  const label = header.string(TAG.modularityLabel);
  return {
    name: text(TAG.name),
    arch: isSourcePackage(file) ? "src" : text(TAG.arch),
    epoch: String(header.number(TAG.epoch) ?? 0),
    version: text(TAG.version),
    release: text(TAG.release),
    summary: text(TAG.summary),
    description: text(TAG.description),
    packager: text(TAG.packager),
    url: text(TAG.url),
    license: text(TAG.license),
    vendor: text(TAG.vendor),
    group: text(TAG.group),
    buildHost: text(TAG.buildHost),
    sourceRpm: text(TAG.sourceRpm),
    buildTime: header.number(TAG.buildTime) ?? 0,
    size: file.size,
    installedSize: header.number(TAG.size) ?? header.number(TAG.longSize) ?? 0,
    archiveSize: archiveSizeOf(file),
    headerStart: file.headerStart,
    headerEnd: file.headerEnd,
    dependencies: dependenciesOf(header, files),
    files,
    changelog: changelogOf(header),
    ...(label === undefined ? {} : { modularityLabel: label }),
  };
}

const FILE_TYPE_MASK = 0o170000;
const DIRECTORY = 0o040000;

function filesOf({ header, name: file, headerStart }: RpmFile): PackageFile[] {
  const names = header.strings(TAG.baseNames);
  const folders = header.strings(TAG.dirNames);
  const folderOf = header.numbers(TAG.dirIndexes);
  const modes = header.numbers(TAG.fileModes);
  const flags = header.numbers(TAG.fileFlags);
  let characters = 0;
  const join = (name: string, i: number): string => {
    const folder = folders[folderOf[i] ?? -1];
    if (folder === undefined) throw invalidRpm(file, headerStart, `file "${name}" without a folder`);
    characters += folder.length + name.length;
    if (characters > MAX_PATH_CHARACTERS) throw invalidRpm(file, headerStart, "too many file names");
    return folder + name;
  };
  const paths = names.length === 0 ? header.strings(TAG.oldFileNames) : names.map(join);
  return paths.map((path, i) => {
    const isDirectory = ((modes[i] ?? 0) & FILE_TYPE_MASK) === DIRECTORY;
    const isGhost = ((flags[i] ?? 0) & FILE_GHOST) !== 0;
    return { path, type: isDirectory ? "dir" : isGhost ? "ghost" : "file" };
  });
}

/** Which files primary.xml lists: a rule that yum set and that can no longer change. */
export function isPrimaryFile(path: string): boolean {
  return path.startsWith("/etc/") || path.includes("bin/") || path === "/usr/lib/sendmail";
}

interface RawDependency extends PackageDependency {
  bits: number;
  /** As in the header. */
  fullVersion: string;
}

function dependenciesOf(header: RpmHeader, files: readonly PackageFile[]): PackageInfo["dependencies"] {
  const read = (name: number, flags: number, version: number) => readDependencies(header, name, flags, version);
  const provides = read(TAG.provideName, TAG.provideFlags, TAG.provideVersion);
  const requires = read(TAG.requireName, TAG.requireFlags, TAG.requireVersion);
  const weak = weakDependenciesOf(header);
  return {
    provides: provides.map(bare),
    requires: cutRequires(requires, provides, files),
    conflicts: read(TAG.conflictName, TAG.conflictFlags, TAG.conflictVersion).map(bare),
    obsoletes: read(TAG.obsoleteName, TAG.obsoleteFlags, TAG.obsoleteVersion).map(bare),
    ...weak,
  };
}

/** Weak dependencies by their current tags; SUSE's older packages have two tags and a bit for "strong". */
function weakDependenciesOf(
  header: RpmHeader,
): Pick<PackageInfo["dependencies"], "suggests" | "enhances" | "recommends" | "supplements"> {
  const read = (name: number, flags: number, version: number) => readDependencies(header, name, flags, version);
  const forward = read(TAG.oldSuggestsName, TAG.oldSuggestsFlags, TAG.oldSuggestsVersion);
  const backward = read(TAG.oldEnhancesName, TAG.oldEnhancesFlags, TAG.oldEnhancesVersion);
  const pick = (now: RawDependency[], old: RawDependency[], strong: boolean) =>
    [...now, ...old.filter((it) => ((it.bits & SENSE.strong) !== 0) === strong)].map(bare);
  return {
    suggests: pick(read(TAG.suggestName, TAG.suggestFlags, TAG.suggestVersion), forward, false),
    enhances: pick(read(TAG.enhanceName, TAG.enhanceFlags, TAG.enhanceVersion), backward, false),
    recommends: pick(read(TAG.recommendName, TAG.recommendFlags, TAG.recommendVersion), forward, true),
    supplements: pick(read(TAG.supplementName, TAG.supplementFlags, TAG.supplementVersion), backward, true),
  };
}

function readDependencies(header: RpmHeader, nameTag: number, flagsTag: number, versionTag: number): RawDependency[] {
  const flags = header.numbers(flagsTag);
  const versions = header.strings(versionTag);
  return header.strings(nameTag).map((name, i) => {
    const bits = flags[i] ?? 0;
    const fullVersion = versions[i] ?? "";
    return { name, bits, fullVersion, ...signOf(bits), ...splitVersion(fullVersion) };
  });
}

const SIGNS: Record<number, PackageDependency["flags"]> = {
  [SENSE.less]: "LT",
  [SENSE.greater]: "GT",
  [SENSE.equal]: "EQ",
  [SENSE.less | SENSE.equal]: "LE",
  [SENSE.greater | SENSE.equal]: "GE",
};

function signOf(bits: number): Pick<PackageDependency, "flags"> {
  const flags = SIGNS[bits & (SENSE.less | SENSE.greater | SENSE.equal)];
  return flags === undefined ? {} : { flags };
}

function splitVersion(text: string): Pick<PackageDependency, "epoch" | "version" | "release"> {
  if (text === "") return {};
  const colon = text.indexOf(":");
  const epoch = colon < 0 ? "" : text.slice(0, colon);
  const rest = text.slice(colon + 1);
  const dash = rest.indexOf("-");
  return {
    epoch: /^[+-]?\d+$/.test(epoch) ? epoch : "0",
    version: dash < 0 ? rest : rest.slice(0, dash),
    ...(dash < 0 ? {} : { release: rest.slice(dash + 1) }),
  };
}

function bare({ bits, fullVersion, ...dependency }: RawDependency): PackageDependency {
  return dependency;
}

/**
 * Drops requirements that no repository can satisfy (rpmlib features), that the package satisfies itself, and
 * repetitions; of all versions of libc only the highest stays, at the end.
 */
function cutRequires(
  requires: readonly RawDependency[],
  provides: readonly RawDependency[],
  files: readonly PackageFile[],
): PackageDependency[] {
  const own = new Set(provides.map(keyOf));
  const ownFiles = new Set(files.map((it) => it.path));
  const last = new Map<string, string>();
  const kept: PackageDependency[] = [];
  let libc: PackageDependency | undefined;
  for (const it of requires) {
    if (it.name.startsWith("rpmlib(")) continue;
    if (it.name.startsWith("/") && isPrimaryFile(it.name) && ownFiles.has(it.name)) continue;
    if (own.has(keyOf(it))) continue;
    const pre = (it.bits & (SENSE.prereq | SENSE.scriptPre | SENSE.scriptPost)) !== 0;
    const shape = `${keyOf(it)} ${pre}`;
    if (last.get(it.name) === shape) continue;
    const dependency: PackageDependency = { ...bare(it), ...(pre ? { pre: true as const } : {}) };
    if (it.name.startsWith("libc.so.6")) {
      if (libc === undefined || isLaterLibc(libc.name, it.name)) libc = dependency;
      continue;
    }
    kept.push(dependency);
    last.set(it.name, shape);
  }
  if (libc !== undefined) kept.push(libc);
  return kept;
}

function keyOf({ name, flags, fullVersion }: RawDependency): string {
  return `${name}\0${flags ?? ""}\0${fullVersion}`;
}

/**
 * Returns whether `b` requires a later libc than `a`: `libc.so.6()` < `libc.so.6(GLIBC_2.3.4)` <
 * `libc.so.6(GLIBC_2.4)`.
 */
function isLaterLibc(a: string, b: string): boolean {
  const x = libcVersion(a);
  const y = libcVersion(b);
  if (x === undefined || y === undefined) return x === undefined && y !== undefined;
  return rpmvercmp(x, y) < 0;
}

function libcVersion(name: string): string | undefined {
  return /^[^(]*\([^)\d]*(\d[^)]*)\)/.exec(name)?.[1];
}

function changelogOf(header: RpmHeader): PackageChangelog[] {
  const names = header.strings(TAG.changelogName);
  const texts = header.strings(TAG.changelogText);
  const times = header.numbers(TAG.changelogTime);
  const entries: PackageChangelog[] = [];
  const count = Math.min(names.length, texts.length, times.length, CHANGELOG_LIMIT);
  for (let i = 0; i < count; i++) {
    const date = times[i] as number;
    const author = (names[i] as string).replace(/(?<!^) +$/, "");
    entries.unshift({ author, date, text: texts[i] as string });
  }
  // Clients sort by time alone: entries of one second are spread so that their order stays.
  for (let i = 1; i < entries.length; i++) {
    const [previous, entry] = [entries[i - 1] as PackageChangelog, entries[i] as PackageChangelog];
    if (entry.date <= previous.date && entry.date + i > previous.date) entry.date = previous.date + 1;
  }
  return entries;
}
