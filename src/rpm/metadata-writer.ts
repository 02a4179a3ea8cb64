/**
 * Writes `repodata/`: the big documents, compressed while their blocks stream by, other metadata as given, and
 * repomd.xml over all of them. The same input always gives the same bytes. Only gzip, since EL7 and zypper do not
 * reliably read anything else.
 */
import { type Digest, digestOf, hexOf, RunningDigest } from "../io/digest.ts";
import { gzip } from "./codecs.ts";
import type { PackageXml } from "./package-xml.ts";
import { escapeXml } from "./xml.ts";

type Pieces = Iterable<Uint8Array | string> | AsyncIterable<Uint8Array | string>;

/** One of primary, filelists and other: the text around the blocks (with the right `packages="N"`) and the blocks. */
export interface RepodataDocument {
  /** XML declaration and root start tag. */
  head: string;
  /** Read once. A piece may be reused by its owner once the next is asked for. */
  blocks: Pieces;
  /** End tag of the root. */
  tail: string;
}

/** Any other record of repomd.xml. */
export interface RepodataExtra {
  /** group, modules, updateinfo, productid, … */
  type: string;
  /** File name before checksum and codec: `comps.xml`. */
  name: string;
  bytes: Uint8Array;
  /** Whether clients expect it compressed: EL7 needs comps uncompressed. */
  compress: boolean;
}

/** What to write. */
interface RepodataInput {
  /** Any text; by convention the time in seconds. */
  revision: string;
  /** Timestamp of every record. */
  time: Date;
  primary: RepodataDocument;
  filelists?: RepodataDocument | undefined;
  other?: RepodataDocument | undefined;
  /** In the order of repomd.xml, after the three documents. */
  extra?: readonly RepodataExtra[] | undefined;
}

/** One file below `repodata/`. */
export interface RepodataFile {
  type: string;
  /** `repodata/<sha256>-primary.xml.gz`. */
  path: string;
  bytes: Buffer;
  digest: Digest;
}

/** Compresses, names and lists everything. Documents are written one after the other, in the order of repomd.xml. */
export async function writeRepodata(input: RepodataInput): Promise<{ files: RepodataFile[]; repomd: Buffer }> {
  const timestamp = Math.trunc(input.time.getTime() / 1000);
  const files: RepodataFile[] = [];
  let records = "";
  const add = (type: string, name: string, bytes: Buffer, open?: Content) => {
    const digest = digestOf(bytes);
    const path = `repodata/${hexOf(digest)}-${name}`;
    files.push({ type, path, bytes, digest });
    records += formatRecord({ type, path, digest, size: bytes.length, timestamp, open });
  };
  for (const type of ["primary", "filelists", "other"] as const) {
    const document = input[type];
    if (document === undefined) continue;
    const { bytes, open } = await compress(piecesOf(document));
    add(type, `${type}.xml.gz`, bytes, open);
  }
  for (const { type, name, bytes, compress: wanted } of input.extra ?? []) {
    if (!wanted) {
      add(type, name, Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength));
      continue;
    }
    const packed = await compress([bytes]);
    add(type, `${name}.gz`, packed.bytes, packed.open);
  }
  const repomd = `<?xml version="1.0" encoding="UTF-8"?>
<repomd xmlns="http://linux.duke.edu/metadata/repo" xmlns:rpm="http://linux.duke.edu/metadata/rpm">
  <revision>${escapeXml(input.revision)}</revision>
${records}</repomd>
`;
  return { files, repomd: Buffer.from(repomd) };
}

async function* piecesOf({ head, blocks, tail }: RepodataDocument): AsyncGenerator<Uint8Array | string> {
  yield head;
  yield* blocks;
  yield tail;
}

/** Compresses, and hashes and counts the input on the way. */
async function compress(pieces: Pieces): Promise<{ bytes: Buffer; open: Content }> {
  const running = new RunningDigest();
  let size = 0;
  async function* counted(): AsyncGenerator<Uint8Array> {
    for await (const piece of pieces) {
      // A copy: gzip keeps pieces until it has enough of them.
      const bytes = typeof piece === "string" ? Buffer.from(piece) : Buffer.from(piece);
      running.update(bytes);
      size += bytes.length;
      yield bytes;
    }
  }
  const bytes = await gzip(counted());
  return { bytes, open: { digest: running.digest(), size } };
}

interface Content {
  digest: Digest;
  size: number;
}

interface RecordParts extends Content {
  type: string;
  path: string;
  timestamp: number;
  open: Content | undefined;
}

function formatRecord({ type, path, digest, size, timestamp, open }: RecordParts): string {
  const openChecksum = open ? `\n    <open-checksum type="sha256">${hexOf(open.digest)}</open-checksum>` : "";
  const openSize = open ? `\n    <open-size>${open.size}</open-size>` : "";
  return `  <data type="${escapeXml(type)}">
    <checksum type="sha256">${hexOf(digest)}</checksum>${openChecksum}
    <location href="${escapeXml(path)}"/>
    <timestamp>${timestamp}</timestamp>
    <size>${size}</size>${openSize}
  </data>
`;
}

const ROOTS = {
  primary: ["metadata", 'xmlns="http://linux.duke.edu/metadata/common" xmlns:rpm="http://linux.duke.edu/metadata/rpm"'],
  filelists: ["filelists", 'xmlns="http://linux.duke.edu/metadata/filelists"'],
  other: ["otherdata", 'xmlns="http://linux.duke.edu/metadata/other"'],
} as const;

/** The three documents for packages described from their headers, in the order given. */
export function documentsOf(
  packages: readonly PackageXml[],
): Record<"primary" | "filelists" | "other", RepodataDocument> {
  const document = (type: "primary" | "filelists" | "other"): RepodataDocument => {
    const [root, namespaces] = ROOTS[type];
    return {
      head: `<?xml version="1.0" encoding="UTF-8"?>\n<${root} ${namespaces} packages="${packages.length}">\n`,
      blocks: blocksOf(packages, type),
      tail: `</${root}>`,
    };
  };
  return { primary: document("primary"), filelists: document("filelists"), other: document("other") };
}

function* blocksOf(packages: readonly PackageXml[], type: keyof PackageXml): Generator<string> {
  for (const it of packages) yield it[type];
}
