/**
 * primary.xml: the packages of a repository. Their blocks stay in memory (block-store.ts); a package is the place of
 * its block plus the few fields that everything needs; the rest is read from the block on demand. Blocks of an unusual
 * dialect (prefixes, namespaces on every element) are first brought into the form that createrepo_c writes.
 */
import type { AnyDigest } from "../io/digest.ts";
import { type BlockPlace, BlockStore } from "./block-store.ts";
import { decompressChunks } from "./codecs.ts";
import { type Evr, parseFlags } from "./evr.ts";
import { maxOpenBytes, parseChecksum } from "./repomd.ts";
import { childrenOf, childText, escapeXml, fromLatin1, parseXml, unescapeXml, type XmlElement } from "./xml.ts";
import { sliceBlocks, type XmlFrame } from "./xml-blocks.ts";
import { invalidXml } from "./xml-error.ts";

/** More packages than any repository has. */
const MAX_PACKAGES = 1_000_000;
/** Text stored because upstream's is in an unusual dialect. */
const MAX_CANONICAL_CHARS = 512 * 1024 * 1024;

/** Blocks that are kept as they are unless the caller says otherwise. */
const PLAIN_BYTES = 64 * 1024 * 1024;

/** A package, and the place of its block. */
export interface PackageEntry extends Evr, BlockPlace {
  name: string;
  arch: string;
}

/** What the lock records of a package besides its name. */
interface PackageDetails {
  checksum: AnyDigest;
  /** As upstream wrote it: may contain `../`, percent signs, anything. */
  href: string;
  /** `xml:base` of the location. */
  base?: string;
  /** Bytes of the RPM. */
  size: number;
  /** Seconds; 0 when unknown. */
  buildTime: number;
  sourceRpm: string;
}

/** Sections of dependencies that a block may have. */
export type DependencyKind =
  | "provides"
  | "requires"
  | "conflicts"
  | "obsoletes"
  | "recommends"
  | "suggests"
  | "supplements"
  | "enhances";

/** One `<rpm:entry>`: a name, possibly a rich expression, and a version range. */
export interface Relation extends Evr {
  name: string;
  /** Bits of evr.ts; 0: any version. */
  flags: number;
}

/** `name-epoch:version-release.arch`, always with the epoch. */
export function formatNevra(it: Evr & { name: string; arch: string }): string {
  return `${it.name}-${it.epoch}:${it.version}-${it.release}.${it.arch}`;
}

/** The same as people write it: without an epoch that is 0. */
export function shortNevra(it: Evr & { name: string; arch: string }): string {
  return it.epoch === 0 ? `${it.name}-${it.version}-${it.release}.${it.arch}` : formatNevra(it);
}

/** What stays in memory of a document. */
interface PrimaryOptions {
  /** How much of its blocks stays as it is; the rest is compressed. Default: 64 MiB. */
  plainBytes?: number;
  /** Of each block only what `details` needs: for repositories that are taken whole. */
  detailsOnly?: boolean;
}

export class Primary {
  readonly name: string;
  readonly frame: XmlFrame;
  readonly packages: readonly PackageEntry[];
  /** Whether whole blocks are kept: see {@link PrimaryOptions}. */
  readonly hasBlocks: boolean;
  readonly #blocks: BlockStore;
  /** Canonical form of blocks that are not in it by themselves. */
  readonly #canonical: ReadonlyMap<PackageEntry, string>;

  private constructor(name: string, reader: PackageReader, frame: XmlFrame) {
    if (frame.root !== "metadata") throw invalidXml(name, `expected <metadata>, got <${frame.root}>`);
    this.name = name;
    this.frame = frame;
    this.packages = reader.packages;
    this.hasBlocks = !reader.options.detailsOnly;
    this.#blocks = reader.blocks;
    this.#canonical = reader.canonical;
  }

  /**
   * Reads the open document, whole or in pieces, with pauses. `name` is for messages.
   * @throws {AirferryError} ERR_UPSTREAM_INVALID
   */
  static async read(
    document: Uint8Array | AsyncIterable<Uint8Array>,
    name: string,
    options: PrimaryOptions = {},
  ): Promise<Primary> {
    const reader = new PackageReader(name, options);
    const pieces = document instanceof Uint8Array ? [document] : document;
    const frame = await sliceBlocks(pieces, "package", name, reader.onBlock, { isStrict: true });
    reader.blocks.close();
    return new Primary(name, reader, frame);
  }

  /** The same of a compressed document, of the repository `owner`. */
  static readCompressed(bytes: Uint8Array, owner: string, options: PrimaryOptions = {}): Promise<Primary> {
    const pieces = decompressChunks(bytes, { name: `${owner}: primary`, maxBytes: maxOpenBytes("primary") });
    return Primary.read(pieces, `${owner}: primary.xml`, options);
  }

  /** The block exactly as upstream wrote it, in UTF-8. */
  block(entry: PackageEntry): Buffer {
    return this.#blocks.read(entry);
  }

  /** Its text in canonical form, read as latin1. */
  text(entry: PackageEntry): string {
    return this.#canonical.get(entry) ?? latin1(this.block(entry));
  }

  /** @throws {AirferryError} ERR_UPSTREAM_INVALID when location, checksum or size is missing or malformed */
  details(entry: PackageEntry): PackageDetails {
    const text = this.text(entry);
    const fail = (fault: string) => invalidXml(this.name, `${fault} of package ${formatNevra(entry)}`);
    const sum = CHECKSUM.exec(text);
    const checksum = parseChecksum(attribute(sum?.[1] ?? "", "type"), sum?.[2]);
    if (!checksum) throw fail(`unknown or malformed checksum (${sum?.[0] ?? "none"})`);
    const location = LOCATION.exec(text)?.[1] ?? "";
    const href = attribute(location, "href");
    if (!href) throw fail("no location");
    const size = SIZE.exec(text)?.[1] ?? "";
    const bytes = Number(attribute(size, "package"));
    if (!/^\d{1,15}$/.test(attribute(size, "package") ?? "") || !Number.isSafeInteger(bytes)) throw fail("no size");
    const time = TIME.exec(text)?.[1] ?? "";
    const base = attribute(location, "xml:base");
    return {
      checksum: flatString(checksum),
      href: fromLatin1(href),
      ...(base !== undefined && { base: fromLatin1(base) }),
      size: bytes,
      buildTime: Number(attribute(time, "build") ?? 0) || 0,
      sourceRpm: fromLatin1(unescapeXml(SOURCE_RPM.exec(text)?.[1] ?? "")),
    };
  }

  /** Dependencies of one kind, in upstream's order; `pre` and duplicates are not distinguished. */
  relations(entry: PackageEntry, kind: DependencyKind): Relation[] {
    const list: Relation[] = [];
    const text = this.text(entry);
    forEachRelation(text, kind, (nameText, rest) => list.push(relationOf(nameText, rest)));
    return list;
  }
}

const CHECKSUM = /<checksum\s([^>]*)>([^<]*)<\/checksum>/;
const TIME = /<time\s([^>]*?)\/?>/;
const SIZE = /<size\s([^>]*?)\/?>/;
const LOCATION = /<location\s([^>]*?)\/?>/;
const SOURCE_RPM = /<rpm:sourcerpm>([^<]*)</;

/** The part of a block that the details are read from. */
function excerptOf(text: string): Buffer {
  const parts = [CHECKSUM, TIME, SIZE, LOCATION, SOURCE_RPM].map((it) => it.exec(text)?.[0] ?? "");
  return Buffer.from(parts.join(""), "latin1");
}

/** Collects the packages of a document. */
class PackageReader {
  readonly packages: PackageEntry[] = [];
  readonly blocks: BlockStore;
  readonly canonical = new Map<PackageEntry, string>();
  readonly options: PrimaryOptions;
  readonly #name: string;
  /** Architectures, versions and releases repeat by the thousand. */
  readonly #known = new Map<string, string>();
  #canonicalChars = 0;

  constructor(name: string, options: PrimaryOptions) {
    this.#name = name;
    this.options = options;
    this.blocks = new BlockStore(options.plainBytes ?? PLAIN_BYTES);
  }

  readonly onBlock = (block: Buffer, _start: number, frame: XmlFrame): void => {
    const number = this.packages.length + 1;
    if (number > MAX_PACKAGES) throw invalidXml(this.#name, `more than ${MAX_PACKAGES} packages`);
    const head = block.toString("latin1", 0, Math.min(block.length, HEAD_BYTES));
    let read = isCanonical(frame) ? readEntry(head) : undefined;
    let canonical: string | undefined;
    if (!read) {
      const unusual = readUnusual(block, this.#name, number);
      canonical = unusual.text;
      if (!this.options.detailsOnly) this.#canonicalChars += canonical.length;
      if (this.#canonicalChars > MAX_CANONICAL_CHARS) throw invalidXml(this.#name, "too much in an unusual dialect");
      read = unusual.entry;
    }
    const { name, arch, epoch, version, release } = read;
    const isExcerpt = this.options.detailsOnly === true;
    const { page, start, end } = this.blocks.add(isExcerpt ? excerptOf(canonical ?? latin1(block)) : block);
    const entry = {
      name: flatString(name),
      arch: this.#once(arch),
      epoch,
      version: this.#once(version),
      release: this.#once(release),
      page,
      start,
      end,
    };
    this.packages.push(entry);
    if (canonical !== undefined && !isExcerpt) this.canonical.set(entry, canonical);
  };

  /** The one copy of a text that repeats. */
  #once(text: string): string {
    const known = this.#known.get(text);
    if (known !== undefined) return known;
    const flat = flatString(text);
    this.#known.set(flat, flat);
    return flat;
  }
}

/** A block in another dialect. @throws {AirferryError} ERR_UPSTREAM_INVALID */
function readUnusual(block: Buffer, name: string, number: number) {
  const text = canonicalBlock(parseXml(block, `${name}: package ${number}`));
  const entry = readEntry(text);
  if (!entry) throw invalidXml(name, `package ${number} has no usable name, arch or version`);
  return { text, entry };
}

/** What people look for in a package. */
interface PackageDescription extends Evr {
  name: string;
  arch: string;
  summary: string;
  /** As upstream wrote it; undefined where it is below another address. */
  href: string | undefined;
  /** Bytes of the RPM; 0 if unknown. */
  size: number;
  /** Names of what it provides, in upstream's order, each once. */
  provides: string[];
}

/**
 * Describes one package out of its block alone, for readers that stream ({@link sliceBlocks}) and keep nothing.
 * @throws {AirferryError} ERR_UPSTREAM_INVALID
 */
export function describePackage(
  block: Buffer,
  frame: XmlFrame,
  { name, number, maxProvides }: { name: string; number: number; maxProvides: number },
): PackageDescription {
  const plain = isCanonical(frame) ? latin1(block) : "";
  const { text, entry } = withEntry(plain) ?? readUnusual(block, name, number);
  const tag = (element: string) => new RegExp(`<${element}\\s([^>]*?)/?>`).exec(text)?.[1] ?? "";
  const location = tag("location");
  const href = attribute(location, "xml:base") === undefined ? attribute(location, "href") : undefined;
  const size = attribute(tag("size"), "package") ?? "";
  const provides = new Set<string>();
  let length = 0;
  forEachRelation(text, "provides", (it) => {
    if (length <= maxProvides) provides.add(it);
    length += it.length;
  });
  return {
    ...entry,
    summary: fromLatin1(unescapeXml(between(text, "<summary>", "</summary>") ?? "")),
    href: href === undefined ? undefined : fromLatin1(href),
    size: /^\d{1,15}$/.test(size) ? Number(size) : 0,
    provides: Array.from(provides, (it) => fromLatin1(unescapeXml(it))),
  };
}

function withEntry(text: string) {
  const entry = readEntry(text);
  return entry && { text, entry };
}

/**
 * Node makes strings over 1 MB "external", and searching those is 50 times slower; a joined string is an ordinary one.
 */
const PIECE_BYTES = 512 * 1024;

function latin1(bytes: Buffer): string {
  let text = "";
  for (let at = 0; at < bytes.length; at += PIECE_BYTES)
    text += bytes.toString("latin1", at, Math.min(bytes.length, at + PIECE_BYTES));
  return text;
}

/** Name, arch, version and checksum come first in every block. */
const HEAD_BYTES = 2048;

function isCanonical(frame: XmlFrame): boolean {
  return frame.bare && frame.head.includes("xmlns:rpm=");
}

function readEntry(text: string): (Evr & { name: string; arch: string }) | undefined {
  const name = between(text, "<name>", "</name>");
  const arch = between(text, "<arch>", "</arch>");
  const version = /<version\s([^>]*?)\/?>/.exec(text)?.[1];
  if (!name || !arch || version === undefined) return undefined;
  const ver = attribute(version, "ver");
  const rel = attribute(version, "rel");
  const epoch = attribute(version, "epoch") ?? "0";
  if (!ver || rel === undefined || !/^\d{0,10}$/.test(epoch)) return undefined;
  if (!isPlainName(name) || !isPlainName(arch)) return undefined;
  return {
    name: fromLatin1(unescapeXml(name)),
    arch,
    epoch: Number(epoch),
    version: fromLatin1(ver),
    release: fromLatin1(rel),
  };
}

/** Names go into paths and reports: no spaces, slashes or control characters. */
function isPlainName(name: string): boolean {
  return name.length <= 512 && !/[\s/\u0000-\u001f\u007f]/.test(name);
}

/** A copy in one piece, which keeps alive neither the larger string it was cut from nor the parts it was joined of. */
export function flatString<T extends string>(text: T): T {
  return text.length < 13 ? text : (Buffer.from(text, "utf8").toString("utf8") as T);
}

function between(text: string, open: string, close: string): string | undefined {
  const start = text.indexOf(open);
  if (start < 0) return undefined;
  const end = text.indexOf(close, start);
  return end < 0 ? undefined : text.slice(start + open.length, end).trim();
}

/** Value of a double-quoted attribute, entities resolved. */
function attribute(attributes: string, name: string): string | undefined {
  const at = attributes.startsWith(`${name}="`) ? 0 : attributes.indexOf(` ${name}="`) + 1;
  if (at === 0 && !attributes.startsWith(`${name}="`)) return undefined;
  const start = at + name.length + 2;
  const end = attributes.indexOf('"', start);
  return end < 0 ? undefined : unescapeXml(attributes.slice(start, end));
}

/**
 * Calls back for each entry of one section with the raw (escaped) name and the raw text of the other attributes; the
 * pair identifies a relation, so indexes can intern it unparsed.
 */
export function forEachRelation(
  text: string,
  kind: DependencyKind,
  onEntry: (name: string, rest: string) => void,
): void {
  const section = between(text, `<rpm:${kind}>`, `</rpm:${kind}>`);
  if (section === undefined) return;
  // Cut first: searching within one string of megabytes can be a hundred times slower (V8 13).
  const parts = section.split("<rpm:entry");
  for (let i = 1; i < parts.length; i++) {
    const part = parts[i] as string;
    // An attribute value holds ">" only escaped; some writers leave it plain.
    let close = part.indexOf("/>");
    if (close < 0) close = part.indexOf(">");
    if (part.startsWith(' name="')) {
      const quote = part.indexOf('"', 7);
      onEntry(part.slice(7, quote), part.slice(quote + 1, close));
    } else {
      const tag = part.slice(0, close);
      const name = /\sname\s*=\s*"([^"]*)"/.exec(tag);
      if (name) onEntry(name[1] as string, tag.replace(name[0], ""));
    }
  }
}

/** Calls back with the raw (escaped) path of every file that primary lists. */
export function forEachFile(text: string, onFile: (path: string) => void): void {
  const parts = text.split("<file");
  for (let i = 1; i < parts.length; i++) {
    const part = parts[i] as string;
    const start = part.indexOf(">") + 1;
    const end = part.indexOf("<", start);
    if (start > 0 && end > start && part[start - 2] !== "/") onFile(part.slice(start, end));
  }
}

/** Parses what {@link forEachRelation} gives. Unknown flags mean any version. */
function relationOf(name: string, rest: string): Relation {
  const version = versionOf(rest);
  return { name: unescapeXml(name), ...version };
}

/** Flags and version of the attributes after the name. */
export function versionOf(rest: string): Evr & { flags: number } {
  if (rest === "") return { flags: 0, epoch: 0, version: "", release: "" };
  const flags = parseFlags(attribute(rest, "flags") ?? "") ?? 0;
  return {
    flags,
    epoch: flags === 0 ? 0 : Number(attribute(rest, "epoch") ?? 0) || 0,
    version: flags === 0 ? "" : (attribute(rest, "ver") ?? ""),
    release: flags === 0 ? "" : (attribute(rest, "rel") ?? ""),
  };
}

/** What a bill of materials says of a package. Foreign text, as written. */
export interface PackageFacts extends Evr {
  name: string;
  arch: string;
  checksum: AnyDigest | undefined;
  /** Base name of its location. */
  file: string;
  /** Bytes of the RPM; 0 if unknown. */
  size: number;
  /** Empty where the package has none, as are the following. */
  licence: string;
  vendor: string;
  sourceRpm: string;
}

/** In createrepo_c's blocks the first element after all that {@link readFacts} reads. */
const AFTER_FACTS = Buffer.from("<rpm:header-range");

/**
 * Reads one package from its block, for readers that stream ({@link sliceBlocks}) and keep nothing. Undefined for a
 * package without a usable name, arch or version.
 * @throws {AirferryError} ERR_UPSTREAM_INVALID
 */
export function readFacts(block: Buffer, frame: XmlFrame, name: string): PackageFacts | undefined {
  const end = block.indexOf(AFTER_FACTS);
  const plain = isCanonical(frame) ? latin1(end < 0 ? block : block.subarray(0, end)) : "";
  const text = readEntry(plain) ? plain : canonicalBlock(parseXml(block, name));
  const entry = readEntry(text);
  if (!entry) return undefined;
  const sum = /<checksum\s([^>]*)>([^<]*)<\/checksum>/.exec(text);
  const href = attribute(/<location\s([^>]*?)\/?>/.exec(text)?.[1] ?? "", "href") ?? "";
  const size = Number(attribute(/<size\s([^>]*?)\/?>/.exec(text)?.[1] ?? "", "package"));
  const textOf = (tag: string) =>
    flatString(fromLatin1(unescapeXml(between(text, `<rpm:${tag}>`, `</rpm:${tag}>`) ?? "")));
  return {
    ...entry,
    checksum: parseChecksum(attribute(sum?.[1] ?? "", "type"), sum?.[2]),
    file: flatString(fromLatin1(href.slice(href.lastIndexOf("/") + 1))),
    size: Number.isSafeInteger(size) ? size : 0,
    licence: textOf("license"),
    vendor: textOf("vendor"),
    sourceRpm: textOf("sourcerpm"),
  };
}

const TEXT_SECTIONS = ["license", "vendor", "sourcerpm"];

/** A block as createrepo_c would write it; only for reading, never written out. */
function canonicalBlock(element: XmlElement): string {
  const text = (name: string) => escapeXml(childText(element, name) ?? "");
  const attrs = (it: XmlElement | undefined) =>
    Object.entries(it?.attributes ?? {})
      .filter(([key]) => !key.startsWith("xmlns"))
      .map(([key, value]) => ` ${key}="${escapeXml(value)}"`)
      .join("");
  const one = (name: string) => childrenOf(element, name)[0];
  const format = one("format");
  const parts = [
    `<package><name>${text("name")}</name><arch>${text("arch")}</arch><version${attrs(one("version"))}/>`,
    `<checksum${attrs(one("checksum"))}>${text("checksum")}</checksum><summary>${text("summary")}</summary>`,
    `<time${attrs(one("time"))}/><size${attrs(one("size"))}/><location${attrs(one("location"))}/><format>`,
  ];
  for (const section of format?.children ?? []) {
    if (TEXT_SECTIONS.includes(section.name))
      parts.push(`<rpm:${section.name}>${escapeXml(section.text.trim())}</rpm:${section.name}>`);
    else if (section.name === "file") parts.push(`<file>${escapeXml(section.text.trim())}</file>`);
    else if (section.children.length > 0) {
      parts.push(`<rpm:${section.name}>`);
      for (const entry of childrenOf(section, "entry")) {
        const { name, ...others } = entry.attributes;
        if (name === undefined) continue;
        const rest = Object.entries(others).map(([key, value]) => ` ${localAttribute(key)}="${escapeXml(value)}"`);
        parts.push(`<rpm:entry name="${escapeXml(name)}"${rest.join("")}/>`);
      }
      parts.push(`</rpm:${section.name}>`);
    }
  }
  parts.push("</format></package>");
  // The rest reads latin1.
  return Buffer.from(parts.join(""), "utf8").toString("latin1");
}

function localAttribute(key: string): string {
  return key.slice(key.indexOf(":") + 1);
}
