/** What a proxy does with CONNECT: it gives the connection to whoever answers for the host. See RFC 9110, 9.3.6. */
import type { IncomingMessage, Server } from "node:http";
import type { Socket } from "node:net";
import { printable } from "../../io/printable.ts";
import type { Endpoint } from "./endpoint.ts";

/** What comes in through a proxy's connections: CONNECT, RFC 9110, 9.3.6. */
export interface Tunnels {
  /** Whom a client gets that asked for this host and port; a text when there is nobody. */
  open(authority: string): Promise<Endpoint | string>;
  /** Everybody there may be. */
  readonly endpoints: readonly Endpoint[];
}

/** Connects clients of a proxy with whoever answers for the host that they ask for. Returns the open connections. */
export function openTunnels(server: Pick<Server, "on">, tunnels: Tunnels): ReadonlySet<Socket> {
  const open = new Set<Socket>();
  server.on("connect", (req: IncomingMessage, socket: Socket, head: Buffer) => {
    open.add(socket);
    socket.on("error", () => {});
    socket.on("close", () => open.delete(socket));
    tunnels.open(req.url ?? "").then(
      (found) => {
        if (typeof found === "string") return refuse(socket, 421, "Misdirected Request", found);
        if (head.length > 0) socket.unshift(head);
        socket.write("HTTP/1.1 200 Connection Established\r\n\r\n");
        found.accept(socket);
      },
      () => refuse(socket, 500, "Internal Server Error", "the store cannot be read"),
    );
  });
  return open;
}

function refuse(socket: Socket, status: number, reason: string, why: string): void {
  const text = `${status}: ${printable(why)}\n`;
  const head = `Content-Type: text/plain; charset=utf-8\r\nContent-Length: ${Buffer.byteLength(text)}`;
  socket.end(`HTTP/1.1 ${status} ${reason}\r\n${head}\r\nConnection: close\r\n\r\n${text}`, () => socket.destroy());
}
