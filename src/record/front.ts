/**
 * The proxy as its clients see it: requests in absolute form, and CONNECT. What is TLS inside a tunnel is answered with
 * a certificate of the recording's CA, HTTP/1.1 or h2; other protocols go through unread. Upstream is connected to only
 * when a request is complete.
 */
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import type { Http2SecureServer, SecureServerOptions } from "node:http2";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import type { HostCertificates } from "../certs/host-certificates.ts";
import { AirferryError } from "../errors.ts";
import { nodeHttp } from "../io/node-http.ts";
import type { ClientQuestion, Exchanges, ExchangeTools } from "./exchange.ts";
import { hostText } from "./host-tally.ts";
import { absoluteTarget, targetFault } from "./proxied-target.ts";
import type { RangedAnswers } from "./ranged.ts";
import type { ProxyResponse } from "./relay.ts";
import type { UpstreamOrigin } from "./types.ts";
import { passThrough, passUpgrade } from "./unread.ts";

/** A client that says nothing first waits for a server that does. */
const SILENCE_MS = 3000;
const MAX_HEADER_BYTES = 64 * 1024;
const MAX_ORIGINS = 4096;
/**
 * By default nghttp2 ends a connection after about 1,000 frames for streams that are over, which clients of many small
 * files send (curl 7.88, and whatever fetches through libcurl).
 */
const MANY_STREAMS = { streamResetBurst: 1_000_000, streamResetRate: 1_000_000 };

interface ProxyFrontOptions extends ExchangeTools {
  exchanges: Exchanges;
  ranged: RangedAnswers;
  certificates: HostCertificates;
  /** The recording's CA, PEM. */
  ca: string;
}

/** The listener. Its creator closes it. */
export class ProxyFront {
  readonly #options: ProxyFrontOptions;
  readonly #server: Server;
  readonly #secure = new Map<string, Promise<Http2SecureServer>>();
  readonly #sockets = new Set<Duplex>();
  /** Hosts whose certificate a client refused, and none has accepted. */
  readonly #refused = new Set<string>();
  readonly #accepted = new Set<string>();

  constructor(options: ProxyFrontOptions) {
    this.#options = options;
    this.#server = this.#plainServer((request, response) => this.#direct(request, response), undefined);
    this.#server.on("connect", (request, socket, head) => this.#connect(request, socket, head));
    this.#server.on("connection", (socket) => this.#keep(socket));
  }

  /** @throws {AirferryError} ERR_BUSY when the port is taken; ERR_IO */
  listen(host: string, port: number): Promise<{ host: string; port: number }> {
    return new Promise((resolve, reject) => {
      this.#server.once("error", (cause: NodeJS.ErrnoException) => {
        const isTaken = cause.code === "EADDRINUSE";
        const fault = isTaken ? "the port is in use" : cause.message;
        const hint = isTaken ? "give another port with --listen, or 0 for any" : "give another address with --listen";
        reject(
          new AirferryError(isTaken ? "ERR_BUSY" : "ERR_IO", `cannot listen on ${host}:${port}: ${fault}`, {
            hint,
            cause,
          }),
        );
      });
      this.#server.listen({ host, port }, () => {
        const address = this.#server.address();
        resolve(typeof address === "object" && address !== null ? { host, port: address.port } : { host, port });
      });
    });
  }

  /** Accepts no more, and closes what is open. */
  async close(): Promise<void> {
    // Also when it is closed already.
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    for (const it of this.#sockets) it.destroy();
    await closed;
  }

  #plainServer(
    listener: (request: IncomingMessage, response: ServerResponse) => void,
    origin: UpstreamOrigin | undefined,
  ): Server {
    const options = {
      maxHeaderSize: MAX_HEADER_BYTES,
      requestTimeout: 0,
      // To HTTP/2 without TLS nobody needs to upgrade.
      shouldUpgradeCallback: (request: IncomingMessage) => !/^\s*h2c\s*$/i.test(request.headers.upgrade ?? ""),
    };
    const server = nodeHttp.createServer(options as object, listener);
    server.on("upgrade", (request, socket, head) => {
      const target = origin ?? absoluteTarget(request.url ?? "")?.origin;
      if (target === undefined) socket.destroy();
      else this.#upgrade(request, socket, head, target);
    });
    server.on("clientError", (_, socket) => socket.destroy());
    return server;
  }

  /** A request to the proxy itself, or in absolute form. */
  #direct(request: IncomingMessage, response: ServerResponse): void {
    const target = absoluteTarget(request.url ?? "");
    if (target !== undefined) {
      request.url = target.path;
      // RFC 9112, 3.2.2: what Host says does not count.
      request.headers.host = hostText(target.origin);
      this.#answer(request, response, target.origin);
      return;
    }
    if (request.url === "/ca.crt" && (request.method === "GET" || request.method === "HEAD")) {
      response.writeHead(200, { "content-type": "application/x-x509-ca-cert", "cache-control": "no-store" });
      response.end(this.#options.ca);
      return;
    }
    response.writeHead(400, { "content-type": "text/plain" });
    response.end("airferry record: this is a proxy: use it as http_proxy and https_proxy. Its CA is at /ca.crt.\n");
  }

  #answer(request: ClientQuestion, response: ProxyResponse, origin: UpstreamOrigin): void {
    const { exchanges, ranged, tally } = this.#options;
    request.on("error", () => {});
    response.on("error", () => {});
    const fault = targetFault(request, origin);
    if (fault !== undefined) {
      tally.missed(origin, `refused: ${fault}`);
      response.writeHead(400, { "content-type": "text/plain" });
      response.end(`airferry record: this connection is to ${hostText(origin)}, and the request has ${fault}.\n`);
      return;
    }
    if (request.headers.range !== undefined && request.method === "GET") {
      const question = exchanges.questionOf(request, origin);
      if (!("missed" in question)) {
        ranged.answer(request, response, origin, question);
        return;
      }
    }
    exchanges.answer(request, response, origin);
  }

  #upgrade(request: IncomingMessage, socket: Duplex, head: Buffer, origin: UpstreamOrigin): void {
    const { upstream, tally } = this.#options;
    tally.missed(origin, `upgrade to ${(request.headers.upgrade ?? "").slice(0, 20)}`);
    this.#keep(socket);
    const target = absoluteTarget(request.url ?? "");
    if (target !== undefined) request.headers.host = hostText(origin);
    void passUpgrade(request, socket, head, { origin, path: target?.path ?? request.url ?? "/" }, upstream);
  }

  #connect(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    this.#keep(socket);
    const [, bracketed, name, port] =
      /^(?:\[([0-9a-f:.]+)\]|([^:/?#@\s[\]]+)):(\d{1,5})$/i.exec(request.url ?? "") ?? [];
    const host = bracketed ?? name;
    if (host === undefined || Number(port) > 65535 || Number(port) === 0) {
      socket.end("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
      return;
    }
    socket.write("HTTP/1.1 200 Connection established\r\n\r\n");
    if (head.length > 0) socket.unshift(head);
    void this.#begin(socket as Socket, host.toLowerCase(), Number(port));
  }

  /** Looks at the first bytes of a tunnel: what speaks there? */
  async #begin(socket: Socket, host: string, port: number): Promise<void> {
    const first = await firstBytes(socket);
    if (first === "closed") return;
    const secure: UpstreamOrigin = { scheme: "https", host, port };
    const isTls = first !== "silent" && first[0] === 0x16 && (first[1] ?? 3) === 3;
    if (isTls && !this.#refused.has(hostText(secure)))
      return void (await this.#secureServer(secure)).emit("connection", socket);
    if (first !== "silent" && /^(?!PRI )[A-Z]{3,20} /.test(first.toString("latin1", 0, 24))) {
      const origin: UpstreamOrigin = { scheme: "http", host, port };
      const server = this.#plainServer((request, response) => this.#answer(request, response, origin), origin);
      server.emit("connection", socket);
      return;
    }
    const { upstream, tally } = this.#options;
    tally.missed(secure, isTls ? "its clients accept only its own certificate" : "neither TLS nor HTTP");
    await passThrough(socket, secure, upstream);
  }

  /** The origin, as its clients see it. Without a name in the handshake (an address) it is the host of the tunnel. */
  #secureServer(origin: UpstreamOrigin): Promise<Http2SecureServer> {
    const name = hostText(origin);
    let server = this.#secure.get(name);
    if (server === undefined) {
      server = this.#makeSecure(origin, name);
      server.catch(() => this.#secure.delete(name));
      if (this.#secure.size < MAX_ORIGINS) this.#secure.set(name, server);
    }
    return server;
  }

  async #makeSecure(origin: UpstreamOrigin, name: string): Promise<Http2SecureServer> {
    const { certificates, tally } = this.#options;
    const http2 = process.getBuiltinModule("node:http2");
    const options: SecureServerOptions & { maxHeaderSize: number; requestTimeout: number } = {
      ...(await certificates.pemOf(origin.host)),
      allowHTTP1: true,
      maxHeaderSize: MAX_HEADER_BYTES,
      requestTimeout: 0,
      ...MANY_STREAMS,
      SNICallback: (servername, done) =>
        certificates.contextOf(servername).then(
          (context) => done(null, context),
          (error) => done(error),
        ),
    };
    const server = http2.createSecureServer(options, (request, response) => this.#answer(request, response, origin));
    server.on("upgrade", (request, socket, head) => this.#upgrade(request, socket, head, origin));
    server.on("secureConnection", (socket) => {
      this.#accepted.add(name);
      this.#keep(socket);
    });
    server.on("tlsClientError", (error: NodeJS.ErrnoException) => {
      if (!/ALERT/.test(error.code ?? "") || this.#accepted.has(name)) return;
      this.#refused.add(name);
      tally.missed(origin, "the client refuses the recording's certificate");
    });
    server.on("sessionError", () => {});
    server.on("clientError", (_: Error, socket: Duplex) => socket.destroy());
    return server;
  }

  #keep(socket: Duplex): void {
    this.#sockets.add(socket);
    socket.on("error", () => {});
    socket.once("close", () => this.#sockets.delete(socket));
  }
}

/** The first bytes of a client, which stay unread; or that none come. */
function firstBytes(socket: Socket): Promise<Buffer | "silent" | "closed"> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => end("silent"), SILENCE_MS);
    const end = (found: Buffer | "silent" | "closed") => {
      clearTimeout(timer);
      socket.off("readable", readable);
      socket.off("close", closed);
      resolve(found);
    };
    const closed = () => end("closed");
    const readable = () => {
      const bytes = socket.read() as Buffer | null;
      if (bytes === null) {
        if (socket.readableEnded) end("closed");
        return;
      }
      socket.off("readable", readable);
      socket.unshift(bytes);
      end(bytes);
    };
    socket.once("close", closed);
    socket.on("readable", readable);
  });
}
