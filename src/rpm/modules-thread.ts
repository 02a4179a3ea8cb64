/** Reads module metadata without blocking the main thread: YAML cannot be read in pieces. */
import { FEW_BYTES, runInThread } from "../io/parser-thread.ts";
import { invalidModules, type ModuleDocument, parseModules } from "./modulemd.ts";

/** Real files have up to 10 MB. */
const MAX_MODULES_BYTES = 128 * 1024 * 1024;

/** Reads modules.yaml as {@link parseModules} does. @throws {AirferryError} ERR_UPSTREAM_INVALID */
export async function readModules(bytes: Uint8Array, name: string): Promise<ModuleDocument[]> {
  if (bytes.length <= FEW_BYTES) return parseModules(bytes, name);
  const tooMuch = (fault: string) => invalidModules(name, fault);
  if (bytes.length > MAX_MODULES_BYTES) {
    throw tooMuch(`too large: expected at most ${MAX_MODULES_BYTES} bytes, got ${bytes.length}`);
  }
  return runInThread("modules", { bytes, args: [name], tooMuch });
}
