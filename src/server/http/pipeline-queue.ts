/**
 * One response at a time on a connection. Node dispatches every pipelined request as soon as it is parsed, so responses
 * pile up for a client that reads nothing; here a request waits until the responses before it are being sent. See RFC
 * 9112, section 9.3.2, which lets a server close a connection whose client pipelines too much.
 */
import type { RequestListener } from "node:http";
import type { Socket } from "node:net";
import { bug } from "../../errors.ts";

/** Requests that may wait on one connection; apt, which pipelines most, sends ten. */
export const MAX_PIPELINED_REQUESTS = 32;

/** Creates a listener that answers pipelined requests one after the other, and cuts connections with too many. */
export function queuePipelined(answer: RequestListener): RequestListener {
  const waiting = new WeakMap<Socket, number>();
  return (req, res) => {
    // Node assigns the socket to a response when its turn has come: at once if nothing is before it.
    if (res.socket !== null) {
      answer(req, res);
      return;
    }
    const { socket } = req;
    const before = waiting.get(socket) ?? 0;
    if (before >= MAX_PIPELINED_REQUESTS) {
      socket.destroy();
      return;
    }
    waiting.set(socket, before + 1);
    res.once("socket", () => {
      waiting.set(socket, (waiting.get(socket) ?? bug("an answer that nobody counted")) - 1);
      // Not from within Node's own bookkeeping, which would end an immediately complete response twice.
      process.nextTick(answer, req, res);
    });
  };
}
