/**
 * Which proxy a URL goes through: HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY, upper or lower case, with suffixes,
 * ports and CIDR in NO_PROXY, as in curl and Go. No I/O.
 */
import { BlockList, isIP } from "node:net";
import { AirferryError } from "../errors.ts";
import { redactUrl } from "../io/redact.ts";

export type ProxyEnv = Readonly<Record<string, string | undefined>>;

/**
 * Returns the proxy's URL for a request, or undefined for none.
 * @throws {AirferryError} ERR_USAGE for a proxy that is not http:// or https://
 */
export function proxyFor(url: URL, env: ProxyEnv): string | undefined {
  const value =
    url.protocol === "https:"
      ? pick(env, "https_proxy") || pick(env, "all_proxy")
      : // CGI clients can set upper-case HTTP_PROXY, but airferry is not a CGI program.
        pick(env, "http_proxy") || pick(env, "all_proxy");
  if (!value || isExempt(url, pick(env, "no_proxy") ?? "")) return undefined;
  const proxy = value.includes("://") ? value : `http://${value}`;
  const fault = proxyFault(proxy);
  if (fault === undefined) return proxy;
  // A proxy's URL ends with its port: everything before the last @ may be a password, whatever it looks like.
  const [, scheme = "", rest = ""] = /^(.*?:\/\/)(.*)$/s.exec(proxy) ?? [];
  const shown = rest.includes("@") ? `${scheme}***@${rest.slice(rest.lastIndexOf("@") + 1)}` : proxy;
  throw new AirferryError("ERR_USAGE", `cannot use the proxy "${redactUrl(shown)}": ${fault}`, {
    hint: "correct HTTP_PROXY and HTTPS_PROXY, or unset them; in a password write @ as %40, / as %2F, \\ as %5C, # as %23, ? as %3F",
  });
}

function proxyFault(proxy: string): string | undefined {
  if (!/^https?:\/\//i.test(proxy)) return "expected http:// or https://";
  if (!URL.canParse(proxy)) return "not a URL: is its password percent-encoded?";
  const { pathname, search, hash, username, password } = new URL(proxy);
  if (hasEmptyLogin(proxy)) return "its user or password is empty: is the variable that it comes from set?";
  if (/\\/.test(proxy) || pathname !== "/" || search !== "" || hash !== "")
    return "expected nothing after its port: is its password percent-encoded?";
  try {
    decodeURIComponent(username + password);
  } catch {
    return "its user or password is not percent-encoded correctly";
  }
  return undefined;
}

/**
 * Whether a URL has a user without its password, or a password without its user: `http://user:@host`. A user alone may
 * be a token.
 */
function hasEmptyLogin(url: string): boolean {
  const login = /^[a-z][a-z0-9+.-]*:\/\/([^/?#]*)@/i.exec(url)?.[1];
  return login !== undefined && (login === "" || login.startsWith(":") || login.endsWith(":"));
}

/** Lower case wins, as in curl. */
function pick(env: ProxyEnv, name: string): string | undefined {
  return env[name] ?? env[name.toUpperCase()];
}

/** Returns whether NO_PROXY names the host of a URL. */
export function isExempt(url: URL, noProxy: string): boolean {
  const host = url.hostname.replace(/^\[|\]$/g, "").replace(/\.$/, "");
  const port = url.port || (url.protocol === "https:" ? "443" : "80");
  for (const word of noProxy.split(/[\s,]+/)) {
    const rule = word.toLowerCase();
    if (rule === "") continue;
    if (rule === "*") return true;
    if (rule.includes("/")) {
      if (inNetwork(host, rule)) return true;
      continue;
    }
    const [name, wantedPort] = splitPort(rule);
    if (wantedPort !== undefined && wantedPort !== port) continue;
    const suffix = name.replace(/^\*/, "").replace(/^\./, "").replace(/\.$/, "");
    if (suffix !== "" && (host === suffix || (isIP(host) === 0 && host.endsWith(`.${suffix}`)))) return true;
  }
  return false;
}

/** Splits `host:port`, `[v6]:port`, a bare v6 address or a name. */
function splitPort(rule: string): [string, string | undefined] {
  const bracketed = /^\[(.*)\](?::(\d+))?$/.exec(rule);
  if (bracketed) return [bracketed[1] as string, bracketed[2]];
  if (isIP(rule) === 6) return [rule, undefined];
  const plain = /^(.*):(\d+)$/.exec(rule);
  return plain ? [plain[1] as string, plain[2]] : [rule, undefined];
}

function inNetwork(host: string, rule: string): boolean {
  const family = isIP(host);
  const [network = "", bits = ""] = rule.split("/");
  if (family === 0 || isIP(network) !== family || !/^\d+$/.test(bits)) return false;
  try {
    const list = new BlockList();
    const type = family === 4 ? "ipv4" : "ipv6";
    list.addSubnet(network, Number(bits), type);
    return list.check(host, type);
  } catch {
    return false;
  }
}
