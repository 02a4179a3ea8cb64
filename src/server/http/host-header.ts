/**
 * The target host of a request: exactly one Host that is valid in a URL, or the authority of an absolute target.
 * Anything else is a client error, answered with 400 before any handler. See RFC 9112, sections 3.2 and 3.2.2.
 */
import type { IncomingMessage } from "node:http";

/** A host name or address with an optional port. */
const HOST = /^(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::\d{1,5})?$/;
const ABSOLUTE_FORM = /^https?:\/\/([^/?#]*)/i;

/** Checks the Host of each request of a listener. */
export class HostCheck {
  /** Clients are few and send the same value each time. */
  #lastGood = "";

  /**
   * Returns what is wrong with a request's Host, or undefined. A missing one is valid only in HTTP/1.0, which Node
   * checks; an empty one is ignored.
   */
  fault(req: IncomingMessage): string | undefined {
    const { rawHeaders } = req;
    let hosts = 0;
    for (let i = 0; i < rawHeaders.length; i += 2) {
      const name = rawHeaders[i];
      if (name?.length === 4 && name.toLowerCase() === "host") hosts++;
    }
    if (hosts > 1) return "more than one Host";
    const authority = authorityOf(req);
    if (authority === this.#lastGood) return undefined;
    if (authority === "")
      return req.url?.startsWith("/") === false && req.url !== "*" ? "the target has no host" : undefined;
    if (!isHost(authority)) return "the host is not one that a URL can have";
    this.#lastGood = authority;
    return undefined;
  }
}

/**
 * Returns the intended host, as `HOST` or `HOST:PORT`; "" if unspecified. A value that {@link HostCheck} accepts is
 * valid after `http://`.
 */
export function authorityOf(req: IncomingMessage): string {
  const absolute = req.url?.startsWith("/") === false ? ABSOLUTE_FORM.exec(req.url) : null;
  return (absolute?.[1] ?? req.headers.host ?? "").replace(/:$/, "");
}

/** Whether a text can be the authority of a URL. */
export function isHost(text: string): boolean {
  return HOST.test(text) && URL.canParse(`http://${text}`);
}
