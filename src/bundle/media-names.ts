/**
 * The names at the top of a bundle folder, and the names that operating systems leave on media. docs/format.md,
 * "Files".
 */
export const SUMS_NAME = "SHA256SUMS";
export const SIGNATURES_NAME = "signatures";
export const INVENTORY_NAME = "airferry.json";
export const BIN_NAME = "bin";
export const VERIFY_NAME = "VERIFY.txt";
export const TRUSTED_ROOT_NAME = "trusted_root.json";
/** Digests of all entries, for `sha256sum -c` after `tar -x`. */
export const ENTRIES_NAME = "ENTRIES.sha256";
/** What `tar -x` does not make, since another entry has the same bytes. */
export const COPIES_NAME = "COPIES.txt";
/** What the bundle was packed from. */
export const MANIFEST_NAME = "manifest.yaml";
export const LOCK_NAME = "lock.json";
/** The specification of the format. */
export const FORMAT_NAME = "FORMAT.txt";
/** What a scanner said before the bundle was signed. */
export const SCAN_NAME = "scan.json";
/** Kinds of attestations, by the predicate type of their statements. */
export const PREDICATE_TYPES = {
  provenance: "https://slsa.dev/provenance/v1",
  scan: "https://in-toto.io/attestation/vulns/v0.2",
} as const;
export type AttestationKind = keyof typeof PREDICATE_TYPES;
export const ATTESTATION_KINDS: readonly AttestationKind[] = ["provenance", "scan"];

/** Name of the attestation that a bundle carries. */
export function attestationName(kind: AttestationKind): string {
  return `attest.${kind}.sigstore.json`;
}

/** Of which kind a listed file is an attestation; undefined for other names. */
export function attestationKindOf(name: string): AttestationKind | undefined {
  return ATTESTATION_KINDS.find((it) => attestationName(it) === name);
}

/** The bill of materials, for people and as CycloneDX. */
export const BOM_PAGE_NAME = "BOM.html";
export const BOM_CYCLONEDX_NAME = "BOM.cdx.json";
export const BOM_NAMES: readonly string[] = [BOM_PAGE_NAME, BOM_CYCLONEDX_NAME];

/** Begins the names of what a set of media spreads: the volumes, and what repairs them. */
const DATA_PREFIX = "data.";
/** Digests of the pieces of large entries: with the small files, on every medium. */
export const PIECES_NAME = "data.pieces";
/** How entries are built from what the reader has, and which files are inside of ISOs: on every medium as well. */
export const RECIPES_NAME = "data.recipes";
export const FILES_NAME = "data.files";
const SMALL_DATA: readonly string[] = [PIECES_NAME, RECIPES_NAME, FILES_NAME];

const JUNK = new Set(
  [
    ".DS_Store",
    ".Trashes",
    ".Trash",
    ".Trash-0",
    ".Trash-1000",
    ".Spotlight-V100",
    ".fseventsd",
    ".TemporaryItems",
    ".DocumentRevisions-V100",
    ".VolumeIcon.icns",
    ".apdisk",
    ".com.apple.timemachine.donotpresent",
    "System Volume Information",
    "$RECYCLE.BIN",
    "RECYCLER",
    "Thumbs.db",
    "desktop.ini",
    "IndexerVolumeGuid",
    "WPSettings.dat",
    "lost+found",
    ".directory",
    ".nfs",
    ".snapshot",
  ].map((it) => it.toLowerCase()),
);

/** Returns whether an operating system left this name on the medium: it is skipped with a notice and never opened. */
export function isJunkName(name: string): boolean {
  return name.startsWith("._") || JUNK.has(name.toLowerCase()) || /^\.(?:Trash-\d+|nfs[0-9a-f]+)$/i.test(name);
}

/**
 * Returns whether a name is of a file that may be on any medium of a set, or on none: a volume, parity, or what a later
 * version spreads like them. Who does not know the latter two ignores them.
 */
export function isSpreadName(name: string): boolean {
  return name.startsWith(DATA_PREFIX) && !SMALL_DATA.includes(name);
}

/** Whether a listed file is spread like the volumes, and is none: it may be damaged or missing without harm. */
export function isSpareName(name: string): boolean {
  return isSpreadName(name) && !name.startsWith("data.tar.");
}

/** Recovery files: `data.0000.par2`, `data.set.par2`, `data.set.vol0100-0199.par2`. */
export function isParityName(name: string): boolean {
  return isSpareName(name) && name.endsWith(".par2");
}

/** Those that protect one volume, beside which they lie: `data.0000.par2`, `data.0000.vol0010-0019.par2`. */
export function isVolumeParity(name: string): boolean {
  return isParityName(name) && /^data\.\d{4}\./.test(name);
}
