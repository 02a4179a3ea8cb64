/**
 * Bytes that come once and in order (a pipe, a tape), with memory of the last ones: whoever reads them can go back a
 * little. They are in memory that threads share, so that a view of it can be hashed and written without a copy.
 */
import { fstat, read } from "node:fs";
import { Socket } from "node:net";
import { promisify } from "node:util";
import { AirferryError } from "../errors.ts";
import { currentSignal } from "./limit.ts";

const readSome = promisify(read);
const readNext = (fd: number, into: Uint8Array) => readSome(fd, into, 0, into.length, null);
const statOpen = promisify(fstat);

/** What has passed is there for so many bytes more. */
const HISTORY_BYTES = 66 * 1024 * 1024;
/** So much is read ahead: at most this many bytes can be waited for at once. */
export const AHEAD_BYTES = 8 * 1024 * 1024;
/** Length of one read. */
const STEP_BYTES = 1024 * 1024;
const RING_BYTES = HISTORY_BYTES + AHEAD_BYTES + STEP_BYTES;

/** Where the bytes come from. */
interface Feed {
  /** There is room again. */
  resume(): void;
  close(): void;
}

/** Positions are counted from the first byte that came. The caller closes it. */
export class StreamWindow {
  readonly #memory = new Uint8Array(new SharedArrayBuffer(RING_BYTES));
  /** Bytes that came. */
  #end = 0;
  #position = 0;
  #isOver = false;
  #fault: unknown;
  #isFull = false;
  /** Who waits, and for how many bytes: pipes bring them in small parts. */
  #waiting: { until: number; wake: () => void } | undefined;
  #signal: AbortSignal | undefined;
  readonly #feed: Feed;

  private constructor(feedOf: (window: StreamWindow) => Feed) {
    this.#feed = feedOf(this);
  }

  /**
   * Over an open descriptor: a pipe, a socket, a file or a device.
   * @throws {AirferryError} ERR_IO
   */
  static async open(fd: number): Promise<StreamWindow> {
    const stats = await statOpen(fd).catch((cause: unknown) => Promise.reject(readFault(cause)));
    // A read of a pipe that nobody writes to would keep a thread, and with it the process, for as long.
    if (stats.isFIFO() || stats.isSocket()) return new StreamWindow((it) => fromPipe(fd, it));
    return new StreamWindow((it) => fromFile(fd, it));
  }

  /** The next byte. */
  get position(): number {
    return this.#position;
  }

  /** The first byte that is still in memory. */
  get oldest(): number {
    return Math.max(0, this.#end + STEP_BYTES - RING_BYTES);
  }

  /** Goes on at another byte: one in memory, or one that is to come. */
  seek(position: number): void {
    this.#position = position;
    if (this.#isFull && this.#hasRoom()) {
      this.#isFull = false;
      this.#feed.resume();
    }
  }

  /**
   * Waits until so many bytes are there from the position on; returns how many there are: fewer only at the end.
   * @param count at most {@link AHEAD_BYTES}
   * @throws {AirferryError} ERR_IO; the reason of the surrounding work's signal
   */
  async available(count: number): Promise<number> {
    const signal = currentSignal();
    signal?.throwIfAborted();
    if (this.#end - this.#position < count && !this.#isOver) {
      await new Promise<void>((resolve) => {
        this.#waiting = { until: this.#position + count, wake: resolve };
        // Each wait would add a listener.
        if (signal === this.#signal) return;
        this.#signal = signal;
        signal?.addEventListener("abort", () => this.#wakeUp(), { once: true });
      });
    }
    signal?.throwIfAborted();
    if (this.#fault !== undefined && this.#end - this.#position < count) throw readFault(this.#fault);
    return Math.max(0, Math.min(count, this.#end - this.#position));
  }

  /** A view of bytes that are there: fewer than asked for where memory ends. Good until 66 MiB more have been read. */
  view(position: number, length: number): Uint8Array<SharedArrayBuffer> {
    const at = position % RING_BYTES;
    return this.#memory.subarray(at, Math.min(at + length, RING_BYTES));
  }

  /** A copy of bytes that are there. */
  copy(position: number, length: number): Buffer {
    const bytes = Buffer.allocUnsafe(length);
    for (let done = 0; done < length; ) {
      const part = this.view(position + done, length - done);
      bytes.set(part, done);
      done += part.length;
    }
    return bytes;
  }

  close(): void {
    this.#isOver = true;
    this.#feed.close();
  }

  /** For the feed: where the next bytes go. */
  next(): Uint8Array {
    const at = this.#end % RING_BYTES;
    return this.#memory.subarray(at, Math.min(at + STEP_BYTES, RING_BYTES));
  }

  /** For the feed: so many came; false if it has to wait. */
  came(count: number): boolean {
    this.#end += count;
    this.#isFull = !this.#hasRoom();
    if (this.#waiting !== undefined && this.#end >= this.#waiting.until) this.#wakeUp();
    return !this.#isFull;
  }

  /** For the feed: no more will come. */
  over(fault?: unknown): void {
    this.#fault ??= fault;
    this.#isOver = true;
    this.#wakeUp();
  }

  #hasRoom(): boolean {
    const kept = Math.max(0, this.#position - HISTORY_BYTES);
    return this.#end + STEP_BYTES - kept <= RING_BYTES;
  }

  #wakeUp(): void {
    const wake = this.#waiting?.wake;
    this.#waiting = undefined;
    wake?.();
  }
}

function fromPipe(fd: number, window: StreamWindow): Feed {
  const socket = new Socket({
    fd,
    readable: true,
    writable: false,
    onread: { buffer: () => window.next(), callback: (count) => window.came(count) },
  });
  socket.on("error", (error) => window.over(error));
  socket.on("end", () => window.over());
  socket.resume();
  return { resume: () => socket.resume(), close: () => socket.destroy() };
}

function fromFile(fd: number, window: StreamWindow): Feed {
  let isRunning = false;
  let isClosed = false;
  const run = async () => {
    if (isRunning) return;
    isRunning = true;
    try {
      for (let goesOn = true; goesOn && !isClosed; ) {
        const { bytesRead } = await readNext(fd, window.next());
        if (bytesRead === 0) return window.over();
        goesOn = window.came(bytesRead);
      }
    } catch (error) {
      window.over(error);
    } finally {
      isRunning = false;
    }
  };
  // What calls this is still making the window.
  queueMicrotask(() => void run());
  return {
    resume: () => void run(),
    close: () => {
      isClosed = true;
    },
  };
}

function readFault(cause: unknown): AirferryError {
  return new AirferryError("ERR_IO", `cannot read the stream: ${(cause as Error).message}`, {
    hint: "have it sent again; what came is kept",
    cause,
  });
}
