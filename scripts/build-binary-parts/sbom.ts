/** The bill of materials of the program itself: CycloneDX 1.6, from the same list of packages as the notices. */
import { type Digest, hexOf } from "../../src/io/digest.ts";
import type { Package } from "../lib/notices.ts";

interface ProgramParts {
  version: string;
  /** Of the source; the document's serial number is made of it, so that the same source gives the same document. */
  source: Digest;
  packages: readonly Pick<Package, "name" | "version" | "license">[];
  /** Versions of Node and of what is built into it, as `process.versions` has them. */
  node: Readonly<Record<string, string | undefined>>;
}

/** The text of airferry.cdx.json. */
export function programSbom({ version, source, packages, node }: ProgramParts): string {
  const own = `pkg:generic/airferry@${version}`;
  const npm = packages.map((it) => component("library", it.name, it.version, npmPurl(it), it.license));
  const { node: nodeVersion = "", modules: _, ...inside } = node;
  const runtime = {
    ...component("platform", "node", nodeVersion, `pkg:generic/node@${nodeVersion}`, "MIT"),
    components: Object.entries(inside)
      .flatMap(([name, it]) => (it === undefined ? [] : [{ type: "library", name, version: it }]))
      .sort((a, b) => (a.name < b.name ? -1 : 1)),
  };
  const components = [...npm, runtime];
  return `${JSON.stringify(
    {
      bomFormat: "CycloneDX",
      specVersion: "1.6",
      serialNumber: `urn:uuid:${uuidOf(source)}`,
      version: 1,
      metadata: { component: component("application", "airferry", version, own, "Apache-2.0") },
      components,
      dependencies: [{ ref: own, dependsOn: components.map((it) => it["bom-ref"]) }],
    },
    null,
    1,
  )}\n`;
}

function component(type: string, name: string, version: string, purl: string, license: string) {
  return { type, "bom-ref": purl, name, version, licenses: [{ expression: license }], purl };
}

function npmPurl({ name, version }: { name: string; version: string }): string {
  return `pkg:npm/${name.replace("@", "%40")}@${version}`;
}

/** A UUID of version 8 (RFC 9562): its bits are ours. */
function uuidOf(digest: Digest): string {
  const hex = hexOf(digest);
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-8${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20, 32)}`;
}
