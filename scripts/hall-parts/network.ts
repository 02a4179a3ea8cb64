/** Network namespaces on one bridge: one for all servers, with an address for each, and one for each client. */
import { execFileSync } from "node:child_process";

/** More hosts than the bridge's /16 has names for in the last byte go on in the one before. */
const NET = "10.78";

export class Hall {
  readonly #prefix = `hall${process.pid}`;
  readonly clients: string[] = [];
  readonly servers: string;

  /** Makes the namespaces. Needs root; {@link Hall.close} removes them. */
  constructor(servers: number, clients: number) {
    this.servers = `${this.#prefix}-s`;
    const lines = [`netns add ${this.servers}`];
    for (let i = 0; i < clients; i++) {
      this.clients.push(`${this.#prefix}-c${i}`);
      lines.push(`netns add ${this.clients[i]}`);
    }
    batch(lines);
    batch(
      [
        "link set lo up",
        "link add hall type bridge",
        "link set hall up",
        ...Array.from({ length: servers }, (_, it) => `addr add ${serverAddress(it)}/16 dev hall`),
        ...this.clients.flatMap((name, it) => [`link add c${it} type veth peer name eth0 netns ${name}`]),
        ...this.clients.flatMap((_, it) => [`link set c${it} master hall`, `link set c${it} up`]),
      ],
      this.servers,
    );
    for (const [it, name] of this.clients.entries()) {
      batch(["link set lo up", `addr add ${NET}.${1 + (it >> 8)}.${it & 255}/16 dev eth0`, "link set eth0 up"], name);
    }
  }

  close(): void {
    for (const name of [...this.clients, this.servers]) {
      try {
        execFileSync("ip", ["netns", "del", name], { stdio: "ignore" });
      } catch {
        // It was never made.
      }
    }
  }
}

export function serverAddress(index: number): string {
  return `${NET}.0.${index + 1}`;
}

/** A command within a namespace. */
export function within(namespace: string, ...command: string[]): string[] {
  return ["ip", "netns", "exec", namespace, ...command];
}

function batch(lines: readonly string[], namespace?: string): void {
  const args = [...(namespace === undefined ? [] : ["-n", namespace]), "-batch", "-"];
  execFileSync("ip", args, { input: `${lines.join("\n")}\n`, stdio: ["pipe", "ignore", "pipe"] });
}
