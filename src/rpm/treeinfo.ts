/**
 * `.treeinfo`: what makes a repository an installation source. Lists the tree's images and where its variants'
 * repositories are; rewriting changes single values and leaves every other byte as upstream wrote it. Supports
 * productmd's current format and the one before it. See productmd's doc/treeinfo-1.2.rst.
 */
import { AirferryError } from "../errors.ts";
import type { AnyDigest, Digest } from "../io/digest.ts";
import { checkPath } from "../io/path-grammar.ts";
import { parseChecksum } from "./repomd.ts";

/** Largest file that is read; real ones have 20 kB. */
export const MAX_TREEINFO_BYTES = 1024 * 1024;
const MAX_LINES = 20_000;
/** Real ones have up to 40. */
const MAX_UID_CHARS = 255;
/** How many faults are reported, and how much of each. */
const MAX_FAULTS = 10;
const MAX_SHOWN_CHARS = 200;
const VARIANT_SECTION = /^(variant|addon)-(.+)$/;

/** An image, relative to the tree. */
interface TreeinfoFile {
  path: string;
  /** As upstream published it; it can be wrong for days (facts: known upstream trouble). */
  checksum?: AnyDigest;
}

/** A variant or add-on: a repository that anaconda uses with the tree. */
interface TreeinfoVariant {
  /** Unique name, the key for rewriting: `AppStream`, `Server-optional`. */
  uid: string;
  /** Path from the tree to the repository, as written; may leave the tree with `..`. */
  repository: string;
  packages: string;
  /** The repository is outside this tree. */
  outside: boolean;
}

export interface Treeinfo {
  family?: string;
  version?: string;
  arch?: string;
  /** Kernel, initrd, stage2, boot images and everything else that the tree lists, sorted; no repodata. */
  files: TreeinfoFile[];
  variants: TreeinfoVariant[];
  /** Paths of repomd.xml files whose checksums are in it. */
  repomds: string[];
  /** Malformed entries that were skipped: paths that leave the tree, unknown checksums. */
  faults: string[];
  /** Keys of `[checksums]` that {@link rewriteTreeinfo} removes for that reason. */
  badChecksums: string[];
}

interface Line {
  /** Without the line end. */
  text: string;
  section: Section;
  key?: string;
  value?: string;
}

interface Section {
  /** "" before the first header. */
  name: string;
  /** The last one of each key. */
  values: Map<string, string>;
  /** Of a variant or add-on. */
  uid?: string;
}

/** A file read once: its lines, and its sections by name in order. */
interface Lines {
  lines: Line[];
  sections: Map<string, Section>;
}

/**
 * Parses the file. Lines in another format are ignored; of a repeated key the last counts.
 * @throws {AirferryError} ERR_UPSTREAM_INVALID naming `name`: another format (such as an HTML page), or too large
 */
export function parseTreeinfo(text: string, name: string): Treeinfo {
  const read = readLines(text, name);
  if (!["general", "tree", "header"].some((it) => read.sections.has(it))) {
    throw invalid(name, "not a .treeinfo: none of the sections general, tree and header");
  }
  const [general, release, tree] = ["general", "release", "tree"].map((it) => valuesOf(read, it));
  const faults: string[] = [];
  const { checksums, bad } = checksumsOf(read, faults);
  const paths = new Set<string>(imagesOf(read, faults));
  const repomds: string[] = [];
  for (const path of checksums.keys()) {
    if (/(^|\/)repodata\/repomd\.xml$/.test(path)) repomds.push(path);
    else paths.add(path);
  }
  const found: Treeinfo = {
    files: [...paths].sort().map((path) => {
      const checksum = checksums.get(path);
      return checksum === undefined ? { path } : { path, checksum };
    }),
    variants: variantsOf(read),
    repomds: repomds.sort(),
    faults: faults.slice(0, MAX_FAULTS),
    badChecksums: bad,
  };
  const family = release?.get("name") ?? general?.get("family");
  if (family) found.family = family;
  const version = release?.get("version") ?? general?.get("version");
  if (version) found.version = version;
  const arch = tree?.get("arch") ?? general?.get("arch");
  if (arch) found.arch = arch;
  return found;
}

function readLines(text: string, name: string): Lines {
  if (text.length > MAX_TREEINFO_BYTES) throw invalid(name, `over ${MAX_TREEINFO_BYTES} characters`);
  const rows = text.split("\n");
  if (rows.length > MAX_LINES) throw invalid(name, `over ${MAX_LINES} lines`);
  let section: Section = { name: "", values: new Map() };
  const sections = new Map([["", section]]);
  const lines = rows.map((row): Line => {
    const header = /^\[([^\]]+)\]$/.exec(row.trimEnd())?.[1];
    if (header !== undefined) {
      section = sections.get(header) ?? { name: header, values: new Map() };
      sections.set(header, section);
      return { text: row, section };
    }
    // Indented lines continue the previous value; comments start with ; or #.
    const split = /^[^\s;#=:[][^=:]*[=:]/.exec(row)?.[0].length;
    if (split === undefined) return { text: row, section };
    const [key, value] = [row.slice(0, split - 1).trimEnd(), row.slice(split).trim()];
    section.values.set(key, value);
    return { text: row, section, key, value };
  });
  for (const it of sections.values()) {
    const match = VARIANT_SECTION.exec(it.name);
    if (match === null) continue;
    it.uid = it.values.get("uid") || (match[2] as string);
    if (it.uid.length > MAX_UID_CHARS) throw invalid(name, `a variant's name of over ${MAX_UID_CHARS} characters`);
  }
  return { lines, sections };
}

function valuesOf({ sections }: Lines, section: string): ReadonlyMap<string, string> {
  return sections.get(section)?.values ?? new Map();
}

function checksumsOf(read: Lines, faults: string[]): { checksums: Map<string, AnyDigest>; bad: string[] } {
  const checksums = new Map<string, AnyDigest>();
  const bad: string[] = [];
  for (const [key, value] of valuesOf(read, "checksums")) {
    const [type, hex] = value.split(":");
    const checksum = parseChecksum(type?.trim(), hex);
    const path = pathInTree(key, faults);
    if (checksum === undefined) faults.push(`a malformed checksum ${shown(value)} of ${shown(key)}`);
    if (checksum !== undefined && path !== undefined) checksums.set(path, checksum);
    else bad.push(normalized(key));
  }
  return { checksums, bad };
}

function* imagesOf({ lines }: Lines, faults: string[]): Generator<string> {
  for (const { section, key, value } of lines) {
    if (key === undefined || !value) continue;
    if (!section.name.startsWith("images-") && section.name !== "stage2") continue;
    const path = pathInTree(value, faults);
    if (path !== undefined) yield path;
  }
}

function variantsOf({ sections }: Lines): TreeinfoVariant[] {
  return [...sections.values()].flatMap(({ uid, values }) => {
    if (uid === undefined) return [];
    const repository = values.get("repository") || ".";
    return [{ uid, repository, packages: values.get("packages") ?? "", outside: isOutside(repository) }];
  });
}

/** Where a variant is now. */
export interface VariantPlace {
  /** Relative to the tree: `.`, `AppStream`, `../rocky-9-appstream`. */
  repository: string;
  packages: string;
}

/** What to change. */
interface TreeinfoRewrite {
  /** By uid; null removes the variant. Variants that are not named do not change. */
  variants?: ReadonlyMap<string, VariantPlace | null> | undefined;
  /** New digests by path, for existing lines; null removes a line. */
  checksums?: ReadonlyMap<string, Digest | null> | undefined;
}

/**
 * Returns the text with those values changed and everything else verbatim. The compatibility section `[general]`
 * follows the main variant; if that is removed, the first remaining one replaces it.
 */
export function rewriteTreeinfo(text: string, changes: TreeinfoRewrite, name: string): string {
  const read = readLines(text, name);
  const places = changes.variants ?? new Map<string, VariantPlace | null>();
  const variants = variantsOf(read);
  // Add-ons and optional parts are removed with the variant they belong to: Server-optional with Server.
  const isRemoved = (uid: string) => {
    if (places.get(uid) === null) return true;
    if (places.get(uid)) return false;
    for (let at = uid.indexOf("-"); at >= 0; at = uid.indexOf("-", at + 1)) {
      const belongsTo = uid.slice(0, at);
      if (uids.has(belongsTo) && places.get(belongsTo) === null) return true;
    }
    return false;
  };
  const uids = new Set(variants.map((it) => it.uid));
  const removed = new Set([...uids].filter(isRemoved));
  const general = generalOf(read, variants, places, removed);
  const kept: string[] = [];
  for (const line of read.lines) {
    const { uid } = line.section;
    if (uid !== undefined && removed.has(uid)) continue;
    const value = newValue(line, uid, { places, removed, general, checksums: changes.checksums });
    if (value === null) continue;
    kept.push(value === undefined ? line.text : replaceValue(line.text, value));
  }
  return kept.join("\n");
}

interface Changes {
  places: ReadonlyMap<string, VariantPlace | null>;
  removed: ReadonlySet<string>;
  general: ReadonlyMap<string, string>;
  checksums: ReadonlyMap<string, Digest | null> | undefined;
}

/** The value a line gets; undefined keeps it, null removes it. */
function newValue(line: Line, uid: string | undefined, changes: Changes): string | null | undefined {
  const { key, value = "" } = line;
  const section = line.section.name;
  if (key === undefined) return undefined;
  if (section === "checksums") return changes.checksums?.get(normalized(key));
  if ((section === "general" || section === "tree") && key === "variants")
    return withoutRemoved(value, changes.removed);
  if (section === "general") return changes.general.get(key);
  if (uid === undefined) return undefined;
  if (key === "addons" || key === "variants") return withoutRemoved(value, changes.removed);
  const place = changes.places.get(uid);
  if (!place) return undefined;
  if (key === "repository" || key === "packages") return place[key];
  // Sources and debug packages of a location that is not mirrored: a dead path.
  return /^(source|debug)_(repository|packages)$/.test(key) && isOutside(value) ? null : undefined;
}

/** New values of `[general]`, from its main variant. */
function generalOf(
  read: Lines,
  variants: readonly TreeinfoVariant[],
  places: ReadonlyMap<string, VariantPlace | null>,
  removed: ReadonlySet<string>,
): Map<string, string> {
  const main = valuesOf(read, "general").get("variant") ?? "";
  const left = variants.filter((it) => !removed.has(it.uid));
  const place = places.get(main);
  if (removed.has(main)) {
    const next = left.find((it) => normalized(it.repository) === "") ?? left[0];
    const at = next && (places.get(next.uid) ?? next);
    return new Map([
      ["variant", next?.uid ?? ""],
      ["repository", at?.repository ?? "."],
      ["packagedir", at?.packages ?? ""],
    ]);
  }
  return new Map(
    place
      ? [
          ["repository", place.repository],
          ["packagedir", place.packages],
        ]
      : [],
  );
}

function withoutRemoved(list: string, removed: ReadonlySet<string>): string | undefined {
  const uids = list.split(",").map((it) => it.trim());
  const left = uids.filter((it) => !removed.has(it));
  return left.length === uids.length ? undefined : left.join(",");
}

function replaceValue(text: string, value: string): string {
  const head = /^[^=:]*[=:][ \t]*/.exec(text)?.[0] ?? "";
  return `${/\s$/.test(head) ? head : `${head} `}${value}${text.endsWith("\r") ? "\r" : ""}`;
}

/** Resolves `.`, `..` and doubled slashes; undefined when the path leaves the tree, is absolute or is a URL. */
function resolved(path: string): string[] | undefined {
  if (path.startsWith("/") || /^[a-z][a-z0-9+.-]*:/i.test(path)) return undefined;
  const segments: string[] = [];
  for (const segment of path.split("/")) {
    if (segment === "" || segment === ".") continue;
    if (segment !== "..") segments.push(segment);
    else if (segments.pop() === undefined) return undefined;
  }
  return segments;
}

function normalized(path: string): string {
  return resolved(path)?.join("/") ?? path;
}

function isOutside(path: string): boolean {
  return resolved(path) === undefined;
}

/** Undefined, and reported, for what no installer can request. */
function pathInTree(path: string, faults: string[]): string | undefined {
  const segments = resolved(path);
  const inside = segments?.join("/") ?? "";
  const fault = segments === undefined ? "it leaves the tree" : checkPath(inside);
  if (fault === undefined) return inside;
  faults.push(`an unusable path ${shown(path)}: ${fault}`);
  return undefined;
}

function shown(text: string): string {
  return JSON.stringify(text.length > MAX_SHOWN_CHARS ? `${text.slice(0, MAX_SHOWN_CHARS)}…` : text);
}

function invalid(name: string, fault: string): AirferryError {
  return new AirferryError("ERR_UPSTREAM_INVALID", `cannot read "${name}": malformed .treeinfo: ${fault}`, {
    path: name,
    hint: "upstream's installation tree is damaged; try another mirror, or report it upstream",
  });
}
