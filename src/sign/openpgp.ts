/**
 * OpenPGP for the rest of the program: upstream keyrings, checking signatures, and the bundle's own RPM metadata key.
 */
export {
  MAX_OPENPGP_KEYS_BYTES,
  type OpenPgpKey,
  type OpenPgpKeyring,
  readOpenPgpKeyring,
} from "./openpgp-keyring.ts";
export { dearmorAll } from "./openpgp-packets.ts";
export { detachedSign, generateRpmKey, type OpenPgpSigningKey, openRpmKey, readRpmKey } from "./openpgp-sign.ts";
export {
  isClearsigned,
  type OpenPgpSignatureInfo,
  type OpenPgpVerdict,
  type OpenPgpVerifyOptions,
  readClearsigned,
  requireGoodSignature,
  verifyClearsigned,
  verifyDetached,
  verifyOpenPgpSignature,
} from "./openpgp-verify.ts";
