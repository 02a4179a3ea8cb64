/**
 * Runs a parser in a separate thread, for work that cannot pause (see pace.ts): the main thread stays free for signals,
 * and the thread is terminated when it takes too long or too much memory.
 */
import { getAsset, isSea } from "node:sea";
import { parentPort, Worker, workerData } from "node:worker_threads";
import { AirferryError, type ErrorCode, type ErrorDetail } from "../errors.ts";
import { currentSignal, throwIfAborted } from "./limit.ts";

/** Up to this size YAML is parsed faster than a thread starts, so it is parsed in place. */
export const FEW_BYTES = 8 * 1024;

const MAX_MS = 2 * 60_000;
const MAX_HEAP_MIB = 1024;

/** The parsers of src/parser-worker.ts. */
type ParserName =
  | "bzip2"
  | "chart"
  | "chartImages"
  | "chartIndex"
  | "differences"
  | "manifest"
  | "examinedManifest"
  | "modules"
  | "packages"
  | "release"
  | "source";

/** One parser: its result or error is returned as plain data. */
type Parser = (bytes: Uint8Array, args: unknown[]) => Promise<unknown>;

/** Its name among the assets of the single-file build (scripts/lib/build-binary.ts). */
const ASSET = "parser-worker.cjs";

interface Work {
  parser: ParserName;
  bytes: Uint8Array;
  args: unknown[];
}

type Reply = { value: unknown } | { error: { message: string; code: ErrorCode | undefined; detail: ErrorDetail } };

/** A parser's input and limits. */
interface ThreadWork {
  bytes: Uint8Array;
  /** Further arguments: plain data. */
  args?: readonly unknown[];
  /** Maximum time; default two minutes. */
  maxMs?: number;
  /** Creates the error for input that exceeds the time or memory (1 GiB). */
  tooMuch(fault: string): AirferryError;
}

/**
 * Runs the parser on a copy of the bytes and returns a copy of its result; bytes in shared memory are not copied.
 * @throws {AirferryError} what the parser threw, or `tooMuch`
 */
export async function runInThread<T>(parser: ParserName, work: ThreadWork): Promise<T> {
  throwIfAborted();
  const { maxMs = MAX_MS, tooMuch } = work;
  // A copy: otherwise a part of a large buffer would transfer all of it.
  const bytes = Uint8Array.from(work.bytes);
  const data: Work = { parser, bytes, args: [...(work.args ?? [])] };
  const resourceLimits = { maxOldGenerationSizeMb: MAX_HEAP_MIB };
  const options = { workerData: data, transferList: [bytes.buffer], resourceLimits };
  const worker = isSea()
    ? new Worker(getAsset(ASSET, "utf8"), { ...options, eval: true, execArgv: [] })
    : new Worker(new URL("../parser-worker.ts", import.meta.url), options);
  let timer: NodeJS.Timeout | undefined;
  const signal = currentSignal();
  let abort: (() => void) | undefined;
  try {
    const reply = await new Promise<Reply>((resolve, reject) => {
      const inTime = maxMs >= 60_000 ? `${Math.round(maxMs / 60_000)} minutes` : `${Math.round(maxMs / 1000)} seconds`;
      timer = setTimeout(() => reject(tooMuch(`it takes more than ${inTime} to read`)), maxMs);
      abort = () => reject(signal?.reason);
      signal?.addEventListener("abort", abort, { once: true });
      worker.once("message", resolve);
      worker.once("error", (error: NodeJS.ErrnoException) =>
        reject(
          error.code === "ERR_WORKER_OUT_OF_MEMORY" ? tooMuch(`it takes more than ${MAX_HEAP_MIB} MiB to read`) : error,
        ),
      );
      worker.once("exit", (status) => reject(new Error(`the parser's thread ended with status ${status}`)));
    });
    if ("value" in reply) return reply.value as T;
    const { code, message, detail } = reply.error;
    throw code === undefined ? new Error(message) : new AirferryError(code, message, detail);
  } finally {
    clearTimeout(timer);
    if (abort) signal?.removeEventListener("abort", abort);
    await worker.terminate();
  }
}

/** The thread's side: runs the parser that it was started for, and replies. */
export async function answerInThread(parsers: Readonly<Record<ParserName, Parser>>): Promise<void> {
  const { parser, bytes, args } = workerData as Work;
  // In a bundle, libraries are not in node_modules, and Node would print their deprecation warnings.
  process.noDeprecation = true;
  let reply: Reply;
  try {
    reply = { value: await parsers[parser](bytes, args) };
  } catch (error) {
    reply = { error: plainError(error) };
  }
  const value = "value" in reply && reply.value;
  const own = value instanceof Uint8Array && value.byteLength === value.buffer.byteLength ? value.buffer : undefined;
  // Shared memory needs no transfer.
  parentPort?.postMessage(reply, own instanceof ArrayBuffer ? [own] : []);
}

function plainError(error: unknown): Extract<Reply, { error: unknown }>["error"] {
  const { message } = error as Error;
  if (!(error instanceof AirferryError)) return { message, code: undefined, detail: {} };
  const { code, hint, path, expected, actual, problems } = error;
  return { message, code, detail: { hint: hint?.split("\n"), path, expected, actual, problems } };
}
