/** What can be said of OpenPGP files without the library, whose code is loaded when keys and signatures are read. */

/** Largest key file, and most certificates in all files together, copies included. */
export const MAX_OPENPGP_KEYS_BYTES = 4 * 1024 * 1024;

/** The hint when upstream signs as was common before 2014. */
export const LEGACY_HINT =
  "upstream signs with SHA-1 or a short key, which can be forged; if it has nothing better, allow it for this repository: legacy_signatures: true";

/** Returns whether bytes look like a clear-signed text. */
export function isClearsigned(bytes: Uint8Array): boolean {
  return Buffer.from(bytes).includes("-----BEGIN PGP SIGNED MESSAGE-----");
}
