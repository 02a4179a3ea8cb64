/**
 * The handlers' interface to the server and its store: the current tree, refreshed at most once a second, and the
 * address by which a client knows this server.
 */
import type { IncomingMessage } from "node:http";
import type { TLSSocket } from "node:tls";
import { releaseMemory } from "../../io/flat-memory.ts";
import type { Release, StoreReader } from "../../store/types.ts";
import type { ServeContext, TreeView, WrittenPages } from "../http/context.ts";
import type { TrustedProxies } from "../http/forwarded.ts";
import { authorityOf } from "../http/host-header.ts";
import { createTreeView } from "../pages/entry-tree.ts";
import { UsableReleases } from "./usable.ts";

const LOOK_AGAIN_MS = 1000;

/** Options of a context. */
interface ServeContextOptions {
  store: StoreReader;
  /** The base URL announced to clients, regardless of the request. */
  url?: string | undefined;
  proxies?: TrustedProxies | undefined;
  caCertificate?: string | undefined;
  origins?: ServeContext["origins"] | undefined;
  /** Set where the answers are written down as files. */
  written?: WrittenPages;
  /** Called when the store is unreadable; the last good tree stays in use. */
  onStoreFault?: ((error: unknown) => void) | undefined;
  /** Called when other releases than before are current. */
  onReleases?: ((releases: readonly Release[]) => void) | undefined;
}

/** A context that can be told to look. */
interface RefreshedContext extends ServeContext {
  /** The tree as it is now, however fresh the known one is. */
  lookNow(): Promise<TreeView>;
}

/**
 * Creates the context of a server. Reads the store once before it resolves, so that a broken one is detected at the
 * start.
 */
export async function createServeContext(options: ServeContextOptions): Promise<RefreshedContext> {
  const { store, url, caCertificate, proxies } = options;
  /** The last faults, so that each is reported once. */
  let reported = new Set<string>();
  const toldOfView = new Set<string>();
  const tellFaults = (more: readonly Error[]) => {
    const faults = [...(store.faults ?? []).map((it) => it.error), ...more];
    for (const error of faults) if (!reported.has(error.message)) options.onStoreFault?.(error);
    reported = new Set(faults.map((it) => it.message));
  };
  const usable = new UsableReleases(store.areTried);
  const releases = await store.releases();
  let view = createTreeView(await usable.among(releases), options.written);
  const [unusable] = usable.faults;
  if (unusable !== undefined && view.releases.length === 0) throw unusable;
  tellFaults(usable.faults);
  let isFresh = false;
  // A timer, since a look at the clock with each request would cost more than all else that is done for some.
  const keepFresh = (): void => {
    isFresh = true;
    setTimeout(() => {
      isFresh = false;
    }, LOOK_AGAIN_MS).unref();
  };
  keepFresh();
  let looking: Promise<TreeView> | undefined;

  async function look(): Promise<TreeView> {
    try {
      const releases = await usable.among(await store.releases());
      tellFaults(usable.faults);
      if (!isSame(releases, view.releases)) {
        view = createTreeView(releases, options.written);
        toldOfView.clear();
        options.onReleases?.(releases);
        // Those before may be large, and nothing else would be in a hurry to collect them.
        setImmediate(releaseMemory);
      }
    } catch (error) {
      options.onStoreFault?.(error);
    } finally {
      keepFresh();
      looking = undefined;
    }
    return view;
  }

  const base = url?.replace(/\/+$/, "");
  return {
    store,
    proxies,
    ...(caCertificate === undefined ? {} : { caCertificate }),
    ...(options.origins === undefined ? {} : { origins: options.origins }),
    async view() {
      if (isFresh) return view;
      looking ??= look();
      return await looking;
    },
    lookNow: () => {
      looking ??= look();
      return looking;
    },
    freshView: () => (isFresh ? view : undefined),
    tellFault(error) {
      const message = String(error);
      if (!toldOfView.has(message)) options.onStoreFault?.(error);
      toldOfView.add(message);
    },
    baseUrl: (req) => base ?? requestBaseUrl(req, proxies),
  };
}

function isSame(a: readonly Release[], b: readonly Release[]): boolean {
  return (
    a === b ||
    (a.length === b.length &&
      a.every((release, i) => release.digest === b[i]?.digest && release.stream === b[i]?.stream))
  );
}

function requestBaseUrl(req: IncomingMessage, proxies: TrustedProxies | undefined): string {
  const socket = req.socket as Partial<TLSSocket> & IncomingMessage["socket"];
  const forwarded = proxies?.addressOf(req);
  const scheme = forwarded?.scheme ?? (socket.encrypted === true ? "https" : "http");
  const host = forwarded?.host ?? authorityOf(req);
  if (host !== "") return `${scheme}://${host}`;
  const { localAddress = "localhost", localPort = 0 } = socket;
  return `${scheme}://${localAddress.includes(":") ? `[${localAddress}]` : localAddress}:${localPort}`;
}
