/**
 * Starts worker threads: the one place that decides how. The worker's code is the text of a self-contained function, so it
 * runs alike from TypeScript source (Node strips the types before `toString` sees it), from a single-file bundle and from
 * inside an executable, where there is no worker file to point at.
 */
import { Worker } from "node:worker_threads";

/** Threads work on buffers outside of the heap; left to itself V8 would let each gather 50 MB of garbage. */
const YOUNG_GENERATION_MB = 4;
const OLD_GENERATION_MB = 128;

/**
 * Starts a thread that runs `main`. `main` must refer to nothing outside itself; it reaches Node's modules through
 * `process.getBuiltinModule`. The caller terminates the worker.
 */
export function startWorker(main: () => void): Worker {
  // Bundlers that keep names wrap inner functions in a helper that would be missing here. It goes by this name as long as they
  // do not minify as well: a release build may do one or the other.
  const code = `const __name = (it) => it; (${main.toString()})();`;
  const resourceLimits = { maxYoungGenerationSizeMb: YOUNG_GENERATION_MB, maxOldGenerationSizeMb: OLD_GENERATION_MB };
  return new Worker(code, { eval: true, execArgv: [], resourceLimits });
}
