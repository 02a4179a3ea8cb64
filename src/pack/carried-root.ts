/** The trust root that a bundle brings inside: all its versions, whole and signed, as small files. */
import { join } from "node:path";
import { AirferryError } from "../errors.ts";
import { writeAtomic } from "../io/atomic.ts";
import { type Digest, digestOf } from "../io/digest.ts";
import { shellWord } from "../io/shell.ts";
import { advance, trustName, verifyFirst } from "../sign/trust-chain.ts";
import { readTrustFolder } from "../sign/trust-files.ts";
import type { TrustRoot } from "../sign/trust-root.ts";
import { countSigners } from "../sign/verify-sums.ts";

/** One file of it. */
export interface CarriedRootFile {
  name: string;
  bytes: Uint8Array;
  digest: Digest;
}

/** A trust root as a bundle brings it. */
interface CarriedRoot {
  files: CarriedRootFile[];
  /** Its newest version. */
  root: TrustRoot;
}

/**
 * Reads the folder of a trust root and checks that its versions lead from the first to the last: inside, nobody could
 * mend it.
 * @throws {AirferryError} ERR_NOT_FOUND; ERR_TRUST_SIGNATURES for a draft; ERR_TRUST_GAP, ERR_TRUST_INVALID,
 *   ERR_SIGNATURE_INVALID, ERR_SIZE_LIMIT
 */
export async function readCarriedRoot(dir: string): Promise<CarriedRoot> {
  const versions = await readTrustFolder(dir);
  const [first] = versions;
  if (first === undefined) {
    throw new AirferryError("ERR_NOT_FOUND", `cannot read a trust root in "${dir}": no trust.1.json there`, {
      path: dir,
      hint: `give the folder that has it; to make one: airferry trust init ${shellWord(dir)} --name SITE --add KEY.pub=OWNER`,
    });
  }
  const { root } = advance(verifyFirst(first), versions);
  const files = versions
    .flatMap(({ version, bytes, signatures }) => [{ name: trustName(version), bytes }, ...signatures])
    .map(({ name, bytes }) => ({ name, bytes, digest: digestOf(bytes) }));
  return { files, root };
}

/** How many more signers a bundle needs by the trust root that it brings, with these keys as its signers. */
export function signersLacking({ roles, keysOf, revoked }: TrustRoot, keyids: readonly string[]): number {
  const { threshold, signers, require = [] } = roles.release;
  const keys = signers
    .flatMap((id) => keysOf.get(id) ?? [])
    .filter(({ keyid }) => keyids.includes(keyid) && !revoked.some((it) => it.keyid === keyid));
  return Math.max(0, threshold - countSigners(keys, require));
}

/** Writes them into a bundle's folder; returns their lines for SHA256SUMS. */
export async function writeCarriedRoot(
  dir: string,
  files: readonly CarriedRootFile[] = [],
): Promise<{ name: string; digest: Digest }[]> {
  for (const { name, bytes } of files) await writeAtomic(join(dir, name), bytes);
  return files.map(({ name, digest }) => ({ name, digest }));
}
