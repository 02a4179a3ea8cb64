/**
 * A bill of materials as CycloneDX 1.6 JSON. Written piece by piece: a distribution has 20,000 packages, and the
 * document 15 MB. CycloneDX's own library judges it in the tests.
 * @see https://cyclonedx.org/docs/1.6/json/
 */
import { documentId } from "./document-id.ts";
import type { Licence } from "./licence.ts";
import { filePurl, imagePurl, packagePurl } from "./purl.ts";
import type { Bill, BillPackage, FileRow, ImageRow, RepositoryPart } from "./types.ts";

const ALGORITHMS: Readonly<Record<string, string>> = {
  md5: "MD5",
  sha1: "SHA-1",
  sha256: "SHA-256",
  sha384: "SHA-384",
  sha512: "SHA-512",
};

/** The document in pieces, a line for each component. The same bill gives the same text. */
export function* cyclonedxDocument(bill: Bill): Generator<string> {
  const { stream, epoch, serial, time, tool, lock } = bill;
  const [name = tool, version] = tool.split(" ");
  const root = `${stream}-${serial}`;
  const head = {
    $schema: "http://cyclonedx.org/schema/bom-1.6.schema.json",
    bomFormat: "CycloneDX",
    specVersion: "1.6",
    serialNumber: `urn:uuid:${documentId(bill)}`,
    version: 1,
    metadata: {
      timestamp: time,
      tools: { components: [{ type: "application", name, ...(version && { version }) }] },
      component: { type: "data", "bom-ref": root, name: stream, version: String(serial) },
      properties: properties({ stream, epoch: String(epoch), serial: String(serial), lock, gap: bill.gaps }),
    },
  };
  yield `${JSON.stringify(head).slice(0, -1)},"components":[`;
  const references: string[] = [];
  let separator = "\n";
  for (const component of componentsOf(bill)) {
    references.push(component["bom-ref"]);
    yield separator + JSON.stringify(component);
    separator = ",\n";
  }
  yield `\n],"dependencies":[{"ref":${JSON.stringify(root)},"dependsOn":[`;
  separator = "\n";
  for (const reference of references) {
    yield separator + JSON.stringify(reference);
    separator = ",\n";
  }
  yield "\n]}]}\n";
}

/** Paths and references are unique, and neither looks like the other. */
type Component = { type: string; "bom-ref": string } & Record<string, unknown>;

function* componentsOf({ isos, files, images, repositories }: Bill): Generator<Component> {
  for (const it of isos) yield fileComponent(it, "application/x-iso9660-image");
  for (const it of files) yield fileComponent(it, undefined);
  for (const it of images) yield imageComponent(it);
  for (const part of repositories) for (const it of part.packages) yield packageComponent(it, part);
}

function packageComponent(it: BillPackage, { gpgcheck }: RepositoryPart): Component {
  const version = it.version === "" ? "" : `${it.version}-${it.release}`;
  return {
    type: "library",
    "bom-ref": it.path,
    ...(it.vendor !== "" && { supplier: { name: it.vendor } }),
    name: it.name,
    version: it.epoch > 0 ? `${it.epoch}:${version}` : version,
    hashes: hashes(it.digest, it.published),
    ...licences(it.licence),
    purl: packagePurl(it),
    ...distribution(it.url),
    properties: properties({
      ...known(it),
      packageSignature: gpgcheck ? "checked" : "not checked",
      source: it.url === undefined ? it.source : "",
    }),
  };
}

function imageComponent(it: ImageRow): Component {
  return {
    type: "container",
    "bom-ref": it.reference,
    name: it.name,
    version: it.version,
    hashes: hashes(it.digest, it.published),
    ...licences(it.licence),
    purl: imagePurl(it),
    ...(it.sboms.length > 0 && {
      externalReferences: it.sboms.map(({ path, digest, format, attestation }) => ({
        type: "bom",
        url: path,
        comment: `${format}${attestation ? " in an attestation" : ""}, carried with the image`,
        hashes: hashes(digest, []),
      })),
    }),
    properties: properties({ ...known(it), platform: it.platforms, source: it.source }),
  };
}

function fileComponent(it: FileRow, mediaType: string | undefined): Component {
  return {
    type: "file",
    ...(mediaType !== undefined && { "mime-type": mediaType }),
    "bom-ref": it.path,
    name: it.name,
    ...(it.version !== "" && { version: it.version }),
    hashes: hashes(it.digest, it.published),
    purl: filePurl(it),
    ...distribution(it.url),
    properties: properties({
      ...known(it),
      size: String(it.size),
      volumeId: it.volumeId ?? "",
      source: it.url === undefined ? it.source : "",
    }),
  };
}

function known({ established, signedBy }: Pick<BillPackage, "established" | "signedBy">) {
  return { established: established ?? "", signedBy };
}

/** One of each algorithm; those that CycloneDX does not know are left out. */
function hashes(digest: string, published: readonly string[]): { alg: string; content: string }[] {
  const all = new Map<string, string>();
  for (const it of [digest, ...published]) {
    const [algorithm = "", hex = ""] = it.split(":");
    const alg = ALGORITHMS[algorithm];
    if (alg !== undefined && !all.has(alg)) all.set(alg, hex);
  }
  return Array.from(all, ([alg, content]) => ({ alg, content }));
}

function licences(licence: Licence | undefined): { licenses?: object[] } {
  if (licence === undefined) return {};
  const { text, form } = licence;
  if (form === "expression") return { licenses: [{ expression: text, acknowledgement: "declared" }] };
  const license = form === "id" ? { id: text } : { name: text };
  return { licenses: [{ license: { ...license, acknowledgement: "declared" } }] };
}

function distribution(url: string | undefined): { externalReferences?: object[] } {
  return url === undefined ? {} : { externalReferences: [{ type: "distribution", url }] };
}

function properties(values: Readonly<Record<string, string | readonly string[]>>): { name: string; value: string }[] {
  return Object.entries(values).flatMap(([key, value]) =>
    (typeof value === "string" ? [value] : value)
      .filter((it) => it !== "")
      .map((it) => ({ name: `airferry:${key}`, value: it })),
  );
}
