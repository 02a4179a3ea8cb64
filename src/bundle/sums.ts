/**
 * SHA256SUMS, the signed root of a bundle: one line for every file except itself and signatures/. docs/format.md,
 * "The signed root".
 */
import { AirferryError } from "../errors.ts";
import { type Digest, hexOf, parseHex } from "../io/digest.ts";
import { compareUtf8 } from "../io/text.ts";
import { type BundleIdentity, identityIn } from "./bundle-identity.ts";
import { printableName } from "./entry-paths.ts";
import { INVENTORY_NAME, isJunkName, SIGNATURES_NAME, SUMS_NAME } from "./media-names.ts";

/** One line. */
export interface SumLine {
  /** A name at the top of the bundle, or `bin/NAME`. */
  name: string;
  /** In the file as hex. */
  digest: Digest;
}

const NAME = /^(?:bin\/)?[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/;
const LINE = /^([0-9a-f]{64}) {2}([^\n]+)$/;

/** Formats the lines, sorted by name as `LC_ALL=C sort -k2` would, each ended by a newline. Names are not checked. */
export function formatSums(lines: Iterable<SumLine>): Buffer {
  const sorted = [...lines].sort((a, b) => compareUtf8(a.name, b.name));
  return Buffer.from(sorted.map(({ name, digest }) => `${hexOf(digest)}  ${name}\n`).join(""));
}

/**
 * Parses SHA256SUMS whose signature is good. Returns the lines in their order, sorted by name, and which bundle they
 * are of.
 * @throws {AirferryError} ERR_BUNDLE_INVALID for anything that {@link formatSums} would not write, or without a line
 *   for the inventory or for the bundle's identity; ERR_PATH_UNSAFE; ERR_BUNDLE_VERSION
 */
export function parseSums(bytes: Buffer): { lines: SumLine[]; identity: BundleIdentity } {
  const invalid = (fault: string) =>
    new AirferryError("ERR_BUNDLE_INVALID", `cannot read "${SUMS_NAME}": ${fault}`, { path: SUMS_NAME });
  const text = bytes.toString("latin1");
  if (!text.endsWith("\n")) throw invalid("the last line has no newline");
  const folded = new Set<string>();
  const lines = text
    .slice(0, -1)
    .split("\n")
    .map((line, index): SumLine => {
      const [, hex = "", name] = LINE.exec(line) ?? [];
      const digest = parseHex(hex);
      if (digest === undefined || name === undefined) {
        throw invalid(`line ${index + 1}: expected <64 lower-case hex digits>, two spaces and a name`);
      }
      // Names that readers ignore cannot be listed.
      const ignored = isJunkName(name.slice(name.lastIndexOf("/") + 1));
      const reserved = ignored || name === SUMS_NAME || name === SIGNATURES_NAME || name === "bin";
      if (!NAME.test(name) || reserved) {
        throw new AirferryError(
          "ERR_PATH_UNSAFE",
          `cannot read "${SUMS_NAME}": line ${index + 1}: unsafe name "${printableName(name)}"`,
          { path: SUMS_NAME },
        );
      }
      if (folded.has(name.toLowerCase())) throw invalid(`line ${index + 1}: "${name}" occurs twice`);
      folded.add(name.toLowerCase());
      return { name, digest };
    });
  if (!formatSums(lines).equals(bytes)) throw invalid("the lines are not sorted by name");
  // First: another format may have no inventory.
  const identity = identityIn(lines);
  if (!lines.some((it) => it.name === INVENTORY_NAME)) throw invalid(`no line for ${INVENTORY_NAME}`);
  return { lines, identity };
}
