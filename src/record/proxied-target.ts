/** What a request is for: the recording must name the server that answered, whatever the request says of itself. */
import type { IncomingHttpHeaders } from "node:http";
import { hostText } from "./host-tally.ts";
import type { UpstreamOrigin } from "./types.ts";

/** Origin and path of a request in absolute form; a user in it is not passed on. */
export function absoluteTarget(target: string): { origin: UpstreamOrigin; path: string } | undefined {
  const [, authority = "", path = ""] = /^http:\/\/([^/?#]+)([^#]*)/i.exec(target) ?? [];
  const host = authority.slice(authority.lastIndexOf("@") + 1);
  if (host === "" || !URL.canParse(`http://${host}`)) return undefined;
  const url = new URL(`http://${host}`);
  const origin: UpstreamOrigin = {
    scheme: "http",
    host: url.hostname.replace(/^\[|\]$/g, ""),
    port: Number(url.port || 80),
  };
  return { origin, path: path.startsWith("/") ? path : `/${path}` };
}

/**
 * Why a request on a connection to `origin` is refused; undefined if it is for that origin. The URL of an answer is
 * made of the origin and this path: without "/" between them it would be another host's.
 */
export function targetFault(
  {
    method,
    url = "",
    headers,
  }: { method?: string | undefined; url?: string | undefined; headers: IncomingHttpHeaders },
  origin: UpstreamOrigin,
): string | undefined {
  if (!url.startsWith("/") && !(method === "OPTIONS" && url === "*")) return 'a path without "/" at its start';
  const scheme = headers[":scheme"];
  if (scheme !== undefined && scheme !== origin.scheme) return "the scheme of another connection";
  // HTTP/2. What HTTP/1.1 says in Host alone is let through, unrecorded.
  if (scheme === undefined && headers[":authority"] === undefined) return undefined;
  return [headers[":authority"], headers.host].every((it) => it === undefined || isHostOf(it, origin))
    ? undefined
    : "the host of another connection";
}

/** Whether the value of Host, if there is one, is an origin's, with or without the scheme's port. */
export function isHostOf(value: string | readonly string[] | undefined, origin: UpstreamOrigin): boolean {
  if (value === undefined) return true;
  const [asked, own] = [String(value), hostText(origin)].map((it) => hostOf(`${origin.scheme}://`, it));
  return asked !== undefined && asked === own;
}

function hostOf(prefix: string, authority: string): string | undefined {
  if (/[/?#@\\\s]/.test(authority) || !URL.canParse(prefix + authority)) return undefined;
  const { hostname, port } = new URL(prefix + authority);
  return `${hostname.replace(/\.$/, "")}:${port}`;
}
