/**
 * The code of a parser thread (src/io/parser-thread.ts): one parser of this list. Each is loaded on demand, so that a
 * thread starts quickly.
 */
import type { Digest } from "./io/digest.ts";
import { answerInThread } from "./io/parser-thread.ts";
import type { MetadataPlace } from "./packages/types.ts";

// seek-bzip creates its buffers with the deprecated constructor, which users of airferry cannot change.
process.noDeprecation = true;

const text = (bytes: Uint8Array) => Buffer.from(bytes).toString("utf8");

void answerInThread({
  bzip2: async (bytes, args) => (await import("./rpm/bzip2.ts")).decodeBzip2(bytes, ...(args as [number])),
  chart: async (bytes, args) =>
    (await import("./sources/image/chart-archive.ts")).parseChart(bytes, ...(args as [string])),
  chartImages: async (bytes) => (await import("./sources/image/chart-images.ts")).listImages(text(bytes)),
  chartIndex: async (bytes, args) =>
    (await import("./sources/image/chart-index.ts")).findChart(
      text(bytes),
      ...(args as [string, string | undefined, string]),
    ),
  differences: async (_, args) =>
    (await import("./compare/releases.ts")).compareReleases(...(args as [string, string])),
  manifest: async (bytes, args) =>
    (await import("./manifest/load.ts")).parseManifest(text(bytes), ...(args as [string])),
  packages: async (_, args) =>
    (await import("./packages/build-index.ts")).buildIndex(...(args as [Digest, MetadataPlace[]])),
  release: async (_, args) => {
    const { readRelease } = await import("./store/release-record.ts");
    const { shareRelease } = await import("./store/share-release.ts");
    return shareRelease(await readRelease(...(args as [string])));
  },
  examinedManifest: async (bytes, args) =>
    (await import("./manifest/load.ts")).examineManifest(text(bytes), ...(args as [string])),
  source: async (bytes, args) => (await import("./init/recognise.ts")).readSource(text(bytes), ...(args as [string])),
  modules: async (bytes, args) => (await import("./rpm/modulemd.ts")).parseModules(bytes, ...(args as [string])),
});
