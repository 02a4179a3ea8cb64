/** What values of an inventory may be, and how a wrong one is reported. docs/format.md, "Inventory". */
import type { Problem } from "../errors.ts";
import { parseHex } from "../io/digest.ts";
import { INVENTORY_NAME } from "./media-names.ts";

/** Further ones are counted. */
export const MAX_PROBLEMS = 50;

/** @param where within the inventory; empty: all of it */
export function problem(where: string, message: string): Problem {
  return { code: "ERR_BUNDLE_INVALID", path: where === "" ? INVENTORY_NAME : `${INVENTORY_NAME} ${where}`, message };
}

/** Whether a value is an object with names. */
export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Whether a value is a whole number from 0 to `max`. */
export function isCount(value: unknown, max = Number.MAX_SAFE_INTEGER): value is number {
  return (
    typeof value === "number" && Number.isSafeInteger(value) && value >= 0 && value <= max && !Object.is(value, -0)
  );
}

/** Whether a value is SHA-256 in lower-case hex. */
export function isHex256(value: unknown): value is string {
  return typeof value === "string" && parseHex(value) !== undefined;
}

/** Whether an object has these names and no others. */
export function hasExactly(value: Record<string, unknown>, keys: readonly string[]): boolean {
  const own = Object.keys(value);
  return own.length === keys.length && keys.every((it) => own.includes(it));
}
