/** What runs in the thread of modules-thread.ts. */
import { parentPort, workerData } from "node:worker_threads";
import { failureOf, type ThreadReply } from "../io/parser-thread.ts";
import { parseModules } from "./modules.ts";

const { bytes, name } = workerData as { bytes: Uint8Array; name: string };

function answer(): ThreadReply {
  try {
    return { value: parseModules(bytes, name) };
  } catch (error) {
    return failureOf(error);
  }
}

parentPort?.postMessage(answer());
