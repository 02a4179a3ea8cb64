/**
 * One listening socket: its address, whom its connections go to, and its graceful shutdown.
 */
import { type AddressInfo, createServer as createNetServer, type Server as NetServer } from "node:net";
import { AirferryError } from "../../errors.ts";
import { formatAddress, type ListenAddress } from "./address.ts";
import { type Answers, createEndpoint, type HostTls, type TlsMaterial } from "./endpoint.ts";
import { openTunnels, type Tunnels } from "./tunnels.ts";

/** A listening socket. */
export interface Listener {
  readonly address: ListenAddress;
  readonly scheme: "http" | "https";
  connections(): number;
  /** Uses other key material for connections from now on. */
  setTls(tls: Pick<TlsMaterial, "key" | "cert" | "ticketKeys">): void;
  /** Stops accepting; closes idle connections; waits for running responses up to `graceMs`, then cuts them. */
  close(graceMs: number): Promise<void>;
}

/**
 * How a port is shared: by the `first` thread, which makes sure that nobody else has it, and by those that `join` it
 * there. Sockets that share a port would not notice another server of this user on it.
 */
export type PortSharing = "first" | "join";

/**
 * Starts listening; with `share`, on a port that other threads listen on as well; with `socket`, a descriptor that
 * listens already, on that one, whatever the address says.
 * @throws {AirferryError} ERR_BUSY when the port is taken; ERR_IO when it is unusable
 */
export async function listen(
  address: ListenAddress,
  tls: TlsMaterial | HostTls | undefined,
  share: PortSharing | undefined,
  answers: Answers,
  { socket, tunnels }: { socket?: number | undefined; tunnels?: Tunnels | undefined } = {},
): Promise<Listener> {
  const endpoint = createEndpoint(tls, answers);
  const { server } = endpoint;
  const through = tunnels === undefined ? undefined : openTunnels(server, tunnels);
  const closeIdle = (): void => {
    endpoint.closeIdle();
    for (const it of tunnels?.endpoints ?? []) it.closeIdle();
  };
  // Whoever only keeps a connection for later makes room for who is turned away.
  server.on("drop", closeIdle);
  // For port 0 the kernel takes one that nobody has, shared or not: a look beforehand would only give it away again.
  if (socket === undefined && share === "first" && address.port !== 0) await requireFree(address);
  await (socket === undefined ? bind(server, address, share !== undefined) : adopt(server, socket));
  const bound = server.address() as AddressInfo;
  return {
    address: { host: socket === undefined ? address.host : bound.address, port: bound.port },
    scheme: tls === undefined ? "http" : "https",
    connections: () => endpoint.connections(),
    setTls: (material) => endpoint.setTls(material),
    close: (graceMs) =>
      closeGracefully(server, graceMs, closeIdle, () => {
        endpoint.closeAll();
        for (const it of through ?? []) it.destroy();
      }),
  };
}

async function requireFree(address: ListenAddress): Promise<void> {
  const probe = createNetServer();
  await bind(probe, address, false);
  await new Promise((resolve) => probe.close(resolve));
}

function bind(server: NetServer, { host, port }: ListenAddress, reusePort: boolean): Promise<void> {
  return new Promise((resolve, reject) => {
    const fail = (error: NodeJS.ErrnoException): void => reject(bindFault(error, { host, port }));
    server.once("error", fail);
    server.listen({ host, port, reusePort, exclusive: true, backlog: 1024 }, () => {
      server.off("error", fail);
      // For example too many open files while accepting: only the connection is lost.
      server.on("error", () => {});
      resolve();
    });
  });
}

/** Listens on a socket that listens already. @throws {AirferryError} ERR_USAGE when it is no TCP socket */
function adopt(server: NetServer, fd: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const fail = (cause: Error): void =>
      reject(
        new AirferryError("ERR_USAGE", `cannot listen on the socket that was handed over: ${cause.message}`, {
          hint: "a socket unit for airferry has ListenStream=PORT or ADDRESS:PORT only: airferry serve --print-unit socket",
          cause,
        }),
      );
    server.once("error", fail);
    server.listen({ fd }, () => {
      server.off("error", fail);
      if (typeof server.address() === "string") return fail(new Error("it is not a TCP socket"));
      server.on("error", () => {});
      resolve();
    });
  });
}

function bindFault(cause: NodeJS.ErrnoException, address: ListenAddress): AirferryError {
  const where = formatAddress(address);
  if (cause.code === "EADDRINUSE") {
    return new AirferryError("ERR_BUSY", `cannot listen on "${where}": another program has this port`, {
      hint: `to see which: ss -ltnp 'sport = :${address.port}'; or choose another port with --listen`,
      cause,
    });
  }
  const hints: Record<string, string> = {
    EACCES:
      "ports below 1024 need CAP_NET_BIND_SERVICE: start as root with --user NAME, or choose another with --listen",
    EADDRNOTAVAIL: "no interface of this machine has that address; to list them: ip address",
  };
  const hint = hints[cause.code ?? ""] ?? "choose another address with --listen";
  return new AirferryError("ERR_IO", `cannot listen on "${where}": ${cause.message}`, { hint, cause });
}

function closeGracefully(
  server: NetServer,
  graceMs: number,
  closeIdle: () => void,
  closeAll: () => void,
): Promise<void> {
  return new Promise((resolve) => {
    const cut = setTimeout(closeAll, graceMs);
    // A connection that finishes its answer now turns idle and is ended by the next round.
    const sweep = setInterval(closeIdle, 200);
    server.close(() => {
      clearTimeout(cut);
      clearInterval(sweep);
      resolve();
    });
    closeIdle();
  });
}
