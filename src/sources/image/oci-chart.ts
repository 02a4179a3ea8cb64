/**
 * A chart stored in a registry as an OCI artifact: its package, and its provenance file in a second layer. See Helm,
 * "Use OCI-based registries", "Helm chart manifest".
 */
import { AirferryError } from "../../errors.ts";
import type { ImageEntry } from "../../manifest/schema.ts";
import { type Descriptor, parseImageManifest } from "../../oci/image-manifest.ts";
import { blobPath } from "../../oci/oci-digest.ts";
import type { LockContext } from "../types.ts";
import { checkProvenance, HELM_CONTENT, HELM_PROVENANCE, MAX_PROVENANCE_BYTES, unsigned } from "./chart.ts";
import { MAX_CHART_BYTES } from "./chart-archive.ts";
import type { Collected } from "./collect.ts";
import type { RegistryOrigin } from "./registry.ts";

/** The package, fetched on demand. */
interface OciChart {
  read(): Promise<Buffer>;
}

/**
 * Returns the chart in a locked artifact, undefined when it is not one; marks it as signed if `keys:` requires a
 * signature.
 * @throws {AirferryError} ERR_MANIFEST_INVALID when the entry's keys are for charts and it is not one;
 *   ERR_UPSTREAM_SIGNATURE, ERR_UPSTREAM_DIGEST when its provenance is wrong
 */
export async function ociChart(
  { image, artifacts }: Collected,
  origin: RegistryOrigin,
  entry: ImageEntry,
  context: LockContext,
): Promise<OciChart | undefined> {
  const kept = artifacts.find((it) => it.path === blobPath(image.digest))?.kept;
  const manifest = kept && parseImageManifest(await context.kept.get(kept), image.reference, image.mediaType);
  const layer = manifest?.layers.find((it) => it.mediaType === HELM_CONTENT);
  if (layer === undefined) {
    if (entry.images === true) throw noChart(image.reference, "images: true is for charts", "remove images:");
    if (entry.keys !== undefined)
      throw noChart(
        image.reference,
        "keys: are for charts",
        "remove keys:; keys of cosign are given with signatures: { keys: [cosign.pub] }",
      );
    return undefined;
  }
  const proof = manifest?.layers.find((it) => it.mediaType === HELM_PROVENANCE);
  if (proof !== undefined) {
    const signedBy = await checkProvenance({
      name: image.reference,
      shown: `provenance file of ${image.reference}`,
      provenance: await blobOf(origin, proof, "provenance file", image.reference, MAX_PROVENANCE_BYTES),
      digest: layer.digest,
      entry,
      asChart: entry.images === true,
      context,
    });
    if (signedBy !== undefined)
      for (const it of artifacts)
        if (image.paths.includes(it.path)) Object.assign(it, { established: "upstream-signed", signedBy });
  } else if (entry.keys !== undefined) throw unsigned(image.reference, "missing");
  return { read: () => blobOf(origin, layer, "package", image.reference, MAX_CHART_BYTES) };
}

function noChart(reference: string, fault: string, hint: string): AirferryError {
  return new AirferryError("ERR_MANIFEST_INVALID", `cannot lock image "${reference}": ${fault}, and it is not one`, {
    path: reference,
    hint,
  });
}

async function blobOf(
  origin: RegistryOrigin,
  blob: Descriptor,
  what: string,
  shown: string,
  maxBytes: number,
): Promise<Buffer> {
  if (blob.size <= maxBytes) {
    const bytes = await origin.blob(blob);
    if (bytes !== undefined) return bytes;
  }
  const fault = blob.size > maxBytes ? `too large: expected at most ${maxBytes} bytes, got ${blob.size}` : "missing";
  throw new AirferryError("ERR_UPSTREAM", `cannot read chart "${shown}": its ${what} is ${fault}`, { path: shown });
}
