/**
 * Two network namespaces joined by one cable: the server's and the build host's. Nothing else can be reached from either.
 */
import { type ChildProcess, execFileSync, type SpawnOptions, spawn } from "node:child_process";

export const SERVER_ADDRESS = "10.77.0.1";
const BUILDER_ADDRESS = "10.77.0.2";

/** The namespaces of one rehearsal. {@link Gap.close} removes them. */
export class Gap {
  readonly server = `afr-s-${process.pid}`;
  readonly builder = `afr-b-${process.pid}`;

  /** Makes the namespaces. Needs root. */
  constructor() {
    const ip = (...args: string[]) => execFileSync("ip", args, { stdio: ["ignore", "ignore", "pipe"] });
    const cable = `afr${process.pid % 100000}`;
    ip("netns", "add", this.server);
    ip("netns", "add", this.builder);
    ip(
      "link",
      "add",
      `${cable}a`,
      "netns",
      this.server,
      "type",
      "veth",
      "peer",
      "name",
      `${cable}b`,
      "netns",
      this.builder,
    );
    for (const [name, end, address] of [
      [this.server, "a", SERVER_ADDRESS],
      [this.builder, "b", BUILDER_ADDRESS],
    ] as const) {
      ip("-n", name, "link", "set", "lo", "up");
      ip("-n", name, "addr", "add", `${address}/24`, "dev", `${cable}${end}`);
      ip("-n", name, "link", "set", `${cable}${end}`, "up");
    }
  }

  /** Starts a program inside one of the namespaces. */
  spawn(namespace: "server" | "builder", command: readonly string[], options: SpawnOptions = {}): ChildProcess {
    return spawn("ip", ["netns", "exec", this[namespace], ...command], options);
  }

  close(): void {
    for (const name of [this.server, this.builder]) {
      try {
        execFileSync("ip", ["netns", "del", name], { stdio: "ignore" });
      } catch {
        // It was never made.
      }
    }
  }
}
