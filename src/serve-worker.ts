/** The code of a worker thread of a server (src/server/process/workers.ts). */
import { runWorker } from "./server/process/worker.ts";
import { openStore } from "./store/store.ts";

void runWorker(openStore);
