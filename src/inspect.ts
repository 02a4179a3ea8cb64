/**
 * `inspect`: shows what a bundle claims to hold, without checking trust, and says so. Nothing on the media is trusted:
 * the inventory is shown only when it has the digest in SHA256SUMS, and content is not hashed.
 */

import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import type { BomFormat } from "./bom/bom-files.ts";
import { clockSkewNote } from "./bundle/clock-skew.ts";
import { type Contents, mismatch, readContents } from "./bundle/contents.ts";
import { placesOf } from "./bundle/inventory.ts";
import type { Catalog, Inventory, InventoryEntry, Provenance } from "./bundle/inventory-types.ts";
import { type Media, readMedia } from "./bundle/media.ts";
import { ATTESTATION_KINDS, type AttestationKind, SIGNATURES_NAME } from "./bundle/media-names.ts";
import { provenanceOf } from "./bundle/provenance.ts";
import type { ScanReport } from "./bundle/scan-report.ts";
import { volumeName } from "./bundle/volume-layout.ts";
import { VolumeSet } from "./bundle/volumes.ts";
import { AirferryError, type Problem } from "./errors.ts";
import { type Digest, digestOf } from "./io/digest.ts";
import { keepHeapSmall } from "./io/flat-memory.ts";
import { digestsOfFile } from "./io/hash-file.ts";
import { parseIntegrity, publishedAlgorithm } from "./io/integrity.ts";
import { shellWords } from "./io/shell.ts";
import type { Established } from "./io/types.ts";
import { isWebPath, type WebHost, webHosts } from "./io/web-hosts.ts";
import { readMediaCheck } from "./iso/media-check.ts";

/** One entry as `inspect --json` and `plan --json` list it. */
export interface InspectedEntry {
  path: string;
  size: number;
  /** `sha256:<hex>`. */
  digest: string;
  kind: Provenance["kind"] | "web";
  /** Original URL, base name of a local file, or empty if generated. */
  source: string;
  /** How the packer knew the digest; null: not recorded. */
  established: Established | null;
  /**
   * Of the digest that was published, signed or given: `sha512`, …; absent if an entry is covered by another's digest.
   */
  algorithm?: string;
  /** Who signed it, if `upstream-signed`. */
  signedBy?: string[];
  /** Signatures of this repository's packages were not checked (`gpgcheck: false`). */
  unsigned?: true;
  /** `store`: the bytes are not in this bundle; `recipe`: nor is all of them; `bundle`: another entry carries them. */
  from?: "bundle" | "store" | "recipe";
}

/** What `inspect --json` prints. */
interface InspectReport {
  /** Always false: `inspect` checks no signature. */
  verified: false;
  stream: string;
  epoch: number;
  serial: number;
  /** SHA-256 of SHA256SUMS. */
  digest: string;
  created: string;
  notAfter: string | null;
  /** Sites that it was made for; null: for all. */
  audience: readonly string[] | null;
  previous: Inventory["previous"] | null;
  tool: string;
  /** Bytes of all entries, and of those that are in this bundle. */
  size: number;
  carried: number;
  volumes: { name: string; size: number; digest: Digest; present: boolean }[];
  /** Programs in bin/, for hosts without airferry; `size` is null if it is not on these media. */
  programs: { name: string; digest: Digest; size: number | null }[];
  /** keyid16 as claimed by the names of signature files. */
  claimedSigners: string[];
  /** Made as they are asked for. */
  entries: Iterable<InspectedEntry> & { readonly length: number };
  catalog: Catalog;
  /** Web answers by host. */
  web: WebHost[];
  /** Embedded checksums of ISOs (isomd5sum): an MD5 that anyone can write, and that excludes the end of the image. */
  mediaChecks: { path: string; md5: string; supported: boolean }[];
  /** What a scanner said before the bundle was signed, as it claims; null: it carries no such record. */
  scan: ScanReport | null;
  /** Signed statements, listed ones and those beside the signatures: whose they are is not checked. */
  attestations: { kind: AttestationKind; path: string; claimedKeyid: string | null }[];
  /** Signatures that have a timestamp, as the file names claim: keyid16. */
  claimedTimestamps: string[];
  problems: Problem[];
}

interface InspectOptions {
  /** Called when a clock is wrong. */
  notice?: (line: string) => void;
  /** The time here; default now. */
  now?: Date;
}

/**
 * Reads the inventory of a bundle. Faults of the media that do not affect the inventory are in `problems`.
 * @throws {AirferryError} ERR_BUNDLE_INCOMPLETE, ERR_BUNDLE_INVALID, ERR_BUNDLE_VERSION, … when there is no inventory
 *   to show
 */
export async function inspect(folders: readonly string[], options: InspectOptions = {}): Promise<InspectReport> {
  keepHeapSmall();
  const { media, contents, problems } = await open(folders);
  const { inventory, copies } = contents;
  const { stream, epoch, serial, created, notAfter, audience, previous, tool, catalog } = inventory;
  const ahead = clockSkewNote(created, options.now ?? new Date());
  if (ahead !== undefined) options.notice?.(ahead);
  const originOf = provenanceOf(catalog.provenance);
  const unsigned = catalog.rpms.filter((it) => !it.gpgcheck).map((it) => it.path);
  const isUnsigned = (path: string) => path.endsWith(".rpm") && unsigned.some((it) => path.startsWith(it));
  const inspected = ({ path, size, digest, from }: InventoryEntry): InspectedEntry => {
    const origin = originOf(path);
    const entry = {
      path,
      size,
      digest,
      kind: isWebPath(path) ? ("web" as const) : (origin?.kind ?? kindOf(path)),
      source: origin?.source ?? "",
      established: origin?.established ?? null,
      // A line for a whole folder covers its metadata.
      ...(origin?.path === path && algorithmIn(origin)),
      ...(origin?.signedBy && { signedBy: origin.signedBy }),
      ...(isUnsigned(path) && { unsigned: true as const }),
    };
    return from === undefined ? entry : { ...entry, from };
  };
  return {
    verified: false,
    stream,
    epoch,
    serial,
    digest: digestOf(media.sums),
    created,
    notAfter: notAfter ?? null,
    audience: audience ?? null,
    previous: previous ?? null,
    tool,
    size: inventory.entries.totalBytes,
    carried: inventory.entries.tally(undefined).bytes,
    volumes: inventory.volumes.map((it, index) => ({ ...it, present: (copies[index]?.length ?? 0) > 0 })),
    programs: contents.programs.map((it) => ({ ...it, size: it.size ?? null })),
    claimedSigners: [...new Set(media.signatures.map((it) => it.name.slice(0, 16)))],
    entries: {
      length: inventory.entries.length,
      *[Symbol.iterator]() {
        for (const it of inventory.entries) yield inspected(it);
      },
    },
    catalog,
    web: catalog.web === undefined ? [] : webHosts(inventory.entries),
    mediaChecks: await mediaChecksOf(inventory, copies),
    scan: contents.scan ?? null,
    claimedTimestamps: media.signatures.filter((it) => it.name.endsWith(".tsr")).map((it) => it.name.slice(0, 16)),
    attestations: claimedAttestations(media, contents),
    problems: [...media.problems, ...problems, ...missing(copies)],
  };
}

/** What is named as an attestation, and whose it says it is. */
function claimedAttestations({ signatures }: Media, { attestations }: Contents): InspectReport["attestations"] {
  const carried = attestations.map(({ kind, path, envelope }) => ({ kind, path, claimedKeyid: envelope.hint ?? null }));
  const late = signatures.flatMap(({ name }) => {
    const [, keyid16 = "", text] = /^([0-9a-f]{16})\.(provenance|scan)\.dsse\.json$/.exec(name) ?? [];
    const kind = ATTESTATION_KINDS.find((it) => it === text);
    return kind === undefined ? [] : [{ kind, path: `${SIGNATURES_NAME}/${name}`, claimedKeyid: keyid16 }];
  });
  return [...carried, ...late];
}

/** A bill of materials, in pieces. */
interface InspectedBom {
  pieces: Iterable<string> | AsyncIterable<string>;
  /** What the bundle does not tell, such as licences while a medium is missing. */
  gaps: readonly string[];
}

/**
 * The bill of materials of a bundle: the one that it carries, where it has one of this format, else made from it.
 * @throws {AirferryError} ERR_DIGEST_MISMATCH when the carried one is damaged; as {@link inspect}
 */
export async function inspectBom(folders: readonly string[], format: BomFormat): Promise<InspectedBom> {
  const { contents } = await open(folders);
  const { BOM_FILE, bomDocument } = await import("./bom/bom-files.ts");
  const carried = contents.large.find((it) => it.name === BOM_FILE[format]);
  if (carried !== undefined) {
    const { digests } = await digestsOfFile(carried.file, (await stat(carried.file)).size, []);
    const digest = digests.sha256;
    if (digest !== carried.digest) {
      const { code, path, message } = mismatch(carried.file, carried.name, carried.digest, digest);
      const hint = `for details run: airferry verify ${shellWords(folders)} --trust KEY`;
      throw new AirferryError(code, `cannot read the bill of materials: ${message}`, { path, hint });
    }
    return { pieces: createReadStream(carried.file, "utf8"), gaps: [] };
  }
  const { readBill } = await import("./bom/read-bill.ts");
  const { inventory, copies } = contents;
  const volumes = VolumeSet.over(
    copies.map((it) => it[0]),
    inventory,
  );
  try {
    const bill = await readBill(inventory, volumes);
    return { pieces: await bomDocument(bill, format), gaps: bill.gaps };
  } finally {
    await volumes.close();
  }
}

/** @throws {AirferryError} when there is no inventory to show */
async function open(folders: readonly string[]): Promise<{ media: Media; contents: Contents; problems: Problem[] }> {
  const media = await readMedia(folders);
  const { contents, problems } = await readContents(media);
  if (contents !== undefined) return { media, contents, problems };
  const first = problems[0];
  const more = problems.length > 1 ? ` (and ${problems.length - 1} more)` : "";
  const message = `cannot inspect "${folders[0]}": ${first?.message ?? "no inventory"}${more}`;
  const hint = `for details run: airferry verify ${shellWords(folders)} --trust KEY`;
  throw new AirferryError(first?.code ?? "ERR_BUNDLE_INVALID", message, { path: first?.path, problems, hint });
}

/** The algorithm by which upstream or the manifest vouched for it; of one that is unknown here nothing is said. */
function algorithmIn({ established, integrity }: Provenance): { algorithm?: string } {
  const expected = integrity === undefined ? undefined : parseIntegrity(integrity);
  return integrity !== undefined && expected === undefined ? {} : publishedAlgorithm(established, expected);
}

/** Reads the embedded media checks of the ISOs whose first volume is available. */
async function mediaChecksOf(inventory: Inventory, copies: string[][]): Promise<InspectReport["mediaChecks"]> {
  const volumes = VolumeSet.over(
    copies.map((it) => it[0]),
    inventory,
  );
  const found: InspectReport["mediaChecks"] = [];
  const placeOf = placesOf(inventory.entries);
  try {
    for (const { path } of inventory.catalog.isos) {
      const entry = inventory.entries.get(path);
      const offset = entry && placeOf(entry);
      if (offset === undefined) continue;
      const check = await readMediaCheck(volumes.range(offset, entry?.size ?? 0)).catch((error: unknown) => {
        // A missing volume is reported as such.
        if (error instanceof AirferryError) return undefined;
        throw error;
      });
      if (check !== undefined) found.push({ path, md5: check.md5, supported: check.supported });
    }
  } finally {
    await volumes.close();
  }
  return found;
}

function missing(copies: string[][]): Problem[] {
  return copies.flatMap((it, index): Problem[] => {
    const name = volumeName(index);
    return it.length > 0 ? [] : [{ code: "ERR_BUNDLE_INCOMPLETE", path: name, message: `"${name}" is missing` }];
  });
}

const KINDS = new Map<string, Provenance["kind"]>([
  ["isos", "iso"],
  ["rpms", "rpm"],
  ["rpmrepo", "rpm"],
  ["files", "file"],
  ["images", "image"],
]);

function kindOf(path: string): Provenance["kind"] {
  return KINDS.get(path.split("/", 1)[0] ?? "") ?? "generated";
}
