/**
 * updateinfo.xml: advisories. Read to resolve `advisories:`; cut, each advisory verbatim, to those that name a package
 * that the mirror ships.
 */
import type { Evr } from "./evr.ts";
import { childrenOf, childText, parseXml, type XmlElement } from "./xml.ts";
import { sliceBlocks } from "./xml-blocks.ts";

/** A package that an advisory names. */
export interface AdvisoryPackage extends Evr {
  name: string;
  arch: string;
}

/** One advisory. */
export interface Advisory {
  id: string;
  /** security, bugfix, enhancement, newpackage. */
  type: string;
  severity: string;
  cves: string[];
  packages: AdvisoryPackage[];
}

/** Calls back for every advisory with its verbatim block, whose bytes are valid only during the call. */
export function forEachAdvisory(
  bytes: Buffer,
  name: string,
  onAdvisory: (advisory: Advisory, block: Buffer) => void,
): Promise<{ head: string; tail: string }> {
  return sliceBlocks([bytes], "update", name, (block) => onAdvisory(advisoryOf(parseXml(block, name)), block));
}

function advisoryOf(element: XmlElement): Advisory {
  const references = childrenOf(childrenOf(element, "references")[0], "reference");
  const packages = childrenOf(element, "pkglist")
    .flatMap((list) => childrenOf(list, "collection"))
    .flatMap((collection) => childrenOf(collection, "package"));
  return {
    id: childText(element, "id") ?? "",
    type: element.attributes.type ?? "",
    severity: childText(element, "severity") ?? "",
    cves: references
      .filter((it) => it.attributes.type === "cve")
      .flatMap((it) => [it.attributes.id, it.attributes.title])
      .filter((it): it is string => it !== undefined),
    packages: packages.map(({ attributes }) => ({
      name: attributes.name ?? "",
      arch: attributes.arch ?? "",
      epoch: Number(attributes.epoch ?? 0) || 0,
      version: attributes.version ?? "",
      release: attributes.release ?? "",
    })),
  };
}

/** Whether one of `advisories:` (an id, a CVE or a type) means this one. */
export function isWanted(advisory: Advisory, wanted: readonly string[]): boolean {
  return wanted.some((it) => it === advisory.id || it === advisory.type || advisory.cves.includes(it));
}

/** The document with only the advisories that name a shipped package; undefined when none does. */
export async function cutUpdateinfo(
  bytes: Buffer,
  name: string,
  ships: (it: AdvisoryPackage) => boolean,
): Promise<Buffer | undefined> {
  const kept: Buffer[] = [];
  const { head, tail } = await forEachAdvisory(bytes, name, (advisory, block) => {
    if (advisory.packages.some(ships)) kept.push(Buffer.from(block), Buffer.from("\n"));
  });
  if (kept.length === 0) return undefined;
  return Buffer.concat([Buffer.from(`${head}\n`, "latin1"), ...kept, Buffer.from(`${tail}\n`, "latin1")]);
}
