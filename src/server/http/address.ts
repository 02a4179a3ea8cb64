/**
 * Listen addresses and their client-side form: HOST:PORT texts, URLs, and the names and addresses of this host.
 */
import { execFile } from "node:child_process";
import { hostname, networkInterfaces } from "node:os";
import { AirferryError } from "../../errors.ts";

/** A listen address. Port 0 lets the system choose. */
export interface ListenAddress {
  host: string;
  port: number;
}

/**
 * Parses `HOST:PORT`, `[IPV6]:PORT`, `:PORT` or `PORT`; without a host it is every address of the machine.
 * @throws {AirferryError} ERR_USAGE
 */
export function parseListen(text: string): ListenAddress {
  const match = /^(?:(?:\[([0-9A-Fa-f:.]+)\]|([^:[\]\s]*)):)?(\d{1,5})$/.exec(text);
  const port = Number(match?.[3]);
  if (match === null || port > 65535) {
    throw new AirferryError("ERR_USAGE", `cannot listen on "${text}": not an address: expected HOST:PORT`, {
      hint: "give an address such as 0.0.0.0:9000, [::]:9000 or 127.0.0.1:9000",
    });
  }
  return { host: match[1] ?? (match[2] || "0.0.0.0"), port };
}

/** Writes `host:port`, with brackets around an IPv6 address. */
export function formatAddress({ host, port }: ListenAddress): string {
  return `${host.includes(":") ? `[${host}]` : host}:${port}`;
}

/** Returns whether the host part means all addresses of this machine. */
export function isAnyHost(host: string): boolean {
  return host === "0.0.0.0" || host === "::" || host === "";
}

/** The base URLs under which a listener can be reached, most useful first. No trailing slash. */
export function listenUrls(scheme: "http" | "https", address: ListenAddress): string[] {
  const hosts = isAnyHost(address.host) ? reachableAddresses(address.host === "::") : [address.host];
  return hosts.map((host) => `${scheme}://${formatAddress({ host, port: address.port })}`);
}

function reachableAddresses(withIpv6: boolean): string[] {
  const addresses = hostAddresses().filter((address) => withIpv6 || !address.includes(":"));
  return [...addresses.filter((address) => !isLoopback(address)), ...addresses.filter(isLoopback)];
}

function isLoopback(address: string): boolean {
  return address.startsWith("127.") || address === "::1";
}

/** Every IP address of this machine, loopback included; link-local IPv6 ones need a zone and are excluded. */
export function hostAddresses(): string[] {
  const all = Object.values(networkInterfaces()).flatMap((list) => list ?? []);
  const addresses = all.map(({ address }) => address).filter((address) => !/^fe80:/i.test(address));
  return [...new Set([...addresses, "127.0.0.1"])];
}

/** The names of this machine: host name, fully qualified name if any, localhost. */
export async function hostNames(): Promise<string[]> {
  const names = new Set([hostname(), "localhost"]);
  const fqdn = await fullName();
  if (fqdn !== undefined) names.add(fqdn);
  return [...names].filter((name) => /^[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$/.test(name));
}

/** Asks `hostname -f`, which uses /etc/hosts and the resolver. Undefined if unknown. */
function fullName(): Promise<string | undefined> {
  return new Promise((resolve) => {
    execFile("hostname", ["-f"], { timeout: 2000 }, (error, stdout) => resolve(error ? undefined : stdout.trim()));
  });
}
