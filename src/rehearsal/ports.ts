/** Leads connections at the ports of origins to the listeners of their scheme. */
import { connect, createServer, type Server } from "node:net";
import { AirferryError } from "../errors.ts";
import { systemFault } from "../io/atomic.ts";

/** Every TLS connection begins with it, no request of HTTP does: RFC 8446, section 5.1. */
const HANDSHAKE = 0x16;

/** Ports of the listeners at 127.0.0.1. */
interface Listeners {
  http: number;
  https: number;
}

/**
 * Listens at every address of a port. What a client says first shows its scheme: one that speaks another than the
 * origin has is answered too, so that its URL is noted. The caller closes it. @throws {AirferryError} ERR_BUSY
 */
export async function leadPort(port: number, to: Listeners): Promise<Server> {
  const server = createServer({ allowHalfOpen: true }, (client) => {
    const drop = () => client.destroy();
    client.on("error", drop);
    client.once("end", drop);
    client.once("data", (first: Buffer) => {
      client.pause();
      client.off("end", drop);
      const scheme = first[0] === HANDSHAKE ? "https" : "http";
      const upstream = connect({ port: to[scheme], host: "127.0.0.1", allowHalfOpen: true });
      upstream.write(first);
      for (const [from, other] of [
        [client, upstream],
        [upstream, client],
      ] as const) {
        from.on("error", () => other.destroy());
        from.pipe(other);
      }
    });
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, resolve);
  }).catch((cause: unknown) => {
    throw new AirferryError("ERR_BUSY", `cannot listen at port ${port} of the rehearsal: ${systemFault(cause)}`, {
      cause,
    });
  });
  server.unref();
  return server;
}
