/**
 * The access log: one JSON object per line, appended to a file (or file descriptor 2) in batches, so that several
 * processes can share the file. Lines stay whole because each batch is one appending write.
 */
import { closeSync, openSync, write, writeSync } from "node:fs";
import { AirferryError } from "../../errors.ts";
import { printableJson } from "../../io/printable.ts";

const FLUSH_MS = 50;
/** Longer than any write takes that was begun before a rotation. */
const CLOSE_OLD_MS = 5000;
const FLUSH_BYTES = 64 * 1024;
const STDERR_FD = 2;

/** An answer that is over, as the log has it. */
interface LoggedAnswer {
  /** As it was known at the beginning. */
  client: string | undefined;
  /** The trusted proxy that named the client. */
  proxy?: string | undefined;
  method: string | undefined;
  /** The target as it was sent. */
  path: string | undefined;
  status: number;
  /** Of the body, as far as it was sent. */
  bytes: number;
  /** performance.now() at the beginning. */
  startedMs: number;
  range?: string | undefined;
  agent: string | undefined;
  host: string | undefined;
  whole: boolean;
}

/** Writes access log lines. {@link AccessLog.close} writes what is still waiting. */
export class AccessLog {
  readonly #path: string;
  #fd: number;
  #waiting = "";
  #timer: NodeJS.Timeout | undefined;

  /** Opens the log: a path, or `-` for standard error. @throws {AirferryError} ERR_IO */
  constructor(path: string) {
    this.#path = path;
    this.#fd = opened(path);
  }

  /**
   * Goes on in a new file of that name, when the old one was renamed. Without a new one it stays with the old.
   * @throws {AirferryError} ERR_IO
   */
  reopen(): void {
    if (this.#fd === STDERR_FD) return;
    const fd = opened(this.#path);
    const old = this.#fd;
    this.#flush();
    this.#fd = fd;
    // Writes to it are still running.
    setTimeout(() => closeSync(old), CLOSE_OLD_MS).unref();
  }

  /** Logs one answer when it is over. */
  write({ startedMs, whole, ...answer }: LoggedAnswer): void {
    const line = {
      time: new Date().toISOString(),
      client: answer.client,
      proxy: answer.proxy,
      method: answer.method,
      path: answer.path,
      status: answer.status,
      bytes: answer.bytes,
      ms: Math.round((performance.now() - startedMs) * 10) / 10,
      range: answer.range,
      agent: answer.agent,
      host: answer.host,
      ...(whole ? {} : { aborted: true }),
    };
    this.#waiting += `${printableJson(line)}\n`;
    if (this.#waiting.length >= FLUSH_BYTES) this.#flush();
    else this.#timer ??= setTimeout(() => this.#flush(), FLUSH_MS).unref();
  }

  close(): void {
    clearTimeout(this.#timer);
    try {
      if (this.#waiting !== "") writeSync(this.#fd, this.#waiting);
    } catch {
      // A full disk must not prevent the server from stopping.
    }
    this.#waiting = "";
    if (this.#fd !== STDERR_FD) closeSync(this.#fd);
  }

  #flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const batch = this.#waiting;
    this.#waiting = "";
    // An unwritable log (disk full) must not stop the service.
    write(this.#fd, batch, () => {});
  }
}

function opened(path: string): number {
  try {
    return path === "-" ? STDERR_FD : openSync(path, "a", 0o640);
  } catch (cause) {
    throw new AirferryError("ERR_IO", `cannot open access log "${path}": ${(cause as Error).message}`, {
      hint: "give a file in a directory that exists and is writable, or - for standard error",
      path,
      cause,
    });
  }
}
