/**
 * What the files of `init --from` say, as plain data: what can be carried, and what cannot, each with its line. Readers
 * of one format each add to it.
 */
import { printable } from "../io/printable.ts";
import { redactText } from "../io/redact.ts";
import type { FileEntry, ImageEntry, RpmEntry } from "../manifest/schema.ts";
import { checkReference } from "../oci/reference.ts";

/** Something that cannot be carried over. */
export interface Skipped {
  /** The file as it was named; `standard input`. */
  file: string;
  /** From 1. */
  line: number;
  /** Safe to show: without secrets and control characters. */
  what: string;
  why: string;
}

/** A repository that a file names; entries of the manifest are made of it once all files are read. */
export interface FoundRepository {
  line: number;
  /** Its id or name, as it is written; a part of its URL where it has none. */
  name: string;
  /** `url`, `urls`, `mirrorlist` or `metalink`, perhaps with dnf variables. */
  place: Pick<RpmEntry, "url" | "urls" | "mirrorlist" | "metalink">;
  /** As written: URLs, or files of the target. */
  keys: string[];
  /** What else its entry gets. */
  entry: Pick<RpmEntry, "gpgcheck" | "repo_gpgcheck" | "exclude" | "module_hotfixes">;
  /** Only these packages of it are of use: `includepkgs`. */
  only: string[];
}

/** Packages that a file asks for, from whichever repository has them. */
interface FoundPackages {
  wanted: { spec: string; line: number }[];
  excluded: { spec: string; line: number }[];
  options: Pick<RpmEntry, "weak_deps" | "multilib">;
  /** The installer adds packages of its own. */
  isInstallation: boolean;
}

/** What one file says. */
export interface FoundContent {
  file: string;
  /** The recognised formats, for people: `kickstart`, `Kubernetes YAML`, … */
  formats: string[];
  images: { line: number; entry: ImageEntry }[];
  files: { line: number; entry: FileEntry }[];
  repositories: FoundRepository[];
  packages: FoundPackages;
  /** Line that asks for the installation DVD. */
  dvd?: number;
  /** It holds OpenPGP keys. */
  isKey?: true;
  /** Major versions of the distribution that it is for. */
  releases: string[];
  skipped: Skipped[];
  /** How many more were skipped than `skipped` lists. */
  more: number;
}

/** Most things of one file that are listed as skipped. */
const MAX_SKIPPED = 1000;
/** Longest text that is shown of a file. */
const MAX_SHOWN = 200;

export function emptyFound(file: string): FoundContent {
  return {
    file,
    formats: [],
    images: [],
    files: [],
    repositories: [],
    packages: { wanted: [], excluded: [], options: {}, isInstallation: false },
    releases: [],
    skipped: [],
    more: 0,
  };
}

/** Lists something as not carried over. */
export function skip(found: FoundContent, line: number, what: string, why: string): void {
  if (found.skipped.length >= MAX_SKIPPED) found.more++;
  else found.skipped.push({ file: found.file, line, what: shown(what), why: shown(why, 500) });
}

/** A foreign text as it may be shown and written into a comment: one line, no secrets. */
export function shown(text: string, maxLength = MAX_SHOWN): string {
  return printable(redactText(text.slice(0, 4 * MAX_SHOWN).trim()), maxLength);
}

/**
 * Adds an image, or lists why it is none.
 * @param more other keys of its entry
 */
export function addImage(found: FoundContent, line: number, text: string, more: Omit<ImageEntry, "ref"> = {}): void {
  const ref = text.trim().replace(/^docker:\/\//, "");
  const template = templateIn(ref);
  const wrong = checkReference(ref);
  if (ref === "") skip(found, line, "image without a name", "the name is empty");
  else if (template !== undefined) skip(found, line, withoutLogin(ref), `it is a template: ${template} has no value`);
  else if (wrong !== undefined) skip(found, line, withoutLogin(ref), `not an image reference: ${wrong.fault}`);
  else found.images.push({ line, entry: { ref, ...more } });
}

/** The first placeholder of a text: of Go and Jinja templates, shells, zarf. */
export function templateIn(text: string): string | undefined {
  return /\{\{.{0,60}?\}\}|\$\{?[A-Za-z_]\w{0,60}\}?|###ZARF_\w{1,60}###/.exec(text)?.[0];
}

/** Why a manifest cannot have a URL. */
export function urlFault(url: string): string | undefined {
  if (!/^https?:\/\/[^/?#@\s]*(?:[/?#]\S*)?$/i.test(url) || !URL.canParse(url)) {
    return /^https?:\/\/[^/?#\s]*@/i.test(url)
      ? "it has a user or password: name variables under hosts: (username_env, password_env), and give the URL without"
      : "not a URL";
  }
  return /^https?:\/\//.test(url) ? undefined : "write http or https in lower case";
}

/** A reference that is wrong may have a login in it. */
function withoutLogin(ref: string): string {
  const at = ref.replace(/@sha\d+:[0-9a-f]*$/i, "").lastIndexOf("@");
  return at < 0 ? ref : `***${ref.slice(at)}`;
}
