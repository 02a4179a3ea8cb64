/**
 * Looks up the name of a host that upstream led to, and refuses addresses that are nearer than upstream may lead: a
 * name in upstream's zone can resolve to any address. The check applies to exactly the addresses that are connected to.
 */
import { type LookupAddress, type LookupOptions, lookup } from "node:dns";
import type { Reach, Resolve } from "./named.ts";
import { networkRank } from "./network-rank.ts";

type Answer = (error: NodeJS.ErrnoException | null, found?: string | LookupAddress[], family?: number) => void;
/** The signature that `net.connect` expects. */
export type Lookup = (host: string, options: LookupOptions, answer: Answer) => void;

export const dnsLookup: Lookup = (host, options, answer) => lookup(host, options, answer);

/** A name that resolves to an address in a network where upstream may not lead. */
export const NEAR_ADDRESS = "ERR_NEAR_ADDRESS";

export function guardedLookup(reach: Reach, by: Lookup): Lookup {
  return (host, options, answer) =>
    by(host, options, (error, found, family) => {
      if (error || found === undefined) return answer(error, found, family);
      const addresses = typeof found === "string" ? [found] : found.map((it) => it.address);
      const rank = Math.max(0, ...addresses.map(networkRank));
      if (rank === 0) return answer(null, found, family);
      reach().then(
        (limit) => {
          if (rank <= limit) return answer(null, found, family);
          const where = addresses.find((it) => networkRank(it) === rank);
          const fault = new Error(`upstream leads into a private network: ${host} has the address ${where}`);
          answer(Object.assign(fault, { code: NEAR_ADDRESS }));
        },
        (cause) => answer(cause),
      );
    });
}

/** The same as a promise of all addresses. */
export function resolveBy(by: Lookup): Resolve {
  return (host, options) =>
    new Promise((resolve, reject) =>
      by(host, options, (error, found) => {
        if (error) reject(error);
        else resolve(typeof found === "string" ? [{ address: found }] : (found ?? []));
      }),
    );
}
