/**
 * Everything that one thread serves: the listeners of one store, with their handlers, counters and access log. A site
 * is independent of other threads; workers.ts runs several.
 */
import type { RequestListener } from "node:http";
import { isMainThread } from "node:worker_threads";
import { CachedFiles } from "../../cache/cached-files.ts";
import type { AskCache, CacheCounts } from "../../cache/types.ts";
import { releaseMemory } from "../../io/flat-memory.ts";
import { plural } from "../../io/format.ts";
import { printableJson } from "../../io/printable.ts";
import { readSpace } from "../../io/space.ts";
import { originsOf } from "../../origins/origin-hosts.ts";
import type { StoreSource } from "../../store/bundle-store.ts";
import type { Release, StoreReader } from "../../store/types.ts";
import { gitMount } from "../git/git-handler.ts";
import type { ListenAddress } from "../http/address.ts";
import type { Mount, ServeContext, ServerRequest } from "../http/context.ts";
import type { Answers, HostTls, TlsMaterial } from "../http/endpoint.ts";
import type { FastAnswer } from "../http/fast-answer.ts";
import type { FastPathOptions } from "../http/fast-path.ts";
import { TrustedProxies } from "../http/forwarded.ts";
import { type Listener, listen, type PortSharing } from "../http/listener.ts";
import { ReadCheck, type VerifyReads } from "../http/read-check.ts";
import { isLocal, ReadGuard } from "../http/read-guard.ts";
import { Resources } from "../http/resources.ts";
import { createRouter, type FaultReporter, type Observer, type Router, type RouterOptions } from "../http/router.ts";
import { sendGenerated, sendText } from "../http/text-responses.ts";
import { PageState } from "../pages/pages-state.ts";
import { notFoundPages, pageMounts } from "../pages/routes.ts";
import { wantedPage } from "../pages/wanted-page.ts";
import { HtpasswdFile, withLogin } from "../registry/htpasswd.ts";
import { registryMounts } from "../registry/registry-handler.ts";
import { AccessLog } from "./access-log.ts";
import { type Counters, cacheCounters, countResponse, emptyCounters, routeOf, Tallies } from "./counters.ts";
import type { MakeIndex } from "./index-maker.ts";
import { formatMetrics } from "./metrics.ts";
import { OriginAnswers } from "./origin-answers.ts";
import { type OriginSettings, originContext } from "./origin-ca.ts";
import { createServeContext } from "./serve-context.ts";
import { type WantedBatch, WantedNotes } from "./wanted-notes.ts";

const CLOSE_IDLE_HANDLES_MS = 60_000;

/** Settings of a site: plain values, so that they can be passed to another thread. */
export interface SiteSettings {
  /** The store's directory, the cache of one, or bundles that are served where they are. */
  store: StoreSource;
  listen: ListenAddress;
  tls?: TlsMaterial;
  /** Listeners without TLS, with only what clients need before they trust the first. */
  listenHttp?: readonly ListenAddress[];
  /** Set when other threads listen on the same ports. */
  sharePorts?: PortSharing;
  /** How many threads share what this process may have open; default 1. */
  threads?: number;
  /** Descriptors that listen already, one for each of {@link addressesOf}, which they replace. */
  sockets?: readonly number[];
  /** Set when the plain listener, and those in here, answer under the names of the origins. */
  origins?: OriginSettings;
  url?: string;
  /** Addresses and networks of proxies in front, as TrustedProxies takes them. */
  trustProxy?: readonly string[];
  /** A path, or `-` for standard error. */
  accessLog?: string;
  /** htpasswd file: who may use the registry. */
  htpasswd?: string;
  /** The file that says what is wanted. */
  wanted?: string;
  /** Whether what is read is checked before it is sent; default `once`. */
  verifyReads?: VerifyReads;
  /** Of a cache: the size in bytes from which on clients are sent to the bucket. */
  redirectAbove?: number;
}

/** Callbacks of a site to its host. */
interface SiteHost {
  /** Opens what is served for reading. */
  openStore(source: StoreSource): Promise<StoreReader>;
  /** In the first thread: called when other releases than before are served. */
  noteReleases?(): void;
  /** The total counters of all threads of the site, given this one's. */
  collect(own: Counters): Promise<Counters>;
  /** Makes an index of packages, once for all threads of the site. */
  makeIndex: MakeIndex;
  /** Asks the thread that fills the cache, where a cache is served. */
  askCache?: AskCache | undefined;
  /** Counts of the cache, in the thread that fills it. */
  cacheCounts?: (() => CacheCounts) | undefined;
  /** Takes what clients of this thread asked for in vain. */
  noteWanted?(batch: WantedBatch): void;
  /** In the first thread: how many URLs are wanted. */
  wantedUrls?(): number;
  /** Reports a server-side fault to the operator. */
  report(message: string): void;
  /** Hears the origins of releases that came later. */
  noteOrigins?(origins: string[]): void;
}

/** The addresses of a site: the main one, the plain ones, those of the origins with TLS, the proxy's. */
export function addressesOf({
  listen,
  listenHttp,
  origins,
}: Pick<SiteSettings, "listen" | "listenHttp"> & {
  origins?: Pick<OriginSettings, "https" | "proxy">;
}): ListenAddress[] {
  const all = [listen, ...(listenHttp ?? []), ...(origins?.https ?? []), origins?.proxy];
  return all.filter((it) => it !== undefined);
}

/** The same settings with other addresses, in the order of {@link addressesOf}. */
export function withAddresses(settings: SiteSettings, addresses: readonly ListenAddress[]): SiteSettings {
  const left = [...addresses];
  const next = (before: ListenAddress) => left.shift() ?? before;
  const { listen, listenHttp, origins } = settings;
  return {
    ...settings,
    listen: next(listen),
    ...(listenHttp && { listenHttp: listenHttp.map(next) }),
    ...(origins && {
      origins: { ...origins, https: origins.https.map(next), ...(origins.proxy && { proxy: next(origins.proxy) }) },
    }),
  };
}

/** A running site. */
interface Site {
  /** In the order of {@link addressesOf}. */
  readonly listeners: readonly Listener[];
  counters(): Counters;
  /** The releases that it serves; looks for new ones at most once a second. */
  releases(): Promise<readonly Release[]>;
  /** Looks for new releases now. */
  look(): void;
  setTls(tls: TlsMaterial): void;
  /** Opens the access log again, after it was renamed. A log that cannot be opened is reported. */
  reopenLog(): void;
  /** Stops accepting, lets running responses finish within `graceMs`, and closes the log. */
  close(graceMs: number): Promise<void>;
}

/** Opens the store and starts to listen. @throws {AirferryError} as the store and {@link listen} do */
export async function startSite(settings: SiteSettings, host: SiteHost): Promise<Site> {
  const counts = emptyCounters();
  const listeners: Listener[] = [];
  const reportFault: FaultReporter = (error, path) => {
    counts.faults++;
    host.report(`cannot answer ${printableJson(path)}: ${error instanceof Error ? error.message : String(error)}`);
  };
  const reportUsers = (error: unknown): void => {
    counts.faults++;
    host.report(`${error instanceof Error ? error.message : String(error)}; the previous users stay valid`);
  };
  const store = await host.openStore(settings.store);
  const proxies = settings.trustProxy && new TrustedProxies(settings.trustProxy);
  const context = await createServeContext({
    store,
    url: settings.url,
    proxies,
    caCertificate: settings.tls?.ca,
    origins: settings.origins && originContext(settings.origins, settings.listenHttp ?? [], host.report),
    onStoreFault: (error) => reportFault(error, store.dir),
    onReleases(releases) {
      host.noteReleases?.();
      if (settings.origins) host.noteOrigins?.(originsOf(releases));
    },
  });
  const log = settings.accessLog === undefined ? undefined : new AccessLog(settings.accessLog);
  const notes = settings.wanted === undefined ? undefined : new WantedNotes((batch) => host.noteWanted?.(batch));
  const check = new ReadCheck(
    readsOf(settings),
    async (path, size) => store.pieceLists?.(path, size),
    (error) => context.tellFault(error),
  );
  const observer = createObserver(counts, log, notes, proxies);
  const tallies = new Tallies();
  const logFast =
    log &&
    (({ url: path, headers: { host, agent, forwardedFor }, client: peer, ...rest }: FastAnswer) =>
      log.write({ ...rest, ...asked(peer, forwardedFor, proxies), host, agent, method: "GET", path, status: 200 }));
  const isCache = typeof settings.store !== "string" && "cache" in settings.store;
  const source =
    isCache && host.askCache && new CachedFiles(store.dir, host.askCache, settings.verifyReads === "always");
  const counters = (): Counters => ({
    ...tallies.addedTo(counts),
    cache: source ? cacheCounters(source.hits, host.cacheCounts?.()) : {},
    connections: listeners.reduce((sum, listener) => sum + listener.connections(), 0),
    // Of all threads together.
    wanted: host.wantedUrls?.() ?? 0,
    damaged: Object.fromEntries(check.damaged.map((path) => [path, 1])),
    memory: isMainThread ? residentMemory() : {},
  });
  const [healthz, metrics] = healthMounts(store, () => host.collect(counters()), notes !== undefined);
  const htpasswd = settings.htpasswd && (await HtpasswdFile.open(settings.htpasswd, reportUsers));
  const findHeld = store.findHeld && ((name: string) => store.findHeld?.(name));
  const resources = new Resources(
    new ReadGuard(await isLocal(store.dir)),
    settings.threads,
    findHeld,
    check,
    source || undefined,
  );
  if (source && settings.redirectAbove !== undefined)
    resources.redirect = { above: settings.redirectAbove, urlOf: (path) => source.urlOf(path) };
  const pages = pageMounts(new PageState(resources.files, host.makeIndex));
  const notFound = notFoundPages(context);
  const registry = [...registryMounts(), pages.images];
  const guarded = htpasswd ? registry.map((it) => withLogin(it, htpasswd)) : registry;
  const wanted = settings.wanted === undefined ? [] : [wantedPage(settings.wanted)];
  const mainMounts = [...pages.main, ...guarded, ...wanted, gitMount(), healthz, metrics];
  const main = createRouter(mainMounts, context, resources, observer, reportFault, {
    notFoundPage: notFound,
  });
  const plainMounts = [...pages.plain, healthz];
  const routed = (mounts: readonly Mount[], parse?: RouterOptions["parse"]) =>
    createRouter(mounts, context, resources, observer, reportFault, parse === undefined ? {} : { parse });
  const answersOf = ({ answer, content }: Router, admits?: FastPathOptions["admits"]): Answers => ({
    answer,
    isProxy: proxies && ((address) => proxies.has(address)),
    fast: { context, resources, content, tally: tallies.of, log: logFast, admits },
  });
  const origins =
    settings.origins &&
    new OriginAnswers({ settings: settings.origins, context, routed, answersOf, plainMounts, registry: guarded });
  const plain = origins?.plain ?? answersOf(routed([...plainMounts, pages.elsewhere]));

  const { sharePorts: share, sockets = [] } = settings;
  const open = async (address: ListenAddress, tls: TlsMaterial | HostTls | undefined, answers: Answers, more = {}) => {
    listeners.push(await listen(address, tls, share, answers, { socket: sockets[listeners.length], ...more }));
  };
  try {
    await open(settings.listen, settings.tls, answersOf(main));
    for (const it of settings.listenHttp ?? []) await open(it, undefined, plain);
    if (origins !== undefined) await origins.open(open);
  } catch (error) {
    await Promise.all(listeners.map((listener) => listener.close(0)));
    origins?.close();
    log?.close();
    throw error;
  }
  // What reading the store and loading the program left is a sixth of the process.
  releaseMemory();
  const sweep = setInterval(() => resources.closeIdle(), CLOSE_IDLE_HANDLES_MS).unref();
  return {
    listeners,
    counters,
    releases: async () => (await context.view()).releases,
    look: () => void context.lookNow(),
    setTls: (tls) => {
      listeners[0]?.setTls(tls);
    },
    reopenLog() {
      try {
        log?.reopen();
      } catch (error) {
        host.report(error instanceof Error ? error.message : String(error));
      }
    },
    async close(graceMs) {
      clearInterval(sweep);
      await Promise.all(listeners.map((listener) => listener.close(graceMs)));
      origins?.close();
      notes?.flush();
      log?.close();
      resources.closeIdle();
    },
  };
}

/** The files of a cache are not synced: one that a power loss has spoiled must be found. */
function readsOf({ store, verifyReads = "once" }: SiteSettings): VerifyReads {
  const isCache = typeof store !== "string" && "cache" in store;
  return isCache && verifyReads === "never" ? "once" : verifyReads;
}

/** Who asked, and by which proxy, where that is a named one. */
function asked(peer: string | undefined, forwardedFor: string | undefined, proxies: TrustedProxies | undefined) {
  const client = proxies === undefined ? peer : proxies.clientOf(peer, forwardedFor);
  return { client, proxy: client === peer ? undefined : peer };
}

function createObserver(
  counts: Counters,
  log: AccessLog | undefined,
  notes: WantedNotes | undefined,
  proxies: TrustedProxies | undefined,
): Observer {
  return {
    begin(request) {
      const startedMs = performance.now();
      const peer = log === undefined ? undefined : request.req.socket.remoteAddress;
      request.res.on("close", () => {
        const { req, res } = request;
        const bytes = request.sent > 0 || request.head ? request.sent : declaredLength(res);
        const seconds = (performance.now() - startedMs) / 1000;
        countResponse(counts, { route: routeOf(request.path), status: res.statusCode, bytes, seconds });
        // 421: a host of which no release has anything.
        if ((res.statusCode === 404 || res.statusCode === 421) && !request.isRecorded) notes?.note(req);
        if (log === undefined) return;
        const { range, host, "user-agent": agent, "x-forwarded-for": forwardedFor } = req.headers;
        const by = asked(peer, forwardedFor?.toString(), proxies);
        const { method, url: path } = req;
        const whole = res.writableFinished;
        log.write({ ...by, method, path, status: res.statusCode, bytes, startedMs, range, agent, host, whole });
      });
    },
  };
}

/** For handlers that end a response themselves: the announced size, once it was sent completely. */
function declaredLength(res: Parameters<RequestListener>[1]): number {
  return res.writableFinished ? Number(res.getHeader("content-length") ?? 0) : 0;
}

/** A server whose bucket does not answer serves what is in its cache: it is degraded, and no client is taken away. */
function sendHealth(
  request: ServerRequest,
  { releases, damaged, cache }: { releases: number; damaged: number; cache: Counters["cache"] },
): void {
  const { down = 0 } = cache;
  const status = down > 0 ? "degraded" : "ready";
  const since = new Date(down * 1000).toISOString().replace(".000", "");
  const headers = { "Cache-Control": "no-store", Vary: "Accept" };
  if (/\bapplication\/json\b/i.test(request.req.headers.accept ?? "")) {
    const bucket = cache.limitBytes === undefined ? {} : { bucketDownSince: down > 0 ? since : null };
    const body = { status, releases, damagedFiles: damaged, ...bucket };
    sendGenerated(request, 200, "application/json", `${JSON.stringify(body)}\n`, headers);
    return;
  }
  const bucket = down > 0 ? `; the bucket does not answer since ${since}: what is in the cache is served` : "";
  const fault = damaged === 0 ? "" : `; damaged: ${plural(damaged, "file")}, see the log, and run airferry fsck`;
  const word = down > 0 ? "degraded" : "ok";
  sendText(request, 200, `${word}: ${plural(releases, "release")}${bucket}${fault}`, headers);
}

/** `/healthz`, then `/metrics`. */
function healthMounts(
  store: StoreReader,
  collect: () => Promise<Counters>,
  isWantedKept: boolean,
): [healthz: Mount, metrics: Mount] {
  return [
    {
      prefix: "/healthz",
      async handle(request, context: ServeContext) {
        const [{ releases }, { damaged, cache }] = await Promise.all([context.view(), collect()]);
        sendHealth(request, { releases: releases.length, damaged: Object.keys(damaged).length, cache });
        return true;
      },
    },
    {
      prefix: "/metrics",
      async handle(request, context: ServeContext) {
        const [view, counters] = await Promise.all([context.view(), collect()]);
        // Nothing is ever written to a medium.
        const space = store.findHeld === undefined ? await readSpace(store.dir).catch(() => undefined) : undefined;
        const freeBytes = space?.freeBytes;
        const text = formatMetrics(counters, { releases: view.releases, freeBytes, isWantedKept });
        sendGenerated(request, 200, "text/plain; version=0.0.4; charset=utf-8", text, { "Cache-Control": "no-store" });
        return true;
      },
    },
  ];
}

/** What this process holds in memory by its id, in bytes; empty where the system does not tell, as without /proc. */
function residentMemory(): Record<number, number> {
  try {
    return { [process.pid]: process.memoryUsage.rss() };
  } catch {
    return {};
  }
}
