/** Locks one entry of `images:`, by what it names. See docs/images.md. */

import { AirferryError } from "../../errors.ts";
import { reachOf, stepFault } from "../../http/named.ts";
import { mapLimited } from "../../io/limit.ts";
import type { ImageEntry, Manifest } from "../../manifest/schema.ts";
import { formatReference, parseReference, type Reference, repositoryOf, repositoryUrl } from "../../oci/reference.ts";
import type { LockContext } from "../types.ts";
import { lockChart } from "./chart.ts";
import { type ChartMetadata, readChart } from "./chart-archive.ts";
import { imagesOfChart } from "./chart-images.ts";
import { type Collected, collectImage } from "./collect.ts";
import type { ImageDetail } from "./image-detail.ts";
import { lockArchive } from "./lock-archive.ts";
import { ociChart } from "./oci-chart.ts";
import { namingImage, registryOf } from "./registry-access.ts";
import { pickTags } from "./select-tags.ts";

/** Images of one entry locked at once. */
const TAG_CONCURRENCY = 4;
/** What an entry resolves to. */
interface Content {
  collected: Collected[];
  detail: ImageDetail;
}

/**
 * Locks what an entry names: one image, those that a pattern selects, an archive, or a chart with what it needs.
 * @throws {AirferryError} ERR_MANIFEST_INVALID, ERR_UPSTREAM*
 */
export async function lockContent(entry: ImageEntry, context: LockContext): Promise<Content> {
  if (entry.chart !== undefined) return lockHelmChart(entry, context);
  if (entry.archive !== undefined) return lockArchive(entry, context);
  if (entry.tags !== undefined) return lockTags(entry, context);
  const reference = parseReference(entry.ref as string);
  const served = entry.as === undefined ? reference : parseReference(entry.as);
  const { host, path } = reference;
  const one = await lockReference(reference, served, entry, context);
  const content = {
    collected: [one],
    detail: { images: [one.image], registry: { host, path, insecure: isInsecure(entry) } },
  };
  const packed = await checkedChart(one, reference, entry, context);
  if (entry.images !== true || packed === undefined) return content;
  const bytes = await packed.read();
  return withNeeded(content, await readChart(bytes, entry.ref as string), bytes, entry, context);
}

const isInsecure = (entry: ImageEntry) => entry.insecure === true;

/** Looks for a chart in what was locked, and checks its provenance. */
function checkedChart(one: Collected, reference: Reference, entry: ImageEntry, context: LockContext) {
  const origin = registryOf(reference, isInsecure(entry), context.manifest, context);
  return namingImage(origin.name, () => ociChart(one, origin, entry, context));
}

/** One image, by its upstream reference. */
async function lockReference(
  reference: Reference,
  served: Reference,
  entry: ImageEntry,
  context: LockContext,
): Promise<Collected> {
  const shown = formatReference(reference);
  const origin = registryOf(reference, isInsecure(entry), context.manifest, context);
  const wanted = reference.digest ?? reference.tag;
  const root = await namingImage(origin.name, () =>
    origin.manifest(
      reference.digest !== undefined
        ? { digest: reference.digest, mediaType: "", size: 0 }
        : { tag: reference.tag as string },
    ),
  );
  if (root === undefined) {
    throw new AirferryError(
      "ERR_UPSTREAM",
      `cannot lock image "${shown}": ${repositoryOf(reference)} has no ${wanted}`,
      {
        path: shown,
        hint: "check the name and the tag in the manifest; some registries also answer this if a login is needed",
      },
    );
  }
  context.report(`image ${shown} is ${root.digest}`);
  return namingImage(origin.name, () =>
    collectImage(origin, root, {
      reference: formatReference(served),
      platforms: entry.platforms,
      referrers: entry.referrers !== false,
      foreignLayers: entry.foreign_layers === true,
      registry: new URL(repositoryUrl(reference, isInsecure(entry))),
      established: reference.digest === undefined ? "first-sight" : "manifest",
      allowMissing: false,
      hint: `list what exists: skopeo inspect --raw docker://${shown}`,
      kept: context.kept,
      report: context.report,
    }),
  );
}

/** Every tag that `tags:` selects, newest first. */
async function lockTags(entry: ImageEntry, context: LockContext): Promise<Content> {
  const reference = parseReference(entry.ref as string);
  const { host, path } = reference;
  const served = entry.as === undefined ? reference : parseReference(entry.as);
  const origin = registryOf(reference, isInsecure(entry), context.manifest, context);
  const tags = await namingImage(origin.name, () => pickTags(origin, entry));
  context.report(`image ${repositoryOf(reference)}: selected ${tags.join(", ")}`);
  const collected = await mapLimited(tags, TAG_CONCURRENCY, (tag) =>
    lockTag({ host, path, tag }, { host: served.host, path: served.path, tag }, entry, context),
  );
  const images = collected.map(({ image }, index) => ({
    ...image,
    source: `${repositoryOf(reference)}:${tags[index]}`,
  }));
  return { collected, detail: { images, registry: { host, path, insecure: isInsecure(entry) } } };
}

async function lockTag(reference: Reference, served: Reference, entry: ImageEntry, context: LockContext) {
  const one = await lockReference(reference, served, entry, context);
  await checkedChart(one, reference, entry, context);
  return one;
}

/** A chart of an HTTP repository, and with `images: true` what it needs. */
async function lockHelmChart(entry: ImageEntry, context: LockContext): Promise<Content> {
  const { image, artifacts, chart, bytes } = await lockChart(entry, context);
  const content = { collected: [{ image, artifacts }], detail: { images: [image] } };
  return entry.images === true ? withNeeded(content, chart, bytes, entry, context) : content;
}

/** Adds the images that a chart needs, under their own names. */
async function withNeeded(
  { collected, detail }: Content,
  chart: ChartMetadata,
  bytes: Buffer,
  entry: ImageEntry,
  context: LockContext,
): Promise<Content> {
  const source = `chart ${chart.name} ${chart.version}`;
  const { values = [] } = entry;
  const { baseDir, report, manifest } = context;
  const references = await imagesOfChart({
    chart,
    bytes,
    values,
    baseDir,
    kubeVersion: kubernetesVersion(manifest.builder),
    shown: `${chart.name} ${chart.version}`,
    report,
  });
  const needed = await mapLimited(references, TAG_CONCURRENCY, async (text) => {
    const reference = parseReference(text);
    await checkReach(reference, source, entry);
    return lockReference(reference, reference, entry, context).catch((error: unknown) => {
      if (!(error instanceof AirferryError)) throw error;
      throw new AirferryError(error.code, `${error.message} (${source} needs it)`, {
        path: error.path,
        cause: error.cause,
        hint: error.hint ?? "if that part of the chart is not used, disable it in a values file:",
      });
    });
  });
  return {
    collected: [...collected, ...needed],
    detail: {
      ...detail,
      images: [...detail.images, ...needed.map(({ image }) => ({ ...image, source }))],
      needed: references.map(parseReference).map(({ host, path }) => ({ host, path, insecure: isInsecure(entry) })),
    },
  };
}

/** The cluster's Kubernetes version, if the manifest says it. */
function kubernetesVersion(builder: Manifest["builder"]): string | undefined {
  return (builder?.imageconfig?.["k8s_version"] ?? builder?.packer_vars?.["kubernetes_semver"])?.toString();
}

/**
 * A chart must not be able to direct requests into the site's own network. @throws {AirferryError} ERR_UPSTREAM_INVALID
 */
async function checkReach(reference: Reference, source: string, entry: ImageEntry): Promise<void> {
  const { host, path } = parseReference(entry.ref ?? "registry.invalid/chart");
  const from = new URL(entry.repo ?? repositoryUrl({ host, path }, isInsecure(entry)));
  const to = new URL(repositoryUrl(reference, isInsecure(entry)));
  const fault = await stepFault(from.protocol === to.protocol ? from : undefined, to, reachOf(from, from.hostname));
  if (fault === undefined) return;
  throw new AirferryError(
    "ERR_UPSTREAM_INVALID",
    `cannot lock image "${formatReference(reference)}": ${source} leads ${fault}`,
    {
      path: formatReference(reference),
      hint: "if the image is intended, name it under images: and remove images: true",
    },
  );
}
