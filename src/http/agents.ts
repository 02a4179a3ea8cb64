/**
 * Keep-alive connections: one agent per proxy and TLS identity, so a client certificate is only offered on connections
 * to its own host. Node's agents support CONNECT (`proxyEnv`).
 */
import { readFileSync } from "node:fs";
import type { AgentOptions, Agent as HttpAgent } from "node:http";
import type { Agent as HttpsAgent } from "node:https";
import type { SecureContext } from "node:tls";
import { AirferryError } from "../errors.ts";
import { systemFault } from "../io/atomic.ts";
import { nodeHttp, nodeHttps } from "../io/node-http.ts";
import type { TlsIdentity } from "./credentials.ts";
import { DirectReader } from "./direct-read.ts";

const KEEP_ALIVE: AgentOptions = { keepAlive: true, maxFreeSockets: 64, scheduling: "lifo", timeout: 0 };

/** Its connections read large bodies directly; through a proxy they are Node's own (`proxyEnv`). */
class DirectHttpAgent extends nodeHttp.Agent {
  override createConnection(...[options, callback]: Parameters<HttpAgent["createConnection"]>) {
    return DirectReader.connect((onread) => super.createConnection({ ...options, onread } as typeof options, callback));
  }
}

/** The same over TLS. */
function directHttpsAgent(): HttpsAgent {
  return new (class extends nodeHttps().Agent {
    override createConnection(...[options, callback]: Parameters<HttpsAgent["createConnection"]>) {
      return DirectReader.connect((onread) =>
        super.createConnection({ ...options, onread } as typeof options, callback),
      );
    }
  })(KEEP_ALIVE);
}

export interface AgentPair {
  readonly http: HttpAgent;
  /** Made when it is first asked for. */
  readonly https: HttpsAgent;
}

/** CAs trusted for every host. */
export interface Trust {
  /** PEM file, besides the built-in and the system's certificates. */
  caFile?: string | undefined;
  /** The same as PEM text. */
  ca?: string | undefined;
  /** Only `ca`. */
  isCaAlone?: boolean | undefined;
}

export class Agents {
  readonly #pairs = new Map<string, AgentPair>();
  readonly #closing: (() => void)[] = [];
  readonly #trust: Trust;
  #trusted: string[] | undefined;

  constructor(trust: Trust = {}) {
    this.#trust = trust;
  }

  /** The agents for requests with or without a proxy and a TLS identity. */
  pair(proxy: string | undefined, identity: TlsIdentity | undefined): AgentPair {
    const key = `${proxy ?? ""} ${identity?.name ?? ""}`;
    let pair = this.#pairs.get(key);
    if (pair === undefined) {
      const proxied = proxy && { ...KEEP_ALIVE, proxyEnv: { HTTP_PROXY: proxy, HTTPS_PROXY: proxy } };
      const http = proxied ? new nodeHttp.Agent(proxied) : new DirectHttpAgent(KEEP_ALIVE);
      let https: HttpsAgent | undefined;
      const madeHttps = () => {
        https ??= this.#httpsAgent(proxied ? new (nodeHttps().Agent)(proxied) : directHttpsAgent(), identity);
        return https;
      };
      pair = {
        http,
        get https() {
          return madeHttps();
        },
      };
      this.#closing.push(() => {
        http.destroy();
        https?.destroy();
      });
      this.#pairs.set(key, pair);
    }
    return pair;
  }

  close(): void {
    for (const close of this.#closing.splice(0)) close();
    this.#pairs.clear();
  }

  /** Hundreds of CA certificates take tens of milliseconds to load: once, and only when TLS is spoken. */
  #httpsAgent(agent: HttpsAgent, identity: TlsIdentity | undefined): HttpsAgent {
    let context: SecureContext | undefined;
    Object.defineProperty(agent.options, "secureContext", {
      enumerable: true,
      get: () => {
        context ??= this.#context(identity);
        return context;
      },
    });
    return agent;
  }

  #context(identity: TlsIdentity | undefined): SecureContext {
    const ca = identity?.ca === undefined ? this.#roots() : [...this.#roots(), identity.ca];
    try {
      return process.getBuiltinModule("node:tls").createSecureContext({
        ca,
        ...(identity?.cert !== undefined && { cert: identity.cert }),
        ...(identity?.key !== undefined && { key: identity.key }),
      });
    } catch (cause) {
      throw new AirferryError(
        "ERR_IO",
        `cannot use the certificates for "${identity?.name ?? "every host"}": ${(cause as Error).message}`,
        { cause, hint: "check ca, cert and key under hosts: in the manifest; cert and key must belong together" },
      );
    }
  }

  /** The CAs of Node, of the operating system (usually including a corporate CA), and the extra file. */
  #roots(): string[] {
    if (this.#trusted === undefined) {
      const { caFile, ca, isCaAlone } = this.#trust;
      const { getCACertificates } = process.getBuiltinModule("node:tls");
      const all = new Set(isCaAlone ? [] : [...getCACertificates("default"), ...getCACertificates("system")]);
      if (ca !== undefined) all.add(ca);
      if (caFile !== undefined) {
        try {
          all.add(readFileSync(caFile, "utf8"));
        } catch (cause) {
          throw new AirferryError("ERR_IO", `cannot read the CA file "${caFile}": ${systemFault(cause)}`, {
            path: caFile,
            cause,
          });
        }
      }
      this.#trusted = [...all];
    }
    return this.#trusted;
  }
}
