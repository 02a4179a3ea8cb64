/**
 * What a parser's thread runs (src/io/parser-thread.ts): one parser out of this list. Each is loaded when it is asked for, so that
 * a thread starts quickly.
 */
import { answerInThread } from "./io/parser-thread.ts";

// seek-bzip makes its buffers by the old constructor, which nobody who runs airferry can do anything about.
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
  manifest: async (bytes, args) =>
    (await import("./manifest/load.ts")).parseManifest(text(bytes), ...(args as [string])),
  modules: async (bytes, args) => (await import("./rpm/modulemd.ts")).parseModules(bytes, ...(args as [string])),
});
