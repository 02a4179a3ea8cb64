/**
 * The verb `sign`: adds one more signer to a finished bundle. Needs only the signed root and the inventory, so it runs
 * on a host that has nothing else. The volumes are not read. See docs/format.md, "Signatures".
 */
import { type AddedSignature, addSignatures, readSignedRoot } from "./bundle/signatures.ts";
import { openSigners, type SignerOptions } from "./sign/signer.ts";

/**
 * Signs a bundle folder (or every medium of a set in it) with the key or command of `options`, and with the
 * post-quantum key next to that key.
 * @throws {AirferryError} ERR_BUNDLE_INVALID and ERR_DIGEST_MISMATCH when SHA256SUMS is malformed or does not match;
 *   ERR_USAGE when this key has signed already; and what {@link openSigners} throws
 */
export async function sign(bundle: string, options: SignerOptions): Promise<AddedSignature> {
  const root = await readSignedRoot(bundle);
  return addSignatures(root, await openSigners(options));
}
