/**
 * The ISO reader's error helper: every error names the image, the byte offset and what was expected.
 */
import { AirferryError } from "../errors.ts";

/**
 * Creates the error for a malformed image: `cannot read ISO "x": <fault> at byte N: expected …, got …`.
 * `offset` is the byte of the fault in the image.
 */
export function isoFault(
  label: string,
  offset: number,
  fault: string,
  detail: { expected?: string; actual?: string; hint?: string } = {},
): AirferryError {
  const tail =
    detail.expected === undefined
      ? ""
      : `: expected ${detail.expected}${detail.actual ? `, got ${detail.actual}` : ""}`;
  return new AirferryError("ERR_ISO_INVALID", `cannot read ISO "${label}": ${fault} at byte ${offset}${tail}`, {
    path: label,
    expected: detail.expected,
    actual: detail.actual,
    hint: detail.hint ?? "check the image against its published checksum, then fetch or copy it again",
  });
}
