/** The code of a worker thread of a server (src/server/process/workers.ts). */
import { runWorker } from "./server/process/worker.ts";
import { openReader } from "./store/bundle-store.ts";

void runWorker(openReader);
