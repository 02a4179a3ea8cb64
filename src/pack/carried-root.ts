/** The trust root that a bundle brings inside: all its versions, whole and signed, as small files. */
import { join } from "node:path";
import { AirferryError } from "../errors.ts";
import { writeAtomic } from "../io/atomic.ts";
import { type Digest, digestOf } from "../io/digest.ts";
import { shellWord } from "../io/shell.ts";
import { advance, trustName, verifyFirst } from "../sign/trust-chain.ts";
import { readTrustFolder } from "../sign/trust-files.ts";

/** One file of it. */
export interface CarriedRootFile {
  name: string;
  bytes: Uint8Array;
  digest: Digest;
}

/**
 * Reads the folder of a trust root and checks that its versions lead from the first to the last: inside, nobody could
 * mend it.
 * @throws {AirferryError} ERR_NOT_FOUND; ERR_TRUST_SIGNATURES for a draft; ERR_TRUST_GAP, ERR_TRUST_INVALID,
 *   ERR_SIGNATURE_INVALID, ERR_SIZE_LIMIT
 */
export async function readCarriedRoot(dir: string): Promise<CarriedRootFile[]> {
  const versions = await readTrustFolder(dir);
  const [first] = versions;
  if (first === undefined) {
    throw new AirferryError("ERR_NOT_FOUND", `cannot read a trust root in "${dir}": no trust.1.json there`, {
      path: dir,
      hint: `give the folder that has it; to make one: airferry trust init ${shellWord(dir)} --name SITE --add KEY.pub=OWNER`,
    });
  }
  advance(verifyFirst(first), versions);
  return versions
    .flatMap(({ version, bytes, signatures }) => [{ name: trustName(version), bytes }, ...signatures])
    .map(({ name, bytes }) => ({ name, bytes, digest: digestOf(bytes) }));
}

/** Writes them into a bundle's folder; returns their lines for SHA256SUMS. */
export async function writeCarriedRoot(
  dir: string,
  files: readonly CarriedRootFile[] = [],
): Promise<{ name: string; digest: Digest }[]> {
  for (const { name, bytes } of files) await writeAtomic(join(dir, name), bytes);
  return files.map(({ name, digest }) => ({ name, digest }));
}
