/** Metadata codecs: real files in every codec, the same bytes always, and what bombs, cut and damaged files get. */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { gunzipSync, gzipSync, zstdCompressSync } from "node:zlib";
import t from "tap";
import { decompress, decompressChunks, detectCodec, gzip } from "../../src/rpm/codecs.ts";
import { needs } from "../fixtures/clients.ts";
import { readFixture } from "../fixtures/rpm-files.ts";
import { mutated, seeded } from "../fixtures/seeded.ts";

const MAX = { name: "primary.xml", maxBytes: 1 << 30 };

function compressed(program: string, bytes: Uint8Array): Buffer {
  const ran = spawnSync(program, ["-c"], { input: bytes, maxBuffer: 1 << 28 });
  if (ran.status !== 0) throw new Error(`${program}: ${ran.stderr}`);
  return ran.stdout;
}

/** Text that compresses as metadata does. */
const SAMPLE = Buffer.from(
  Array.from(
    { length: 6000 },
    (_, i) => `<file>/usr/share/${createHash("md5").update(`${i}`).digest("hex")}</file>\n`,
  ).join(""),
);

t.test("decompress() opens createrepo_c's own test files", async (t) => {
  for (const stem of ["00_plain", "01_plain"]) {
    const plain = readFixture(`createrepo_c/compressed_files/${stem}.txt`);
    for (const suffix of ["", ".gz", ".xz", ".bz2", ".zst"]) {
      const bytes = readFixture(`createrepo_c/compressed_files/${stem}.txt${suffix}`);
      t.same(await decompress(bytes, { ...MAX, openSize: plain.length }), plain, `${stem}${suffix}`);
    }
    const zck = readFixture(`createrepo_c/compressed_files/${stem}.txt.zck`);
    await t.rejects(decompress(zck, MAX), { code: "ERR_UPSTREAM_INVALID", message: /zchunk is not read/ });
  }
});

t.test("decompress() opens what the real compressors write", async (t) => {
  t.equal(detectCodec(Buffer.from("<?xml version")), "plain");
  t.equal(detectCodec(Buffer.alloc(0)), "plain");
  t.same(await decompress(gzipSync(SAMPLE), MAX), SAMPLE);
  t.same(await decompress(Buffer.concat([gzipSync("a"), gzipSync("b")]), MAX), Buffer.from("ab"), "two members");
  t.same(await decompress(zstdCompressSync(SAMPLE), MAX), SAMPLE);
  t.equal((await decompress(gzipSync(""), MAX)).length, 0);
  for (const program of ["xz", "bzip2", "zstd"]) {
    if (!needs(t, program)) continue;
    for (const bytes of [SAMPLE, Buffer.from("x"), Buffer.alloc(0)]) {
      t.same(await decompress(compressed(program, bytes), MAX), bytes, `${program}, ${bytes.length} bytes`);
    }
  }
});

const PROGRAMS = ["gzip", "zstd", "xz", "bzip2"];

t.test("decompress() refuses bombs before they are open", async (t) => {
  const zeros = Buffer.alloc(40 << 20);
  for (const program of PROGRAMS) {
    if (!needs(t, program)) continue;
    const bomb = compressed(program, zeros);
    const code = "ERR_UPSTREAM_INVALID";
    await t.rejects(decompress(bomb, MAX), { code, message: /over 300 times/ }, `${program}: ratio`);
    const options = { name: "x", maxBytes: 1 << 20 };
    await t.rejects(decompress(bomb, options), { code, message: /expected at most 1048576 bytes/ }, `${program}: cap`);
    let seen = 0;
    const drain = async () => {
      for await (const chunk of decompressChunks(bomb, { ...options, openSize: 1000 })) seen += chunk.length;
    };
    await t.rejects(
      drain(),
      { code: "ERR_UPSTREAM_SIZE", message: /expected 1000 bytes, got more/ },
      `${program}: openSize`,
    );
    t.ok(seen <= 1000, `${program}: nothing beyond the limit comes out`);
  }
});

t.test("decompress() refuses a repomd that lies about open sizes", async (t) => {
  for (const openSize of [0, SAMPLE.length - 1, SAMPLE.length + 1]) {
    await t.rejects(
      decompress(gzipSync(SAMPLE), { ...MAX, openSize }),
      { code: "ERR_UPSTREAM_SIZE" },
      String(openSize),
    );
  }
});

t.test("decompress() refuses cut files in every codec, wherever they are cut", async (t) => {
  const random = seeded(7);
  for (const program of PROGRAMS) {
    if (!needs(t, program)) continue;
    const whole = compressed(program, SAMPLE);
    const cuts = [6, 20, whole.length >> 1, whole.length - 12, whole.length - 5, whole.length - 1];
    for (let i = 0; i < 5; i++) cuts.push(14 + random(whole.length - 14));
    for (const cut of cuts) {
      await t.rejects(
        decompress(whole.subarray(0, cut), MAX),
        { code: "ERR_UPSTREAM_INVALID" },
        `${program} at ${cut}`,
      );
    }
  }
});

t.test("damaged files never open to something else", async (t) => {
  const random = seeded(11);
  const small = SAMPLE.subarray(0, 4000);
  for (const program of PROGRAMS) {
    if (!needs(t, program)) continue;
    const whole = compressed(program, small);
    let refused = 0;
    // bzip2 starts a thread for each; test/rpm/bzip2.test.ts changes every byte without.
    const changes = program === "bzip2" ? 15 : 150;
    for (let i = 0; i < changes; i++) {
      const bytes = mutated(whole, random);
      try {
        const open = await decompress(bytes, { name: "x", maxBytes: 1 << 20 });
        if (detectCodec(bytes) !== "plain" && !open.equals(small)) t.same(open, small, `${program}, change ${i}`);
      } catch (error) {
        t.match(error, { code: "ERR_UPSTREAM_INVALID" });
        refused++;
      }
    }
    t.ok(refused > changes / 2, `${program}: ${refused} of ${changes}`);
  }
});

t.test("gzip() gives the same bytes, however the input is cut", async (t) => {
  const whole = await gzip([SAMPLE]);
  t.same(gunzipSync(whole), SAMPLE);
  t.equal(whole.subarray(0, 10).toString("hex"), "1f8b08000000000000ff", "no time, no name, no system");
  const pieces = Array.from({ length: Math.ceil(SAMPLE.length / 777) }, (_, i) =>
    SAMPLE.subarray(i * 777, i * 777 + 777),
  );
  t.same(await gzip(pieces), whole);
  t.equal(gunzipSync(await gzip([])).length, 0);
});
