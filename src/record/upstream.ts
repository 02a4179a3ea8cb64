/**
 * Requests as the recording proxy passes them on: any method, the client's headers, the body as it comes. Only the
 * certificates that the system trusts count, or those of `--ca`. Proxies of the environment apply.
 */
import type { ClientRequest, IncomingMessage, OutgoingHttpHeaders } from "node:http";
import { connect, isIP, type LookupFunction, type Socket } from "node:net";
import type { Duplex, Readable } from "node:stream";
import { Agents } from "../http/agents.ts";
import { dnsLookup, guardedLookup, NEAR_ADDRESS } from "../http/guarded-lookup.ts";
import { networkRank } from "../http/network-rank.ts";
import { type ProxyEnv, proxyFor } from "../http/proxy.ts";
import { nodeHttp, nodeHttps } from "../io/node-http.ts";
import { hostText } from "./host-tally.ts";
import type { UpstreamOrigin } from "./types.ts";

/** No byte in either direction for this long: upstream is stuck. */
const IDLE_MS = 300_000;

interface UpstreamOptions {
  /** Trusted certificates, PEM: no others. */
  ca: string;
  env: ProxyEnv;
  /**
   * Clients come from elsewhere: they are led neither to this host's own addresses nor to those of its links, where
   * clouds serve credentials. What listens there trusts whoever can reach it.
   */
  isForOthers?: boolean | undefined;
  /** Looks up names; tests replace it. */
  lookup?: LookupFunction | undefined;
}

/** The nearest networks that clients from elsewhere are led to: private ones. */
const REACH_OF_OTHERS = 1;

interface UpstreamRequest {
  origin: UpstreamOrigin;
  method: string;
  path: string;
  headers: OutgoingHttpHeaders;
  body?: Readable | undefined;
}

/** The head of an answer. */
interface UpstreamAnswer {
  answer: IncomingMessage;
  /** Another protocol goes on here, with these first bytes. */
  upgraded?: { socket: Duplex; head: Buffer };
}

/** The certificate that upstream shows does not verify. The message says why. */
export class UntrustedUpstream extends Error {}

/** Connections to upstream. Its creator closes it. */
export class Upstream {
  readonly #options: UpstreamOptions;
  readonly #agents: Agents;
  readonly #lookup: LookupFunction | undefined;

  constructor(options: UpstreamOptions) {
    this.#options = options;
    const { isForOthers, lookup } = options;
    const guarded = guardedLookup(async () => REACH_OF_OTHERS, lookup ?? dnsLookup);
    // Node's type has no answer without an address, which an error comes with.
    this.#lookup = isForOthers
      ? (host, opts, answer) => guarded(host, opts, (e, at = "", f) => answer(e, at, f))
      : lookup;
    this.#agents = new Agents({ ca: options.ca, isCaAlone: true });
  }

  close(): void {
    this.#agents.close();
  }

  /**
   * Sends a request; resolves with the answer's head. A connection that upstream had closed meanwhile is replaced once.
   * @throws {UntrustedUpstream} and system errors
   */
  async send(request: UpstreamRequest, signal?: AbortSignal): Promise<UpstreamAnswer> {
    const first = await this.#once(request, signal).catch((error: unknown) => error as Error & { isStale?: boolean });
    if (!(first instanceof Error)) return first;
    if (first.isStale === true && request.body === undefined) return this.#once(request, signal);
    throw first;
  }

  #once(request: UpstreamRequest, signal: AbortSignal | undefined): Promise<UpstreamAnswer> {
    const { origin, method, path, headers, body } = request;
    const url = new URL(`${origin.scheme}://${hostText(origin)}`);
    const proxy = proxyFor(url, this.#options.env);
    const agents = this.#agents.pair(proxy, undefined);
    const lookup = this.#lookup;
    const options = {
      host: origin.host,
      port: origin.port,
      method,
      path,
      headers,
      ...(lookup && { lookup }),
      ...(signal && { signal }),
    };
    return new Promise((resolve, reject) => {
      this.#checkReach(origin.host);
      let sent: ClientRequest;
      if (origin.scheme === "https") {
        const servername = isIP(origin.host) === 0 ? origin.host : "";
        // Whatever NODE_TLS_REJECT_UNAUTHORIZED says.
        sent = nodeHttps().request({ ...options, agent: agents.https, servername, rejectUnauthorized: true });
      } else sent = nodeHttp.request({ ...options, agent: agents.http });
      let answer: IncomingMessage | undefined;
      sent.setTimeout(IDLE_MS, () => {
        // While the client is slow nothing is read.
        if (answer?.isPaused() !== true) sent.destroy(new Error(`no answer for ${IDLE_MS / 1000} seconds`));
      });
      sent.once("response", (it) => {
        answer = it;
        resolve({ answer: it });
      });
      sent.once("upgrade", (answer, socket, head) => resolve({ answer, upgraded: { socket, head } }));
      sent.on("error", (error: NodeJS.ErrnoException) => {
        if (error.code === NEAR_ADDRESS) return reject(tooNear(origin.host));
        if (isCertificateFault(error)) return reject(untrusted(error));
        const isStale = sent.reusedSocket && /ECONNRESET|EPIPE/.test(error.code ?? "");
        reject(Object.assign(error, { isStale }));
      });
      if (body === undefined) sent.end();
      else {
        body.on("error", (error) => sent.destroy(error));
        body.pipe(sent);
      }
    });
  }

  /** A connection for bytes of any protocol, through the proxy if there is one. @throws system errors */
  async tunnel({ host, port }: UpstreamOrigin): Promise<Duplex> {
    const proxy = proxyFor(new URL(`https://${hostText({ scheme: "https", host, port })}`), this.#options.env);
    this.#checkReach(host);
    return proxy === undefined ? this.#direct(host, port) : tunnelThrough(new URL(proxy), host, port);
  }

  /** Addresses and localhost; names by what they resolve to. */
  #checkReach(host: string): void {
    if (this.#options.isForOthers && networkRank(host) > REACH_OF_OTHERS) throw tooNear(host);
  }

  #direct(host: string, port: number): Promise<Socket> {
    const lookup = this.#lookup;
    return new Promise((resolve, reject) => {
      const socket = connect({ host, port, allowHalfOpen: true, ...(lookup && { lookup }) });
      socket.once("error", reject);
      socket.once("connect", () => {
        socket.off("error", reject);
        resolve(socket);
      });
    });
  }
}

function tooNear(host: string): Error {
  return new Error(`${host} is an address of the recording host itself or of its link, where other hosts are not led`);
}

function tunnelThrough(proxy: URL, host: string, port: number): Promise<Duplex> {
  const target = `${host.includes(":") ? `[${host}]` : host}:${port}`;
  const login = `${decodeURIComponent(proxy.username)}:${decodeURIComponent(proxy.password)}`;
  const headers = {
    host: target,
    ...(login !== ":" && { "proxy-authorization": `Basic ${Buffer.from(login).toString("base64")}` }),
  };
  const options = { method: "CONNECT", path: target, headers, agent: false } as const;
  return new Promise((resolve, reject) => {
    const place = { host: proxy.hostname.replace(/^\[|\]$/g, ""), port: proxy.port };
    const sent =
      proxy.protocol === "https:"
        ? nodeHttps().request({ ...place, ...options, rejectUnauthorized: true })
        : nodeHttp.request({ ...place, ...options });
    sent.once("error", reject);
    sent.once("connect", (answer, socket, head) => {
      if (answer.statusCode !== 200) {
        socket.destroy();
        return reject(new Error(`the proxy refuses the connection: ${answer.statusCode}`));
      }
      if (head.length > 0) socket.unshift(head);
      resolve(socket);
    });
    sent.end();
  });
}

/** Without the advice to users of Node. */
function untrusted(cause: Error): UntrustedUpstream {
  return new UntrustedUpstream(cause.message.replace(/; if the root CA is .*$/s, ""), { cause });
}

/** Faults of OpenSSL's verification, and of names. */
const CERTIFICATE_FAULT =
  /^(?:CERT_|UNABLE_TO_(?:GET_|VERIFY_|DECRYPT_|DECODE_)|SELF_SIGNED_|DEPTH_ZERO_|ERR_TLS_CERT_ALTNAME|INVALID_(?:CA|PURPOSE)|PATH_LENGTH|HOSTNAME_MISMATCH|CRL_|ERROR_IN_CERT)/;

function isCertificateFault({ code }: NodeJS.ErrnoException): boolean {
  return CERTIFICATE_FAULT.test(code ?? "");
}
