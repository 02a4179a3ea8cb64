/** Which ports clients of the origins connect to, and which origins have no listener there. */

/** Ports where origins are answered, by scheme. */
export interface OriginPorts {
  http: readonly number[];
  https: readonly number[];
}

/** The ports that origins need, each list sorted. */
export function portsOfOrigins(origins: readonly string[]): OriginPorts {
  const of = (scheme: keyof OriginPorts) => {
    const ports = origins.filter((it) => it.startsWith(`${scheme}:`)).map((it) => portOf(it));
    return [...new Set(ports)].sort((a, b) => a - b);
  };
  return { http: of("http"), https: of("https") };
}

/**
 * Whether clients of an origin find nobody. Only a port that its URL has is reached as it is: 80 and 443 may be mapped
 * to any other.
 */
export function isUnreached(origin: string, { http, https }: OriginPorts): boolean {
  const ports = origin.startsWith("https:") ? https : http;
  return new URL(origin).port === "" ? ports.length === 0 : !ports.includes(portOf(origin));
}

/** What makes `serve` answer for an origin. */
export function listenFlag(origin: string): string {
  const scheme = origin.startsWith("https:") ? "https" : "http";
  return `--listen-${scheme} 0.0.0.0:${portOf(origin)}`;
}

function portOf(origin: string): number {
  const { port, protocol } = new URL(origin);
  return port !== "" ? Number(port) : protocol === "https:" ? 443 : 80;
}
