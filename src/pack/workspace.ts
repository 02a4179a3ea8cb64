/**
 * The starting point of `lock`, `plan` and `pack`: a validated manifest, its paths, and access to upstream. The caller
 * who opens a workspace closes it.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { FetcherOptions } from "../fetch/fetcher.ts";
import type { FetchEvent, Fetcher } from "../fetch/types.ts";
import { keepHeapSmall } from "../io/flat-memory.ts";
import { pathsOf } from "../manifest/file-names.ts";
import { readManifest, STDIN } from "../manifest/load.ts";
import type { Manifest } from "../manifest/schema.ts";
import { DownloadCache, defaultCacheDir } from "../sources/cache.ts";
import type { HashedState } from "../sources/hashed-bytes.ts";
import type { UnpackedVendor } from "../sources/local-path.ts";

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
  /** Called while local files are hashed to lock them. */
  onHashed?: (state: HashedState) => void;
}

export interface Workspace extends AsyncDisposable {
  /** The manifest's path as the user gave it. */
  readonly file: string;
  /** The text of the file. */
  readonly text: string;
  /** As in the file, with the parts of the vendor's archive instead of `vendor:`. */
  readonly manifest: Manifest;
  /** The vendor's archive, if the manifest has one. */
  readonly unpacked?: UnpackedVendor;
  readonly paths: ReturnType<typeof pathsOf>;
  readonly fetcher: Fetcher;
  readonly cache: DownloadCache;
  readonly onHashed: ((state: HashedState) => void) | undefined;
}

/** @throws {AirferryError} ERR_MANIFEST_INVALID, ERR_USAGE */
export async function openWorkspace(file: string, options: WorkspaceOptions = {}): Promise<Workspace> {
  keepHeapSmall();
  let text = "";
  const read = await readManifest(file, (it) => {
    text = it;
  });
  // Nothing is beside standard input: its lock is forgotten with the workspace, and paths begin in the current folder.
  const passing = file === STDIN ? await mkdtemp(join(tmpdir(), "airferry-")) : undefined;
  const paths = passing === undefined ? pathsOf(file) : { ...pathsOf(join(passing, "stdin.yaml")), baseDir: "." };
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
    text,
    ...(opened && { unpacked: opened.unpacked }),
    paths,
    fetcher,
    cache: new DownloadCache(cacheDir),
    onHashed: options.onHashed,
    [Symbol.asyncDispose]: async () => {
      await fetcher.close();
      if (passing !== undefined) await rm(passing, { recursive: true, force: true });
    },
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
