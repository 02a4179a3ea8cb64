/** What came of each host: recorded answers, and what could not be recorded, by reason. */
import type { HostTally, UpstreamOrigin } from "./types.ts";

/** Hosts that are counted one by one. */
const MAX_HOSTS = 10_000;
const OTHER_HOSTS = "(other hosts)";

export class HostTallies {
  readonly #hosts = new Map<string, HostTally>();
  /** URLs whose body could not be stored, at most a few; and how many there were. */
  readonly lost: string[] = [];
  lostCount = 0;

  recorded(origin: UpstreamOrigin, bytes: number): void {
    const it = this.#of(origin);
    it.answers++;
    it.bytes += bytes;
  }

  missed(origin: UpstreamOrigin, reason: string): void {
    const { missed } = this.#of(origin);
    missed[reason] = (missed[reason] ?? 0) + 1;
  }

  lose(origin: UpstreamOrigin, url: string): void {
    this.lostCount++;
    if (this.lost.length < 20) this.lost.push(url);
    this.missed(origin, "lost: could not be written");
  }

  /** By name. */
  hosts(): HostTally[] {
    return [...this.#hosts.values()].sort((a, b) => (a.host < b.host ? -1 : 1));
  }

  #of(origin: UpstreamOrigin): HostTally {
    const name = this.#hosts.size < MAX_HOSTS ? hostText(origin) : OTHER_HOSTS;
    let it = this.#hosts.get(name);
    if (it === undefined) {
      it = { host: name, answers: 0, bytes: 0, missed: {} };
      this.#hosts.set(name, it);
    }
    return it;
  }
}

/** `host`, or `host:port` if it is not the port of its scheme. */
export function hostText({ scheme, host, port }: UpstreamOrigin): string {
  const name = host.includes(":") ? `[${host}]` : host;
  return port === (scheme === "https" ? 443 : 80) ? name : `${name}:${port}`;
}
