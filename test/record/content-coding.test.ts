/** src/record/content-coding.ts and src/record/decoded-body.ts: encodings that are undone, alone and one on another. */
import type { Transform } from "node:stream";
import { setImmediate } from "node:timers/promises";
import { brotliCompressSync, constants, deflateRawSync, deflateSync, gzipSync, zstdCompressSync } from "node:zlib";
import t from "tap";
import { decodersFor } from "../../src/record/content-coding.ts";
import { DecodedBody } from "../../src/record/decoded-body.ts";

const PLAIN = Buffer.from("plain text, ".repeat(20_000));

/** The body without its encoding, and what is wrong with it. Pieces are of `pieceBytes`. */
async function decoded(encoding: string, bytes: Buffer, path = "/x", pieceBytes = 7000) {
  const found = decodersFor(encoding, path);
  if ("fault" in found) return found;
  if (found.decoders.length === 0) return { body: bytes };
  const chunks: Buffer[] = [];
  const sink = {
    onProgress: () => {},
    isFull: false,
    size: 0,
    push(chunk: Buffer) {
      chunks.push(chunk);
      this.size += chunk.length;
      // As a slow disk.
      this.isFull = chunks.length % 3 === 0;
      if (this.isFull)
        setTimeout(() => {
          this.isFull = false;
          this.onProgress();
        }, 0);
    },
  };
  const decoders = found.decoders.map((make): Transform => make());
  const body = new DecodedBody(decoders, sink);
  for (let at = 0; at < bytes.length; at += pieceBytes) {
    body.push(bytes.subarray(at, at + pieceBytes));
    await setImmediate();
  }
  const fault = await body.end();
  body.destroy();
  return { body: Buffer.concat(chunks), ...(fault !== undefined && { fault }) };
}

t.test("every encoding that servers use, alone and one on another", async (t) => {
  const encodings: [string, Buffer][] = [
    ["gzip", gzipSync(PLAIN)],
    ["X-GZip", gzipSync(PLAIN)],
    ["deflate", deflateSync(PLAIN)],
    ["deflate", deflateRawSync(PLAIN)],
    ["br", brotliCompressSync(PLAIN)],
    ["zstd", zstdCompressSync(PLAIN)],
    ["identity", PLAIN],
    ["", PLAIN],
    ["gzip, br", brotliCompressSync(gzipSync(PLAIN))],
    ["deflate,identity , zstd", zstdCompressSync(deflateRawSync(PLAIN))],
    ["gzip, gzip, br, deflate", deflateSync(brotliCompressSync(gzipSync(gzipSync(PLAIN))))],
  ];
  for (const [encoding, bytes] of encodings)
    for (const pieceBytes of [bytes.length, 500])
      t.strictSame(await decoded(encoding, bytes, "/x", pieceBytes), { body: PLAIN }, `${encoding} ${pieceBytes}`);
  t.strictSame(await decoded("gzip", Buffer.alloc(0)), { body: Buffer.alloc(0) }, "a redirect without a body");
});

t.test("a name that says that the file is compressed stands for its first encoding alone", async (t) => {
  const file = gzipSync(PLAIN);
  for (const name of ["/x.tar.gz", "/x.TGZ?a=b", "/x.svgz"])
    t.strictSame(await decoded("gzip", file, name), { body: file }, name);
  t.strictSame(await decoded("gzip, br", brotliCompressSync(file), "/x.gz"), { body: file });
  t.strictSame(await decoded("br", brotliCompressSync(file), "/x.gz"), { body: file });
  t.strictSame(await decoded("xz", PLAIN, "/x.tar.xz"), { body: PLAIN });
  t.strictSame(await decoded("x-compress", PLAIN, "/x.Z"), { body: PLAIN });
});

t.test("what cannot be undone is told", async (t) => {
  t.strictSame(await decoded("gzip, exi", PLAIN), { fault: "the encoding exi" });
  t.strictSame(await decoded("compress", PLAIN), { fault: "the encoding compress" });
  t.strictSame(await decoded("constructor", PLAIN), { fault: "the encoding constructor" });
  t.strictSame(await decoded("gzip,".repeat(5), PLAIN), { fault: "5 encodings" });
  t.match(await decoded("gzip", PLAIN), { fault: /incorrect header check/ });
  t.match(await decoded("gzip, br", gzipSync(PLAIN)), { fault: /./ });
  t.match(await decoded("gzip", gzipSync(PLAIN).subarray(0, -10)), { fault: /unexpected end/ });
  t.match(await decoded("zstd, gzip", gzipSync(zstdCompressSync(PLAIN).subarray(0, 40))), { fault: /./ });
});

t.test("hostile bodies: neither memory nor disk without end", async (t) => {
  const zeros = gzipSync(Buffer.alloc(96 * 1024 * 1024), { level: 9 });
  t.match(await decoded("gzip", zeros, "/x", zeros.length), { fault: "it grows without end" });
  // Between two decoders too: members with nothing but a long header.
  const head = Buffer.from([31, 139, 8, 4, 0, 0, 0, 0, 0, 3, 0xf0, 0xff]);
  const member = Buffer.concat([head, Buffer.alloc(0xfff0), Buffer.from([3, 0]), Buffer.alloc(8)]);
  const nothing = gzipSync(Buffer.alloc(80 * 1024 * 1024, member));
  t.strictSame(await decoded("gzip", Buffer.concat([member, member])), { body: Buffer.alloc(0) });
  const ended = await decoded("gzip, gzip", nothing, "/x", nothing.length);
  t.strictSame(ended, { body: Buffer.alloc(0), fault: "it grows without end" });
  const wide = zstdCompressSync(Buffer.alloc(32 * 1024 * 1024, "abc"), {
    params: { [constants.ZSTD_c_windowLog]: 25, [constants.ZSTD_c_compressionLevel]: 1 },
  });
  t.match(await decoded("zstd", wide), { fault: /./ }, "a window of 32 MiB");
});
