/**
 * A chart of an HTTP repository, carried as the OCI artifact that `helm push` would create: inside the gap it is pulled
 * with `helm pull oci://…`. The digest comes from the index, the provenance file, or first sight. See Helm, "Use
 * OCI-based registries", and "Helm Provenance and Integrity".
 */

import { AirferryError } from "../../errors.ts";
import { httpStatusOf } from "../../http/failure.ts";
import { BY_USER, namerOf } from "../../http/named.ts";
import { digestOf } from "../../io/digest.ts";
import { redactUrl } from "../../io/redact.ts";
import type { Established } from "../../io/types.ts";
import type { ImageEntry } from "../../manifest/schema.ts";
import { OCI_MANIFEST } from "../../oci/media-types.ts";
import { blobPath, type OciDigest } from "../../oci/oci-digest.ts";
import { checkReference, formatReference, parseReference } from "../../oci/reference.ts";
import type { LockedArtifact } from "../locked-artifact.ts";
import { baseOf, resolveHref } from "../rpm/location.ts";
import { readKeysOf } from "../rpm/repository-keys.ts";
import type { LockContext } from "../types.ts";
import { type ChartMetadata, MAX_CHART_BYTES, readChart } from "./chart-archive.ts";
import { findChartIn, MAX_CHART_INDEX_BYTES } from "./chart-index.ts";
import type { LockedImage } from "./image-detail.ts";

const HELM_CONFIG = "application/vnd.cncf.helm.config.v1+json";
export const HELM_CONTENT = "application/vnd.cncf.helm.chart.content.v1.tar+gzip";
export const HELM_PROVENANCE = "application/vnd.cncf.helm.chart.provenance.v1.prov";
export const MAX_PROVENANCE_BYTES = 1024 * 1024;

interface LockedChart {
  image: LockedImage;
  artifacts: LockedArtifact[];
  chart: ChartMetadata;
  /** The packaged chart. */
  bytes: Buffer;
}

/**
 * Finds, fetches and checks a chart.
 * @throws {AirferryError} ERR_MANIFEST_INVALID, ERR_UPSTREAM*, ERR_UPSTREAM_DIGEST, ERR_UPSTREAM_SIGNATURE when `keys:`
 *   is given and the provenance file is absent or not signed by one of them
 */
export async function lockChart(entry: ImageEntry, context: LockContext): Promise<LockedChart> {
  const name = entry.chart as string;
  const base = baseOf((entry.repo as string).replace(/\/+(?=$|[?#])/, ""));
  const index = resolveHref("index.yaml", base);
  const { bytes: text } = await context.fetcher.fetchBytes({
    urls: [index],
    named: BY_USER,
    maxBytes: MAX_CHART_INDEX_BYTES,
  });
  const found = await findChartIn(text, name, entry.version, redactUrl(index));
  const urls = [...new Set(found.urls.map((it) => resolveUrl(it, base, name)))];
  const { bytes, url } = await context.fetcher.fetchBytes({
    urls,
    maxBytes: MAX_CHART_BYTES,
    named: namerOf(urls, [base]),
    ...(found.digest !== undefined && { integrity: found.digest }),
  });
  const shown = redactUrl(url);
  const chart = await readChart(bytes, shown);
  if (chart.name !== name || chart.version !== found.version) {
    throw new AirferryError(
      "ERR_UPSTREAM_INVALID",
      `cannot lock chart "${name}": "${shown}" is another chart: expected ${name} ${found.version}, got ${chart.name} ${chart.version}`,
      { path: name, hint: "the repository is at fault" },
    );
  }
  const digest = digestOf(bytes);
  const proof = new URL(url);
  proof.pathname += ".prov";
  const provenance = await provenanceAt(proof.href, entry, base, context);
  const signedBy =
    provenance &&
    (await checkProvenance({ name, shown: redactUrl(proof), provenance, digest, entry, asChart: true, context }));
  const established: Established =
    signedBy !== undefined ? "upstream-signed" : found.digest !== undefined ? "upstream-checksum" : "first-sight";
  const reference = referenceOf(entry, chart, base);
  context.report(`chart ${name} ${chart.version} is ${digest}`);
  const { annotations: _, ...config } = chart;
  const parts: [mediaType: string, content: Buffer][] = [
    [HELM_CONTENT, bytes],
    ...(provenance === undefined ? [] : ([[HELM_PROVENANCE, provenance]] as [string, Buffer][])),
  ];
  const configBytes = Buffer.from(JSON.stringify(config));
  const descriptorOf = (mediaType: string, content: Buffer) => ({
    mediaType,
    digest: digestOf(content),
    size: content.length,
  });
  const manifest = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: OCI_MANIFEST,
      config: descriptorOf(HELM_CONFIG, configBytes),
      layers: parts.map(([mediaType, content]) => descriptorOf(mediaType, content)),
      annotations: {
        "org.opencontainers.image.title": chart.name,
        "org.opencontainers.image.version": chart.version,
      },
    }),
  );
  const artifacts: LockedArtifact[] = [];
  for (const content of [manifest, configBytes, ...parts.map(([, it]) => it)]) {
    const kept = await context.kept.put(content);
    artifacts.push({
      path: blobPath(kept),
      size: content.length,
      integrity: kept,
      kept,
      established,
      ...(signedBy !== undefined && { signedBy }),
    });
  }
  const root = digestOf(manifest);
  return {
    chart,
    bytes,
    artifacts,
    image: {
      reference,
      digest: root,
      mediaType: OCI_MANIFEST,
      manifestSize: manifest.length,
      platforms: [],
      manifests: [root],
      referrers: [],
      tags: {},
      paths: artifacts.map((it) => it.path),
    },
  };
}

/** As helm resolves it: a relative URL gets the query of the repository's URL, which may grant access. */
function resolveUrl(text: string, base: string, name: string): string {
  if (URL.canParse(text, base)) {
    const url = new URL(text, base);
    if (!URL.canParse(text) && url.search === "") url.search = new URL(base).search;
    if (url.protocol === "http:" || url.protocol === "https:") return url.href;
  }
  throw new AirferryError("ERR_UPSTREAM_INVALID", `cannot lock chart "${name}": its index names an invalid URL`, {
    path: name,
    hint: "charts of an OCI registry are named with ref:",
  });
}

/** `as:`, or host and path of the repository, the chart's name and version: tags have `_` where versions have `+`. */
function referenceOf(entry: ImageEntry, chart: ChartMetadata, base: string): string {
  const tag = chart.version.replaceAll("+", "_");
  const { host, pathname } = new URL(base);
  const name = entry.as ?? `${host}${pathname.replace(/\/+$/, "").toLowerCase()}/${chart.name}`;
  const text = `${name}:${tag}`;
  const wrong = checkReference(text);
  if (wrong === undefined) return formatReference(parseReference(text));
  throw new AirferryError(
    "ERR_MANIFEST_INVALID",
    `cannot lock chart "${chart.name}": "${text}" is not a reference: ${wrong.fault}`,
    {
      path: chart.name,
      hint: "name it: as: charts.example.com/name (its version becomes the tag)",
    },
  );
}

/** The provenance file next to the package; undefined if there is none. */
async function provenanceAt(
  url: string,
  entry: ImageEntry,
  base: string,
  { fetcher }: LockContext,
): Promise<Buffer | undefined> {
  try {
    const { bytes } = await fetcher.fetchBytes({
      urls: [url],
      maxBytes: MAX_PROVENANCE_BYTES,
      named: namerOf([url], [base]),
    });
    // Some servers answer with a page for missing files.
    if (entry.keys !== undefined || bytes.includes("-----BEGIN PGP SIGNED MESSAGE-----")) return bytes;
    return undefined;
  } catch (error) {
    const status = httpStatusOf(error);
    if (status === undefined) throw error;
    if (entry.keys === undefined && status < 500) return undefined;
    if (status >= 500) throw error;
    throw unsigned(entry.chart as string, `unavailable: status ${status}`, error);
  }
}

/** Keys are given, but nothing is signed. */
export function unsigned(name: string, fault: string, cause?: unknown): AirferryError {
  return new AirferryError(
    "ERR_UPSTREAM_SIGNATURE",
    `cannot verify chart "${name}": keys are given, but its provenance file is ${fault}`,
    { path: name, cause, hint: "remove keys: if the project signs no charts" },
  );
}

/** A provenance file, and the chart it must describe. */
interface ChartProof {
  name: string;
  /** Name of the file in messages. */
  shown: string;
  provenance: Buffer;
  /** Of the packaged chart. */
  digest: OciDigest;
  entry: ImageEntry;
  /** Requested explicitly as a chart: an unreadable file is an error then, otherwise it is only reported. */
  asChart: boolean;
  context: LockContext;
}

/**
 * Checks that the provenance file describes the package, signed or not. Returns the fingerprints of `keys:` that signed
 * it.
 * @throws {AirferryError} ERR_UPSTREAM_DIGEST, ERR_UPSTREAM_SIGNATURE
 */
export async function checkProvenance({
  name,
  shown,
  provenance,
  digest,
  entry,
  asChart,
  context,
}: ChartProof): Promise<string[] | undefined> {
  const keys = await readKeysOf("images", { name, keys: entry.keys, fingerprints: entry.fingerprints }, context);
  const { readClearsigned, requireGoodSignature, verifyClearsigned } = await import("../../sign/openpgp-verify.ts");
  const verdict = keys && (await verifyClearsigned(provenance, keys.keyring, shown));
  let text = verdict?.text;
  try {
    text ??= (await readClearsigned(provenance, shown)).text;
  } catch (error) {
    if (asChart) throw error;
    context.report(`chart ${name}: carried with a provenance file that cannot be read: ${(error as Error).message}`);
    return undefined;
  }
  const claimed = [...text.matchAll(/^ +\S+: (sha256:[0-9a-f]{64})\r?$/gm)].map(([, it]) => it);
  if (!claimed.includes(digest)) {
    throw new AirferryError(
      "ERR_UPSTREAM_DIGEST",
      `cannot lock chart "${name}": its provenance file describes another package: expected ${claimed.join(" or ") || "a digest"}, got ${digest}`,
      {
        path: name,
        expected: claimed[0],
        actual: digest,
        hint: "the repository is at fault, or the package was changed",
      },
    );
  }
  if (keys === undefined || verdict === undefined) return undefined;
  return requireGoodSignature(verdict, keys.keyring, shown);
}
