/**
 * Node's HTTP modules without a second HTTP client. An `import` of `node:http` reads all that the module exports, and
 * some of those names load undici with its WebAssembly parser when they are read: 70 ms of the processor and some MiB
 * of memory in every process, for nothing that is used here. Of an object nobody reads them.
 */

export const nodeHttp = process.getBuiltinModule("node:http");

/** Loads TLS, which takes 40 ms more. */
export function nodeHttps() {
  return process.getBuiltinModule("node:https");
}
