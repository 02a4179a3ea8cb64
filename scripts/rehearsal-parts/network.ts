/**
 * Three network namespaces on one cable: the server's, the build host's and the guest's (the new virtual machine). They
 * reach nothing else.
 */
import { type ChildProcess, execFileSync, type SpawnOptions, spawn } from "node:child_process";

export const SERVER_ADDRESS = "10.77.0.1";
export const BUILDER_ADDRESS = "10.77.0.2";
export const GUEST_ADDRESS = "10.77.0.3";
/** The simulated vCenter's port on the build host; the guest reports at the next port that it was powered off. */
export const VCENTER_PORT = 8989;

const HOSTS = { server: SERVER_ADDRESS, builder: BUILDER_ADDRESS, guest: GUEST_ADDRESS } as const;
export type Host = keyof typeof HOSTS;

/** The network namespaces of one rehearsal. {@link Gap.close} removes them. */
export class Gap {
  /** Makes the namespaces. Needs root. */
  constructor() {
    const ip = (...args: string[]) => execFileSync("ip", args, { stdio: ["ignore", "ignore", "pipe"] });
    const hosts = Object.entries(HOSTS) as [Host, string][];
    for (const [host] of hosts) {
      ip("netns", "add", this.name(host));
      ip("-n", this.name(host), "link", "set", "lo", "up");
    }
    const server = this.name("server");
    ip("-n", server, "link", "add", "cable", "type", "bridge");
    ip("-n", server, "link", "set", "cable", "up");
    ip("-n", server, "addr", "add", `${SERVER_ADDRESS}/24`, "dev", "cable");
    for (const [host, address] of hosts) {
      if (host === "server") continue;
      const [near, far] = [`afr${process.pid}${host[0]}`, "eth0"];
      ip("link", "add", near, "netns", server, "type", "veth", "peer", "name", far, "netns", this.name(host));
      ip("-n", server, "link", "set", near, "master", "cable", "up");
      ip("-n", this.name(host), "addr", "add", `${address}/24`, "dev", far);
      ip("-n", this.name(host), "link", "set", far, "up");
    }
  }

  /** The namespace's name, as `ip netns` knows it. */
  name(host: Host): string {
    return `afr-${host}-${process.pid}`;
  }

  /** Starts a program inside one of the namespaces. */
  spawn(host: Host, command: readonly string[], options: SpawnOptions = {}): ChildProcess {
    return spawn("ip", ["netns", "exec", this.name(host), ...command], options);
  }

  close(): void {
    for (const host of Object.keys(HOSTS) as Host[]) {
      try {
        execFileSync("ip", ["netns", "del", this.name(host)], { stdio: "ignore" });
      } catch {
        // It was never created.
      }
    }
  }
}
