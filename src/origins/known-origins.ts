/** Which hosts a server stands for: those of the origins of its current releases. */
import { isIP } from "node:net";
import type { Inventory } from "../bundle/inventory-types.ts";
import { hostsOf, originsOf } from "./origin-hosts.ts";

/** The current releases; the same list as long as they are the same. */
type Releases = readonly { inventory: Inventory }[];

interface KnownOrigins {
  /** `host:port` with any port written, in lower case. */
  authorities: ReadonlySet<string>;
  hosts: ReadonlySet<string>;
  origins: ReadonlySet<string>;
}

const known = new WeakMap<Releases, KnownOrigins>();

function knownOrigins(releases: Releases): KnownOrigins {
  let found = known.get(releases);
  if (found === undefined) {
    const origins = originsOf(releases);
    // A registry may be asked with and without TLS, and whoever has one of an origin's two ports may try the other.
    const authorities = new Set(origins.flatMap((it) => portsOf(it)));
    found = { authorities, hosts: new Set(hostsOf(origins)), origins: new Set(origins) };
    known.set(releases, found);
  }
  return found;
}

function portsOf(origin: string): string[] {
  const { hostname, port } = new URL(origin);
  return port === "" ? [`${hostname}:80`, `${hostname}:443`] : [`${hostname}:${port}`];
}

/** Whether a release has something of a host at a port, `HOST` or `HOST:PORT` as clients write it. */
export function hasAuthority(releases: Releases, authority: string): boolean {
  const { authorities } = knownOrigins(releases);
  const host = bracketed(authority);
  const port = /:(\d+)$/.exec(authority)?.[1];
  return port === undefined
    ? authorities.has(`${host}:443`) || authorities.has(`${host}:80`)
    : authorities.has(`${host}:${Number(port)}`);
}

/** Whether a release has something of a host at any port; a name, or an address without brackets. */
export function hasHost(releases: Releases, host: string): boolean {
  return knownOrigins(releases).hosts.has(bareHostOf(host));
}

/** The addresses among the hosts: clients name no host when they connect to one. */
export function addressesIn(releases: Releases): string[] {
  return [...knownOrigins(releases).hosts].filter((it) => isIP(it) !== 0);
}

/** Whether clients that connect to a host and port, `HOST:PORT`, speak HTTP without TLS there. */
export function isPlainAt(releases: Releases, authority: string): boolean {
  const { origins } = knownOrigins(releases);
  const port = Number(/:(\d+)$/.exec(authority)?.[1]);
  const has = (scheme: "http" | "https") => origins.has(new URL(`${scheme}://${bracketed(authority)}:${port}`).origin);
  // Where no release says it, a port of the other scheme is asked for: as upstream has it.
  return has("http") === has("https") ? port === 80 : has("http");
}

/** The host of `HOST` or `HOST:PORT` in lower case, without a dot at its end and without brackets. */
export function bareHostOf(authority: string): string {
  return bracketed(authority).replace(/^\[|\]$/g, "");
}

function bracketed(authority: string): string {
  return authority
    .replace(/(?<=^[^:]*|\]):\d*$/, "")
    .replace(/\.$/, "")
    .toLowerCase();
}
