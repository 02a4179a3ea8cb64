/**
 * The verb `sign`: adds one more signer to a finished bundle. Needs only the signed root and the inventory, so it runs
 * on a host that has nothing else. The volumes are not read. See docs/format.md, "Signatures".
 */
import { type AddedSignature, addSignatures, readSignedRoot } from "./bundle/signatures.ts";
import { AirferryError } from "./errors.ts";
import { digestOf } from "./io/digest.ts";
import { openSigners, type SignerOptions } from "./sign/signer.ts";

/**
 * Signs a bundle folder (or every medium of a set in it) with the key or command of `options`, and with the
 * post-quantum key next to that key. With `timestamp`, the URL of a timestamp authority, a signature that has none gets
 * a timestamp, also if the key has signed before.
 * @throws {AirferryError} ERR_BUNDLE_INVALID and ERR_DIGEST_MISMATCH when SHA256SUMS is malformed or does not match;
 *   ERR_USAGE when this key has signed already; and what {@link openSigners} throws
 */
export async function sign(
  bundle: string,
  options: SignerOptions & { timestamp?: string | undefined },
): Promise<AddedSignature> {
  const root = await readSignedRoot(bundle);
  const signers = await openSigners(options);
  const { timestamp } = options;
  if (timestamp === undefined) return addSignatures(root, signers);
  let refusal: unknown;
  const added = await addSignatures(root, signers).catch((error: unknown): AddedSignature => {
    if (!(error instanceof AirferryError) || error.code !== "ERR_USAGE") throw error;
    refusal = error;
    return { ...root.identity, keyid: signers[0]?.keyid ?? "", digest: digestOf(root.sums), files: [] };
  });
  const { addTimestamps } = await import("./timestamp/add-timestamps.ts");
  const keyids16 = signers.map((it) => it.keyid16);
  const files = [...added.files, ...(await addTimestamps(bundle, keyids16, timestamp))];
  if (files.length === 0) throw refusal;
  return { ...added, files };
}
