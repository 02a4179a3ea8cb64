/**
 * `--rewrite FROM=TO`: corporate mirrors and pull-through caches instead of the original host. The original is
 * recorded; only the request goes elsewhere. FROM is a URL prefix or a host.
 */

export interface Rewrite {
  /** `https://dl.example.org/pub/` or `registry.example.com[:port]`. */
  from: string;
  /** Replaces it: a URL prefix, or `host[:port][/path]`. */
  to: string;
}

/** The host names of Docker Hub; people write the first. */
const ALIASES = new Map([["docker.io", ["registry-1.docker.io", "index.docker.io", "auth.docker.io"]]]);

/** Returns the URL to request instead of `url`: the longest matching rule, URL prefixes before hosts. */
export function rewriteUrl(url: string, rules: readonly Rewrite[]): string {
  let best: { length: number; result: string } | undefined;
  for (const rule of rules) {
    const result = rule.from.includes("://") ? byPrefix(url, rule) : byHost(url, rule);
    const length = rule.from.includes("://") ? rule.from.length + 10_000 : rule.from.length;
    if (result !== undefined && (best === undefined || length > best.length)) best = { length, result };
  }
  return best?.result ?? url;
}

function byPrefix(url: string, { from, to }: Rewrite): string | undefined {
  const target = to.includes("://") ? to : `${from.slice(0, from.indexOf("://"))}://${to}`;
  if (!url.startsWith(from)) return undefined;
  const rest = url.slice(from.length);
  // "https://a.example" must not match "https://a.example.evil/", nor "…/pub" "…/public".
  if (rest !== "" && !from.endsWith("/") && !/^[/?#]/.test(rest)) return undefined;
  if (from.endsWith("/") && !target.endsWith("/")) return `${target}/${rest}`;
  return !from.endsWith("/") && target.endsWith("/") && rest.startsWith("/") ? target + rest.slice(1) : target + rest;
}

function byHost(url: string, { from, to }: Rewrite): string | undefined {
  if (!URL.canParse(url)) return undefined;
  const parsed = new URL(url);
  const wanted = from.replace(/\/+$/, "").toLowerCase();
  const port = parsed.port || (parsed.protocol === "https:" ? "443" : "80");
  const names = [wanted, ...(ALIASES.get(wanted) ?? [])];
  if (!names.includes(parsed.host) && wanted !== `${parsed.hostname}:${port}`) return undefined;
  const target = new URL(to.includes("://") ? to : `${parsed.protocol}//${to}`);
  const prefix = target.pathname.replace(/\/+$/, "");
  // A pull-through cache below a path has /v2/ first: registry.corp/hub → /v2/hub/….
  const path =
    prefix !== "" && parsed.pathname.startsWith("/v2/")
      ? `/v2${prefix}${parsed.pathname.slice(3)}`
      : prefix + parsed.pathname;
  return `${target.protocol}//${target.host}${path}${parsed.search}`;
}
