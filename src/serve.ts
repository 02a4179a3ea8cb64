/**
 * `airferry serve`: answers for everything in a store, or in verified bundles, over HTTP or HTTPS until told to stop.
 * See docs/serve.md.
 */
import { availableParallelism } from "node:os";
import { resolve } from "node:path";
import type { CachedStore } from "./cache/cached-store.ts";
import type { AskCache } from "./cache/types.ts";
import { AirferryError } from "./errors.ts";
import {
  becomeAccount,
  findAccount,
  giveFile,
  giveFolder,
  isAccount,
  isRoot,
  restartForLowPorts,
} from "./io/account.ts";
import { parseBytes } from "./io/format.ts";
import { HeldFiles } from "./io/held-files.ts";
import { shellWord } from "./io/shell.ts";
import { setV8Flags } from "./io/v8-flags.ts";
import { hostsOf, originsOf } from "./origins/origin-hosts.ts";
import { isUnreached, listenFlag } from "./origins/origin-ports.ts";
import { isS3Name } from "./s3/s3-target.ts";
import { type ListenAddress, listenUrls, parseListen } from "./server/http/address.ts";
import type { TlsMaterial } from "./server/http/endpoint.ts";
import { TrustedProxies } from "./server/http/forwarded.ts";
import type { VerifyReads } from "./server/http/read-check.ts";
import { IndexMaker, type MakeIndex } from "./server/process/index-maker.ts";
import { type OriginSettings, prepareOriginCa } from "./server/process/origin-ca.ts";
import { addressesOf, type SiteSettings, startSite, withAddresses } from "./server/process/site.ts";
import { inheritedSockets, readyNotice, type ServiceManager } from "./server/process/systemd.ts";
import { fingerprintOf } from "./server/process/tls-auto.ts";
import { checkedUrl, keysDir, renewTls, tlsMaterial } from "./server/process/tls-options.ts";
import { socketUnit, unitFor } from "./server/process/unit.ts";
import { type WantedBatch, WantedKeeper } from "./server/process/wanted-notes.ts";
import { canSharePort, WorkerGroup } from "./server/process/workers.ts";
import { BundleStore, openReader, type SharedBundle, type StoreSource, shareBundle } from "./store/bundle-store.ts";
import { mediaToCome, readIncoming } from "./store/incoming.ts";
import { shareRelease } from "./store/share-release.ts";
import type { Release, StoreReader } from "./store/types.ts";

const DEFAULT_LISTEN = "0.0.0.0:9000";
const DEFAULT_ORIGINS_HTTP = ["0.0.0.0:80"];
const DEFAULT_ORIGINS_HTTPS = ["0.0.0.0:443"];
const DEFAULT_GRACE_MS = 30_000;
/** More would not be faster: the network is the limit. */
const MAX_DEFAULT_WORKERS = 4;

/** Node's number of threads that wait for disks, for each worker. */
const DISK_THREADS = 4;

/** What to serve, and how. */
export interface ServeOptions {
  /** The store's directory, or its name in object storage; with `bundles` the first of their folders. */
  store: string;
  /** Of a store in object storage: the folder of the cache; default in the user's cache directory. */
  cache?: string | undefined;
  /** How much the cache may hold: `10GiB` by default. */
  cacheSize?: string | undefined;
  /** Of a store in object storage: `above=SIZE`, from which on clients are sent there for content. */
  redirect?: string | undefined;
  /** Served where they are, in place of a store. The caller closes them after the server. */
  bundles?: OpenBundles | undefined;
  /** `HOST:PORT`; default 0.0.0.0:9000. Port 0 lets the system choose. */
  listen?: string | undefined;
  /** `off` (default), `auto`, or `CERT,KEY`: two PEM files. */
  tls?: string | undefined;
  /** With `--tls auto`: where the CA is stored; default in the user's state directory. Never inside the store. */
  tlsDir?: string | undefined;
  /**
   * `HOST:PORT` of each listener without TLS, for /ca.crt, /keys/ and /rpmrepo/ only; with `origins`, also for
   * their http URLs, and then 0.0.0.0:80 by default.
   */
  listenHttp?: readonly string[] | undefined;
  /** Answer under the names of the origins of what is served; see docs/origins.md. */
  origins?: boolean | undefined;
  /** With `origins`: `HOST:PORT` of each listener for their https URLs; default 0.0.0.0:443. */
  listenHttps?: readonly string[] | undefined;
  /** `HOST:PORT` of a proxy that answers for the origins, and forwards nothing. */
  proxy?: string | undefined;
  /** The base URL announced to clients; default is the address of each request. */
  url?: string | undefined;
  /** Addresses and networks of proxies in front: what they say of a client's address is believed. */
  trustProxy?: readonly string[] | undefined;
  /** A file that JSON lines are appended to, or `-` for standard error. */
  accessLog?: string | undefined;
  /** htpasswd file (bcrypt): who may use the registry; default is everybody. */
  htpasswd?: string | undefined;
  /** A file that says what clients asked for and is not here; goes on with what is in it. */
  wanted?: string | undefined;
  /** Threads; 1 serves in this thread alone. See {@link defaultWorkers}. */
  workers?: number | undefined;
  /** Whether what is read is checked before it is sent; default `once`. */
  verifyReads?: VerifyReads | undefined;
  /** The module that further threads run; tests replace it. */
  workerEntry?: URL | undefined;
  /** In a unit: the account that it runs as; see {@link becomeUser} for this process. */
  user?: string | undefined;
  /**
   * Descriptors that listen already: some for `listen`, then as many for each other listener that there is, in the
   * order of `listenHttp`, `listenHttps` and `proxy`. Each thread has one of each, and their number is the number of
   * threads.
   */
  sockets?: readonly number[] | undefined;
  /** How long running responses may continue after a stop; default 30 s. */
  graceMs?: number | undefined;
  /** Stop on SIGTERM and SIGINT; a second one stops at once. */
  stopOnSignals?: boolean | undefined;
  /** Called with faults and ended workers, one line each. */
  onMessage?: ((message: string) => void) | undefined;
  /** Opens the store; tests replace it. */
  openStore?: ((dir: string) => Promise<StoreReader>) | undefined;
}

/** How bundles are verified before they are served. */
interface BundleOptions {
  /** Files with public keys (PEM). */
  trust: readonly string[];
  /** How many distinct trusted keys must have signed each; default 1. */
  threshold?: number | undefined;
  /** Called with bytes as they are hashed, and the total. */
  progress?: ((done: number, total: number) => void) | undefined;
  /** Called with skipped names and copies, and when a clock is wrong. */
  notice?: ((line: string) => void) | undefined;
}

/** Verified bundles, their files open. */
export interface OpenBundles {
  readonly folders: readonly string[];
  readonly releases: readonly Release[];
  readonly store: StoreReader;
  /** For further threads. */
  readonly shared: readonly SharedBundle[];
  /** Ends all reads of them. */
  close(): Promise<void>;
}

/**
 * Verifies bundles and keeps their files open, to serve them where they are. Writes nothing.
 * @param folders those of all bundles, sets of media mixed
 * @param serving what {@link serve} will be given: checked first, since reading a medium takes long
 * @throws {AirferryError} as `verify` and `unpack` do; ERR_DELTA_BASE for a delta; ERR_USAGE, ERR_KEY_INVALID
 */
export async function openBundles(
  folders: readonly string[],
  options: BundleOptions,
  serving?: Omit<ServeOptions, "bundles">,
): Promise<OpenBundles> {
  if (serving !== undefined) {
    const listens = listensOf(serving);
    checkedProxies(serving);
    if (listens.origins !== undefined) keysDir({ ...serving, bundles: { folders } });
    await tlsMaterial({ ...serving, bundles: { folders } }, listens.listen);
    if (serving.wanted !== undefined) await WantedKeeper.open(resolve(serving.wanted), () => {});
  }
  const held = new HeldFiles();
  try {
    const { verifyAndHold } = await import("./bundle/verified-bundles.ts");
    const bundles = await verifyAndHold(folders, held, { ...options, action: "serve" });
    const shared = bundles.map((it) => shareBundle(it));
    const inventories = bundles.map((it) => it.inventory);
    const store = new BundleStore(shared, inventories);
    const read = bundles.flatMap((it) => it.folders);
    return { folders: read, releases: await store.releases(), store, shared, close: () => held.close() };
  } catch (error) {
    await held.close();
    throw error;
  }
}

/** What answers under the names of the origins. */
export interface ServingOrigins {
  /** The origins of the releases at the start: `https://host`, `http://host:8080`. */
  names: string[];
  /** Those of them whose port has no listener: only the proxy answers for them, where there is one. */
  unreached: string[];
  /** What to add to the command line, so that there are none of them. */
  reaching: string[];
  /** Base URLs of the listeners with TLS. */
  httpsUrls: string[];
  /** Base URL of the proxy. */
  proxyUrl?: string;
  /** SHA-256 fingerprint of the CA of the origins' certificates. */
  caFingerprint: string;
}

/** A running server. */
export interface Serving {
  /** Base URLs, the most useful first; `url` first if given. */
  urls: string[];
  /** Base URLs of the plain listeners. */
  httpUrls: string[];
  /** Of what answers under the names of the origins. */
  origins?: ServingOrigins;
  /** SHA-256 fingerprint of the CA that clients must trust, with `--tls auto`. */
  caFingerprint?: string;
  /** Resolves when the server has stopped, by {@link Serving.close} or by a signal; rejects when it cannot continue. */
  stopped: Promise<void>;
  /**
   * Reads certificate and key again, and opens the access log again.
   * @throws {AirferryError} ERR_IO, ERR_KEY_INVALID
   */
  reload(): Promise<void>;
  /** Stops: no new connections; running responses finish within the grace time. */
  close(): Promise<void>;
}

/**
 * Switches to the user of `--user` before anything is served. As root it first creates the certificate folder and the
 * access log for that user if missing. For ports below 1024 this program is re-executed in the same process, with only
 * the capability to listen there.
 * @throws {AirferryError} ERR_USAGE for an unknown user, or when this is not root; ERR_TOOL, ERR_IO
 */
export async function becomeUser(
  user: string,
  options: Pick<ServeOptions, "tls" | "tlsDir" | "accessLog" | "cache" | ListenOption>,
): Promise<void> {
  const account = await findAccount(user);
  if (isAccount(account) || !isRoot()) return becomeAccount(account);
  if (hasOwnCa(options) && options.tlsDir !== undefined) await giveFolder(options.tlsDir, account, 0o700);
  const { accessLog = "-", cache } = options;
  if (cache !== undefined) await giveFolder(cache, account, 0o700);
  if (accessLog !== "-") await giveFile(accessLog, account);
  const ports = addressesOf(listensOf(options)).map((it) => it.port);
  if (ports.some((port) => port > 0 && port < 1024)) await restartForLowPorts(account);
  becomeAccount(account);
}

/**
 * The systemd unit that runs the server with these options; `socket` is the one that listens for it.
 * @throws {AirferryError} ERR_USAGE for options that `serve` would refuse
 */
export function unitFile(kind: "service" | "socket", options: ServeOptions): string {
  const addresses = addressesOf(listensOf(options));
  if (options.url !== undefined) checkedUrl(options.url);
  checkedProxies(options);
  return kind === "socket"
    ? socketUnit(addresses, options.workers ?? defaultWorkers())
    : unitFor({ ...options, isBucket: isS3Name(options.store) }, addresses);
}

/** What a service manager handed over to this process and wants to hear. Its variables are removed. */
export function fromServiceManager(): ServiceManager {
  return { sockets: inheritedSockets(process.env, process.pid), notifyReady: readyNotice(process.env) };
}

/** A good number of threads for this machine. */
export function defaultWorkers(): number {
  return Math.min(availableParallelism(), MAX_DEFAULT_WORKERS);
}

/**
 * Serves a store or bundles. Resolves when it is listening, with several workers in each of their threads.
 * @throws {AirferryError} ERR_BUSY (port taken), ERR_IO, ERR_USAGE, ERR_KEY_INVALID, and what opening the store throws
 */
export async function serve(options: ServeOptions): Promise<Serving> {
  const cached = await openCache(options);
  try {
    return await serveFrom(options, cached);
  } catch (error) {
    await cached?.close();
    throw error;
  }
}

async function serveFrom(options: ServeOptions, cached: CachedStore | undefined): Promise<Serving> {
  const { bundles } = options;
  const openStore = options.openStore ?? storeOpener(bundles?.store ?? cached);
  // Requests create only short-lived objects. V8's default, a growing nursery, costs each thread some 50 MB without
  // measurable gain. Buffers that outlived the nursery wait for the next collection of all: it comes when a fifth more
  // is used, not twice as much.
  setV8Flags("--semi-space-growth-factor=1", "--heap-growing-percent=20");
  const { store, url, accessLog, workers = 1, graceMs = DEFAULT_GRACE_MS, onMessage: report = () => {} } = options;
  const listens = listensOf(options);
  const { listen } = listens;
  const trustProxy = checkedProxies(options);
  const tls = await tlsMaterial(options, listen);
  const given = socketsOf(options);
  const threads = given.length > 0 ? given.length : canSharePort() ? workers : 1;
  const share = threads > 1 && given.length === 0;
  // Threads share those that wait for disks, which start with the first wait.
  if (threads > 1) process.env.UV_THREADPOOL_SIZE ??= String(DISK_THREADS * threads);
  // Read once, for this thread and all others.
  const opened = await openStore(store);
  const releases = bundles?.releases ?? (await requireRelease(store, opened));
  const { origins: originListens, ...ownListens } = listens;
  const named = originListens && (await originSettings(originListens, releases, options));
  const settings: SiteSettings = {
    store: bundles?.shared ?? (cached === undefined ? store : { cache: cached.dir }),
    ...ownListens,
    ...(named && { origins: named.settings }),
    ...(share ? { sharePorts: "first" } : {}),
    ...(threads > 1 ? { threads } : {}),
    ...(given[0] === undefined ? {} : { sockets: given[0] }),
    ...(tls === undefined ? {} : { tls }),
    ...(url === undefined ? {} : { url: checkedUrl(url) }),
    ...(trustProxy === undefined ? {} : { trustProxy }),
    ...(accessLog === undefined ? {} : { accessLog: accessLog === "-" ? "-" : resolve(accessLog) }),
    ...(options.htpasswd === undefined ? {} : { htpasswd: resolve(options.htpasswd) }),
    ...(options.wanted === undefined ? {} : { wanted: resolve(options.wanted) }),
    ...(options.verifyReads === undefined ? {} : { verifyReads: options.verifyReads }),
    ...(options.redirect === undefined ? {} : { redirectAbove: redirectAbove(options.redirect) }),
  };
  const wanted = settings.wanted === undefined ? undefined : await WantedKeeper.open(settings.wanted, report);
  let stop = (): void => {};
  let fail = (_error: AirferryError): void => {};
  const stopped = new Promise<void>((resolve, reject) => {
    [stop, fail] = [resolve, reject];
  });
  const lost = (): void => {
    fail(new AirferryError("ERR_INTERNAL", "cannot continue: a worker thread ended, and its sockets with it"));
    close(0).catch(() => {});
  };
  let hearOrigins = (_origins: string[]): void => {};
  const running = await startThreads(settings, given.length > 0 ? given : threads, lost, wanted, {
    ...options,
    cached,
    openStore: async () => opened,
    noteOrigins: (origins) => hearOrigins(origins),
  });
  const renewal = options.tls === "auto" && tls ? renewTls(options, listen, tls, running, report) : undefined;

  stopped.catch(() => {});
  let stopping: Promise<void> | undefined;
  const close = (patienceMs: number): Promise<void> => {
    clearInterval(renewal);
    stopping ??= running
      .close(patienceMs)
      .then(() => cached?.close())
      .then(() => wanted?.close())
      .then(stop);
    return stopping;
  };
  if (options.stopOnSignals === true)
    onStopSignals(
      () => close(graceMs),
      () => running.close(0),
    );

  const at = withAddresses(settings, running.addresses);
  const { listen: main, listenHttp: plain, origins } = at;
  const start = unreachedIn(named?.names ?? [], at, options);
  const proxyUrl = origins?.proxy && listenUrls("http", origins.proxy)[0];
  if (origins !== undefined && origins.https.length > 0)
    hearOrigins = lateOrigins(start.unreached, (fresh) => {
      const { unreached, reaching } = unreachedIn(fresh, at, options);
      if (unreached.length > 0) report(unreachedNote({ unreached, reaching, proxyUrl }));
    });
  return {
    urls: [
      ...(settings.url === undefined ? [] : [settings.url]),
      ...listenUrls(tls === undefined ? "http" : "https", main),
    ],
    httpUrls: (plain ?? []).flatMap((it) => listenUrls("http", it)),
    ...(tls?.ca === undefined ? {} : { caFingerprint: fingerprintOf(tls.ca) }),
    ...(origins && {
      origins: {
        names: named?.names ?? [],
        ...start,
        httpsUrls: origins.https.flatMap((it) => listenUrls("https", it)),
        ...(proxyUrl !== undefined && { proxyUrl }),
        caFingerprint: fingerprintOf(origins.ca.cert),
      },
    }),
    stopped,
    async reload() {
      running.reopenLog();
      if (tls !== undefined && options.tls !== "auto") running.setTls((await tlsMaterial(options, listen)) ?? tls);
    },
    close: () => close(graceMs),
  };
}

/** Opens a store in object storage through its cache; undefined for a folder. */
async function openCache(options: ServeOptions): Promise<CachedStore | undefined> {
  const { store, cache, cacheSize, redirect, bundles, onMessage } = options;
  if (bundles === undefined && isS3Name(store)) {
    if (redirect !== undefined) redirectAbove(redirect);
    const { openCachedStore } = await import("./cache/cached-store.ts");
    return await openCachedStore(store, { cache, cacheSize, report: onMessage });
  }
  if (cache === undefined && cacheSize === undefined && redirect === undefined) return undefined;
  const fault = "cannot use --cache, --cache-size and --redirect: they are for stores in buckets, s3://BUCKET/PREFIX";
  const hint = bundles === undefined ? `airferry serve --store ${shellWord(store)}` : "leave them out";
  throw new AirferryError("ERR_USAGE", fault, { hint });
}

/** Reads `above=SIZE`. @throws {AirferryError} ERR_USAGE */
function redirectAbove(text: string): number {
  const [, size = ""] = /^above=(.+)$/.exec(text) ?? [];
  const bytes = parseBytes(size);
  if (bytes !== undefined && bytes > 0) return bytes;
  throw new AirferryError("ERR_USAGE", `cannot use --redirect "${text}": expected above= and a size`, {
    hint: "for example: --redirect above=64MiB",
  });
}

function storeOpener(open: StoreReader | undefined): (source: StoreSource) => Promise<StoreReader> {
  return open === undefined ? openReader : async () => open;
}

/** Passes origins on that were not named before; each thread of a server sees the same releases come. */
function lateOrigins(known: readonly string[], tell: (fresh: string[]) => void): (origins: string[]) => void {
  const told = new Set(known);
  return (origins) => {
    const fresh = origins.filter((it) => !told.has(it));
    for (const it of fresh) told.add(it);
    if (fresh.length > 0) tell(fresh);
  };
}

/** At most this many origins that nobody can reach are named. */
const MAX_NAMED = 5;

/** One line: which origins nobody reaches, and what to add to the command line. */
export function unreachedNote({
  unreached,
  reaching,
  proxyUrl,
}: Pick<ServingOrigins, "unreached" | "reaching"> & { proxyUrl?: string | undefined }): string {
  const more = unreached.length > MAX_NAMED ? ` and ${unreached.length - MAX_NAMED} more` : "";
  const otherwise = proxyUrl === undefined ? "" : ", so only the proxy answers for them";
  return `nobody listens at the ports of ${unreached.slice(0, MAX_NAMED).join(", ")}${more}${otherwise}; add: ${reaching.join(" ")}`;
}

function unreachedIn(
  names: readonly string[],
  { listenHttp = [], origins }: SiteSettings,
  given: ServeOptions,
): Pick<ServingOrigins, "unreached" | "reaching"> {
  const ports = { http: listenHttp.map((it) => it.port), https: (origins?.https ?? []).map((it) => it.port) };
  const unreached = names.filter((it) => isUnreached(it, ports));
  const flags = unreached.map(listenFlag);
  // Whoever gives one address of a scheme gives all of it.
  const replaced = [
    ...(given.listenHttp === undefined ? DEFAULT_ORIGINS_HTTP.map((it) => ["--listen-http", it] as const) : []),
    ...(given.listenHttps === undefined ? DEFAULT_ORIGINS_HTTPS.map((it) => ["--listen-https", it] as const) : []),
  ].filter(([flag]) => flags.some((it) => it.startsWith(`${flag} `)));
  return { unreached, reaching: [...new Set([...replaced.map((it) => it.join(" ")), ...flags])] };
}

type ListenOption = "listen" | "listenHttp" | "listenHttps" | "origins" | "proxy";
type Listens = Pick<SiteSettings, "listen" | "listenHttp"> & { origins?: Pick<OriginSettings, "https" | "proxy"> };

/** Where to listen. @throws {AirferryError} ERR_USAGE */
function listensOf(options: Pick<ServeOptions, ListenOption>): Listens {
  const { origins = false, proxy, listenHttps } = options;
  if (listenHttps !== undefined && listenHttps.length > 0 && !origins) {
    throw new AirferryError("ERR_USAGE", "cannot use --listen-https without --origins: --listen is what has --tls", {
      hint: "add --origins, or give the address with --listen",
    });
  }
  const listenHttp = options.listenHttp ?? (origins ? DEFAULT_ORIGINS_HTTP : undefined);
  const https = origins ? (listenHttps ?? DEFAULT_ORIGINS_HTTPS) : [];
  return {
    listen: parseListen(options.listen ?? DEFAULT_LISTEN),
    ...(listenHttp === undefined ? {} : { listenHttp: listenHttp.map(parseListen) }),
    ...(origins || proxy !== undefined
      ? { origins: { https: https.map(parseListen), ...(proxy === undefined ? {} : { proxy: parseListen(proxy) }) } }
      : {}),
  };
}

/** @throws {AirferryError} ERR_USAGE */
function checkedProxies({ trustProxy }: Pick<ServeOptions, "trustProxy">): readonly string[] | undefined {
  if (trustProxy !== undefined) new TrustedProxies(trustProxy);
  return trustProxy;
}

/** Whether the folder of keys is for a CA of this server. */
function hasOwnCa({ tls, origins, proxy }: Pick<ServeOptions, "tls" | "origins" | "proxy">): boolean {
  return tls === "auto" || origins === true || proxy !== undefined;
}

async function originSettings(
  listens: Pick<OriginSettings, "https" | "proxy">,
  releases: readonly Release[],
  options: ServeOptions,
): Promise<{ settings: OriginSettings; names: string[] }> {
  const dir = keysDir(options);
  const names = originsOf(releases);
  const { key, cert } = await prepareOriginCa(dir, hostsOf(names));
  return { settings: { ...listens, dir, ca: { key, cert } }, names };
}

/**
 * A store without a release has nothing to serve: starting a server on it fails at once, before a build does.
 * @throws {AirferryError} ERR_STORE_EMPTY; ERR_STORE_INVALID when no release can be read
 */
async function requireRelease(dir: string, store: StoreReader): Promise<readonly Release[]> {
  const releases = await store.releases();
  if (releases.length > 0) return releases;
  const [fault] = store.faults ?? [];
  if (fault !== undefined) throw fault.error;
  const waiting = (await readIncoming(dir)) ?? [];
  const [first] = waiting;
  if (first === undefined) {
    throw new AirferryError("ERR_STORE_EMPTY", `cannot serve "${dir}": the store has no release yet`, {
      path: dir,
      hint: `airferry unpack BUNDLE --trust KEY --store ${shellWord(dir)}`,
    });
  }
  const media = mediaToCome(first.media);
  const volumes = first.missing.length > 0 ? first.missing.join(", ") : "the rest of a medium";
  const what = media.length > 0 ? `${media.join(", ")} with ${volumes}` : volumes;
  throw new AirferryError(
    "ERR_STORE_EMPTY",
    `cannot serve "${dir}": no release is complete in the store: stream "${first.stream}", serial ${first.serial} still needs ${what}`,
    {
      path: dir,
      problems: waiting.slice(1).map(({ stream, serial, missing }) => ({
        code: "ERR_STORE_EMPTY",
        path: stream,
        message: `stream "${stream}", serial ${serial} still needs ${missing.join(", ")}`,
      })),
      hint: `airferry unpack ${shellWord(media[0] ?? "THE-NEXT-MEDIUM")} --trust KEY --store ${shellWord(dir)}`,
    },
  );
}

/** A running server, in this thread alone or in several. */
interface Running {
  readonly addresses: readonly ListenAddress[];
  setTls(tls: TlsMaterial): void;
  reopenLog(): void;
  close(graceMs: number): Promise<void>;
}

/**
 * The descriptors of each thread.
 * @throws {AirferryError} ERR_USAGE when their number does not fit
 */
function socketsOf({ sockets = [], ...options }: ServeOptions): number[][] {
  const listeners = addressesOf(listensOf(options)).length;
  const threads = sockets.length / listeners;
  if (!Number.isInteger(threads)) {
    throw new AirferryError("ERR_USAGE", `cannot use ${sockets.length} sockets for ${listeners} listeners`, {
      hint: "print the socket unit with the flags of the service: airferry serve … --print-unit socket",
    });
  }
  return Array.from({ length: threads }, (_, at) => sockets.filter((_fd, index) => index % threads === at));
}

/**
 * @param threads their number, or the sockets of each
 * @param onSocketsLost called when a thread ended and its sockets with it
 */
async function startThreads(
  settings: SiteSettings,
  threads: number | readonly (readonly number[])[],
  onSocketsLost: () => void,
  wanted: WantedKeeper | undefined,
  {
    openStore,
    cached,
    workerEntry,
    noteOrigins,
    onMessage: report = () => {},
  }: ServeOptions & {
    cached: CachedStore | undefined;
    openStore: (dir: string) => Promise<StoreReader>;
    noteOrigins: (origins: string[]) => void;
  },
): Promise<Running> {
  let group: WorkerGroup | undefined;
  const maker = new IndexMaker();
  const makeIndex: MakeIndex = (order) => maker.make(order);
  const noteWanted = (batch: WantedBatch): void => wanted?.add(batch);
  const askCache: AskCache | undefined = cached && ((order) => cached.answer(order));
  const site = await startSite(settings, {
    openStore,
    collect: async (own) => group?.collect(own) ?? own,
    makeIndex,
    askCache,
    cacheCounts: cached && (() => cached.counts()),
    noteWanted,
    noteReleases: () => group?.look(),
    wantedUrls: () => wanted?.size ?? 0,
    noteOrigins,
    report,
  });
  const [count, sockets] = typeof threads === "number" ? [threads, undefined] : [threads.length, threads.slice(1)];
  if (count > 1) {
    const joining: SiteSettings = {
      ...withAddresses(
        settings,
        site.listeners.map((it) => it.address),
      ),
      ...(sockets === undefined ? { sharePorts: "join" as const } : {}),
    };
    group = new WorkerGroup(
      joining,
      {
        own: () => site.counters(),
        releases: async (known) =>
          (await site.releases()).map((it) => (known.includes(it.digest) ? it.digest : shareRelease(it))),
        makeIndex,
        askCache,
        noteWanted,
        noteOrigins,
        report,
        onSocketsLost,
      },
      workerEntry,
    );
    try {
      await group.start(count - 1, sockets);
    } catch (error) {
      await site.close(0);
      throw error;
    }
  }
  cached?.follow(report);
  return {
    addresses: site.listeners.map((listener) => listener.address),
    setTls(tls) {
      site.setTls(tls);
      group?.setTls(tls);
    },
    reopenLog() {
      site.reopenLog();
      group?.reopenLog();
    },
    async close(graceMs) {
      await Promise.all([site.close(graceMs), group?.close(graceMs)]);
    },
  };
}

function onStopSignals(gently: () => Promise<void>, atOnce: () => Promise<void>): void {
  let asked = false;
  const onSignal = (): void => {
    if (asked) atOnce().catch(() => {});
    else gently().catch(() => {});
    asked = true;
  };
  process.on("SIGTERM", onSignal);
  process.on("SIGINT", onSignal);
}
