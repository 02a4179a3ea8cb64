/**
 * Numbers of RPM header tags, types and flags that are used here. See rpm's include/rpm/rpmtag.h and
 * docs/manual/format.
 */
import { HASH_NAMES } from "../sign/openpgp-hashes.ts";

/** Tags of the main header. */
export const TAG = {
  headerImmutable: 63,
  headerI18nTable: 100,
  name: 1000,
  version: 1001,
  release: 1002,
  epoch: 1003,
  summary: 1004,
  description: 1005,
  buildTime: 1006,
  buildHost: 1007,
  size: 1009,
  vendor: 1011,
  license: 1014,
  packager: 1015,
  group: 1016,
  url: 1020,
  os: 1021,
  arch: 1022,
  oldFileNames: 1027,
  fileModes: 1030,
  fileFlags: 1037,
  sourceRpm: 1044,
  archiveSize: 1046,
  provideName: 1047,
  requireFlags: 1048,
  requireName: 1049,
  requireVersion: 1050,
  conflictFlags: 1053,
  conflictName: 1054,
  conflictVersion: 1055,
  changelogTime: 1080,
  changelogName: 1081,
  changelogText: 1082,
  obsoleteName: 1090,
  sourcePackage: 1106,
  provideFlags: 1112,
  provideVersion: 1113,
  obsoleteFlags: 1114,
  obsoleteVersion: 1115,
  dirIndexes: 1116,
  baseNames: 1117,
  dirNames: 1118,
  oldSuggestsName: 1156,
  oldSuggestsVersion: 1157,
  oldSuggestsFlags: 1158,
  oldEnhancesName: 1159,
  oldEnhancesVersion: 1160,
  oldEnhancesFlags: 1161,
  longArchiveSize: 271,
  longSize: 5009,
  recommendName: 5046,
  recommendVersion: 5047,
  recommendFlags: 5048,
  suggestName: 5049,
  suggestVersion: 5050,
  suggestFlags: 5051,
  supplementName: 5052,
  supplementVersion: 5053,
  supplementFlags: 5054,
  enhanceName: 5055,
  enhanceVersion: 5056,
  enhanceFlags: 5057,
  payloadDigest: 5092,
  payloadDigestAlgo: 5093,
  modularityLabel: 5096,
  payloadDigestAlt: 5097,
  payloadSha512: 5121,
  payloadSha512Alt: 5122,
  payloadSha3: 5123,
  payloadSha3Alt: 5124,
} as const;

/** Tags of the signature header. */
export const SIGNATURE_TAG = {
  headerSignatures: 62,
  dsaHeader: 267,
  rsaHeader: 268,
  sha1Header: 269,
  longSize: 270,
  longArchiveSize: 271,
  sha256Header: 273,
  openPgp: 278,
  sha3Header: 279,
  size: 1000,
  pgp: 1002,
  md5: 1004,
  gpg: 1005,
  payloadSize: 1007,
} as const;

/** Data types of index entries. */
export const TYPE = {
  null: 0,
  char: 1,
  int8: 2,
  int16: 3,
  int32: 4,
  int64: 5,
  string: 6,
  bin: 7,
  stringArray: 8,
  i18nString: 9,
} as const;

/** Bytes of one value by type; 0 for strings. */
export const TYPE_BYTES: readonly number[] = [0, 1, 1, 2, 4, 8, 0, 1, 0, 0];

/** Bits of dependency flags. */
export const SENSE = {
  less: 2,
  greater: 4,
  equal: 8,
  prereq: 1 << 6,
  scriptPre: 1 << 9,
  scriptPost: 1 << 10,
  strong: 1 << 27,
} as const;

/** Bit of file flags: the file is not in the payload. */
export const FILE_GHOST = 1 << 6;

/** `payloadDigestAlgo` (RFC 9580 hash numbers) to names of node:crypto. */
export const DIGEST_ALGORITHMS: Readonly<Record<number, string>> = { 1: "md5", ...HASH_NAMES };
