/** Lists of one thing a line: images (`kubeadm config images list`, images.txt), and packages (`rpm -qa`). */
import { checkReference } from "../oci/reference.ts";
import { addImage, type FoundContent, skip } from "./found.ts";

/** `name-[epoch:]version-release.arch`, as rpm prints an installed package. */
const INSTALLED =
  /^(?:\d+:)?[A-Za-z0-9_][^\s:/@]*-(?:(?:\d+|\(none\)):)?[^-:/\s]+-[^-/\s]+\.(?:noarch|x86_64(?:_v\d)?|i[3-6]86|aarch64|armv7hl|ppc64(?:le)?|s390x?|riscv64|loongarch64|src)$/;

/** Lines that say something, without comments. */
function* linesOf(text: string): Generator<[line: string, number: number]> {
  for (const [index, raw] of text.split(/\r?\n/).entries()) {
    const line = raw.replace(/(?:^|\s)#.*$/, "").trim();
    if (line !== "") yield [line, index + 1];
  }
}

/** A part of the lines: enough to see what a list is of. */
function someLines(text: string): string[] {
  const lines: string[] = [];
  for (const [line] of linesOf(text)) if (lines.push(line) === 1000) break;
  return lines;
}

/** Whether most lines are packages as `rpm -qa` prints them. */
export function isInstalledList(text: string): boolean {
  const lines = someLines(text);
  return lines.filter((it) => INSTALLED.test(it) || it.startsWith("gpg-pubkey-")).length * 2 > lines.length;
}

/** Whether most lines can be images, and one has a registry, path, tag or digest: bare words could be anything. */
export function isImageList(text: string): boolean {
  const lines = someLines(text);
  const images = lines.filter(isReference);
  return images.length * 2 > lines.length && images.some((it) => /[/:@]/.test(it));
}

function isReference(line: string): boolean {
  return !/\s/.test(line) && checkReference(line.replace(/^docker:\/\//, "")) === undefined;
}

export function readImageList(text: string, found: FoundContent): void {
  found.formats.push("image list");
  for (const [line, number] of linesOf(text)) {
    if (/\s/.test(line)) skip(found, number, line, "several words: expected one image a line");
    else addImage(found, number, line);
  }
}

/** Packages with their versions: exactly what the system has. */
export function readInstalledList(text: string, found: FoundContent): void {
  found.formats.push("rpm -qa");
  for (const [line, number] of linesOf(text)) {
    if (line.startsWith("gpg-pubkey-")) {
      skip(found, number, line, "a key of rpm's database, not a package: name keys in the repository's entry");
    } else if (!INSTALLED.test(line)) skip(found, number, line, "not a package: expected name-version-release.arch");
    else {
      const spec = line.replace(/\(none\):/, "").replace(/^(\d+):(.*)-([^-]+-[^-]+)$/, "$2-$1:$3");
      found.packages.wanted.push({ spec, line: number });
      const major = /\.el(\d+)(?=[._]|$)/.exec(line)?.[1];
      if (major !== undefined && !found.releases.includes(major)) found.releases.push(major);
    }
  }
}
