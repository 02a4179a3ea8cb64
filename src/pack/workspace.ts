/**
 * The starting point of `lock`, `plan` and `pack`: a validated manifest, its paths, and access to upstream. The caller
 * who opens a workspace closes it.
 */
import type { FetcherOptions } from "../fetch/fetcher.ts";
import type { FetchEvent, Fetcher } from "../fetch/types.ts";
import type { Kind } from "../io/types.ts";
import { filePathOf, imageName } from "../manifest/entry-names.ts";
import { pathsOf } from "../manifest/file-names.ts";
import { readManifest } from "../manifest/load.ts";
import { requestDigest } from "../manifest/request.ts";
import type { Manifest } from "../manifest/schema.ts";
import { DownloadCache, defaultCacheDir } from "../sources/cache.ts";
import type { UnpackedVendor } from "../sources/local-path.ts";
import { withCompanions } from "../sources/rpm/companion-entries.ts";

export interface WorkspaceOptions {
  /** `FROM=TO`: URL prefixes or registry hosts to replace when fetching. */
  rewrites?: readonly { from: string; to: string }[];
  /** Concurrent requests to one host. */
  concurrency?: number;
  /** Segments to fetch one large file in; 1: none. */
  segments?: number;
  cacheDir?: string;
  onEvent?: (event: FetchEvent) => void;
  /** Reports progress, one line of text. */
  report?: (line: string) => void;
}

export interface Workspace extends AsyncDisposable {
  /** The manifest's path as the user gave it. */
  readonly file: string;
  /** As in the file, with the parts of the vendor's archive instead of `vendor:`. */
  readonly manifest: Manifest;
  /** The vendor's archive, if the manifest has one. */
  readonly unpacked?: UnpackedVendor;
  readonly paths: ReturnType<typeof pathsOf>;
  /** Every entry of the manifest with the digest of its text. */
  readonly requests: readonly { kind: Kind; name: string; request: string }[];
  readonly fetcher: Fetcher;
  readonly cache: DownloadCache;
}

/** @throws {AirferryError} ERR_MANIFEST_INVALID, ERR_USAGE */
export async function openWorkspace(file: string, options: WorkspaceOptions = {}): Promise<Workspace> {
  const read = await readManifest(file);
  const paths = pathsOf(file);
  const cacheDir = options.cacheDir ?? defaultCacheDir();
  const report = options.report ?? (() => {});
  const opened =
    read.vendor &&
    (await (
      await import("../sources/vendor-archive.ts")
    ).openVendor(read, read.vendor, paths.baseDir, cacheDir, report));
  const manifest = opened?.manifest ?? read;
  const fetcher = fetcherOnDemand({
    baseDir: paths.baseDir,
    ...(manifest.hosts && { hosts: manifest.hosts }),
    ...(options.rewrites && { rewrites: options.rewrites }),
    ...(options.concurrency !== undefined && { concurrency: options.concurrency }),
    ...(options.segments !== undefined && { segments: options.segments }),
    ...(options.onEvent && { onEvent: options.onEvent }),
  });
  return {
    file,
    manifest,
    ...(opened && { unpacked: opened.unpacked }),
    paths,
    requests: requestsOf(manifest),
    fetcher,
    cache: new DownloadCache(cacheDir),
    [Symbol.asyncDispose]: () => fetcher.close(),
  };
}

/** A fetcher whose code is loaded when it is first asked: a manifest of files that are here needs nothing of HTTP. */
function fetcherOnDemand(options: FetcherOptions): Fetcher {
  let loading: Promise<Fetcher> | undefined;
  let isClosed = false;
  const make = async () => {
    const { createFetcher } = await import("../fetch/fetcher.ts");
    const fetcher = createFetcher(options);
    if (isClosed) await fetcher.close();
    return fetcher;
  };
  const fetcher = () => {
    loading ??= make();
    return loading;
  };
  return {
    head: async (target, signal) => (await fetcher()).head(target, signal),
    fetchBytes: async (target, signal) => (await fetcher()).fetchBytes(target, signal),
    fetchInto: async (target, sink, signal) => (await fetcher()).fetchInto(target, sink, signal),
    close: async () => {
      isClosed = true;
      await (await loading)?.close();
    },
  };
}

function requestsOf(manifest: Manifest): Workspace["requests"] {
  const of = <E extends object>(kind: Kind, entries: readonly E[] | undefined, nameOf: (entry: E) => string) =>
    (entries ?? []).map((entry) => ({ kind, name: nameOf(entry), request: requestDigest(entry) }));
  return [
    ...of("iso", manifest.isos, (it) => it.name),
    ...of("rpm", withCompanions(manifest.rpms ?? []), (it) => it.name),
    ...of("file", manifest.files, filePathOf),
    ...of("image", manifest.images, imageName),
  ];
}
