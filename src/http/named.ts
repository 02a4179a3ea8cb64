/**
 * Who named a URL, and what follows from it: one rule for redirects and every other URL from upstream (mirror lists,
 * xml:base, token realms, links, URLs of foreign layers). docs/fetch.md, "Who named a URL".
 */
import { redactUrl } from "../io/redact.ts";
import { networkRank } from "./network-rank.ts";

/**
 * The user (the manifest, a flag), or a response or file of an upstream. `via` is then the user-named URL that led
 * there: the URL gets credentials only at that origin, and may lead only within its limits. Undefined: there was none,
 * as for a local archive, which may lead only to public hosts.
 */
export type Named = { by: "user" } | { by: "upstream"; via: string | undefined };

export const BY_USER: Named = { by: "user" };

/** Named by an upstream's response to a request for `via`. */
export function byUpstream(via: string | undefined): Named {
  return { by: "upstream", via };
}

/** Who named `urls`, given all URLs that the user named: one at another origin came from upstream. */
export function namerOf(urls: readonly string[], byUser: readonly string[]): Named {
  if (urls.every((it) => byUser.includes(it))) return BY_USER;
  const origins = new Set(byUser.map(originOf));
  const [via] = byUser;
  return urls.every((it) => origins.has(originOf(it))) ? BY_USER : byUpstream(via);
}

function originOf(url: string): string {
  return URL.canParse(url) ? new URL(url).origin : url;
}

/** How near a host may be that upstream leads to; computed only when needed. */
export type Reach = () => Promise<number>;

/** As near as the requested host: by its name, and by the address that answered or that `known` finds for it. */
export function reachOf(url: URL, known: string | Resolve): Reach {
  return async () => {
    const named = networkRank(url.hostname);
    if (typeof known === "string") return Math.max(named, networkRank(known));
    if (named > 0) return named;
    const found = await known(url.hostname, { all: true }).catch(() => []);
    return Math.max(0, ...found.map((it) => networkRank(it.address)));
  };
}

export type Resolve = (host: string, options: { all: true }) => Promise<{ address: string }[]>;

/**
 * Returns why upstream may not lead from one URL to another: never down from https, never to a nearer network.
 * Undefined: it may. Names are checked again by the address they resolve to.
 */
export async function stepFault(from: URL | undefined, to: URL, reach: Reach | undefined): Promise<string | undefined> {
  if (to.protocol !== "https:" && to.protocol !== "http:")
    return `to "${redactUrl(to)}", which is neither http nor https`;
  if (from?.protocol === "https:" && to.protocol === "http:") return `from https to http, to "${redactUrl(to)}"`;
  if (to.origin === from?.origin || reach === undefined) return undefined;
  const rank = networkRank(to.hostname);
  return rank > 0 && rank > (await reach()) ? `into a private network, to "${redactUrl(to)}"` : undefined;
}
