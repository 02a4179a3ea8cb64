/**
 * Starts all worker threads. The worker's code is the text of a self-contained function, so it runs the same from
 * TypeScript source (Node strips the types before `toString`), from a single-file bundle and from an executable, where
 * there is no worker file.
 */
import { Worker } from "node:worker_threads";

/** Threads work on buffers outside the heap; by default V8 would let each accumulate 50 MB of garbage. */
const YOUNG_GENERATION_MB = 4;
const OLD_GENERATION_MB = 128;

/**
 * Starts a thread that runs `main`. `main` must refer to nothing outside itself; it reaches Node's modules through
 * `process.getBuiltinModule`. The caller terminates the worker.
 */
export function startWorker(main: () => void): Worker {
  // Bundlers that keep names wrap inner functions in a helper that would be missing here. It has this name unless they
  // also minify: a release build may do one or the other.
  const code = `const __name = (it) => it; (${main.toString()})();`;
  const resourceLimits = { maxYoungGenerationSizeMb: YOUNG_GENERATION_MB, maxOldGenerationSizeMb: OLD_GENERATION_MB };
  return new Worker(code, { eval: true, execArgv: [], resourceLimits });
}
