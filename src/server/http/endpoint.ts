/**
 * What answers connections: HTTP or HTTPS, with its time limits and its limits on clients. Requests must arrive in
 * time; responses may take any time, since a 15 GB image over a slow line is a legitimate download.
 */
import type { RequestListener, Server } from "node:http";
import type { Server as TlsServer } from "node:https";
import type { Socket } from "node:net";
import type { SecureContext } from "node:tls";
import { nodeHttp, nodeHttps } from "../../io/node-http.ts";
import { FastPath, type FastPathOptions } from "./fast-path.ts";
import { queuePipelined } from "./pipeline-queue.ts";

const HEADERS_TIMEOUT_MS = 20_000;
const REQUEST_TIMEOUT_MS = 60_000;
const KEEP_ALIVE_TIMEOUT_MS = 60_000;
/** TCP keep-alive detects clients that vanished during a download. */
const TCP_KEEP_ALIVE_DELAY_MS = 60_000;
const CHECK_INTERVAL_MS = 5_000;
const MAX_HEADER_BYTES = 16 * 1024;
const MAX_CONNECTIONS = 4096;
/** One host, or IPv6 network, must not use all of them. A proxy in front is one host, and shares its connections. */
export const MAX_CONNECTIONS_OF_ONE = 1024;

const MIN_TLS_VERSION = "TLSv1.2" as const;

/** Key and certificates of a TLS listener, PEM. */
export interface TlsMaterial {
  key: string;
  /** The server's certificate, then any intermediate ones. */
  cert: string;
  /** The CA served at /ca.crt. */
  ca?: string;
  /** 48 bytes, base64: shared by all workers so that sessions resume on any of them. */
  ticketKeys?: string;
}

type Unnamed = Pick<TlsMaterial, "key" | "cert"> | undefined;

/** Chooses the certificate by the name that a client asks for. */
export interface HostTls {
  /** What a TLS server needs to be `host`; undefined for one that it is not: the handshake then ends. */
  contextOf(host: string): Promise<SecureContext | undefined>;
  /**
   * For clients that name no host: the URLs that they have start with an address. Asked for with each connection, and
   * the same object as long as it is the same; undefined where there are none. Does not reject.
   */
  unnamed(): Unnamed | Promise<Unnamed>;
}

/** Who answers what comes in. */
export interface Answers {
  answer: RequestListener;
  /** For requests that need no more than that; absent where all may need more. */
  fast?: FastPathOptions;
  /** Whether an address is a proxy's: its connections are those of many clients. */
  isProxy?: ((address: string | undefined) => boolean) | undefined;
}

/** A server without a socket of its own: it is given connections. */
export interface Endpoint {
  readonly server: Server | TlsServer;
  /** Takes a connection that somebody else accepted; in plain text without the fast path. */
  accept(socket: Socket): void;
  connections(): number;
  setTls(tls: Pick<TlsMaterial, "key" | "cert" | "ticketKeys">): void;
  closeIdle(): void;
  closeAll(): void;
}

/** Makes what answers connections, in TLS where there is key material. */
export function createEndpoint(tls: TlsMaterial | HostTls | undefined, answers: Answers): Endpoint {
  const options = {
    headersTimeout: HEADERS_TIMEOUT_MS,
    requestTimeout: REQUEST_TIMEOUT_MS,
    keepAliveTimeout: KEEP_ALIVE_TIMEOUT_MS,
    connectionsCheckingInterval: CHECK_INTERVAL_MS,
    maxHeaderSize: MAX_HEADER_BYTES,
    keepAlive: true,
    keepAliveInitialDelay: TCP_KEEP_ALIVE_DELAY_MS,
    noDelay: true,
    // No request here has a significant body.
    optimizeEmptyRequests: true,
  };
  const answerInTurn = queuePipelined((req, res) => {
    front.fast?.arrived(req.socket);
    answers.answer(req, res);
  });
  const server: Server | TlsServer =
    tls === undefined
      ? nodeHttp.createServer(options, answerInTurn)
      : nodeHttps().createServer(
          { ...options, ...secureOptions(tls), handshakeTimeout: HEADERS_TIMEOUT_MS, ALPNProtocols: ["http/1.1"] },
          answerInTurn,
        );
  // Never send 100 Continue for a body that will not be read.
  server.on("checkContinue", answerInTurn);
  server.on("checkExpectation", answerInTurn);
  server.maxConnections = MAX_CONNECTIONS;
  server.timeout = 0;
  // A client that has asked for all it wants may say so, and still gets its answers.
  (server as { httpAllowHalfOpen?: boolean }).httpAllowHalfOpen = true;
  let connections = 0;
  const ofOne = new Map<string, number>();
  const count = (socket: Socket): void => {
    const peer = peerOf(socket.remoteAddress ?? "");
    const already = ofOne.get(peer) ?? 0;
    ofOne.set(peer, already + 1);
    connections++;
    socket.on("close", () => {
      connections--;
      const left = (ofOne.get(peer) as number) - 1;
      if (left === 0) ofOne.delete(peer);
      else ofOne.set(peer, left);
    });
    // After Node's own setup of the connection.
    if (already >= MAX_CONNECTIONS_OF_ONE && answers.isProxy?.(socket.remoteAddress) !== true)
      process.nextTick(() => socket.destroy());
  };
  const front = putInFront(server, tls, answers.fast, count);
  const closeIdle = (): void => {
    server.closeIdleConnections();
    front.fast?.closeIdle();
  };
  let isTracking = false;
  return {
    server,
    accept(socket) {
      // Node limits the time of heads and requests, and closes connections, only for servers that listen.
      if (!isTracking && !server.listening) server.emit("listening");
      isTracking = true;
      // Without TLS, the fast path would lose what was read of the connection before.
      if (tls === undefined) front.toNode(socket);
      else server.emit("connection", socket);
    },
    connections: () => connections,
    setTls(material) {
      if (tls !== undefined) (server as TlsServer).setSecureContext(secureOptions(material));
    },
    closeIdle,
    closeAll() {
      server.closeAllConnections();
      front.fast?.closeAll();
    },
  };
}

/**
 * Gives new connections to the fast path, which hands over to Node's HTTP what is not for it. Each is counted as soon
 * as it is there, before its handshake.
 */
function putInFront(
  server: Server | TlsServer,
  tls: TlsMaterial | HostTls | undefined,
  options: FastPathOptions | undefined,
  count: (socket: Socket) => void,
): { fast: FastPath | undefined; toNode(socket: Socket): void } {
  const isTls = tls !== undefined;
  const event = isTls ? "secureConnection" : "connection";
  const nodes = server.listeners(event) as ((socket: Socket) => void)[];
  server.removeAllListeners(event);
  const toNode = (socket: Socket): void => {
    for (const it of nodes) it.call(server, socket);
  };
  if (tls !== undefined && "unnamed" in tls) beforeHandshakes(server as TlsServer, tls);
  if (isTls) server.prependListener("connection", count);
  const limits = { headersTimeoutMs: HEADERS_TIMEOUT_MS, keepAliveTimeoutMs: KEEP_ALIVE_TIMEOUT_MS };
  const fast = options === undefined ? undefined : new FastPath(options, limits);
  server.on(event, (socket: Socket) => {
    const own = fast?.accept(socket, toNode) ?? socket;
    if (!isTls) count(own);
    if (fast === undefined) toNode(own);
  });
  return { fast, toNode };
}

/** Has the certificate ready that a client gets which names no host: the releases may have changed. */
function beforeHandshakes(server: TlsServer, tls: HostTls): void {
  const handshakes = server.listeners("connection") as ((socket: Socket) => void)[];
  server.removeAllListeners("connection");
  let current: Unnamed;
  const start = (socket: Socket, unnamed: Unnamed): void => {
    if (unnamed !== undefined && unnamed !== current)
      server.setSecureContext({ ...unnamed, minVersion: MIN_TLS_VERSION });
    current = unnamed ?? current;
    for (const it of handshakes) it.call(server, socket);
  };
  server.on("connection", (socket: Socket) => {
    const unnamed = tls.unnamed();
    if (!(unnamed instanceof Promise)) return start(socket, unnamed);
    // It may end while nobody listens to it yet.
    socket.on("error", () => {});
    unnamed.then((it) => {
      if (!socket.destroyed) start(socket, it);
    });
  });
}

/** An IPv4 address, or the network of an IPv6 one: a host may choose among all addresses of its /64. */
function peerOf(address: string): string {
  const bare = address.replace(/^::ffff:(?=\d+\.)/i, "").replace(/%.*$/, "");
  if (!bare.includes(":")) return bare;
  const [head = "", tail] = bare.split("::");
  const groups = head.split(":").filter((it) => it !== "");
  const behind = tail === undefined ? 0 : tail.split(":").filter((it) => it !== "").length;
  while (tail !== undefined && groups.length + behind < 8) groups.push("0");
  return groups.slice(0, 4).join(":");
}

function secureOptions(tls: Pick<TlsMaterial, "key" | "cert" | "ticketKeys"> | HostTls) {
  if ("contextOf" in tls) {
    const SNICallback = (name: string, done: (error: Error | null, context?: SecureContext) => void): void => {
      tls.contextOf(name).then(
        (context) => (context === undefined ? done(new Error("no release has this host")) : done(null, context)),
        (error: Error) => done(error),
      );
    };
    return { SNICallback, minVersion: MIN_TLS_VERSION };
  }
  const { key, cert, ticketKeys } = tls;
  return {
    key,
    cert,
    minVersion: MIN_TLS_VERSION,
    ...(ticketKeys === undefined ? {} : { ticketKeys: Buffer.from(ticketKeys, "base64") }),
  };
}
