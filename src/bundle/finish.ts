/**
 * The last steps of a bundle: inventory, SHA256SUMS, signatures and VERIFY.txt, then sync and the final name. The
 * signed root is created from bytes in memory; see docs/format.md, "The signed root".
 */
import { copyFile, readdir, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { AirferryError } from "../errors.ts";
import { isLeftover, makeFolder, syncPath } from "../io/atomic.ts";
import { type Digest, digestOf } from "../io/digest.ts";
import { writePieces } from "../io/write-pieces.ts";
import { trustNameOf } from "../sign/trust-chain.ts";
import { IDENTITY_BYTES, identityName } from "./bundle-identity.ts";
import { copyPrograms, type Program } from "./carried-programs.ts";
import { inventoryPieces } from "./inventory.ts";
import type { WrittenInventory } from "./inventory-types.ts";
import { writeListings } from "./listings.ts";
import {
  type AttestationKind,
  attestationKindOf,
  BIN_NAME,
  FILES_NAME,
  INVENTORY_NAME,
  isSpareName,
  RECIPES_NAME,
  SCAN_NAME,
  SIGNATURES_NAME,
  TRUSTED_ROOT_NAME,
  VERIFY_NAME,
} from "./media-names.ts";
import { formatSums, type SumLine } from "./sums.ts";
import { type PackingKey, verifyText } from "./verify-text.ts";
import { writeSmallFile } from "./work-folder.ts";

/** What older cosign needs for `--trusted-root`; it trusts nothing. */
const EMPTY_TRUSTED_ROOT = '{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1"}\n';

/** In the work folder: what a scanner is given. */
export const SCAN_FOLDER = "scan";

interface SignatureFileBytes {
  name: string;
  bytes: Uint8Array;
}

/** A file that is on one medium of a set, and no volume: parity. */
export interface SpreadFile {
  name: string;
  digest: Digest;
  /** Index of the volume on whose medium it is; absent: on media of its own, the last of the set. */
  beside?: number;
}

interface FinishOptions {
  /** The work folder, volumes synced. */
  dir: string;
  /** Final path of the bundle's folder. */
  target: string;
  inventory: WrittenInventory;
  /**
   * Signs the bytes of SHA256SUMS, and attests what these documents say; no signers make an unsigned bundle. Returns
   * files of the folder `signatures`.
   */
  sign: (sums: Uint8Array, documents: readonly SumLine[]) => Promise<SignatureFileBytes[]>;
  /** Of those who sign now, for VERIFY.txt. */
  keys: readonly PackingKey[];
  /** Writes further files into a folder, which may be too large for memory: the bill of materials, a scan. */
  writeDocuments?: (dir: string) => Promise<SumLine[]>;
  /** Which attestations `sign` makes, for VERIFY.txt. */
  attestations?: readonly AttestationKind[];
  /** In the folder already. */
  spread?: readonly SpreadFile[];
  /** Volumes per medium, each medium being a folder with all the small files; absent: one flat folder. */
  volumesPerMedium?: number;
  /** For hosts without airferry: into bin/, of a set of media on the first. */
  programs: readonly Program[];
}

/** Returns the digest of SHA256SUMS, which is the bundle's. */
export async function finishBundle(options: FinishOptions): Promise<Digest> {
  const { dir, target, inventory, spread = [] } = options;
  for (const name of await readdir(dir)) {
    if (
      name.startsWith("medium-") ||
      [SIGNATURES_NAME, BIN_NAME, SCAN_NAME, SCAN_FOLDER, RECIPES_NAME, FILES_NAME].includes(name) ||
      trustNameOf(name) ||
      attestationKindOf(name) ||
      isLeftover(name)
    )
      await rm(join(dir, name), { recursive: true, force: true });
    // Of an earlier run, which may have been given other options.
    if (isSpareName(name) && !spread.some((it) => it.name === name)) await rm(join(dir, name), { force: true });
  }
  const each = options.volumesPerMedium;
  const apart = spread.filter((it) => it.beside === undefined);
  const withVolumes = Math.ceil(inventory.volumes.length / (each ?? 1));
  const media = each === undefined ? 1 : withVolumes + Math.ceil(apart.length / each);
  const programs = await copyPrograms(options.programs, dir);
  const small = new Map<string, Uint8Array>([[identityName(inventory), IDENTITY_BYTES]]);
  small.set(TRUSTED_ROOT_NAME, Buffer.from(EMPTY_TRUSTED_ROOT));
  small.set(
    VERIFY_NAME,
    Buffer.from(
      verifyText({
        inventory,
        programs: programs.map((it) => it.name),
        keys: options.keys,
        parity: spread.map((it) => it.name),
        attestations: options.attestations ?? [],
        media,
      }),
    ),
  );
  const documents = [
    ...((await options.writeDocuments?.(dir)) ?? []),
    ...(await writeListings(dir, inventory.entries)),
    { name: INVENTORY_NAME, digest: await writePieces(join(dir, INVENTORY_NAME), inventoryPieces(inventory)) },
  ];
  const sums = formatSums([
    ...documents,
    ...[...small].map(([name, bytes]) => ({ name, digest: digestOf(bytes) })),
    ...inventory.volumes,
    ...spread,
    ...programs,
  ]);
  const signatures = await options.sign(sums, documents);
  for (const { name, bytes } of signatures) small.set(`signatures/${name}`, bytes);
  small.set("SHA256SUMS", sums);

  const folders = Array.from({ length: media }, (_, index) =>
    each === undefined ? "." : `medium-${index + 1}-of-${media}`,
  );
  for (const [index, folder] of folders.entries()) {
    await makeFolder(join(dir, folder));
    for (const [name, bytes] of small) await writeSmallFile(join(dir, folder), name, bytes);
    if (each === undefined) continue;
    if (index === 0 && programs.length > 0) await rename(join(dir, BIN_NAME), join(dir, folder, BIN_NAME));
    for (const { name } of documents) await copyFile(join(dir, name), join(dir, folder, name));
    const own = [
      ...inventory.volumes.slice(index * each, (index + 1) * each),
      ...spread.filter((it) => it.beside !== undefined && Math.floor(it.beside / each) === index),
      ...(index < withVolumes ? [] : apart.slice((index - withVolumes) * each, (index - withVolumes + 1) * each)),
    ];
    for (const { name } of own) {
      // A rerun after a kill moves them back (work-folder.ts).
      await rename(join(dir, name), join(dir, folder, name));
    }
  }
  for (const { name } of each === undefined ? [] : documents) await rm(join(dir, name));
  for (const folder of folders) await syncTree(join(dir, folder));
  await rm(join(dir, "journal"), { force: true });
  await rm(join(dir, "lock"), { force: true });
  await syncPath(dir);
  try {
    await rename(dir, target);
  } catch (cause) {
    throw new AirferryError("ERR_IO", `cannot name the finished bundle "${target}": ${(cause as Error).message}`, {
      path: target,
      hint: "move the existing folder away and run pack again",
      cause,
    });
  }
  await syncPath(dirname(target));
  return digestOf(sums);
}

async function syncTree(dir: string): Promise<void> {
  for (const entry of await readdir(dir, { withFileTypes: true })) {
    if (entry.isDirectory() && !entry.name.startsWith("medium-")) await syncTree(join(dir, entry.name));
    else if (entry.isFile()) await syncPath(join(dir, entry.name));
  }
  await syncPath(dir);
}
