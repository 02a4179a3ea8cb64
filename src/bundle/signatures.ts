/**
 * Signatures of a finished bundle: checks for a signer's and adds one. Needs only the signed root and the inventory;
 * the volumes are not read. See docs/format.md, "Signatures".
 */
import { lstat, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { AirferryError, bug } from "../errors.ts";
import { isLeftover, makeFolder, syncPath, systemFault, writeAtomic } from "../io/atomic.ts";
import { type Digest, digestOf } from "../io/digest.ts";
import { readSmall } from "../io/safe-open.ts";
import { trustedKeyOf } from "../sign/keys.ts";
import { type Signer, signatureFiles } from "../sign/signer.ts";
import { MAX_SIGNATURE_BYTES } from "../sign/sigstore-bundle.ts";
import { MAX_SIGNATURE_FILES, type SignatureFile, verifySums } from "../sign/verify-sums.ts";
import { type BundleIdentity, checkIdentity } from "./bundle-identity.ts";
import { MAX_SUMS_BYTES } from "./format-limits.ts";
import { INVENTORY_NAME, SIGNATURES_NAME, SUMS_NAME } from "./media-names.ts";
import { digestOfInventory, readInventory } from "./read-inventory.ts";
import { parseSums } from "./sums.ts";

/** The signed root of a bundle: its bytes, and its folders. */
interface SignedRoot {
  /** The bundle's own folder, or one for each medium of a set. */
  folders: readonly string[];
  /** SHA256SUMS, the same in each. */
  sums: Buffer;
  /** Which bundle it is of. */
  identity: BundleIdentity;
}

export interface AddedSignature extends BundleIdentity {
  keyid: string;
  /** Of SHA256SUMS: the digest of the bundle. */
  digest: Digest;
  /** Paths written. */
  files: string[];
}

/** Folder names of a set of media. */
const MEDIUM = /^medium-[0-9]+-of-[0-9]+$/;

/**
 * Reads SHA256SUMS of a bundle folder, or of every medium of a set in it.
 * @throws {AirferryError} ERR_NOT_FOUND; ERR_BUNDLE_INVALID and ERR_DIGEST_MISMATCH when SHA256SUMS is malformed or
 *   does not match
 */
export async function readSignedRoot(bundle: string): Promise<SignedRoot> {
  const folders = await foldersOf(bundle);
  return { folders, ...(await readSums(folders)) };
}

/** Adds a signer's signature unless it exists already; returns the paths written. @throws as {@link addSignatures} */
export async function ensureSigned(bundle: string, signer: Signer): Promise<string[]> {
  const root = await readSignedRoot(bundle);
  for (const folder of root.folders) {
    if (!(await isSigned(folder, root.sums, signer))) return (await addSignature(root, signer)).files;
  }
  return [];
}

/** Returns whether this signer's signature is in every folder of a bundle, and good. */
export async function isSignedBy(bundle: string, signer: Signer): Promise<boolean> {
  const { folders, sums } = await readSignedRoot(bundle);
  for (const folder of folders) if (!(await isSigned(folder, sums, signer))) return false;
  return true;
}

/**
 * Writes the signatures of a signer's keys into every folder that lacks them.
 * @throws {AirferryError} ERR_USAGE when all of them have signed already; ERR_SIZE_LIMIT, ERR_PATH_UNSAFE, ERR_IO
 */
export async function addSignatures(root: SignedRoot, signers: readonly Signer[]): Promise<AddedSignature> {
  const added: AddedSignature[] = [];
  let refusal: unknown;
  for (const signer of signers) {
    try {
      added.push(await addSignature(root, signer));
    } catch (error) {
      if (!(error instanceof AirferryError) || error.code !== "ERR_USAGE") throw error;
      refusal ??= error;
    }
  }
  const [first] = added;
  if (first === undefined) throw refusal;
  return { ...first, files: added.flatMap((it) => it.files) };
}

/**
 * Writes a file into signatures/ of every folder, in the place of an earlier one of its name; returns the paths.
 * @throws {AirferryError} ERR_SIZE_LIMIT, ERR_PATH_UNSAFE, ERR_IO
 */
export async function addBesideSignatures({ folders }: SignedRoot, name: string, bytes: Buffer): Promise<string[]> {
  const written: string[] = [];
  for (const folder of folders) {
    const place = join(folder, SIGNATURES_NAME);
    const names = await namesIn(folder);
    if (!names.includes(name)) refuseFull(folder, names.length + 1);
    await makeFolder(place);
    await writeAtomic(join(place, name), bytes);
    await syncPath(folder);
    written.push(join(place, name));
  }
  return written;
}

/** Writes the signature of one key. */
async function addSignature({ folders, sums, identity }: SignedRoot, signer: Signer): Promise<AddedSignature> {
  const digest = digestOf(sums);
  const missing: string[] = [];
  for (const folder of folders) {
    if (!(await isSigned(folder, sums, signer))) missing.push(folder);
  }
  if (missing.length === 0) {
    throw new AirferryError("ERR_USAGE", `cannot sign "${folders[0]}": key ${signer.keyid} has signed it already`, {
      path: folders[0],
      hint: "another signer needs another key",
    });
  }
  const files = await signatureFiles(sums, signer);
  const written: string[] = [];
  for (const folder of missing) {
    const place = join(folder, SIGNATURES_NAME);
    await makeFolder(place);
    for (const { name, bytes } of files) {
      await writeAtomic(join(place, name), bytes);
      written.push(join(place, name));
    }
    await syncPath(folder);
  }
  return { ...identity, keyid: signer.keyid, digest, files: written };
}

/** The folders that hold the small files: the bundle's own, or one for each medium. */
async function foldersOf(bundle: string): Promise<string[]> {
  const names = await readdir(bundle).catch((cause: NodeJS.ErrnoException) => {
    throw new AirferryError("ERR_NOT_FOUND", `cannot sign "${bundle}": not a bundle's folder: ${systemFault(cause)}`, {
      path: bundle,
      hint: "give the folder that pack printed last: the one that holds SHA256SUMS",
      cause,
    });
  });
  const media = names.filter((name) => MEDIUM.test(name)).sort();
  if (names.includes(SUMS_NAME) || media.length === 0) return [bundle];
  return media.map((name) => join(bundle, name));
}

/**
 * Returns SHA256SUMS, the same in every folder, after checking that it is valid and covers the inventory next to it.
 */
async function readSums(folders: readonly string[]): Promise<Omit<SignedRoot, "folders">> {
  let first: Omit<SignedRoot, "folders"> | undefined;
  for (const folder of folders) {
    const sums = await readSmall(join(folder, SUMS_NAME), MAX_SUMS_BYTES);
    if (first !== undefined && !first.sums.equals(sums)) {
      throw new AirferryError(
        "ERR_BUNDLE_INVALID",
        `cannot sign "${folder}": its ${SUMS_NAME} differs from the others'`,
        {
          path: folder,
          hint: "all media of a set carry the same SHA256SUMS; keep the folders of one bundle together",
        },
      );
    }
    const { lines, identity } = parseSums(sums);
    const expected = lines.find((it) => it.name === INVENTORY_NAME)?.digest;
    const file = join(folder, INVENTORY_NAME);
    const actual = await digestOfInventory(file);
    if (actual !== expected) {
      throw new AirferryError(
        "ERR_DIGEST_MISMATCH",
        `cannot sign "${folder}": digest mismatch in "${INVENTORY_NAME}": expected ${expected}, got ${actual}`,
        {
          path: join(folder, INVENTORY_NAME),
          expected: expected ?? "",
          actual,
          hint: "the bundle was changed; do not sign it",
        },
      );
    }
    // One of the folders is enough for what all of them say.
    if (first !== undefined) continue;
    first = { sums, identity };
    const [fault] = checkIdentity(identity, await readInventory(file, actual));
    if (fault !== undefined) {
      throw new AirferryError(fault.code, `cannot sign "${folder}": ${fault.message}`, {
        path: join(folder, INVENTORY_NAME),
        hint: "the bundle was changed; do not sign it",
      });
    }
  }
  return first ?? bug("a bundle has no folder to sign");
}

/** Returns whether this signer's pair exists and is good; removes leftovers of a killed run. */
async function isSigned(folder: string, sums: Buffer, signer: Signer): Promise<boolean> {
  const place = join(folder, SIGNATURES_NAME);
  const names = await namesIn(folder);
  const own = names.filter((name) => name.startsWith(`${signer.keyid16}.`));
  if (own.length === 0) refuseFull(folder, names.length + 2);
  const files: SignatureFile[] = [];
  for (const name of own) files.push({ name, bytes: await readSmall(join(place, name), MAX_SIGNATURE_BYTES) });
  return verifySums(sums, files, [trustedKeyOf(signer.publicKey, signer.keyid16)], 1).problems.length === 0;
}

/** Names in signatures/, without leftovers of a killed run, which are removed. */
async function namesIn(folder: string): Promise<string[]> {
  const place = join(folder, SIGNATURES_NAME);
  const found = await lstat(place).catch(() => undefined);
  if (found === undefined) return [];
  if (!found.isDirectory()) {
    throw new AirferryError("ERR_PATH_UNSAFE", `cannot sign "${folder}": "${SIGNATURES_NAME}" is not a folder`, {
      path: place,
    });
  }
  const names = await readdir(place);
  for (const name of names.filter((it) => isLeftover(it))) await rm(join(place, name));
  return names.filter((it) => !isLeftover(it));
}

function refuseFull(folder: string, count: number): void {
  if (count <= MAX_SIGNATURE_FILES) return;
  throw new AirferryError("ERR_SIZE_LIMIT", `cannot sign "${folder}": it has ${MAX_SIGNATURE_FILES} signature files`, {
    path: join(folder, SIGNATURES_NAME),
    hint: "remove those that nobody needs from signatures/",
  });
}
