/**
 * Preloaded by pieces.ts with `node --import`: a pack that counts pieces and does not hash them, to be compared with one
 * that does. What it writes is no bundle. There is no such switch in the program.
 */
import { registerHooks } from "node:module";

const CHANGES = [
  [
    'if (part.length === PIECE_BYTES) this.add(crypto.hash("sha256", part, "buffer"));',
    "if (part.length === PIECE_BYTES) this.add(NO_DIGEST);",
  ],
  ["this.begun.update(part);", ""],
  ["const DIGEST_BYTES = 32;", "const DIGEST_BYTES = 32; const NO_DIGEST = new Uint8Array(DIGEST_BYTES);"],
];

registerHooks({
  load(url, context, next) {
    const loaded = next(url, context);
    if (!url.endsWith("/src/io/hash-worker.ts")) return loaded;
    let source = String(loaded.source);
    for (const [from, to] of CHANGES) {
      if (!source.includes(from)) throw new Error(`hash-worker.ts has no ${JSON.stringify(from)}`);
      source = source.replace(from, to);
    }
    return { ...loaded, source };
  },
});
