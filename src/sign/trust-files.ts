/**
 * Trust roots as files in a folder: `trust.<n>.json` and the signatures beside it, for all versions that are there.
 * Read with bounds, before anything is trusted. docs/format.md, "Trust root".
 */
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { AirferryError } from "../errors.ts";
import { ifThere, makeFolder, writeAtomic } from "../io/atomic.ts";
import { type Digest, digestOf } from "../io/digest.ts";
import { readSmall } from "../io/safe-open.ts";
import { shellWord } from "../io/shell.ts";
import { MAX_SIGNATURE_BYTES } from "./sigstore-bundle.ts";
import {
  MAX_ROOT_SIGNATURES,
  MAX_TRUST_VERSIONS,
  type StoredTrust,
  type TrustFile,
  trustName,
  trustNameOf,
  verifyFirst,
} from "./trust-chain.ts";
import { MAX_TRUST_BYTES } from "./trust-root.ts";
import type { SignatureFile } from "./verify-sums.ts";

/** Most bytes of all versions and signatures in one place: they are in memory before anybody is trusted. */
const MAX_TRUST_PLACE_BYTES = 64 * 1024 * 1024;

/**
 * Reads every version whose names are given from one folder. Signatures without their file are left out.
 * @param pathOf where a name is, if not in the folder
 * @throws {AirferryError} ERR_SIZE_LIMIT, ERR_PATH_UNSAFE, ERR_IO
 */
export async function readTrustFiles(
  dir: string,
  names: Iterable<string>,
  pathOf: (name: string) => string = (name) => join(dir, name),
): Promise<TrustFile[]> {
  const versions = new Map<number, { hasFile: boolean; signatures: string[] }>();
  for (const name of names) {
    const found = trustNameOf(name);
    if (found === undefined) continue;
    const of = versions.get(found.version) ?? { hasFile: false, signatures: [] };
    versions.set(found.version, of);
    if (found.keyid16 === undefined) of.hasFile = true;
    else of.signatures.push(name);
    if (versions.size > MAX_TRUST_VERSIONS || of.signatures.length > MAX_ROOT_SIGNATURES) {
      const most = `${MAX_TRUST_VERSIONS} versions with ${MAX_ROOT_SIGNATURES} signatures each`;
      throw new AirferryError("ERR_SIZE_LIMIT", `cannot read trust roots in "${dir}": expected at most ${most}`, {
        path: dir,
      });
    }
  }
  const files: TrustFile[] = [];
  let left = MAX_TRUST_PLACE_BYTES;
  const read = async (path: string, most: number) => {
    const bytes = await readSmall(path, most);
    left -= bytes.length;
    if (left >= 0) return bytes;
    const fault = `expected at most ${MAX_TRUST_PLACE_BYTES} bytes of versions and signatures`;
    throw new AirferryError("ERR_SIZE_LIMIT", `cannot read trust roots in "${dir}": ${fault}`, { path: dir });
  };
  for (const [version, { hasFile, signatures }] of versions) {
    if (!hasFile) continue;
    const path = pathOf(trustName(version));
    const bytes = await read(path, MAX_TRUST_BYTES);
    const signed: SignatureFile[] = [];
    for (const name of signatures.sort()) {
      signed.push({ name, bytes: await read(pathOf(name), MAX_SIGNATURE_BYTES) });
    }
    files.push({ version, path, bytes, signatures: signed });
  }
  return files.sort((a, b) => a.version - b.version);
}

/** The same for everything in a folder; none when it does not exist. */
export async function readTrustFolder(dir: string): Promise<TrustFile[]> {
  return readTrustFiles(dir, (await ifThere(dir, readdir(dir))) ?? []);
}

/**
 * Reads the trust root that a store has accepted: its newest version, never an older one.
 * @param dir the folder of the store that holds it
 * @throws {AirferryError} ERR_STORE_INVALID when it is damaged
 */
export async function readStoredTrust(dir: string): Promise<StoredTrust | undefined> {
  const files = await readTrustFolder(dir);
  const newest = files.at(-1);
  if (newest === undefined) return undefined;
  try {
    const root = verifyFirst(newest);
    return { root, digests: new Map(files.map((it) => [it.version, digestOf(it.bytes)])) };
  } catch (cause) {
    if (!(cause instanceof AirferryError)) throw cause;
    throw new AirferryError("ERR_STORE_INVALID", `cannot read the store's trust root: ${cause.message}`, {
      path: newest.path,
      hint: `put ${trustName(newest.version)} and its signatures there again, from its holders or a medium that carried them: ${shellWord(dir)}`,
      cause,
    });
  }
}

/**
 * Keeps versions in a store, under its lock.
 * @param before what was read before they were checked
 * @throws {AirferryError} ERR_BUSY when the store has another version by now; ERR_IO
 */
export async function keepTrust(
  dir: string,
  accepted: readonly TrustFile[],
  before: StoredTrust | undefined,
): Promise<void> {
  await refuseOtherTrust(dir, before?.root.digest);
  await writeTrustFiles(dir, accepted);
}

/**
 * Checks, under a store's lock, that its trust root is still the one by which something was judged before.
 * @param digest of its newest version; undefined: it had none
 * @throws {AirferryError} ERR_BUSY when it has another by now
 */
export async function refuseOtherTrust(dir: string, digest: Digest | undefined): Promise<void> {
  const now = await readStoredTrust(dir);
  if (now?.root.digest === digest) return;
  throw new AirferryError("ERR_BUSY", `cannot use the trust root in "${dir}": another airferry changed it meanwhile`, {
    path: dir,
    hint: "run the same command again",
  });
}

/** Writes versions into a folder, each after its signatures. The folder is made. @throws {AirferryError} ERR_IO */
export async function writeTrustFiles(dir: string, files: readonly TrustFile[]): Promise<void> {
  await makeFolder(dir);
  for (const { version, bytes, signatures } of files) {
    for (const it of signatures) await writeAtomic(join(dir, it.name), it.bytes);
    await writeAtomic(join(dir, trustName(version)), bytes);
  }
}
