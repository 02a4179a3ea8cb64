/** Hand-made and random packages as a primary.xml. */

import type { DependencyKind } from "../../../src/rpm/primary.ts";
import { escapeXml } from "../../../src/rpm/xml.ts";

export interface MadePackage {
  name: string;
  /** `epoch:version-release`, all three. */
  evr: string;
  arch: string;
  /** Dependencies as in a spec file: `name`, `name >= 1:2-3`, `(a if b)`. Its own provide is added. */
  sections: Partial<Record<DependencyKind, string[]>>;
  files?: string[];
}

const FLAGS: Record<string, string> = { "=": "EQ", "<": "LT", "<=": "LE", ">": "GT", ">=": "GE" };

export function packageBlock({ name, evr, arch, sections, files = [] }: MadePackage): string {
  const [, epoch, version, release] = /^(\d+):(.*)-(.*)$/.exec(evr) as unknown as [string, string, string, string];
  const all = { ...sections, provides: [`${name} = ${evr}`, ...(sections.provides ?? [])] };
  return [
    `<package type="rpm"><name>${name}</name><arch>${arch}</arch>`,
    `<version epoch="${epoch}" ver="${version}" rel="${release}"/>`,
    `<checksum type="sha256" pkgid="YES">${"0".repeat(64)}</checksum><summary/><description/><packager/><url/>`,
    `<time file="1" build="1"/><size package="1" installed="1" archive="1"/>`,
    `<location href="${name}-${version}-${release}.${arch}.rpm"/><format><rpm:license/>`,
    `<rpm:sourcerpm>${name}-${version}-${release}.src.rpm</rpm:sourcerpm>`,
    ...Object.entries(all).map(([kind, relations]) => section(kind, relations)),
    ...files.map((it) => `<file>${it}</file>`),
    "</format></package>",
  ].join("");
}

function section(kind: string, relations: readonly string[]): string {
  if (relations.length === 0) return "";
  return `<rpm:${kind}>${relations.map(entryOf).join("")}</rpm:${kind}>`;
}

function entryOf(relation: string): string {
  const parts = relation.startsWith("(") ? undefined : /^(\S+) ([<>=]+) (?:(\d+):)?([^-]+)(?:-(.+))?$/.exec(relation);
  if (!parts) return `<rpm:entry name="${escapeXml(relation)}"/>`;
  const [, name, sign, epoch = "0", version, release] = parts;
  const rel = release === undefined ? "" : ` rel="${release}"`;
  return `<rpm:entry name="${name}" flags="${FLAGS[sign as string]}" epoch="${epoch}" ver="${version}"${rel}/>`;
}

/** The whole document. */
export function documentOf(blocks: readonly string[]): string {
  const namespace = "http://linux.duke.edu/metadata";
  return `<?xml version="1.0" encoding="UTF-8"?>\n<metadata xmlns="${namespace}/common" xmlns:rpm="${namespace}/rpm" packages="${blocks.length}">\n${blocks.join("\n")}\n</metadata>\n`;
}
