/**
 * A site without listeners: what a server would answer for the releases that are current now, for whoever writes it
 * down. The same handlers answer, so that nothing is said twice. Pages leave out what needs a program behind them.
 */
import { AirferryError } from "../../errors.ts";
import { releaseMemory } from "../../io/flat-memory.ts";
import { printable } from "../../io/printable.ts";
import type { Release, StoreReader } from "../../store/types.ts";
import type { BlobContent } from "../http/blob.ts";
import type { TreeView } from "../http/context.ts";
import type { FileSource } from "../http/handles.ts";
import { askInMemory, type MemoryAnswer } from "../http/memory-answer.ts";
import { ReadCheck } from "../http/read-check.ts";
import { Resources } from "../http/resources.ts";
import { createRouter, type Observer } from "../http/router.ts";
import { MAX_HISTORY } from "../pages/browse.ts";
import { PageState } from "../pages/pages-state.ts";
import { pageMounts } from "../pages/routes.ts";
import { registryMounts } from "../registry/registry-handler.ts";
import { IndexMaker } from "./index-maker.ts";
import { createServeContext } from "./serve-context.ts";

interface SilentSiteOptions {
  store: StoreReader;
  /** Brings blobs that are not at their paths. */
  source?: FileSource | undefined;
  /** The releases, which stay the same until the site is closed. */
  releases: readonly Release[];
  /** The base URL in pages and configuration, without a slash at its end. */
  url: string;
  /** Whether the pages lead to `/config/`. */
  hasConfig: boolean;
  /** PEM of the CA of the web server's certificate. */
  caCertificate?: string | undefined;
  /** Hears what is unusable in a release. */
  onFault(error: unknown): void;
}

/** What would be answered. Close it. */
export interface SilentSite {
  readonly view: TreeView;
  /** The file that a plain GET of a target is answered with, where no handler needs to look. */
  content(target: string): BlobContent | undefined;
  /** The answer to a GET. @throws what a handler threw */
  ask(target: string): Promise<MemoryAnswer>;
  /** Where its blobs are. */
  readonly store: StoreReader;
  /** Names of the releases of a stream that have pages, newest first. */
  history(stream: string): Promise<string[]>;
  close(): void;
}

/** Opens it. @throws {AirferryError} ERR_STORE_INVALID when no release can be shown */
export async function openSilentSite(options: SilentSiteOptions): Promise<SilentSite> {
  const { releases, url, hasConfig, caCertificate, onFault } = options;
  const { store } = options;
  const fixed: StoreReader = {
    dir: store.dir,
    releases: async () => releases,
    blobPath: (digest) => store.blobPath(digest),
    pieceLists: async (path, size) => store.pieceLists?.(path, size),
    ...(store.records !== undefined && { records: store.records }),
  };
  const context = await createServeContext({
    store: fixed,
    url,
    caCertificate,
    onStoreFault: onFault,
    written: { hasConfig },
  });
  const check = new ReadCheck("once", async (path, size) => fixed.pieceLists?.(path, size), onFault);
  const resources = new Resources(undefined, 1, undefined, check, options.source);
  const indexes = new IndexMaker();
  const pages = pageMounts(new PageState(resources.files, (order) => indexes.make(order)));
  const mounts = [...pages.main, ...registryMounts(), pages.images];
  let fault: unknown;
  const silent: Observer = { begin: () => {} };
  const router = createRouter(mounts, context, resources, silent, (error) => {
    fault = error;
  });
  const { host } = new URL(url);
  const view = await context.view();
  return {
    view,
    content: (target) => router.content(target, view, host)?.content,
    async ask(target) {
      fault = undefined;
      const answer = await askInMemory(router, target, host);
      if (fault !== undefined) throw fault;
      if (answer.status >= 500) throw new AirferryError("ERR_IO", `cannot make ${printable(target)}: it was cut off`);
      return answer;
    },
    store,
    history: async (stream) => {
      const past = await store.records?.history(stream, MAX_HISTORY);
      return (past ?? []).map((it) => it.name);
    },
    close() {
      resources.closeIdle();
      releaseMemory();
    },
  };
}
