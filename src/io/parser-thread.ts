/**
 * Runs a parser in a thread of its own, for work that cannot pause (see pace.ts): the main thread stays free for signals, and
 * the thread is ended when it takes too long or too much memory.
 */
import { getAsset, isSea } from "node:sea";
import { parentPort, Worker, workerData } from "node:worker_threads";
import { AirferryError, type ErrorCode, type ErrorDetail } from "../errors.ts";
import { currentSignal, throwIfAborted } from "./limit.ts";

/** So few bytes of YAML are parsed in less time than a thread takes to start: where they came from, not in a thread. */
export const FEW_BYTES = 8 * 1024;

const MAX_MS = 2 * 60_000;
const MAX_HEAP_MIB = 1024;

/** What src/parser-worker.ts can run. */
type ParserName = "bzip2" | "chart" | "chartImages" | "chartIndex" | "manifest" | "modules";

/** One parser: what it returns or throws goes back as plain data. */
type Parser = (bytes: Uint8Array, args: unknown[]) => Promise<unknown>;

/** Its name among the assets of the single-file build (scripts/lib/build-binary.ts). */
const ASSET = "parser-worker.cjs";

interface Work {
  parser: ParserName;
  bytes: Uint8Array;
  args: unknown[];
}

type Reply = { value: unknown } | { error: { message: string; code: ErrorCode | undefined; detail: ErrorDetail } };

/** What a parser works on, and what becomes of one that does not end. */
interface ThreadWork {
  bytes: Uint8Array;
  /** Further arguments: plain data. */
  args?: readonly unknown[];
  /** Most time that it may take; two minutes where nothing is said. */
  maxMs?: number;
  /** Makes the error for input on which it ran out of time or memory (1 GiB). */
  tooMuch(fault: string): AirferryError;
}

/**
 * Runs the parser on a copy of the bytes and returns what it returns, a copy too.
 * @throws {AirferryError} what the parser threw, or `tooMuch`
 */
export async function runInThread<T>(parser: ParserName, work: ThreadWork): Promise<T> {
  throwIfAborted();
  const { maxMs = MAX_MS, tooMuch } = work;
  // A copy of its own: sent as it is, a part of a large buffer would bring all of it along.
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

/** The thread's side: runs the one parser that it was started for, and answers. */
export async function answerInThread(parsers: Readonly<Record<ParserName, Parser>>): Promise<void> {
  const { parser, bytes, args } = workerData as Work;
  // Bundled, libraries no longer stand in node_modules, and Node would warn people about what is old in them.
  process.noDeprecation = true;
  let reply: Reply;
  try {
    reply = { value: await parsers[parser](bytes, args) };
  } catch (error) {
    reply = { error: plainError(error) };
  }
  const value = "value" in reply && reply.value;
  const isOwn = value instanceof Uint8Array && value.byteLength === value.buffer.byteLength;
  parentPort?.postMessage(reply, isOwn ? [value.buffer as ArrayBuffer] : []);
}

function plainError(error: unknown): Extract<Reply, { error: unknown }>["error"] {
  const { message } = error as Error;
  if (!(error instanceof AirferryError)) return { message, code: undefined, detail: {} };
  const { code, hint, path, expected, actual, problems } = error;
  return { message, code, detail: { hint: hint?.split("\n"), path, expected, actual, problems } };
}
