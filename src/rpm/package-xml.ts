/**
 * The three blocks of XML that describe one package in primary, filelists and other, as createrepo_c writes them.
 */
import { AirferryError } from "../errors.ts";
import { type Digest, hexOf } from "../io/digest.ts";
import {
  DEPENDENCY_KINDS,
  isPrimaryFile,
  type PackageDependency,
  type PackageFile,
  type PackageInfo,
} from "./package-info.ts";

/** What the headers do not say. */
interface PackagePlace {
  /** Of the package file; its hex is the id in all three documents. */
  digest: Digest;
  /** Path relative to the repository, not percent-encoded. */
  href: string;
  /** Seconds since 1970. */
  fileTime: number;
}

/** One `<package>` element each, with a line end. */
export interface PackageXml {
  primary: string;
  filelists: string;
  other: string;
}

/**
 * Writes the blocks. Control characters, which XML cannot hold, are dropped from descriptive texts.
 * @throws {AirferryError} ERR_UPSTREAM_INVALID when a name, version, dependency or file path has such a character
 */
export function formatPackageXml(info: PackageInfo, place: PackagePlace): PackageXml {
  const exact = (text: string): string => {
    if (CONTROL.test(text)) throw controlCharacter(place.href, text);
    return text;
  };
  const version = `  <version epoch="${info.epoch}" ver="${attribute(exact(info.version))}" rel="${attribute(exact(info.release))}"/>\n`;
  const head = `<package pkgid="${hexOf(place.digest)}" name="${attribute(exact(info.name))}" arch="${attribute(exact(info.arch))}">\n${version}`;
  return {
    primary: formatPrimary(info, place, version, exact),
    filelists: `${head}${info.files.map((it) => fileLine(it, "  ", exact)).join("")}</package>\n`,
    other: `${head}${info.changelog.map(changelogLine).join("")}</package>\n`,
  };
}

function formatPrimary(
  info: PackageInfo,
  place: PackagePlace,
  version: string,
  exact: (text: string) => string,
): string {
  const dependencies = DEPENDENCY_KINDS.map((kind) => {
    const entries = info.dependencies[kind];
    if (entries.length === 0) return "";
    return `    <rpm:${kind}>\n${entries.map((it) => entryLine(it, exact)).join("")}    </rpm:${kind}>\n`;
  });
  const files = info.files.filter((it) => isPrimaryFile(it.path)).map((it) => fileLine(it, "    ", exact));
  return `<package type="rpm">
  <name>${content(exact(info.name))}</name>
  <arch>${content(exact(info.arch))}</arch>
${version}  <checksum type="sha256" pkgid="YES">${hexOf(place.digest)}</checksum>
  <summary>${content(loose(info.summary))}</summary>
  <description>${content(loose(info.description))}</description>
  <packager>${content(loose(info.packager))}</packager>
  <url>${content(loose(info.url))}</url>
  <time file="${place.fileTime}" build="${info.buildTime}"/>
  <size package="${info.size}" installed="${info.installedSize}" archive="${info.archiveSize}"/>
  <location href="${attribute(exact(place.href))}"/>
  <format>
    <rpm:license>${content(loose(info.license))}</rpm:license>
    <rpm:vendor>${content(loose(info.vendor))}</rpm:vendor>
    <rpm:group>${content(loose(info.group))}</rpm:group>
    <rpm:buildhost>${content(loose(info.buildHost))}</rpm:buildhost>
    <rpm:sourcerpm>${content(loose(info.sourceRpm))}</rpm:sourcerpm>
    <rpm:header-range start="${info.headerStart}" end="${info.headerEnd}"/>
${dependencies.join("")}${files.join("")}  </format>
</package>
`;
}

function entryLine(it: PackageDependency, exact: (text: string) => string): string {
  const range =
    it.flags === undefined
      ? ""
      : ` flags="${it.flags}"${some("epoch", it.epoch)}${some("ver", it.version && exact(it.version))}${some("rel", it.release && exact(it.release))}`;
  return `      <rpm:entry name="${attribute(exact(it.name))}"${range}${it.pre ? ' pre="1"' : ""}/>\n`;
}

function some(name: string, value: string | undefined): string {
  return value ? ` ${name}="${attribute(value)}"` : "";
}

function fileLine(it: PackageFile, indent: string, exact: (text: string) => string): string {
  return `${indent}<file${it.type === "file" ? "" : ` type="${it.type}"`}>${content(exact(it.path))}</file>\n`;
}

function changelogLine(it: PackageInfo["changelog"][number]): string {
  return `  <changelog author="${attribute(loose(it.author))}" date="${it.date}">${content(loose(it.text))}</changelog>\n`;
}

/** What XML 1.0 cannot hold: most control characters, lone surrogates, two non-characters. */
const CONTROL = /[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]|\p{Cs}/u;
const CONTROLS = new RegExp(CONTROL.source, "gu");

function loose(text: string): string {
  return CONTROL.test(text) ? text.replace(CONTROLS, "") : text;
}

const CONTENT_ENTITIES: Record<string, string> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", "\r": "&#13;" };
const ATTRIBUTE_ENTITIES: Record<string, string> = {
  ...CONTENT_ENTITIES,
  '"': "&quot;",
  "\t": "&#9;",
  "\n": "&#10;",
};

function content(text: string): string {
  return /[&<>\r]/.test(text) ? text.replace(/[&<>\r]/g, (it) => CONTENT_ENTITIES[it] as string) : text;
}

function attribute(text: string): string {
  return /[&<>"\r\n\t]/.test(text) ? text.replace(/[&<>"\r\n\t]/g, (it) => ATTRIBUTE_ENTITIES[it] as string) : text;
}

function controlCharacter(href: string, text: string): AirferryError {
  return new AirferryError(
    "ERR_UPSTREAM_INVALID",
    `cannot describe package "${href}": a control character in ${JSON.stringify(text)}: expected text that XML can hold`,
    {
      path: href,
      hint: "the package cannot be installed from any repository; report it to its packager, or remove it",
    },
  );
}
