/**
 * `.treeinfo`: what makes a repository an installation source. Says which images belong to the tree and where its variants'
 * repositories are; rewriting changes single values and leaves every other byte as upstream wrote it. Knows productmd's
 * format of today and the one before it. See productmd's doc/treeinfo-1.2.rst.
 */
import { AirferryError } from "../errors.ts";
import { checkPath } from "../io/path-grammar.ts";
import { type Checksum, parseChecksum } from "./repomd.ts";

/** Largest file that is read; real ones have 20 kB. */
export const MAX_TREEINFO_BYTES = 1024 * 1024;
const MAX_LINES = 20_000;

/** An image, relative to the tree. */
export interface TreeinfoFile {
  path: string;
  /** As upstream published it; it can be wrong for days (facts: known upstream trouble). */
  checksum?: Checksum;
}

/** A variant or add-on: a repository that anaconda uses together with the tree. */
export interface TreeinfoVariant {
  /** Unique name, the key for rewriting: `AppStream`, `Server-optional`. */
  uid: string;
  /** Path from the tree to the repository, as written; may climb out with `..`. */
  repository: string;
  packages: string;
  /** The repository is somewhere else than in this tree. */
  outside: boolean;
}

export interface Treeinfo {
  family?: string;
  version?: string;
  arch?: string;
  /** Kernel, initrd, stage2, boot images and all else that the tree lists, sorted; no repodata. */
  files: TreeinfoFile[];
  variants: TreeinfoVariant[];
  /** Paths of repomd.xml files whose checksums are in it. */
  repomds: string[];
}

interface Line {
  /** Without line end. */
  text: string;
  section: string;
  key?: string;
  value?: string;
}

/**
 * Parses the file.
 * @throws {AirferryError} ERR_UPSTREAM_INVALID naming `name` and the line: no such format (an HTML page, say), image paths
 *   that leave the tree, malformed checksums
 */
export function parseTreeinfo(text: string, name: string): Treeinfo {
  const lines = splitLines(text, name);
  const general = valuesOf(lines, "general");
  if (!lines.some((it) => ["general", "tree", "header"].includes(it.section))) {
    throw invalid(name, "no .treeinfo: none of the sections general, tree and header");
  }
  const release = valuesOf(lines, "release");
  const tree = valuesOf(lines, "tree");
  const checksums = checksumsOf(lines, name);
  const paths = new Set<string>(imagesOf(lines, name));
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
    variants: variantsOf(lines),
    repomds: repomds.sort(),
  };
  const family = release.get("name") ?? general.get("family");
  if (family) found.family = family;
  const version = release.get("version") ?? general.get("version");
  if (version) found.version = version;
  const arch = tree.get("arch") ?? general.get("arch");
  if (arch) found.arch = arch;
  return found;
}

function splitLines(text: string, name: string): Line[] {
  if (text.length > MAX_TREEINFO_BYTES) throw invalid(name, `over ${MAX_TREEINFO_BYTES} characters`);
  const rows = text.split("\n");
  if (rows.length > MAX_LINES) throw invalid(name, `over ${MAX_LINES} lines`);
  let section = "";
  return rows.map((row) => {
    const header = /^\[([^\]]+)\]$/.exec(row.trimEnd());
    if (header) {
      section = header[1] as string;
      return { text: row, section };
    }
    // Indented lines go on with the value before; comments start with ; or #.
    const split = /^[^\s;#=:[][^=:]*[=:]/.exec(row)?.[0].length;
    if (split === undefined) return { text: row, section };
    return { text: row, section, key: row.slice(0, split - 1).trimEnd(), value: row.slice(split).trim() };
  });
}

function valuesOf(lines: readonly Line[], section: string): Map<string, string> {
  const values = new Map<string, string>();
  for (const { section: of, key, value } of lines) {
    if (of === section && key !== undefined) values.set(key, value ?? "");
  }
  return values;
}

function checksumsOf(lines: readonly Line[], name: string): Map<string, Checksum> {
  const checksums = new Map<string, Checksum>();
  for (const [key, value] of valuesOf(lines, "checksums")) {
    const [type, hex] = value.split(":");
    const checksum = parseChecksum(type?.trim(), hex);
    if (checksum === undefined) throw invalid(name, `malformed checksum ${JSON.stringify(value)} of "${key}"`);
    checksums.set(pathInTree(key, name), checksum);
  }
  return checksums;
}

function* imagesOf(lines: readonly Line[], name: string): Generator<string> {
  for (const { section, key, value } of lines) {
    if (key === undefined || !value) continue;
    if (section.startsWith("images-") || section === "stage2") yield pathInTree(value, name);
  }
}

const VARIANT_SECTION = /^(variant|addon)-(.+)$/;

function variantsOf(lines: readonly Line[]): TreeinfoVariant[] {
  const sections = [...new Set(lines.map((it) => it.section))].filter((it) => VARIANT_SECTION.test(it));
  return sections.map((section) => {
    const values = valuesOf(lines, section);
    const repository = values.get("repository") || ".";
    const uid = values.get("uid") || ((VARIANT_SECTION.exec(section) as RegExpExecArray)[2] as string);
    return { uid, repository, packages: values.get("packages") ?? "", outside: isOutside(repository) };
  });
}

/** Where a variant is now. */
export interface VariantPlace {
  /** Relative to the tree: `.`, `AppStream`, `../rocky-9-appstream`. */
  repository: string;
  packages: string;
}

/** What to change. */
export interface TreeinfoRewrite {
  /** By uid; null takes the variant out. Variants that are not named stay as they are. */
  variants?: ReadonlyMap<string, VariantPlace | null> | undefined;
  /** New SHA-256 (hex) by path, for lines that are there; null takes a line out. */
  checksums?: ReadonlyMap<string, string | null> | undefined;
}

/**
 * Returns the text with those values changed, all else verbatim. The compatibility section `[general]` follows the main
 * variant: where that is taken out, the first that stays takes its place.
 */
export function rewriteTreeinfo(text: string, changes: TreeinfoRewrite, name: string): string {
  const lines = splitLines(text, name);
  const places = changes.variants ?? new Map<string, VariantPlace | null>();
  const variants = variantsOf(lines);
  const named = variants.filter((it) => places.get(it.uid) === null).map((it) => it.uid);
  // Add-ons and optional parts go with the variant they belong to: Server-optional with Server.
  const belongs = (uid: string) => named.some((it) => uid === it || (uid.startsWith(`${it}-`) && !places.get(uid)));
  const removed = new Set(variants.map((it) => it.uid).filter(belongs));
  const uidOf = new Map<string, string>();
  for (const { section } of lines) {
    const match = VARIANT_SECTION.exec(section);
    if (match) uidOf.set(section, valuesOf(lines, section).get("uid") || (match[2] as string));
  }
  const general = generalOf(lines, variants, places, removed);
  const kept: string[] = [];
  for (const line of lines) {
    const uid = uidOf.get(line.section);
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
  checksums: ReadonlyMap<string, string | null> | undefined;
}

/** The value a line gets; undefined: it stays, null: it goes. */
function newValue(line: Line, uid: string | undefined, changes: Changes): string | null | undefined {
  const { section, key, value = "" } = line;
  if (key === undefined) return undefined;
  if (section === "checksums") {
    const hex = changes.checksums?.get(normalized(key));
    return hex === undefined || hex === null ? hex : `sha256:${hex}`;
  }
  if ((section === "general" || section === "tree") && key === "variants")
    return withoutRemoved(value, changes.removed);
  if (section === "general") return changes.general.get(key);
  if (uid === undefined) return undefined;
  if (key === "addons" || key === "variants") return withoutRemoved(value, changes.removed);
  const place = changes.places.get(uid);
  if (!place) return undefined;
  if (key === "repository" || key === "packages") return place[key];
  // Sources and debug packages of a place that we did not mirror: a path to nowhere.
  return /^(source|debug)_(repository|packages)$/.test(key) && isOutside(value) ? null : undefined;
}

/** New values of `[general]`, from its main variant. */
function generalOf(
  lines: readonly Line[],
  variants: readonly TreeinfoVariant[],
  places: ReadonlyMap<string, VariantPlace | null>,
  removed: ReadonlySet<string>,
): Map<string, string> {
  const now = valuesOf(lines, "general");
  const main = now.get("variant") ?? "";
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

/** Resolves `.`, `..` and doubled slashes; undefined when the path climbs out, is absolute or a URL. */
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

function pathInTree(path: string, name: string): string {
  const segments = resolved(path);
  const inside = segments?.join("/") ?? "";
  const fault = segments === undefined ? "it leaves the tree" : checkPath(inside);
  if (fault !== undefined) throw invalid(name, `an unusable path ${JSON.stringify(path)}: ${fault}`);
  return inside;
}

function invalid(name: string, fault: string): AirferryError {
  return new AirferryError("ERR_UPSTREAM_INVALID", `cannot read "${name}": malformed .treeinfo: ${fault}`, {
    path: name,
    hint: "upstream's installation tree is damaged; try another mirror, or tell upstream",
  });
}
