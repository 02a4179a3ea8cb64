/**
 * A bill of materials as SPDX 2.3 JSON, in pieces.
 * @see https://spdx.github.io/spdx-spec/v2.3/
 */
import { documentId } from "./document-id.ts";
import type { Licence } from "./licence.ts";
import { filePurl, imagePurl, packagePurl } from "./purl.ts";
import type { Bill, BillPackage, FileRow, ImageRow } from "./types.ts";

const NONE = "NOASSERTION";
const ROOT = "SPDXRef-Bundle";
const ALGORITHMS: Readonly<Record<string, string>> = {
  md5: "MD5",
  sha1: "SHA1",
  sha224: "SHA224",
  sha256: "SHA256",
  sha384: "SHA384",
  sha512: "SHA512",
};
const LICENCE_REFERENCE = /\bLicenseRef-[A-Za-z0-9.-]+/g;

/** The document in pieces, a line for each package and relation. The same bill gives the same text. */
export function* spdxDocument(bill: Bill): Generator<string> {
  const { stream, serial, time, tool, gaps } = bill;
  const head = {
    spdxVersion: "SPDX-2.3",
    dataLicense: "CC0-1.0",
    SPDXID: "SPDXRef-DOCUMENT",
    name: `${stream}-${serial}`,
    documentNamespace: `urn:uuid:${documentId(bill)}`,
    creationInfo: { created: time, creators: [`Tool: ${tool.replace(" ", "-")}`] },
    ...(gaps.length > 0 && { comment: gaps.join("\n") }),
    documentDescribes: [ROOT],
  };
  yield `${JSON.stringify(head).slice(0, -1)},"packages":[\n`;
  yield JSON.stringify({
    SPDXID: ROOT,
    name: stream,
    versionInfo: String(serial),
    downloadLocation: NONE,
    filesAnalyzed: false,
    ...UNKNOWN,
  });
  const references = new Set<string>();
  let count = 0;
  for (const it of packagesOf(bill)) {
    count++;
    for (const [name] of it.licenseDeclared.matchAll(LICENCE_REFERENCE)) references.add(name);
    yield `,\n${JSON.stringify({ SPDXID: `SPDXRef-${count}`, ...it })}`;
  }
  yield `\n],"relationships":[\n${relation("SPDXRef-DOCUMENT", "DESCRIBES", ROOT)}`;
  for (let number = 1; number <= count; number++) yield `,\n${relation(ROOT, "CONTAINS", `SPDXRef-${number}`)}`;
  yield "\n]";
  if (references.size > 0) yield `,"hasExtractedLicensingInfos":${JSON.stringify([...references].map(extracted))}`;
  yield "}\n";
}

const UNKNOWN = { licenseConcluded: NONE, licenseDeclared: NONE, copyrightText: NONE };

function relation(from: string, relationshipType: string, to: string): string {
  return JSON.stringify({ spdxElementId: from, relationshipType, relatedSpdxElement: to });
}

function extracted(licenseId: string): object {
  return { licenseId, name: NONE, extractedText: "Its text is in the package that declares it." };
}

/** A package of the document, without its identifier. */
type SpdxPackage = { licenseDeclared: string } & Record<string, unknown>;

function* packagesOf({ isos, files, images, repositories }: Bill): Generator<SpdxPackage> {
  for (const it of [...isos, ...files]) yield filePackage(it);
  for (const it of images) yield imagePackage(it);
  for (const { packages } of repositories) for (const it of packages) yield rpmPackage(it);
}

function rpmPackage(it: BillPackage): SpdxPackage {
  const version = it.version === "" ? undefined : `${it.version}-${it.release}`;
  return {
    name: it.name,
    ...(version !== undefined && { versionInfo: it.epoch > 0 ? `${it.epoch}:${version}` : version }),
    packageFileName: it.path,
    ...(it.vendor !== "" && { supplier: `Organization: ${it.vendor}` }),
    downloadLocation: it.url ?? NONE,
    ...common(it, it.digest, packagePurl(it)),
    ...licences(it.licence),
  };
}

function imagePackage(it: ImageRow): SpdxPackage {
  const sboms = it.sboms.map(({ format, path, digest }) => `carried ${format} document: ${path} (${digest})`);
  return {
    name: it.name,
    versionInfo: it.version,
    primaryPackagePurpose: "CONTAINER",
    downloadLocation: NONE,
    ...common(it, it.digest, imagePurl(it)),
    ...licences(it.licence),
    ...(sboms.length > 0 && { comment: sboms.join("\n") }),
  };
}

function filePackage(it: FileRow): SpdxPackage {
  return {
    name: it.name,
    ...(it.version !== "" && { versionInfo: it.version }),
    packageFileName: it.path,
    primaryPackagePurpose: "FILE",
    downloadLocation: it.url ?? NONE,
    ...common(it, it.digest, filePurl(it)),
    ...licences(undefined),
  };
}

function common(
  { established, signedBy, published }: Pick<BillPackage, "established" | "signedBy" | "published">,
  digest: string,
  purl: string,
) {
  const digests = new Map([digest, ...published].map((it): [string, string] => [it.slice(0, it.indexOf(":")), it]));
  const by = signedBy.length > 0 ? ` by ${signedBy.join(", ")}` : "";
  return {
    filesAnalyzed: false,
    checksums: [...digests].flatMap(([algorithm, it]) => {
      const known = ALGORITHMS[algorithm];
      return known === undefined ? [] : [{ algorithm: known, checksumValue: it.slice(it.indexOf(":") + 1) }];
    }),
    externalRefs: [{ referenceCategory: "PACKAGE-MANAGER", referenceType: "purl", referenceLocator: purl }],
    sourceInfo: `digest known by: ${established ?? "not recorded"}${by}`,
  };
}

function licences(licence: Licence | undefined) {
  if (licence === undefined) return UNKNOWN;
  if (licence.form !== "name") return { ...UNKNOWN, licenseDeclared: licence.text };
  return { ...UNKNOWN, licenseComments: `declared, but no SPDX licence expression: ${licence.text}` };
}
