/**
 * Makes the bill of materials of a bundle from its inventory, and what the metadata among its own entries says of
 * packages and images. Nothing is asked of upstream.
 */
import { placesOf } from "../bundle/inventory.ts";
import type { InventoryEntry, Provenance, WrittenCatalog, WrittenInventory } from "../bundle/inventory-types.ts";
import { provenanceOf } from "../bundle/provenance.ts";
import type { VolumeSet } from "../bundle/volumes.ts";
import { AirferryError } from "../errors.ts";
import { digestOf } from "../io/digest.ts";
import { digestsIn, parseIntegrity } from "../io/integrity.ts";
import { printable } from "../io/printable.ts";
import { isWebPath } from "../io/web-hosts.ts";
import { parseReference, repositoryOf } from "../oci/reference.ts";
import type { PackageFacts } from "../rpm/primary.ts";
import type { EntryAt } from "./image-facts.ts";
import type { Licence } from "./licence.ts";
import type { Bill, BillPackage, FileRow, ImageRow, RepositoryPart } from "./types.ts";

/** Longest foreign text that is shown: names, vendors, references. */
const MAX_TEXT = 500;

/**
 * Reads the bill of a bundle. What is missing or damaged among the metadata is in its `gaps`.
 * @param time when the content was locked; default: when it was packed
 * @param elsewhere the bytes of an entry that the bundle does not carry; undefined if they are not here
 */
export async function readBill(
  inventory: WrittenInventory,
  volumes: VolumeSet,
  time = inventory.created,
  elsewhere?: (entry: InventoryEntry) => Promise<Buffer | undefined>,
): Promise<Bill> {
  const { stream, epoch, serial, tool, lock, notAfter, catalog } = inventory;
  const known = knower(catalog);
  const entryAt: EntryAt = (path) => inventory.entries.get(path);
  const placeOf = placesOf(inventory.entries);
  const read = async (entry: InventoryEntry, maxBytes: number) => {
    const place = placeOf(entry);
    const other = place === undefined && entry.size <= maxBytes ? await elsewhere?.(entry) : undefined;
    return other ?? readEntry(entry, place, volumes, maxBytes);
  };
  const gaps: string[] = [];
  const volumeIds = new Map(catalog.isos.map((it) => [it.path, it.volumeId]));
  const plain = (rows: readonly { path: string }[]) =>
    rows.flatMap(({ path }): FileRow[] => {
      const entry = entryAt(path);
      if (entry === undefined) return [];
      const volumeId = volumeIds.get(path);
      return [{ ...fileRow(entry, known(path)), ...(volumeId !== undefined && { volumeId: shown(volumeId) }) }];
    });
  return {
    stream,
    epoch,
    serial,
    time,
    tool,
    lock,
    notAfter,
    repositories: await readRepositories(inventory, read, known, gaps),
    images: await readImages(catalog, entryAt, read, known, gaps),
    isos: plain(catalog.isos),
    files: plain([...catalog.files, ...(catalog.web === undefined ? [] : inventory.entries.filter(isWebBody))]),
    gaps: gaps.map((it) => printable(it, MAX_TEXT)),
  };
}

const isWebBody = ({ path }: InventoryEntry) => isWebPath(path);

type Read = (entry: InventoryEntry, maxBytes: number) => Promise<Buffer>;
type Known = ReturnType<ReturnType<typeof knower>>;

async function readRepositories(
  { catalog, entries }: WrittenInventory,
  read: Read,
  known: (path: string) => Known,
  gaps: string[],
): Promise<RepositoryPart[]> {
  if (catalog.rpms.length === 0) return [];
  const { readRepositoryFacts } = await import("./repository-facts.ts");
  const { LicenceReader } = await import("./licence.ts");
  const licences = new LicenceReader();
  const parts: RepositoryPart[] = [];
  for (const repository of catalog.rpms) {
    const { name, path, mode, repomdSignedBy, gpgcheck } = repository;
    const own = entries.below(path);
    const facts = await readRepositoryFacts(repository, own, read);
    if (facts.gap !== undefined) gaps.push(facts.gap);
    const packages = own
      .filter((it) => it.path.endsWith(".rpm"))
      .map((entry): BillPackage => {
        const fact = facts.of(entry) ?? namedBy(entry);
        return {
          ...known(entry.path),
          path: entry.path,
          digest: entry.digest,
          size: entry.size,
          name: shown(fact.name),
          epoch: fact.epoch,
          version: shown(fact.version),
          release: shown(fact.release),
          arch: shown(fact.arch),
          licence: licences.read(fact.licence),
          vendor: shown(fact.vendor),
          sourceRpm: shown(fact.sourceRpm),
        };
      })
      .sort((a, b) => compare(a.name, b.name) || compare(a.path, b.path));
    parts.push({ name, path, mode, repomdSignedBy, gpgcheck, packages });
  }
  return parts;
}

async function readImages(
  { images }: WrittenCatalog,
  entryAt: EntryAt,
  read: Read,
  known: (path: string) => Known,
  gaps: string[],
): Promise<ImageRow[]> {
  if (images.length === 0) return [];
  const { ImageReader } = await import("./image-facts.ts");
  const reader = new ImageReader(entryAt, read);
  const rows: ImageRow[] = [];
  for (const image of images) {
    const { reference, digest, size, platforms, source } = image;
    const { sboms, licence: declared } = await reader.factsOf(image);
    const parsed = parseReference(reference);
    const own = known(`images/blobs/${digest.replace(":", "/")}`);
    rows.push({
      reference,
      name: repositoryOf(parsed),
      version: parsed.tag ?? digest,
      digest,
      size,
      platforms,
      source: shown(source ?? own.source),
      established: image.established ?? own.established,
      signedBy: image.signedBy ?? own.signedBy,
      published: own.published,
      licence: declared === "" ? undefined : await readLicence(declared),
      sboms,
    });
  }
  gaps.push(...reader.gaps);
  return rows;
}

async function readLicence(declared: string): Promise<Licence | undefined> {
  const { LicenceReader } = await import("./licence.ts");
  return new LicenceReader().read(declared);
}

/** What is known of the digest and origin of a path. */
function knower({ provenance }: WrittenCatalog) {
  const originOf = provenanceOf(asked(provenance));
  return (path: string) => {
    const origin = originOf(path);
    const source = shown(origin?.source ?? "");
    return {
      established: origin?.established ?? null,
      signedBy: origin?.signedBy ?? NONE,
      // A line for a whole folder covers its metadata.
      published: origin?.path === path ? publishedIn(origin) : NONE,
      source,
      url: urlOf(source),
    };
  };
}

/** Without sidecars, which are two thirds of the lines where there are many files: no bill lists them. */
function* asked(lines: Iterable<Provenance>): Generator<Provenance> {
  for (const it of lines) if (it.kind !== "generated" || !SIDECAR.test(it.path)) yield it;
}

const SIDECAR = /\.sha256(?:sum)?$/;

/** Of most of 64,000 rows. */
const NONE: readonly string[] = [];

function publishedIn({ integrity }: Provenance): readonly string[] {
  const digests = integrity === undefined ? undefined : parseIntegrity(integrity);
  return digests === undefined ? NONE : digestsIn(digests);
}

/** Characters that URLs may not have, and that URL parsers leave alone. */
const NO_IRI = /[[\]|^\\`{}"<>\s]/g;
const PLAIN_URL = /^https?:\/\/[A-Za-z0-9.-]+(?::\d+)?\/[A-Za-z0-9._~/+%-]*$/;

function urlOf(source: string): string | undefined {
  if (PLAIN_URL.test(source)) return source;
  if (!/^https?:\/\//.test(source) || !URL.canParse(source)) return undefined;
  const { origin, pathname, search } = new URL(source);
  return origin + (pathname + search).replace(NO_IRI, (it) => encodeURIComponent(it));
}

/** Numbers with dots between, and what clings to them: `1.29.3`, `9.4`, `2.1.4-rc.1`. */
const VERSION_IN_NAME = /\d+(?:\.\d+)+(?:[-+~][A-Za-z]+\.?\d+(?:\.\d+)*)?/;

function fileRow({ path, digest, size }: InventoryEntry, known: Known): FileRow {
  const name = path.slice(path.lastIndexOf("/") + 1);
  const [version = ""] = VERSION_IN_NAME.exec(name) ?? VERSION_IN_NAME.exec(path) ?? [];
  return { ...known, path, name, version, digest, size };
}

/** `name-version-release.arch.rpm`, none of which has a slash, and version and release no dash. */
const PACKAGE_FILE = /([^/]+)-([^/-]+)-([^/-]+)\.([^/.-]+)\.rpm$/;

/** What the name of a package's file tells. */
function namedBy({ path }: InventoryEntry): Omit<PackageFacts, "checksum" | "file" | "size"> {
  const [, name = path.slice(path.lastIndexOf("/") + 1), version = "", release = "", arch = ""] =
    PACKAGE_FILE.exec(path) ?? [];
  return { name, epoch: 0, version, release, arch, licence: "", vendor: "", sourceRpm: "" };
}

async function readEntry(
  { path, size, digest }: InventoryEntry,
  offset: number | undefined,
  volumes: VolumeSet,
  maxBytes: number,
): Promise<Buffer> {
  const refuse = (code: "ERR_DELTA_BASE" | "ERR_SIZE_LIMIT" | "ERR_DIGEST_MISMATCH", fault: string) =>
    new AirferryError(code, `cannot read "${path}": ${fault}`, { path });
  if (offset === undefined) throw refuse("ERR_DELTA_BASE", "it is not in this bundle");
  if (size > maxBytes) throw refuse("ERR_SIZE_LIMIT", `expected at most ${maxBytes} bytes, got ${size}`);
  const bytes = await volumes.read(offset, size);
  const actual = digestOf(bytes);
  if (actual !== digest) throw refuse("ERR_DIGEST_MISMATCH", `expected ${digest}, got ${actual}`);
  return bytes;
}

const SHORT_PLAIN = /^[ -~]{0,500}$/;

function shown(text: string): string {
  return SHORT_PLAIN.test(text) ? text : printable(text, MAX_TEXT);
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
