/**
 * What proxies in front say of a request that they pass on: by which address the client knows the server, and where it
 * is. Believed only of proxies whose addresses were named; from anybody else the same headers mean nothing.
 */
import type { IncomingMessage } from "node:http";
import { BlockList, isIP } from "node:net";
import { AirferryError } from "../../errors.ts";
import { isHost } from "./host-header.ts";

/** More proxies in a row are not looked for in what a header lists. */
const MAX_HOPS = 16;
const MAPPED = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i;
const MAPPED_BITS = 96;
/** An address with or without a port, as proxies write it. */
const NODE = /^(?:\[([0-9A-Fa-f:.]+)\]|(\d+\.\d+\.\d+\.\d+)|([0-9A-Fa-f:.]+?))(?::\d{1,5})?$/;
const LOOPBACK = ["127.0.0.0/8", "::1"];

/** What a client's address for the server is, as far as proxies say so. */
interface ForwardedAddress {
  scheme?: "http" | "https";
  host?: string;
}

/** The proxies of one server. */
export class TrustedProxies {
  readonly #addresses = new BlockList();

  /**
   * @param texts addresses, networks (`10.0.0.0/8`) and `loopback`, each alone or several with commas between
   * @throws {AirferryError} ERR_USAGE
   */
  constructor(texts: readonly string[]) {
    for (const text of texts.flatMap((it) => it.split(","))) {
      for (const one of text.trim() === "loopback" ? LOOPBACK : [text.trim()]) this.#add(one);
    }
  }

  #add(text: string): void {
    const [, given = "", bits] = /^([^/]*)(?:\/(\d{1,3}))?$/.exec(text) ?? [];
    const address = bare(given);
    const family = isIP(address);
    const size = family === 4 ? 32 : 128;
    const isMapped = address !== given && family === 4;
    const prefix = bits === undefined ? size : Number(bits) - (isMapped ? MAPPED_BITS : 0);
    if (family === 0 || prefix < 1 || prefix > size) {
      throw new AirferryError("ERR_USAGE", `cannot trust proxy "${text}": expected an address or a network`, {
        hint: "name the proxies alone, for example: --trust-proxy 10.0.0.5, --trust-proxy 10.1.0.0/24,fd00:1::/64 or --trust-proxy loopback",
      });
    }
    this.#addresses.addSubnet(address, prefix, family === 4 ? "ipv4" : "ipv6");
  }

  /** Whether an address, as a socket has it, is a named proxy's. */
  has(address: string | undefined): boolean {
    if (address === undefined) return false;
    const plain = bare(address);
    const family = isIP(plain);
    return family !== 0 && this.#addresses.check(plain, family === 4 ? "ipv4" : "ipv6");
  }

  /** Who asked: the last address of the list that is no proxy's. The peer itself when that is none. */
  clientOf(peer: string | undefined, forwardedFor: string | undefined): string | undefined {
    return this.#chain(peer, forwardedFor).at(-1) ?? peer;
  }

  /** What is wrong with what a named proxy says; undefined: nothing, or nobody named says it. */
  fault(req: IncomingMessage): string | undefined {
    const { scheme, host } = this.#said(req);
    if (scheme !== undefined && !isScheme(scheme)) return "X-Forwarded-Proto is neither http nor https";
    if (host !== undefined && !isHost(host)) return "X-Forwarded-Host is not one that a URL can have";
    return undefined;
  }

  /** The address by which the client knows the server, of a request without {@link TrustedProxies.fault}. */
  addressOf(req: IncomingMessage): ForwardedAddress {
    const { scheme, host } = this.#said(req);
    return {
      ...(scheme !== undefined && isScheme(scheme) && { scheme }),
      ...(host !== undefined && isHost(host) && { host }),
    };
  }

  #said({ headers, socket }: IncomingMessage): { scheme: string | undefined; host: string | undefined } {
    const proto = textOf(headers["x-forwarded-proto"]);
    const host = textOf(headers["x-forwarded-host"]);
    if ((proto === undefined && host === undefined) || !this.has(socket.remoteAddress)) {
      return { scheme: undefined, host: undefined };
    }
    // Each proxy adds to a list, or replaces it: what the outermost named one wrote is as far from the end as there are
    // named ones. What is before that the client may have written.
    const chain = this.#chain(socket.remoteAddress, textOf(headers["x-forwarded-for"]));
    const proxies = chain.filter((it) => this.has(it)).length;
    return { scheme: fromEnd(proto, proxies)?.toLowerCase(), host: fromEnd(host, proxies)?.replace(/:$/, "") };
  }

  /** The peer, then what it says was before it, up to the first that is no named proxy. */
  #chain(peer: string | undefined, forwardedFor: string | undefined): string[] {
    if (peer === undefined) return [];
    const chain = [peer];
    const before = (forwardedFor ?? "").split(",").slice(-MAX_HOPS);
    for (const text of before.reverse()) {
      if (!this.has(chain.at(-1))) break;
      const address = addressIn(text.trim());
      if (address === undefined) break;
      chain.push(address);
    }
    return chain;
  }
}

function isScheme(text: string): text is "http" | "https" {
  return text === "http" || text === "https";
}

function textOf(header: string | string[] | undefined): string | undefined {
  const text = Array.isArray(header) ? header.join(",") : header;
  return text === undefined || text.trim() === "" ? undefined : text;
}

function fromEnd(list: string | undefined, position: number): string | undefined {
  const values = list?.split(",").slice(-MAX_HOPS);
  return values?.[Math.max(0, values.length - position)]?.trim();
}

/** IPv4 as IPv4, without a zone. */
function bare(address: string): string {
  const plain = address.replace(/%.*$/s, "");
  return MAPPED.exec(plain)?.[1] ?? plain;
}

function addressIn(text: string): string | undefined {
  const [, bracketed, ipv4, plain] = NODE.exec(text) ?? [];
  // Without brackets everything is the address: what looks like a port is its last group.
  const address = bare(bracketed ?? ipv4 ?? (plain === undefined ? "" : text));
  return isIP(address) === 0 ? undefined : address;
}
