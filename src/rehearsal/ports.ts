/** Leads connections at the ports of origins to the listeners of their scheme. */
import { connect, createServer, type Server } from "node:net";
import { AirferryError } from "../errors.ts";
import { systemFault } from "../io/atomic.ts";

/** Listens at every address of a port. The caller closes it. @throws {AirferryError} ERR_BUSY */
export async function leadPort(port: number, to: number): Promise<Server> {
  const server = createServer({ allowHalfOpen: true }, (client) => {
    const upstream = connect({ port: to, host: "127.0.0.1", allowHalfOpen: true });
    for (const [from, other] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      from.on("error", () => other.destroy());
      from.pipe(other);
    }
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
