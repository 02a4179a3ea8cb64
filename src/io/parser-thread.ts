/**
 * Runs a parser in a thread of its own, for work that cannot pause (see pace.ts): the main thread stays free for signals, and
 * the thread is ended when it takes too long or too much memory.
 */
import { getAsset, isSea } from "node:sea";
import { Worker } from "node:worker_threads";
import { AirferryError, type ErrorCode } from "../errors.ts";
import { currentSignal, throwIfAborted } from "./limit.ts";

const MAX_THREAD_MS = 2 * 60_000;
const MAX_HEAP_MB = 1024;

/** What a thread answers: the value, or an error as plain data, since only plain data crosses. */
export type ThreadReply =
  | { value: unknown }
  | { error: { code: ErrorCode | undefined; message: string; path: string | undefined; hint: string | undefined } };

/** A program for a thread: it gets `{bytes, name}` as `workerData`, posts one {@link ThreadReply} and ends. */
export interface ThreadProgram {
  /** Its source file, in a checkout. */
  file: URL;
  /** Its name among the assets of the single-file build (scripts/lib/build-binary.ts). */
  asset: string;
}

/**
 * Runs the program on a copy of the bytes and returns what it answers.
 * @param tooMuch makes the error for input on which it ran out of time or memory
 * @throws {AirferryError} what the parser threw, or `tooMuch`
 */
export async function runInThread<T>(
  program: ThreadProgram,
  name: string,
  given: Uint8Array,
  tooMuch: (fault: string) => AirferryError,
): Promise<T> {
  throwIfAborted();
  // A copy of its own: sent as it is, a part of a large buffer would bring all of it along.
  const bytes = Uint8Array.from(given);
  const workerData = { bytes, name };
  const resourceLimits = { maxOldGenerationSizeMb: MAX_HEAP_MB };
  const options = { workerData, transferList: [bytes.buffer], resourceLimits };
  const worker = isSea()
    ? new Worker(getAsset(program.asset, "utf8"), { ...options, eval: true, execArgv: [] })
    : new Worker(program.file, options);
  let timer: NodeJS.Timeout | undefined;
  const signal = currentSignal();
  let abort: (() => void) | undefined;
  try {
    const reply = await new Promise<ThreadReply>((resolve, reject) => {
      timer = setTimeout(
        () => reject(tooMuch(`it takes more than ${MAX_THREAD_MS / 60_000} minutes to read`)),
        MAX_THREAD_MS,
      );
      abort = () => reject(signal?.reason);
      signal?.addEventListener("abort", abort, { once: true });
      worker.once("message", resolve);
      worker.once("error", (error: NodeJS.ErrnoException) =>
        reject(
          error.code === "ERR_WORKER_OUT_OF_MEMORY" ? tooMuch(`it takes more than ${MAX_HEAP_MB} MiB to read`) : error,
        ),
      );
      worker.once("exit", (status) => reject(new Error(`the parser's thread ended with status ${status}`)));
    });
    if ("value" in reply) return reply.value as T;
    const { code, message, path, hint } = reply.error;
    throw code === undefined ? new Error(message) : new AirferryError(code, message, { path, hint });
  } finally {
    clearTimeout(timer);
    if (abort) signal?.removeEventListener("abort", abort);
    await worker.terminate();
  }
}

/** The answer for something thrown. */
export function failureOf(error: unknown): ThreadReply {
  const { message } = error as Error;
  const { code, path, hint } = error instanceof AirferryError ? error : { code: undefined, path: "", hint: "" };
  return { error: { code, message, path, hint } };
}
