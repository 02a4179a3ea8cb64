/** Numbers of OpenPGP's hash algorithms. @see RFC 9580, section 9.5 */

/** Names for node:crypto by number; MD5 is left out, since no signature may use it. */
export const HASH_NAMES: Readonly<Record<number, string>> = {
  2: "sha1",
  8: "sha256",
  9: "sha384",
  10: "sha512",
  11: "sha224",
  12: "sha3-256",
  14: "sha3-512",
};
