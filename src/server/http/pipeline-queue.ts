/**
 * One answer at a time on a connection. Node hands over every pipelined request as soon as it is parsed, with whatever
 * answers pile up behind a client that reads nothing; here a request waits until the answers before it are on their way.
 * See RFC 9112, section 9.3.2, which lets a server end a connection whose client asks for too much at once.
 */
import type { RequestListener } from "node:http";
import type { Socket } from "node:net";
import { bug } from "../../errors.ts";

/** Requests that may wait on one connection; apt, which pipelines most, sends ten. */
export const MAX_PIPELINED_REQUESTS = 32;

/** Makes a listener that answers pipelined requests one after the other, and cuts connections that bring too many. */
export function queuePipelined(answer: RequestListener): RequestListener {
  const waiting = new WeakMap<Socket, number>();
  return (req, res) => {
    // Node gives a response its socket when its turn has come: with nothing before it, at once.
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
      // Not from within Node's own bookkeeping, which would end an answer twice that is complete at once.
      process.nextTick(answer, req, res);
    });
  };
}
