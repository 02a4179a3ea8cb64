/**
 * The bill of materials, attestations, and the digests of pieces, in the record of a release: copied when the release
 * is imported, as they were signed.
 */
import { createHash } from "node:crypto";
import { lstat, open } from "node:fs/promises";
import { join } from "node:path";
import { ATTESTATION_KINDS, attestationName, BOM_NAMES, PIECES_NAME } from "../bundle/media-names.ts";
import type { SumLine } from "../bundle/sums.ts";
import { AirferryError } from "../errors.ts";
import { ioError } from "../io/atomic.ts";
import { type Digest, parseHex } from "../io/digest.ts";
import { openRegular } from "../io/safe-open.ts";
import type { ReleaseDocument } from "./types.ts";

const CHUNK_BYTES = 1024 * 1024;

/**
 * Copies a file of a medium into a new file, which is on disk when this returns.
 * @throws {AirferryError} ERR_DIGEST_MISMATCH when what was copied is not as signed; ERR_IO, ERR_SPACE
 */
export async function copyDocument(from: string, to: string, digest: Digest): Promise<void> {
  const { handle: source } = await openRegular(from);
  const hash = createHash("sha256");
  try {
    const target = await open(to, "wx", 0o644);
    try {
      const buffer = Buffer.allocUnsafe(CHUNK_BYTES);
      for (;;) {
        const { bytesRead } = await source.read(buffer, 0, CHUNK_BYTES, null);
        if (bytesRead === 0) break;
        hash.update(buffer.subarray(0, bytesRead));
        await target.writeFile(buffer.subarray(0, bytesRead));
      }
      await target.sync();
    } finally {
      await target.close();
    }
  } catch (error) {
    throw ioError("copy", from, error);
  } finally {
    await source.close();
  }
  const actual = parseHex(hash.digest("hex"));
  if (actual === digest) return;
  throw new AirferryError(
    "ERR_DIGEST_MISMATCH",
    `cannot copy "${from}": digest mismatch: expected ${digest}, got ${actual}`,
    { path: from, expected: digest, actual, hint: "the medium reads differently each time: copy it again" },
  );
}

/** The files of a bundle that its release keeps, besides what every record has. */
const DOCUMENT_NAMES: readonly string[] = [...BOM_NAMES, PIECES_NAME, ...ATTESTATION_KINDS.map(attestationName)];

/** The documents in the folder of a release, of those that its signed root lists. One that is missing is left out. */
export async function documentsIn(folder: string, sums: readonly SumLine[]): Promise<ReleaseDocument[]> {
  const found: ReleaseDocument[] = [];
  for (const { name, digest } of sums) {
    if (!DOCUMENT_NAMES.includes(name)) continue;
    const file = join(folder, name);
    const stats = await lstat(file).catch(() => undefined);
    if (stats?.isFile()) found.push({ name, file, digest, size: stats.size });
  }
  return found;
}
