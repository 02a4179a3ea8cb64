/** How a chunk becomes a function: the same for who compiles it and for who runs it, or compiled code would not fit. */

/** Added to a chunk's name it names the asset with its compiled code, which is empty where there is none. */
export const CACHE_SUFFIX = ".cache";

/** The text of an expression whose value is the chunk as a function. */
export function wrapped(code: string): string {
  return `(function(exports,require,module,__filename,__dirname,__airferry_url){${code}\n})`;
}
