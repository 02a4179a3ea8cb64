/**
 * How near a host is, for redirects: upstream on the internet must not be able to direct requests to the site's network
 * or to this host. Only literal addresses and localhost are ranked; guarded-lookup.ts checks what names resolve to.
 */
import { BlockList, isIP } from "node:net";

const link = new BlockList();
link.addSubnet("169.254.0.0", 16, "ipv4");
link.addSubnet("fe80::", 10, "ipv6");

const loopback = new BlockList();
loopback.addSubnet("127.0.0.0", 8, "ipv4");
loopback.addAddress("::1", "ipv6");

/** Who connects to these comes to this host; who listens there listens everywhere. */
const anyAddress = new BlockList();
anyAddress.addSubnet("0.0.0.0", 8, "ipv4");
anyAddress.addAddress("::", "ipv6");

const site = new BlockList();
for (const [network, bits] of [
  ["10.0.0.0", 8],
  ["172.16.0.0", 12],
  ["192.168.0.0", 16],
  ["100.64.0.0", 10],
] as const) {
  site.addSubnet(network, bits, "ipv4");
}
site.addSubnet("fc00::", 7, "ipv6");

/** IPv4 inside IPv6: mapped, compatible, and translated (NAT64). */
const EMBEDDED = /^(?:::ffff:|::ffff:0:|64:ff9b::|::)(?:(\d+\.\d+\.\d+\.\d+)|([0-9a-f]{1,4}):([0-9a-f]{1,4}))$/;
/** 6to4: the address follows the prefix. */
const SIX_TO_FOUR = /^2002()?:([0-9a-f]{1,4}):([0-9a-f]{1,4})?(?::.*)?$/;

/**
 * 0: anywhere (also every name but localhost), 1: a private network, 2: this host, 3: this link, where clouds serve
 * credentials.
 */
export function networkRank(host: string): 0 | 1 | 2 | 3 {
  const name = addressOf(host);
  const family = isIP(name);
  if (family === 0) return /(^|\.)localhost\.?$/.test(name) ? 2 : 0;
  const type = family === 4 ? "ipv4" : "ipv6";
  if (link.check(name, type)) return 3;
  if (loopback.check(name, type) || anyAddress.check(name, type)) return 2;
  return site.check(name, type) ? 1 : 0;
}

/** Whether only this host reaches what listens there. Other names than `localhost` may resolve to anything. */
export function isLoopbackHost(host: string): boolean {
  const name = addressOf(host);
  const family = isIP(name);
  return family === 0 ? /^localhost\.?$/.test(name) : loopback.check(name, family === 4 ? "ipv4" : "ipv6");
}

/** An address in its shortest spelling, and the IPv4 one that is inside; names in lower case. */
function addressOf(host: string): string {
  const text = host.replace(/^\[|\]$/g, "").toLowerCase();
  // A zone is in no URL.
  const bare = text.replace(/%.*$/s, "");
  const name = isIP(bare) === 6 ? new URL(`http://[${bare}]`).hostname.slice(1, -1) : text;
  const mapped = EMBEDDED.exec(name) ?? SIX_TO_FOUR.exec(name);
  return mapped ? mapped[1] || dotted(mapped[2] as string, mapped[3] || "0") : name;
}

function dotted(high: string, low: string): string {
  const number = Number.parseInt(high, 16) * 65536 + Number.parseInt(low, 16);
  return [24, 16, 8, 0].map((shift) => (number >>> shift) & 255).join(".");
}
