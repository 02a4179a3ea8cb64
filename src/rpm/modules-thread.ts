/** Module metadata read without holding up the main thread: YAML cannot be read in pieces. */
import { runInThread } from "../io/parser-thread.ts";
import { invalidModules, type ModuleDocument, parseModules } from "./modules.ts";

/** A thread takes longer to start than so much takes to parse. */
const FEW_BYTES = 32 * 1024;
/** Real files have up to 10 MB. */
const MAX_MODULES_BYTES = 128 * 1024 * 1024;

const PROGRAM = { file: new URL("./modules-worker.ts", import.meta.url), asset: "modules-worker.cjs" };

/** Reads modules.yaml as {@link parseModules} does. @throws {AirferryError} ERR_UPSTREAM_INVALID */
export async function readModules(bytes: Uint8Array, name: string): Promise<ModuleDocument[]> {
  if (bytes.length <= FEW_BYTES) return parseModules(bytes, name);
  if (bytes.length > MAX_MODULES_BYTES) {
    throw invalidModules(name, `too large: expected at most ${MAX_MODULES_BYTES} bytes, got ${bytes.length}`);
  }
  return runInThread(PROGRAM, name, bytes, (fault) => invalidModules(name, fault));
}
