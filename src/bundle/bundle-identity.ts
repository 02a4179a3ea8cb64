/**
 * The line of SHA256SUMS that says of which product, format, stream, epoch and serial it is, so that a signature over
 * it can be taken for no other. It is the name of a listed file whose content never changes. docs/format.md, "The
 * signed root".
 */
import { AirferryError, type Problem } from "../errors.ts";
import { digestOf } from "../io/digest.ts";
import { isStreamName } from "../io/path-grammar.ts";
import { printableName } from "./entry-paths.ts";
import { MAX_SERIAL } from "./format-limits.ts";
import { NEWER_AIRFERRY } from "./inventory-types.ts";
import { INVENTORY_NAME, SUMS_NAME } from "./media-names.ts";

/** Which bundle a signed root is of. */
export interface BundleIdentity {
  stream: string;
  epoch: number;
  serial: number;
}

/** The content of the file. */
export const IDENTITY_BYTES: Uint8Array = Buffer.from(
  "airferry bundle, format 1. The name of this file says of which stream, epoch and serial it is.\n",
);
const IDENTITY_DIGEST = digestOf(IDENTITY_BYTES);
const VERSION = "airferry-v1.";
const ANY_VERSION = /^airferry-v/i;
const OTHER_VERSION = /^airferry-v(?!1\.)[1-9][0-9]{0,8}\./;
const NAME = /^airferry-v1\.(.+)\.e([1-9][0-9]{0,8})\.s([1-9][0-9]{0,8})$/;
const FORM = "airferry-v1.STREAM.eEPOCH.sSERIAL";

/** The name of the file: `airferry-v1.site.e1.s42`. */
export function identityName({ stream, epoch, serial }: BundleIdentity): string {
  return `${VERSION}${stream}.e${epoch}.s${serial}`;
}

/**
 * Finds out which bundle the lines of a signed root are of.
 * @throws {AirferryError} ERR_BUNDLE_VERSION for another version's; ERR_BUNDLE_INVALID unless exactly one line says it
 */
export function identityIn(lines: readonly { name: string; digest: string }[]): BundleIdentity {
  const fault = (message: string, code: "ERR_BUNDLE_INVALID" | "ERR_BUNDLE_VERSION" = "ERR_BUNDLE_INVALID") =>
    new AirferryError(code, `cannot read "${SUMS_NAME}": ${message}`, {
      path: SUMS_NAME,
      ...(code === "ERR_BUNDLE_VERSION" && { hint: NEWER_AIRFERRY }),
    });
  const named = lines.filter(({ name }) => ANY_VERSION.test(name));
  const other = named.find(({ name }) => OTHER_VERSION.test(name));
  if (other !== undefined) throw fault(`unknown format: expected ${FORM}, got ${other.name}`, "ERR_BUNDLE_VERSION");
  const [line, second] = named;
  if (line === undefined)
    throw fault(`no line says which bundle it is: expected ${FORM}; development versions before 0.1.0 wrote none`);
  if (second !== undefined) throw fault(`two lines say which bundle it is: "${line.name}" and "${second.name}"`);
  const [, stream = "", epoch, serial] = NAME.exec(line.name) ?? [];
  if (!isStreamName(stream)) throw fault(`"${line.name}" does not say which bundle it is: expected ${FORM}`);
  if (line.digest !== IDENTITY_DIGEST)
    throw fault(`digest of "${line.name}": expected ${IDENTITY_DIGEST}, got ${line.digest}`);
  return { stream, epoch: Number(epoch), serial: Number(serial) };
}

/** Compares what the signed root says with what the inventory says. Everybody who reads both calls it. */
export function checkIdentity(signed: BundleIdentity, inventory: BundleIdentity): Problem[] {
  const [expected, actual] = [identityName(signed), identityName(inventory)];
  if (expected === actual) return [];
  const message = `${SUMS_NAME} and ${INVENTORY_NAME} do not belong together: expected ${expected}, got ${printableName(actual)}`;
  return [{ code: "ERR_BUNDLE_INVALID", path: INVENTORY_NAME, message }];
}

/** Whether a number can be a serial or an epoch. */
export function isSerial(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 1 && (value as number) <= MAX_SERIAL;
}
