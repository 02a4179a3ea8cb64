/**
 * One body on its way from upstream to the client and into the recording at the same time. Whoever of the two is slow
 * makes upstream wait, so memory stays flat. A client that leaves stops nothing that is being recorded.
 */
import type { EventEmitter } from "node:events";
import type { IncomingMessage, OutgoingHttpHeaders } from "node:http";
import type { ServerHttp2Stream } from "node:http2";
import { buffersUsed } from "../io/flat-memory.ts";

/** NGHTTP2_INTERNAL_ERROR */
const INTERNAL_ERROR = 2;

/** Clients that take nothing for long need not keep upstream waiting, which could close the connection. */
interface SlowClients {
  afterMs: number;
  /**
   * May take over a client, with the number of bytes that it was sent; or says that there are few bytes, which can go
   * on, or that everybody has to wait for it.
   */
  leave: (client: ProxyResponse, sent: number) => "taken" | "go on" | "wait";
}

/** Where a body is recorded. */
export interface RecordingSink {
  /** Called when `isFull` may have become false. */
  onProgress: () => void;
  readonly isFull: boolean;
  push(chunk: Buffer): void;
}

/** What Node's responses of both protocols have in common. */
export interface ProxyResponse extends EventEmitter {
  readonly headersSent: boolean;
  readonly writableEnded: boolean;
  readonly destroyed: boolean;
  /** Of HTTP/2. */
  readonly stream?: ServerHttp2Stream;
  writeHead(status: number, headers: OutgoingHttpHeaders): unknown;
  write(chunk: Buffer): boolean;
  end(): unknown;
  end(content: string | Buffer): unknown;
  destroy(): unknown;
}

/**
 * Resolves at the end of the body: whether all of it came. The client's response is ended, or cut like upstream's.
 */
export function relay(
  answer: IncomingMessage,
  client: ProxyResponse | undefined,
  body: RecordingSink | undefined,
  slow?: SlowClients,
): Promise<boolean> {
  return new Promise((resolve) => {
    let to = client;
    let isBlocked = false;
    let isPaused = false;
    let sent = 0;
    let patience: NodeJS.Timeout | undefined;
    let patienceMs = slow?.afterMs;
    /** Somebody else goes on with a client that takes nothing for long. */
    const handOver = () => {
      if (to === undefined || !isBlocked || slow === undefined) return;
      const what = slow.leave(to, sent);
      if (what === "wait") return;
      if (what === "taken") release();
      else {
        isBlocked = false;
        patienceMs = 0;
      }
      update();
    };
    const release = () => {
      to = undefined;
      clearTimeout(patience);
      client?.off("close", gone);
      client?.off("drain", drained);
    };
    const update = () => {
      const shouldWait = (isBlocked && to !== undefined) || body?.isFull === true;
      if (shouldWait === isPaused) return;
      isPaused = shouldWait;
      if (shouldWait) answer.pause();
      else answer.resume();
    };
    const gone = () => {
      if (to === undefined) return;
      release();
      if (body === undefined) answer.destroy();
      update();
    };
    const drained = () => {
      isBlocked = false;
      patienceMs = slow?.afterMs;
      clearTimeout(patience);
      update();
    };
    client?.once("close", gone);
    client?.on("drain", drained);
    client?.on("error", gone);
    if (body !== undefined) body.onProgress = update;
    // It may have left before.
    if (client !== undefined && isGone(client)) gone();
    let isSettled = false;
    const settle = () => {
      if (isSettled) return;
      isSettled = true;
      const last = to;
      release();
      if (body !== undefined) body.onProgress = () => {};
      if (answer.complete) last?.end();
      else cut(last);
      resolve(answer.complete);
    };
    answer.on("data", (chunk: Buffer) => {
      buffersUsed(chunk.length, true);
      body?.push(chunk);
      sent += chunk.length;
      if (to !== undefined && !to.write(chunk) && !isBlocked) {
        isBlocked = true;
        if (slow !== undefined) patience = setTimeout(handOver, patienceMs);
      }
      update();
    });
    answer.once("end", settle);
    answer.once("error", settle);
    answer.once("close", settle);
    if (answer.destroyed) settle();
  });
}

/** Whether nobody is there to get an answer, or it is complete. */
export function isGone({ stream, destroyed, writableEnded }: ProxyResponse): boolean {
  return writableEnded || (stream === undefined ? destroyed : stream.destroyed);
}

/** The client sees that the answer is not whole. */
export function cut(client: ProxyResponse | undefined): void {
  if (client?.stream !== undefined) client.stream.close(INTERNAL_ERROR);
  else client?.destroy();
}
