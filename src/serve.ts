/**
 * `airferry serve`: answers for everything in a store over HTTP or HTTPS until told to stop. See docs/serve.md.
 */
import { availableParallelism } from "node:os";
import { isAbsolute, relative, resolve } from "node:path";
import { setFlagsFromString } from "node:v8";
import { AirferryError, bug } from "./errors.ts";
import {
  becomeAccount,
  findAccount,
  giveFile,
  giveFolder,
  isAccount,
  isRoot,
  restartForLowPorts,
} from "./io/account.ts";
import { shellWord } from "./io/shell.ts";
import { type ListenAddress, listenUrls, parseListen } from "./server/http/address.ts";
import type { TlsMaterial } from "./server/http/listener.ts";
import { type SiteSettings, startSite } from "./server/process/site.ts";
import { defaultTlsDir, fingerprintOf, prepareTlsAuto, readTlsFiles } from "./server/process/tls-auto.ts";
import { canSharePort, WorkerGroup } from "./server/process/workers.ts";
import { mediaToCome, readIncoming } from "./store/incoming.ts";
import { openStore as openStoreOnDisk } from "./store/store.ts";
import type { StoreReader } from "./store/types.ts";

const DEFAULT_LISTEN = "0.0.0.0:9000";
const DEFAULT_GRACE_MS = 30_000;
const RENEW_CHECK_MS = 12 * 60 * 60 * 1000;
/** More would not be faster: the network is the limit. */
const MAX_DEFAULT_WORKERS = 4;

/** Node's number of threads that wait for disks, for each worker. */
const DISK_THREADS = 4;

/** What to serve, and how. */
export interface ServeOptions {
  /** The store's directory. */
  store: string;
  /** `HOST:PORT`; default 0.0.0.0:9000. Port 0 lets the system choose. */
  listen?: string | undefined;
  /** `off` (default), `auto`, or `CERT,KEY`: two PEM files. */
  tls?: string | undefined;
  /** With `--tls auto`: where the CA is stored; default in the user's state directory. Never inside the store. */
  tlsDir?: string | undefined;
  /** `HOST:PORT` of a second listener without TLS, for /ca.crt, /keys/ and /rpmrepo/ only. */
  listenHttp?: string | undefined;
  /** The base URL announced to clients; default is the address of each request. */
  url?: string | undefined;
  /** A file that JSON lines are appended to, or `-` for standard error. */
  accessLog?: string | undefined;
  /** htpasswd file (bcrypt): who may use the registry; default is everybody. */
  htpasswd?: string | undefined;
  /** Threads; 1 serves in this thread alone. See {@link defaultWorkers}. */
  workers?: number | undefined;
  /** The module that further threads run; tests replace it. */
  workerEntry?: URL | undefined;
  /** How long running responses may continue after a stop; default 30 s. */
  graceMs?: number | undefined;
  /** Stop on SIGTERM and SIGINT; a second one stops at once. */
  stopOnSignals?: boolean | undefined;
  /** Called with faults and ended workers, one line each. */
  onMessage?: ((message: string) => void) | undefined;
  /** Opens the store; tests replace it. */
  openStore?: ((dir: string) => Promise<StoreReader>) | undefined;
}

/** A running server. */
export interface Serving {
  /** Base URLs, the most useful first; `url` first if given. */
  urls: string[];
  /** Base URLs of the plain listener. */
  httpUrls: string[];
  /** SHA-256 fingerprint of the CA that clients must trust, with `--tls auto`. */
  caFingerprint?: string;
  /** Resolves when the server has stopped, by {@link Serving.close} or by a signal. */
  stopped: Promise<void>;
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
  options: Pick<ServeOptions, "listen" | "listenHttp" | "tls" | "tlsDir" | "accessLog">,
): Promise<void> {
  const account = await findAccount(user);
  if (isAccount(account) || !isRoot()) return becomeAccount(account);
  if (options.tls === "auto" && options.tlsDir !== undefined) await giveFolder(options.tlsDir, account, 0o700);
  const { accessLog = "-" } = options;
  if (accessLog !== "-") await giveFile(accessLog, account);
  const listens = [options.listen ?? DEFAULT_LISTEN, options.listenHttp].filter((it) => it !== undefined);
  const ports = listens.map((it) => parseListen(it).port);
  if (ports.some((port) => port > 0 && port < 1024)) await restartForLowPorts(account);
  becomeAccount(account);
}

/** A good number of threads for this machine. */
export function defaultWorkers(): number {
  return Math.min(availableParallelism(), MAX_DEFAULT_WORKERS);
}

/**
 * Serves a store. Resolves when it is listening, with several workers in each of their threads.
 * @throws {AirferryError} ERR_BUSY (port taken), ERR_IO, ERR_USAGE, ERR_KEY_INVALID, and what opening the store throws
 */
export async function serve(options: ServeOptions): Promise<Serving> {
  const openStore = options.openStore ?? openStoreOnDisk;
  // Requests create only short-lived objects. V8's default, a growing nursery, costs each thread some 50 MB without
  // measurable gain.
  setFlagsFromString("--semi-space-growth-factor=1");
  // Buffers that outlived the nursery wait for the next collection of all: it comes when a fifth more is used, not
  // twice as much.
  setFlagsFromString("--heap-growing-percent=20");
  const { store, url, accessLog, workers = 1, graceMs = DEFAULT_GRACE_MS, onMessage: report = () => {} } = options;
  const listen = parseListen(options.listen ?? DEFAULT_LISTEN);
  const tls = await tlsMaterial(options, listen);
  const share = workers > 1 && canSharePort();
  // Threads share those that wait for disks, which start with the first wait.
  if (share) process.env.UV_THREADPOOL_SIZE ??= String(DISK_THREADS * workers);
  const listenHttp = options.listenHttp === undefined ? undefined : parseListen(options.listenHttp);
  const settings: SiteSettings = {
    store,
    listen,
    ...(share ? { sharePorts: "first", threads: workers } : {}),
    ...(tls === undefined ? {} : { tls }),
    ...(listenHttp === undefined ? {} : { listenHttp }),
    ...(url === undefined ? {} : { url: checkedUrl(url) }),
    ...(accessLog === undefined ? {} : { accessLog: accessLog === "-" ? "-" : resolve(accessLog) }),
    ...(options.htpasswd === undefined ? {} : { htpasswd: resolve(options.htpasswd) }),
  };
  await requireRelease(store, openStore);
  const running = await startThreads(settings, share ? workers : 1, { ...options, openStore });
  const renewal = options.tls === "auto" && tls ? renewTls(options, listen, tls, running, report) : undefined;

  let stop = (): void => {};
  const stopped = new Promise<void>((resolve) => {
    stop = resolve;
  });
  let stopping: Promise<void> | undefined;
  const close = (patienceMs: number): Promise<void> => {
    clearInterval(renewal);
    stopping ??= running.close(patienceMs).then(stop);
    return stopping;
  };
  if (options.stopOnSignals === true)
    onStopSignals(
      () => close(graceMs),
      () => running.close(0),
    );

  const [main = bug("a server without an address"), plain] = running.addresses;
  return {
    urls: [
      ...(settings.url === undefined ? [] : [settings.url]),
      ...listenUrls(tls === undefined ? "http" : "https", main),
    ],
    httpUrls: plain === undefined ? [] : listenUrls("http", plain),
    ...(tls?.ca === undefined ? {} : { caFingerprint: fingerprintOf(tls.ca) }),
    stopped,
    close: () => close(graceMs),
  };
}

/**
 * A store without a release has nothing to serve: starting a server on it fails at once, before a build does.
 * @throws {AirferryError} ERR_STORE_EMPTY; ERR_STORE_INVALID when no release can be read
 */
async function requireRelease(dir: string, openStore: (dir: string) => Promise<StoreReader>): Promise<void> {
  const store = await openStore(dir);
  if ((await store.releases()).length > 0) return;
  const [fault] = store.faults ?? [];
  if (fault !== undefined) throw fault.error;
  const waiting = await readIncoming(dir);
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
  close(graceMs: number): Promise<void>;
}

async function startThreads(
  settings: SiteSettings,
  count: number,
  {
    openStore,
    workerEntry,
    onMessage: report = () => {},
  }: ServeOptions & { openStore: (dir: string) => Promise<StoreReader> },
): Promise<Running> {
  let group: WorkerGroup | undefined;
  const site = await startSite(settings, {
    openStore,
    collect: async (own) => group?.collect(own) ?? own,
    report,
  });
  if (count > 1) {
    const [main = bug("a site without a listener"), plain] = site.listeners;
    const joining: SiteSettings = {
      ...settings,
      sharePorts: "join",
      listen: main.address,
      ...(plain === undefined ? {} : { listenHttp: plain.address }),
    };
    group = new WorkerGroup(joining, () => site.counters(), report, workerEntry);
    try {
      await group.start(count - 1);
    } catch (error) {
      await site.close(0);
      throw error;
    }
  }
  return {
    addresses: site.listeners.map((listener) => listener.address),
    setTls(tls) {
      site.setTls(tls);
      group?.setTls(tls);
    },
    async close(graceMs) {
      await Promise.all([site.close(graceMs), group?.close(graceMs)]);
    },
  };
}

async function tlsMaterial(options: ServeOptions, listen: ListenAddress): Promise<TlsMaterial | undefined> {
  const { tls = "off" } = options;
  if (tls === "off") return undefined;
  if (tls === "auto") {
    const dir = options.tlsDir ?? defaultTlsDir();
    refuseInsideStore(dir, options.store);
    return prepareTlsAuto(dir, extraNames(options, listen));
  }
  const [cert, key, ...rest] = tls.split(",");
  if (!cert || !key || rest.length > 0) {
    throw new AirferryError("ERR_USAGE", `cannot use --tls "${tls}": expected off, auto or CERT,KEY`, {
      hint: "give two PEM files with a comma between: --tls server.crt,server.key",
    });
  }
  return readTlsFiles(cert, key);
}

/** Write access to the store must not include the key that clients trust. */
function refuseInsideStore(dir: string, store: string): void {
  const path = relative(resolve(store), resolve(dir));
  if (path.startsWith("..") || isAbsolute(path)) return;
  throw new AirferryError("ERR_USAGE", `cannot store the CA in "${dir}": it is inside the store`, {
    hint: "give a directory outside the store with --tls-dir",
    path: dir,
  });
}

function extraNames({ url }: ServeOptions, listen: ListenAddress): string[] {
  const names = [listen.host];
  if (url !== undefined) names.unshift(new URL(checkedUrl(url)).hostname.replace(/^\[|\]$/g, ""));
  return names;
}

function checkedUrl(url: string): string {
  const parsed = URL.canParse(url) ? new URL(url) : undefined;
  if (parsed !== undefined && /^https?:$/.test(parsed.protocol) && parsed.search === "" && parsed.hash === "") {
    return url.replace(/\/+$/, "");
  }
  throw new AirferryError("ERR_USAGE", `cannot use --url "${url}": not a base URL`, {
    hint: "give the address that clients use, such as https://mirror.example.com:9000",
  });
}

function renewTls(
  options: ServeOptions,
  listen: ListenAddress,
  tls: TlsMaterial,
  running: Running,
  report: (message: string) => void,
): NodeJS.Timeout {
  let served = tls;
  const renew = async (): Promise<void> => {
    const { cert, key } = await prepareTlsAuto(options.tlsDir ?? defaultTlsDir(), extraNames(options, listen));
    if (cert === served.cert) return;
    served = { ...served, cert, key };
    running.setTls(served);
    report("the server's certificate was renewed");
  };
  return setInterval(() => renew().catch((error) => report(String(error))), RENEW_CHECK_MS).unref();
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
