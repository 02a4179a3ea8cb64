/**
 * One listening socket: HTTP or HTTPS, its time limits, and its graceful shutdown. Requests must arrive in time;
 * responses may take any time, since a 15 GB image over a slow line is a legitimate download.
 */
import type { RequestListener, Server } from "node:http";
import type { Server as TlsServer } from "node:https";
import { type AddressInfo, createServer as createNetServer, type Server as NetServer, type Socket } from "node:net";
import { AirferryError } from "../../errors.ts";
import { nodeHttp, nodeHttps } from "../../io/node-http.ts";
import { formatAddress, type ListenAddress } from "./address.ts";
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

/** A listening socket. */
export interface Listener {
  readonly address: ListenAddress;
  readonly scheme: "http" | "https";
  connections(): number;
  /** Uses other key material for connections from now on. */
  setTls(tls: TlsMaterial): void;
  /** Stops accepting; closes idle connections; waits for running responses up to `graceMs`, then cuts them. */
  close(graceMs: number): Promise<void>;
}

/**
 * How a port is shared: by the `first` thread, which makes sure that nobody else has it, and by those that `join` it
 * there. Sockets that share a port would not notice another server of this user on it.
 */
export type PortSharing = "first" | "join";

/** Who answers what comes in. */
export interface Answers {
  answer: RequestListener;
  /** For requests that need no more than that. */
  fast: FastPathOptions;
}

/**
 * Starts listening; with `share`, on a port that other threads listen on as well; with `socket`, a descriptor that
 * listens already, on that one, whatever the address says.
 * @throws {AirferryError} ERR_BUSY when the port is taken; ERR_IO when it is unusable
 */
export async function listen(
  address: ListenAddress,
  tls: TlsMaterial | undefined,
  share: PortSharing | undefined,
  answers: Answers,
  socket?: number,
): Promise<Listener> {
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
    fast.arrived(req.socket);
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
    if (already >= MAX_CONNECTIONS_OF_ONE) process.nextTick(() => socket.destroy());
  };
  const fast = putInFront(server, tls !== undefined, answers.fast, count);
  const closeIdle = (): void => {
    server.closeIdleConnections();
    fast.closeIdle();
  };
  // Whoever only keeps a connection for later makes room for who is turned away.
  server.on("drop", closeIdle);
  // For port 0 the kernel takes one that nobody has, shared or not: a look beforehand would only give it away again.
  if (socket === undefined && share === "first" && address.port !== 0) await requireFree(address);
  await (socket === undefined ? bind(server, address, share !== undefined) : adopt(server, socket));
  const bound = server.address() as AddressInfo;
  return {
    address: { host: socket === undefined ? address.host : bound.address, port: bound.port },
    scheme: tls === undefined ? "http" : "https",
    connections: () => connections,
    setTls(material) {
      if (tls !== undefined) (server as TlsServer).setSecureContext(secureOptions(material));
    },
    close: (graceMs) =>
      closeGracefully(server, graceMs, closeIdle, () => {
        server.closeAllConnections();
        fast.closeAll();
      }),
  };
}

/**
 * Gives new connections to the fast path, which hands over to Node's HTTP what is not for it. Each is counted as soon
 * as it is there, before its handshake.
 */
function putInFront(
  server: Server | TlsServer,
  isTls: boolean,
  options: FastPathOptions,
  count: (socket: Socket) => void,
): FastPath {
  const event = isTls ? "secureConnection" : "connection";
  const nodes = server.listeners(event) as ((socket: Socket) => void)[];
  server.removeAllListeners(event);
  const limits = { headersTimeoutMs: HEADERS_TIMEOUT_MS, keepAliveTimeoutMs: KEEP_ALIVE_TIMEOUT_MS };
  const fast = new FastPath(options, limits);
  const handOver = (socket: Socket): void => {
    for (const it of nodes) it.call(server, socket);
  };
  if (isTls) server.prependListener("connection", count);
  server.on(event, (socket: Socket) => {
    const own = fast.accept(socket, handOver);
    if (!isTls) count(own);
  });
  return fast;
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

function secureOptions({ key, cert, ticketKeys }: TlsMaterial) {
  return {
    key,
    cert,
    minVersion: "TLSv1.2" as const,
    ...(ticketKeys === undefined ? {} : { ticketKeys: Buffer.from(ticketKeys, "base64") }),
  };
}

async function requireFree(address: ListenAddress): Promise<void> {
  const probe = createNetServer();
  await bind(probe, address, false);
  await new Promise((resolve) => probe.close(resolve));
}

function bind(server: NetServer, { host, port }: ListenAddress, reusePort: boolean): Promise<void> {
  return new Promise((resolve, reject) => {
    const fail = (error: NodeJS.ErrnoException): void => reject(bindFault(error, { host, port }));
    server.once("error", fail);
    server.listen({ host, port, reusePort, exclusive: true, backlog: 1024 }, () => {
      server.off("error", fail);
      // For example too many open files while accepting: only the connection is lost.
      server.on("error", () => {});
      resolve();
    });
  });
}

/** Listens on a socket that listens already. @throws {AirferryError} ERR_USAGE when it is no TCP socket */
function adopt(server: NetServer, fd: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const fail = (cause: Error): void =>
      reject(
        new AirferryError("ERR_USAGE", `cannot listen on the socket that was handed over: ${cause.message}`, {
          hint: "a socket unit for airferry has ListenStream=PORT or ADDRESS:PORT only: airferry serve --print-unit socket",
          cause,
        }),
      );
    server.once("error", fail);
    server.listen({ fd }, () => {
      server.off("error", fail);
      if (typeof server.address() === "string") return fail(new Error("it is not a TCP socket"));
      server.on("error", () => {});
      resolve();
    });
  });
}

function bindFault(cause: NodeJS.ErrnoException, address: ListenAddress): AirferryError {
  const where = formatAddress(address);
  if (cause.code === "EADDRINUSE") {
    return new AirferryError("ERR_BUSY", `cannot listen on "${where}": another program has this port`, {
      hint: `to see which: ss -ltnp 'sport = :${address.port}'; or choose another port with --listen`,
      cause,
    });
  }
  const hints: Record<string, string> = {
    EACCES:
      "ports below 1024 need CAP_NET_BIND_SERVICE: start as root with --user NAME, or choose another with --listen",
    EADDRNOTAVAIL: "no interface of this machine has that address; to list them: ip address",
  };
  const hint = hints[cause.code ?? ""] ?? "choose another address with --listen";
  return new AirferryError("ERR_IO", `cannot listen on "${where}": ${cause.message}`, { hint, cause });
}

function closeGracefully(
  server: NetServer,
  graceMs: number,
  closeIdle: () => void,
  closeAll: () => void,
): Promise<void> {
  return new Promise((resolve) => {
    const cut = setTimeout(closeAll, graceMs);
    // A connection that finishes its answer now turns idle and is ended by the next round.
    const sweep = setInterval(closeIdle, 200);
    server.close(() => {
      clearTimeout(cut);
      clearInterval(sweep);
      resolve();
    });
    closeIdle();
  });
}
