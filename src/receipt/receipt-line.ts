/**
 * The short form of a receipt: a release in one line that a person reads over the phone and another types, with check
 * digits. docs/deltas.md, "Over the phone".
 */
import { AirferryError } from "../errors.ts";
import { digestOf, hexOf } from "../io/digest.ts";
import { isStreamName } from "../io/path-grammar.ts";
import type { ReleaseId } from "./receipt-text.ts";

/** A release as its line names it. */
export interface ShortRelease extends Omit<ReleaseId, "digest"> {
  /** The first 16 hex digits of the digest of its SHA256SUMS. */
  digest16: string;
}

const LINE = /^(\S{1,64}) e([1-9]\d{0,8}) s([1-9]\d{0,8}) ([0-9a-f]{20})$/;
const LOOKS_LIKE = /^\s*\S+\s+e\d+\s+s\d+(?:\s|$)/i;

/** `rocky-9 e1 s42 3f2a-91bc-77d0-1e5f-8842`: the last four digits check all of it. */
export function formatReceiptLine({ stream, epoch, serial, digest }: ReleaseId): string {
  const digest16 = hexOf(digest).slice(0, 16);
  const groups = (digest16 + checkDigits({ stream, epoch, serial, digest16 })).replace(/.{4}(?=.)/g, "$&-");
  return `${stream} e${epoch} s${serial} ${groups}`;
}

/** Whether text is meant as such a line, and is no name of a file. */
export function isReceiptLine(text: string): boolean {
  return LOOKS_LIKE.test(text);
}

/**
 * Reads a typed line: white space and dashes between the digits, and their case, do not matter.
 * @throws {AirferryError} ERR_RECEIPT_INVALID when the check digits are those of another line
 */
export function parseReceiptLine(text: string): ShortRelease {
  const [stream = "", epoch = "", serial = "", ...digits] = text.trim().split(/\s+/);
  const plain = `${stream} ${epoch.toLowerCase()} ${serial.toLowerCase()} ${digits.join("").replaceAll("-", "").toLowerCase()}`;
  const [, , epochOf, serialOf, hex = ""] = LINE.exec(plain) ?? [];
  const release = { stream, epoch: Number(epochOf), serial: Number(serialOf), digest16: hex.slice(0, 16) };
  const fault =
    hex === "" || !isStreamName(stream)
      ? "expected STREAM eEPOCH sSERIAL and five groups of four hex digits"
      : checkDigits(release) === hex.slice(16)
        ? undefined
        : "the check digits at its end are those of another line: a character is wrong";
  if (fault === undefined) return release;
  throw new AirferryError("ERR_RECEIPT_INVALID", `cannot use receipt "${text}": ${fault}`, {
    hint: "have the far side read it again: airferry receipt --store DIR --short",
  });
}

function checkDigits({ stream, epoch, serial, digest16 }: ShortRelease): string {
  return hexOf(digestOf(`airferry receipt 1\n${stream} e${epoch} s${serial} ${digest16}\n`)).slice(0, 4);
}
