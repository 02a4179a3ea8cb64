/** What airferry states about a bundle in its attestations: the same lock and scan give the same text. */
import { hexOf } from "../io/digest.ts";
import type { WrittenInventory as Inventory } from "./inventory-types.ts";
import { LOCK_NAME, MANIFEST_NAME } from "./media-names.ts";
import type { ScanReport } from "./scan-report.ts";
import type { SumLine } from "./sums.ts";

const BUILD_TYPE = "urn:airferry:pack:v1";
const BUILDER = "urn:airferry:builder:v1";
/** The lock has all of them. */
const MAX_DEPENDENCIES = 1000;
const MAX_DEPENDENCY_BYTES = 192 * 1024;
const MAX_RESULTS = 100;
const MAX_RESULT_CHARS = 200;
const MAX_COMMAND_CHARS = 2000;

interface Descriptor {
  name?: string;
  uri?: string;
  digest?: { sha256: string };
}

/**
 * Where a bundle came from: SLSA provenance v1.
 * @param documents the listed files that explain it, with their digests
 */
export function provenancePredicate(inventory: Inventory, documents: readonly SumLine[]): unknown {
  const { stream, epoch, serial, created, lock, tool } = inventory;
  const [, version = tool] = /^airferry (\S+)$/.exec(tool) ?? [];
  const manifest = documents.find((it) => it.name === MANIFEST_NAME);
  const { listed, count } = dependenciesOf(inventory);
  return {
    buildDefinition: {
      buildType: BUILD_TYPE,
      externalParameters: {
        stream,
        epoch,
        serial,
        ...(manifest && { manifest: { name: MANIFEST_NAME, digest: { sha256: hexOf(manifest.digest) } } }),
      },
      internalParameters: { dependencies: count },
      resolvedDependencies: [{ name: LOCK_NAME, digest: { sha256: hexOf(lock) } }, ...listed],
    },
    runDetails: {
      builder: { id: BUILDER, version: { airferry: version } },
      metadata: { finishedOn: created },
    },
  };
}

/**
 * What came from upstream, by URL and digest, without what the packer made itself: the first of it, and how much there
 * is. There may be 200,000 lines, which are made as they are asked for.
 */
function dependenciesOf({ catalog, entries }: Inventory): { listed: Descriptor[]; count: number } {
  const lines: { path: string; source: string }[] = [];
  let count = catalog.images.length;
  for (const { path, source, kind } of catalog.provenance) {
    if (kind === "generated" || kind === "image") continue;
    if (count++ < catalog.images.length + MAX_DEPENDENCIES) lines.push({ path, source });
  }
  const wanted = new Set(lines.map((it) => it.path));
  const digests = new Map<string, string>();
  for (const { path, digest } of entries) if (wanted.has(path)) digests.set(path, hexOf(digest));
  const files = lines.map(({ path, source }): Descriptor => {
    const digest = digests.get(path);
    const isUrl = /^[a-z][a-z0-9+.-]*:/i.test(source);
    return { name: path, ...(isUrl && { uri: source }), ...(digest !== undefined && { digest: { sha256: digest } }) };
  });
  const images = catalog.images.map(({ reference, digest }): Descriptor => {
    const [, sha256] = /^sha256:([0-9a-f]{64})$/.exec(digest) ?? [];
    return { uri: `oci://${reference}`, ...(sha256 !== undefined && { digest: { sha256 } }) };
  });
  const listed: Descriptor[] = [];
  let left = MAX_DEPENDENCY_BYTES;
  for (const it of [...images, ...files].slice(0, MAX_DEPENDENCIES)) {
    left -= Buffer.byteLength(JSON.stringify(it));
    if (left < 0) break;
    listed.push(it);
  }
  return { listed, count };
}

/** What a scanner said: the in-toto predicate for vulnerability scans, in which no result means that it is clean. */
export function scanPredicate(scan: ScanReport): unknown {
  const { command, version, host, started, finished, result, files, bytes, images, gaps, findings } = scan;
  const program = command.find((it) => it !== "env" && !/^[A-Za-z_]\w*=/.test(it)) ?? "scanner";
  // A scanner may end with 1 and print nothing.
  const found = findings.length === 0 ? ["found something, and printed nothing"] : findings;
  return {
    scanner: {
      uri: `pkg:generic/${encodeURIComponent(program.slice(program.lastIndexOf("/") + 1))}`,
      version: version ?? "unknown",
      result: (result === "clean" ? [] : found.slice(0, MAX_RESULTS)).map((it) => ({
        id: it.slice(0, MAX_RESULT_CHARS),
        severity: [],
      })),
    },
    metadata: {
      scanStartedOn: started,
      scanFinishedOn: finished,
      annotations: [
        {
          host,
          command: command.join(" ").slice(0, MAX_COMMAND_CHARS),
          files,
          bytes,
          images: images.length,
          gaps: gaps.length,
        },
      ],
    },
  };
}
