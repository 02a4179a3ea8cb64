/**
 * The fixed limits of the format, in one place. What signatures are limited to is in sign/, how deep JSON may be in
 * io/json.ts. docs/format.md, "Limits".
 */

/** Largest signed root that is read: room for 10,000 volumes and twice as many files of parity. */
export const MAX_SUMS_BYTES = 4 * 1024 * 1024;
/** Largest inventory that is read. */
export const MAX_INVENTORY_BYTES = 128 * 1024 * 1024;
/** Most entries a bundle may have. */
export const MAX_ENTRIES = 500_000;
/** Volume names have four digits. */
export const MAX_VOLUMES = 10_000;
export const MIN_VOLUME_BYTES = 4096;
/** A volume is so many bytes or a multiple: tar's block, and that of most disks. */
export const VOLUME_UNIT_BYTES = 512;
/** Serials and epochs beyond this are refused: a huge one would block a stream forever. */
export const MAX_SERIAL = 999_999_999;
/** Most names in a folder of a medium. */
export const MAX_FOLDER_NAMES = 50_000;
/** UTF-16 code units of a text in the catalog; of the name and version of the packer. */
export const MAX_TEXT_CHARS = 4096;
export const MAX_TOOL_CHARS = 200;
/** Most names in `requires`. */
export const MAX_REQUIRES = 64;
/** Most sites that one bundle is made for. */
export const MAX_AUDIENCE = 64;
/** Most releases in `bases`. */
export const MAX_BASES = 64;
/** `builder` and `ext`, which the format does not describe: bytes of each as JSON. */
export const MAX_FREE_BYTES = 1024 * 1024;
/** Largest small file that is not named elsewhere (VERIFY.txt, attestations). */
export const MAX_NOTE_BYTES = 1024 * 1024;
/** Most subjects of one attestation. */
export const MAX_SUBJECTS = 64;
/** Largest small file that grows with the entries: it is hashed without being in memory. */
export const MAX_LISTING_BYTES = 512 * 1024 * 1024;
/** Largest file of recipes: three million operations. */
export const MAX_RECIPES_BYTES = 64 * 1024 * 1024;
/** Most sources that all recipes together have. */
export const MAX_RECIPE_SOURCES = 500_000;
/** Largest list of the files in ISOs: five million files. */
export const MAX_FILES_BYTES = 256 * 1024 * 1024;
/** Largest list of pieces: that of 64 TiB. */
export const MAX_PIECES_BYTES = 2 * 1024 * 1024 * 1024;
