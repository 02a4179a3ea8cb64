/** What the proxy lets through without understanding it: other protocols in a tunnel, and upgraded connections. */
import type { IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";
import { requestHeaders } from "./answer-headers.ts";
import { hostText } from "./host-tally.ts";
import type { UpstreamOrigin } from "./types.ts";
import type { Upstream } from "./upstream.ts";

/** Joins a client with its host. Resolves when they are joined; never rejects. */
export async function passThrough(client: Duplex, origin: UpstreamOrigin, upstream: Upstream): Promise<void> {
  try {
    join(client, await upstream.tunnel(origin));
  } catch {
    client.destroy();
  }
}

/** Passes a request with `Upgrade` on, and joins the two if upstream agrees. Never rejects. */
export async function passUpgrade(
  request: IncomingMessage,
  client: Duplex,
  head: Buffer,
  { origin, path }: { origin: UpstreamOrigin; path: string },
  upstream: Upstream,
): Promise<void> {
  const { method = "GET", headers } = request;
  const { upgrade = "" } = headers;
  const sent = { ...requestHeaders(headers, hostText(origin), false), connection: "upgrade", upgrade };
  try {
    const { answer, upgraded } = await upstream.send({ origin, method, path, headers: sent });
    const lines = [`HTTP/1.1 ${answer.statusCode} ${answer.statusMessage}`];
    for (let at = 0; at + 1 < answer.rawHeaders.length; at += 2)
      if (upgraded !== undefined || !/^(?:connection|transfer-encoding|keep-alive)$/i.test(answer.rawHeaders[at] ?? ""))
        lines.push(`${answer.rawHeaders[at]}: ${answer.rawHeaders[at + 1]}`);
    if (upgraded === undefined) lines.push("Connection: close");
    client.write(`${lines.join("\r\n")}\r\n\r\n`, "latin1");
    if (upgraded === undefined) return void answer.pipe(client);
    if (head.length > 0) upgraded.socket.write(head);
    if (upgraded.head.length > 0) client.write(upgraded.head);
    join(client, upgraded.socket);
  } catch {
    client.end("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
  }
}

function join(a: Duplex, b: Duplex): void {
  for (const [from, to] of [
    [a, b],
    [b, a],
  ] as const) {
    from.on("error", () => to.destroy());
    from.once("close", () => to.destroy());
    from.pipe(to);
  }
}
