/**
 * Checksum files as projects publish them, in every form found in practice: GNU (`<hex>  name`, `*name`, escaped
 * names), BSD and openssl (`SHA256 (name) = <hex>`, standard input), gpg --print-md (`name: AB12 …`), a bare hash,
 * several files and algorithms in one, and sizes in comments (`# name: N bytes`, Rocky and Fedora). In UTF-8, or UTF-16
 * with a byte order mark. Clear-signed ones are unwrapped by the caller. Pure; see docs/manifest.md, "checksums".
 */
import { AirferryError } from "../errors.ts";
import { type AnyDigest, algorithmOf, algorithmOfLength, type HashAlgorithm, hexOf, parseHex } from "../io/digest.ts";
import { type Integrity, joinDigests } from "../io/integrity.ts";
import { textOf } from "../io/text.ts";

/** Largest checksum file that is read: some 20,000 lines, in a tenth of a second. */
export const MAX_CHECKSUMS_BYTES = 2 * 1024 * 1024;

/** What a checksum file says about one artifact. */
export interface PublishedDigest {
  /** Strongest algorithm first. */
  integrity: Integrity;
  /** Bytes, if the file says. */
  size?: number;
}

interface Line {
  digest: AnyDigest;
  /** As written; undefined for a bare hash. */
  name: string | undefined;
}

/** By strength. MD5 and SHA-1 do not prove who created a file: collisions can be produced at will. */
const ALGORITHMS: readonly HashAlgorithm[] = ["sha512", "sha384", "sha256", "sha224"];
/** Checksum files of other algorithms whose digests are as long as SHA-2's. */
const OTHER_ALGORITHM = /b2sum|b3sum|blake|sha-?3(?!84)|sm3|whirlpool/i;

const BSD = /^(\\?)([A-Za-z][A-Za-z0-9-]*)[ \t]*\((.+)\)[ \t]*=[ \t]*([0-9A-Fa-f]+)$/;
const GNU = /^(\\?)(?:[a-z0-9]+:)?([0-9A-Fa-f]{32,128})[ \t]+\*?(.+)$/;
const BARE = /^(?:[a-z0-9]+:)?([0-9A-Fa-f]{32,128})$/;
/** openssl dgst of standard input, before it named the algorithm. */
const STDIN = /^\(stdin\)[ \t]*=[ \t]*([0-9A-Fa-f]{32,128})$/;
const PRINT_MD = /^([^\s:][^:]*):([0-9A-Fa-f \t]+)$/;
/** Longer lines hold no path that a file system accepts; short ones keep the patterns below fast. */
const MAX_LINE_CHARS = 8192;
/** Maximum total length of a digest's lines in gpg --print-md output, after the name. */
const MAX_JOINED_CHARS = 4096 + 256;
const SIZE_COMMENT = /^#[ \t]*(.+?):[ \t]*([0-9]{1,16})[ \t]+bytes$/;

/**
 * Finds the digest of one file in a checksum file.
 * Lines match by exact name, else by `./name`, else by the end of the artifact's URL, else by base name; a file with a
 * single bare hash applies to whatever it is fetched for.
 * @param artifact.name base name of the artifact; `url`: where it comes from, to distinguish equal names in several
 *   folders; `path`: where the checksum file is, for messages
 * @throws {AirferryError} ERR_UPSTREAM_INVALID when the file has no digest for it, several different ones, or only MD5
 *   and SHA-1
 */
export function parseChecksums(
  bytes: Uint8Array,
  artifact: { name: string; url?: string | undefined; path?: string | undefined },
): PublishedDigest {
  const path = artifact.path ?? "checksums";
  if (bytes.length > MAX_CHECKSUMS_BYTES) {
    throw unusable(path, `too large: expected at most ${MAX_CHECKSUMS_BYTES} bytes, got ${bytes.length}`);
  }
  if (OTHER_ALGORITHM.test(path.split(/[?#]/)[0]?.split("/").at(-1) ?? "")) {
    throw unusable(path, "its algorithm is not one of SHA-224, SHA-256, SHA-384 and SHA-512");
  }
  const { lines, sizes } = readLines(textOf(bytes));
  if (lines.length === 0) {
    const looksHtml = Buffer.from(bytes.subarray(0, 512)).toString("latin1").trimStart().startsWith("<");
    throw unusable(path, looksHtml ? "it is a web page, not a checksum file" : "it holds no checksum in a known form");
  }
  const matching = linesFor(lines, artifact.name, artifact.url, path);
  const digests = new Map<HashAlgorithm, AnyDigest>();
  for (const { digest } of matching) {
    const algorithm = algorithmOf(digest);
    const other = digests.get(algorithm) ?? digest;
    if (other !== digest) {
      const all = new Set(matching.map((it) => it.digest).filter((it) => algorithmOf(it) === algorithm));
      const hex = [...all].map(hexOf).join(", ");
      throw unusable(path, `"${artifact.name}" has ${all.size} different ${algorithm} digests: ${hex}`);
    }
    digests.set(algorithm, digest);
  }
  const integrity = joinDigests(ALGORITHMS.flatMap((it) => digests.get(it) ?? []));
  if (integrity === undefined) {
    const got = [...digests.keys()].join(", ");
    throw unusable(path, `no strong digest of "${artifact.name}": expected SHA-224 or better, got ${got}`);
  }
  const size = sizeOf(sizes, matching, artifact.name);
  return size === undefined ? { integrity } : { integrity, size };
}

function readLines(source: string): { lines: Line[]; sizes: Map<string, number> } {
  const lines: Line[] = [];
  const sizes = new Map<string, number>();
  for (const text of joined(source)) {
    const [, name, bytes] = SIZE_COMMENT.exec(text) ?? [];
    if (name !== undefined) sizes.set(name, Number(bytes));
    if (text === "" || text.startsWith("#")) continue;
    const line = readLine(text);
    if (line) lines.push(line);
  }
  return { lines, sizes };
}

/** Lines without their ends; gpg --print-md breaks long digests onto indented lines, which are joined again. */
function joined(source: string): string[] {
  const lines: string[] = [];
  for (const raw of source.replace(/^\uFEFF/, "").split(/\r\n|\n|\r/)) {
    if (raw.length > MAX_LINE_CHARS) continue;
    const text = raw.trimEnd();
    const previous = lines.at(-1) ?? "";
    const continues = /^[ \t]+[0-9A-Fa-f \t]+$/.test(text) && /:[0-9A-Fa-f \t]*$/.test(previous.slice(-256));
    if (continues && previous.length < MAX_JOINED_CHARS) lines[lines.length - 1] = `${previous} ${text.trim()}`;
    else lines.push(text.trim());
  }
  return lines;
}

function readLine(text: string): Line | undefined {
  const [, bare] = BARE.exec(text) ?? STDIN.exec(text) ?? [];
  if (bare !== undefined) return lineOf(bare, undefined);
  const [, gnuEscaped, gnuHex, gnuName] = GNU.exec(text) ?? [];
  if (gnuHex !== undefined) return lineOf(gnuHex, nameOf(gnuName, gnuEscaped));
  const [, escaped, label, name, hex] = BSD.exec(text) ?? [];
  if (label !== undefined && hex !== undefined) {
    const algorithm = label.toLowerCase().replace(/^sha2?-/, "sha");
    return algorithmOfLength(hex.length) === algorithm ? lineOf(hex, nameOf(name, escaped)) : undefined;
  }
  const [, printedName, digits] = PRINT_MD.exec(text) ?? [];
  return digits === undefined ? undefined : lineOf(digits.replace(/[ \t]/g, ""), printedName);
}

function lineOf(hex: string, name: string | undefined): Line | undefined {
  const digest = parseHex(hex.toLowerCase(), algorithmOfLength(hex.length) ?? "");
  return digest && { digest, name };
}

/** The names that sha256sum and openssl use for standard input name no file. */
function nameOf(name: string | undefined, escaped: string | undefined): string | undefined {
  if (name === undefined || name === "-" || name === "stdin") return undefined;
  return escaped ? unescapeName(name) : name;
}

/** coreutils: a leading backslash says that newline, return and backslash in the name are escaped. */
function unescapeName(name: string): string {
  return name.replace(/\\([\\nr])/g, (_, char: string) => (char === "n" ? "\n" : char === "r" ? "\r" : "\\"));
}

function linesFor(lines: readonly Line[], name: string, url: string | undefined, path: string): Line[] {
  const urlPath = url === undefined ? "" : decoded(new URL(url).pathname);
  const tests: ((it: string) => boolean)[] = [
    (it) => it === name,
    (it) => it === `./${name}`,
    (it) => it.includes("/") && urlPath.endsWith(`/${it.replace(/^(\.?\/)+/, "")}`) && baseOf(it) === name,
    (it) => baseOf(it) === name,
    (it) => decoded(baseOf(it)) === name,
  ];
  for (const test of tests) {
    const matching = lines.filter((it) => it.name !== undefined && test(it.name));
    if (matching.length > 0) return matching;
  }
  const bare = lines.filter((it) => it.name === undefined);
  if (bare.length > 0 && bare.length === lines.length) return bare;
  const names = [...new Set(lines.map((it) => it.name ?? "(a bare hash)"))];
  const shown = names.slice(0, 5).map((it) => JSON.stringify(it));
  const more = names.length > shown.length ? ` and ${names.length - shown.length} more` : "";
  throw unusable(path, `no digest of ${JSON.stringify(name)}: it lists ${shown.join(", ")}${more}`);
}

function baseOf(name: string): string {
  return name.split(/[/\\]/).at(-1) ?? name;
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function sizeOf(sizes: ReadonlyMap<string, number>, lines: readonly Line[], name: string): number | undefined {
  for (const it of [...lines.map((line) => line.name ?? name), name]) {
    const size = sizes.get(it);
    if (size !== undefined && Number.isSafeInteger(size)) return size;
  }
  return undefined;
}

function unusable(path: string, fault: string): AirferryError {
  return new AirferryError("ERR_UPSTREAM_INVALID", `cannot use checksum file "${path}": ${fault}`, {
    path,
    hint: "point checksums: at the file that lists this artifact, or give sha256: in the manifest",
  });
}
