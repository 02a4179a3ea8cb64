/**
 * Starts worker threads: the one place that decides how. The worker's code is the text of a self-contained function, so it
 * runs alike from TypeScript source (Node strips the types before `toString` sees it), from a single-file bundle and from
 * inside an executable, where there is no worker file to point at.
 */
import { Worker } from "node:worker_threads";

/**
 * Starts a thread that runs `main`. `main` must refer to nothing outside itself; it reaches Node's modules through
 * `process.getBuiltinModule`. The caller terminates the worker.
 */
export function startWorker(main: () => void): Worker {
  // Bundlers that keep names wrap inner functions in a helper that would be missing here.
  const code = `const __name = (it) => it; (${main.toString()})();`;
  return new Worker(code, { eval: true, execArgv: [], stdin: false });
}
