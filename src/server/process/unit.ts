/**
 * Unit files for systemd, systemd.exec(5), systemd.socket(5): the server of a store with the rights that it needs and
 * no others.
 */

import { dirname, isAbsolute, resolve } from "node:path";
import { isSea } from "node:sea";
import { AirferryError } from "../../errors.ts";
import { formatAddress, type ListenAddress } from "../http/address.ts";
import { tlsMode } from "./tls-options.ts";

/** The options of `serve` that a unit repeats. */
interface UnitOptions {
  store: string;
  /** The store is in a bucket, and has no path. */
  isBucket?: boolean;
  cache?: string | undefined;
  cacheSize?: string | undefined;
  redirect?: string | undefined;
  /** The command before its verb; default is this program. */
  program?: readonly string[] | undefined;
  listen?: string | undefined;
  listenHttp?: readonly string[] | undefined;
  origins?: boolean | undefined;
  listenHttps?: readonly string[] | undefined;
  proxy?: string | undefined;
  tls?: string | undefined;
  tlsDir?: string | undefined;
  url?: string | undefined;
  trustProxy?: readonly string[] | undefined;
  htpasswd?: string | undefined;
  accessLog?: string | undefined;
  wanted?: string | undefined;
  workers?: number | undefined;
  verifyReads?: string | undefined;
  /** An account of the system; default is one that exists only while the service runs. */
  user?: string | undefined;
}

/** The name that both units and the state directory have. */
const NAME = "airferry";
/** Below StateDirectory=: survives restarts, and nobody else can read it. */
const STATE_TLS_DIR = `/var/lib/${NAME}/tls`;
/** AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, for the service alone: mode 0600, of root. */
const BUCKET_ENV = `/etc/${NAME}/bucket.env`;
/** Longer than the server lets running downloads go on. */
const STOP_SECONDS = 45;
/** Folders that the sandbox hides; what is needed from inside them is mounted. */
const HIDDEN = ["/home/", "/root/", "/run/user/", "/tmp/", "/var/tmp/"];

/**
 * The service unit for these options; paths are made absolute. Without `user` it needs no account: systemd makes one up
 * for as long as the service runs.
 * @throws {AirferryError} ERR_USAGE for names that a unit cannot have
 */
export function unitFor(options: UnitOptions, listen: readonly ListenAddress[]): string {
  const program = options.program ?? thisProgram();
  const isBucket = options.isBucket === true;
  const store = isBucket ? options.store : resolve(options.store);
  const cache = options.cache === undefined ? undefined : resolve(options.cache);
  const { tls, accessLog } = options;
  const mode = tlsMode({ ...options, tlsDir: options.tlsDir ?? STATE_TLS_DIR });
  const pair = typeof mode === "string" ? [] : mode.map((it) => resolve(it));
  const htpasswd = options.htpasswd === undefined ? [] : [resolve(options.htpasswd)];
  const log = accessLog === undefined || accessLog === "-" ? accessLog : resolve(accessLog);
  const hasKeys = tls === "auto" || options.origins === true || options.proxy !== undefined;
  const wanted = options.wanted === undefined ? undefined : resolve(options.wanted);
  const args = [
    ...["--store", store],
    ...given("--cache", cache),
    ...given("--cache-size", options.cacheSize),
    ...given("--redirect", options.redirect),
    ...given("--listen", options.listen),
    ...(options.listenHttp ?? []).flatMap((it) => ["--listen-http", it]),
    ...(options.origins === true ? ["--origins"] : []),
    ...(options.listenHttps ?? []).flatMap((it) => ["--listen-https", it]),
    ...given("--proxy", options.proxy),
    ...given("--tls", pair.length > 0 ? pair.join(",") : tls),
    ...(hasKeys ? ["--tls-dir", options.tlsDir === undefined ? STATE_TLS_DIR : resolve(options.tlsDir)] : []),
    ...given("--url", options.url),
    ...(options.trustProxy ?? []).flatMap((it) => ["--trust-proxy", it]),
    ...htpasswd.flatMap((it) => ["--htpasswd", it]),
    ...given("--access-log", log),
    ...given("--wanted", wanted),
    ...given("--workers", options.workers?.toString()),
    ...given("--verify-reads", options.verifyReads === "once" ? undefined : options.verifyReads),
  ];
  const writes = [
    ...(hasKeys && options.tlsDir !== undefined ? [resolve(options.tlsDir)] : []),
    ...(log === undefined || log === "-" ? [] : [dirname(log)]),
    ...(wanted === undefined ? [] : [dirname(wanted)]),
    ...(cache === undefined ? [] : [cache]),
  ];
  const isLow = listen.some(({ port }) => port > 0 && port < 1024);
  const capability = isLow ? "CAP_NET_BIND_SERVICE" : "";
  const files = [
    ...new Set([...program.filter(isAbsolute).map(withItsFolder), ...(isBucket ? [] : [store]), ...pair, ...htpasswd]),
  ];
  const hidden = files.filter((path) => HIDDEN.some((folder) => path.startsWith(folder)));
  const lines = [
    `# ${NAME}.service: airferry serve --print-unit wrote it; docs/operating.md says how to install it.`,
    "[Unit]",
    "Description=airferry: local repository for image builds",
    "Documentation=man:airferry(1)",
    "After=network-online.target",
    "Wants=network-online.target",
    ...(isBucket ? [] : [`RequiresMountsFor=${unitPath(store)}`]),
    "",
    "[Service]",
    "Type=notify",
    "NotifyAccess=all",
    `ExecStart=${[...program, "serve", ...args].map(unitWord).join(" ")}`,
    "ExecReload=/bin/sh -c 'kill -HUP $MAINPID'",
    "Restart=on-failure",
    "RestartSec=2",
    `TimeoutStopSec=${STOP_SECONDS}`,
    ...(options.user === undefined ? ["DynamicUser=yes"] : accountLines(options.user)),
    `StateDirectory=${NAME}`,
    `LogsDirectory=${NAME}`,
    // Credentials of the bucket are no business of anybody who reads a unit or a list of processes.
    ...(isBucket ? [`CacheDirectory=${NAME}`, `EnvironmentFile=-${BUCKET_ENV}`] : []),
    "UMask=0077",
    "LimitNOFILE=65536",
    `CapabilityBoundingSet=${capability}`,
    `AmbientCapabilities=${capability}`,
    "NoNewPrivileges=yes",
    "ProtectSystem=strict",
    `ProtectHome=${hidden.some((path) => !/^\/(?:var\/)?tmp\//.test(path)) ? "tmpfs" : "yes"}`,
    "PrivateTmp=yes",
    "PrivateDevices=yes",
    ...(isLow ? [] : ["PrivateUsers=yes"]),
    "ProtectProc=invisible",
    "ProcSubset=pid",
    "ProtectClock=yes",
    "ProtectControlGroups=yes",
    "ProtectHostname=yes",
    "ProtectKernelLogs=yes",
    "ProtectKernelModules=yes",
    "ProtectKernelTunables=yes",
    "RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK",
    "RestrictNamespaces=yes",
    "RestrictRealtime=yes",
    "RestrictSUIDSGID=yes",
    "LockPersonality=yes",
    "RemoveIPC=yes",
    "SystemCallArchitectures=native",
    "SystemCallFilter=@system-service",
    "SystemCallFilter=~@privileged @resources",
    "SystemCallErrorNumber=EPERM",
    // The program compiles JavaScript while it runs, so that MemoryDenyWriteExecute would end it.
    ...hidden.map((path) => `BindReadOnlyPaths=${unitPath(path)}`),
    ...writes.map((path) => `ReadWritePaths=${unitPath(path)}`),
    "",
    "[Install]",
    "WantedBy=multi-user.target",
  ];
  return `${lines.join("\n")}\n`;
}

/**
 * The socket unit: systemd listens, at any port, and starts the service with the first connection. Each thread has a
 * socket of its own for each address, and the kernel spreads connections over them.
 */
export function socketUnit(listen: readonly ListenAddress[], threads: number): string {
  const streams = listen.flatMap(({ host, port }) => {
    // A port alone is IPv6 and IPv4, as `::` is for `serve`; 0.0.0.0 is IPv4 only.
    const address = host === "::" ? `${port}` : formatAddress({ host, port });
    return Array.from({ length: threads }, () => `ListenStream=${address}`);
  });
  const lines = [
    `# ${NAME}.socket: airferry serve --print-unit socket wrote it; docs/operating.md says how to install it.`,
    "[Unit]",
    "Description=airferry: sockets",
    "",
    "[Socket]",
    ...streams,
    "ReusePort=yes",
    "Backlog=1024",
    "NoDelay=yes",
    "",
    "[Install]",
    "WantedBy=sockets.target",
  ];
  return `${lines.join("\n")}\n`;
}

function given(flag: string, value: string | undefined): string[] {
  return value === undefined ? [] : [flag, value];
}

/** A script of a checkout needs all of the checkout. */
function withItsFolder(path: string): string {
  return path.endsWith(".ts") ? dirname(dirname(path)) : path;
}

/** This program, up to its verb: the single file, or Node with the script of a checkout. */
function thisProgram(): string[] {
  const [, script = ""] = process.argv;
  return isSea() ? [process.execPath] : [process.execPath, "--disable-warning=ExperimentalWarning", resolve(script)];
}

/** The account of `--user`: NAME, UID, NAME:GROUP or UID:GID. */
function accountLines(account: string): string[] {
  const [, user, group] = /^([\w.-]+)(?::([\w.-]+))?$/.exec(account) ?? [];
  if (user === undefined) {
    throw new AirferryError("ERR_USAGE", `cannot use --user "${account}": no name of a user and group`, {
      hint: "give NAME, UID, NAME:GROUP or UID:GID",
    });
  }
  return [`User=${user}`, ...(group === undefined ? [] : [`Group=${group}`])];
}

/** Refuses what would be a line of its own in a unit. */
function refuseControls(text: string): void {
  if (!/\p{Cc}/u.test(text)) return;
  throw new AirferryError("ERR_USAGE", `cannot write "${text}" into a unit: it has control characters`, {
    hint: "rename it without line breaks and other control characters",
  });
}

/** A word of a command line, systemd.service(5): specifiers and variables are taken literally. */
function unitWord(word: string): string {
  refuseControls(word);
  const literal = word.replaceAll("%", "%%").replaceAll("$", "$$$$");
  return /^[\w./:@,=+%$-]+$/.test(literal) ? literal : `"${literal.replace(/["\\]/g, "\\$&")}"`;
}

/** A path of a setting that takes a list of paths, some of them in pairs with a colon between. */
function unitPath(path: string): string {
  refuseControls(path);
  const literal = path.replaceAll("%", "%%");
  return /[\s"'\\:]/.test(literal) ? `"${literal.replace(/["\\]/g, "\\$&")}"` : literal;
}
