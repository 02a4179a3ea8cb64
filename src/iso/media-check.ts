/**
 * The checksum that isomd5sum implants in installation media: read and verified, as information only. It is MD5, and
 * the last 15 sectors are not covered: never a reason to trust an image (docs/build.md).
 */
import { createHash } from "node:crypto";
import { parseHex } from "../io/digest.ts";
import type { RandomAccess } from "../io/types.ts";
import { SECTOR_BYTES } from "./volume.ts";

const DESCRIPTOR_AT = 16 * SECTOR_BYTES;
const APPLICATION_USE_AT = DESCRIPTOR_AT + 883;
const APPLICATION_USE_BYTES = 512;
const CHUNK_BYTES = 32 * 1024;
/** A multiple of the chunk, so that chunk boundaries match isomd5sum's. */
const READ_BYTES = 32 * CHUNK_BYTES;

/** The checksum embedded in an image. */
interface MediaCheck {
  /** 32 lower-case hex digits. */
  md5: string;
  /** Sectors at the end that the sum excludes: 15. */
  skipSectors: number;
  fragmentSums: string;
  fragmentCount: number;
  /** RHLISOSTATUS was 1: the creator marked the image as supported. */
  supported: boolean;
}

/** Outcome of {@link verifyMediaCheck}. */
interface MediaCheckResult {
  ok: boolean;
  md5: string;
  /** First fragment (0-based) that differs, when fragments are recorded and one does. */
  badFragment?: number;
}

/**
 * Reads the embedded media check. Undefined when the image has none.
 * @see isomd5sum, utilities.c, parsepvd
 */
export async function readMediaCheck(image: RandomAccess): Promise<MediaCheck | undefined> {
  const area = await image.read(APPLICATION_USE_AT, APPLICATION_USE_BYTES);
  if (area.length < APPLICATION_USE_BYTES) return undefined;
  const fields = new Map<string, string>();
  for (const field of Buffer.from(area).toString("latin1").split(";")) {
    const [key, value] = field.split("=", 2);
    if (key !== undefined && value !== undefined) fields.set(key.trim(), value.trim());
  }
  const md5 = fields.get("ISO MD5SUM");
  const skip = Number(fields.get("SKIPSECTORS") ?? Number.NaN);
  if (md5 === undefined || parseHex(md5, "md5") === undefined || !Number.isInteger(skip) || skip < 0) return undefined;
  const fragmentSums = fields.get("FRAGMENT SUMS") ?? "";
  const fragmentCount = Number(fields.get("FRAGMENT COUNT") ?? 0);
  const whole = /^[0-9a-f]*$/.test(fragmentSums) && Number.isInteger(fragmentCount) && fragmentCount > 0;
  return {
    md5,
    skipSectors: skip,
    fragmentSums: whole ? fragmentSums : "",
    fragmentCount: whole && fragmentCount <= 60 ? fragmentCount : 0,
    supported: fields.get("RHLISOSTATUS") === "1",
  };
}

/**
 * Computes the sum over the whole image, as checkisomd5 does, and compares. Reads every byte once: 12 GB take a minute
 * or so. Stops at the first bad fragment.
 * @see isomd5sum, libcheckisomd5.c
 */
export async function verifyMediaCheck(image: RandomAccess, check: MediaCheck): Promise<MediaCheckResult> {
  const sizeField = Buffer.from(await image.read(DESCRIPTOR_AT + 84, 4));
  const total = sizeField.length < 4 ? 0 : sizeField.readUInt32BE(0) * SECTOR_BYTES - check.skipSectors * SECTOR_BYTES;
  const fragmentBytes = check.fragmentCount === 0 ? 0 : Math.floor(total / (check.fragmentCount + 1));
  const perFragment = check.fragmentCount === 0 ? 0 : check.fragmentSums.length / check.fragmentCount;
  const hash = createHash("md5");
  let fragment = 0;
  let offset = 0;
  while (offset < total) {
    const bytes = Buffer.from(await image.read(offset, Math.min(READ_BYTES, total - offset)));
    if (bytes.length === 0) return { ok: false, md5: hash.digest("hex") };
    blankApplicationUse(bytes, offset);
    for (let at = 0; at < bytes.length; at += CHUNK_BYTES) {
      const chunk = bytes.subarray(at, at + CHUNK_BYTES);
      hash.update(chunk);
      const done = offset + at + chunk.length;
      const current = fragmentBytes === 0 ? 0 : Math.floor((offset + at) / fragmentBytes);
      if (current === fragment) continue;
      if (!fragmentMatches(hash.copy().digest(), check.fragmentSums, current, perFragment)) {
        return { ok: false, md5: done >= total ? hash.digest("hex") : "", badFragment: current - 1 };
      }
      fragment = current;
    }
    offset += bytes.length;
  }
  const md5 = hash.digest("hex");
  return { ok: md5 === check.md5, md5 };
}

/** The sum is stored in the bytes that it covers: they count as spaces. */
function blankApplicationUse(bytes: Buffer, offset: number): void {
  const from = APPLICATION_USE_AT - offset;
  const to = from + APPLICATION_USE_BYTES;
  if (to > 0 && from < bytes.length) bytes.fill(0x20, Math.max(0, from), Math.min(bytes.length, to));
}

/** For each fragment, the first hex digits of the sum so far are recorded, one digit for each of the first bytes. */
function fragmentMatches(digest: Buffer, sums: string, fragment: number, perFragment: number): boolean {
  const from = (fragment - 1) * perFragment;
  if (from + perFragment > sums.length) return true;
  let text = "";
  for (const byte of digest.subarray(0, Math.ceil(perFragment))) text += byte.toString(16).charAt(0);
  return text === sums.slice(from, from + perFragment);
}
