/**
 * The requests that nearly all clients send nearly always: a GET of a path, complete in what one read brought, with no
 * header that the answer could depend on. Anything else is for Node's parser. See RFC 9112, sections 3 and 5.
 */
import { isHost } from "./host-header.ts";

/** What the headers of a plain request say, as far as anybody wants to know it. */
export interface PlainHeaders {
  readonly host: string;
  readonly agent: string | undefined;
  /** Whom a proxy says it asks for. */
  readonly forwardedFor: string | undefined;
}

/** One plain GET. */
export interface PlainRequest {
  /** The target as it was sent, up to the first space; whoever has no answer for it looks at its form. */
  readonly url: string;
  readonly headers: PlainHeaders;
}

/** More is no plain request. Far below what Node allows for headers, so nothing that it refuses is taken here. */
const MAX_BYTES = 4096;
const START = "GET /";
const END = "\r\n\r\n";
const VERSION = " HTTP/1.1\r\n";
const HEADER = /^([A-Za-z0-9-]+):[ \t]*([ -~]*)$/;
/** Headers that no answer here depends on. One that is not known may mean anything: it goes the long way. */
const IDLE = new Set([
  "accept",
  "accept-charset",
  "accept-encoding",
  "accept-language",
  "cache-control",
  "cookie",
  "dnt",
  "from",
  "origin",
  "pragma",
  "priority",
  "referer",
  "user-agent",
  "via",
]);
const IDLE_FAMILY = /^(?:x|sec)-/;
/** Clients are few, and each says the same with every request. */
const MAX_KNOWN_HEADERS = 64;

/** Reads plain requests; remembers the headers that it has seen, by their text. */
export class PlainRequests {
  readonly #known = new Map<string, PlainHeaders>();

  /**
   * Returns the request that the first `length` bytes are, all of them; undefined when they are anything but one plain
   * GET.
   */
  parse(buffer: Buffer, length = buffer.length): PlainRequest | undefined {
    if (length > MAX_BYTES) return undefined;
    const text = buffer.toString("latin1", 0, length);
    if (!text.startsWith(START)) return undefined;
    const space = text.indexOf(" ", START.length);
    if (!text.startsWith(VERSION, space)) return undefined;
    const headers = this.#headersOf(text.slice(space + VERSION.length));
    return headers === undefined ? undefined : { url: text.slice(START.length - 1, space), headers };
  }

  #headersOf(text: string): PlainHeaders | undefined {
    const known = this.#known.get(text);
    if (known !== undefined) return known;
    const headers = parsePlainHeaders(text);
    if (headers === undefined) return undefined;
    if (this.#known.size >= MAX_KNOWN_HEADERS) this.#known.clear();
    this.#known.set(text, headers);
    return headers;
  }
}

function parsePlainHeaders(text: string): PlainHeaders | undefined {
  // The first empty line must be the end of all: what comes behind it would be a second request.
  if (!text.endsWith(END) || text.indexOf(END) !== text.length - END.length) return undefined;
  let host: string | undefined;
  let agent: string | undefined;
  let forwardedFor: string | undefined;
  for (const line of text.slice(0, -END.length).split("\r\n")) {
    const [, anyCase, padded] = HEADER.exec(line) ?? [];
    if (anyCase === undefined || padded === undefined) return undefined;
    const name = anyCase.toLowerCase();
    const value = padded.trimEnd();
    if (name === "host") {
      if (host !== undefined || !isHost(value)) return undefined;
      host = value;
    } else if (name === "connection") {
      if (value.toLowerCase() !== "keep-alive") return undefined;
    } else if (name === "user-agent") {
      agent = value;
    } else if (name === "x-forwarded-for") {
      forwardedFor = forwardedFor === undefined ? value : `${forwardedFor}, ${value}`;
    } else if (name === "x-forwarded-host" || name === "x-forwarded-proto") {
      // What a trusted proxy may not say is a 400; which proxy is trusted is not known here.
      if (name === "x-forwarded-host" ? !isHost(value) : !/^https?$/.test(value)) return undefined;
    } else if (!IDLE.has(name) && !IDLE_FAMILY.test(name)) {
      return undefined;
    }
  }
  return host === undefined ? undefined : { host, agent, forwardedFor };
}
