/** src/rpm/bzip2.ts against bzip2 itself, and on what hostile files hold. */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import t from "tap";
import { AirferryError } from "../../src/errors.ts";
import { decodeBzip2, openBzip2 } from "../../src/rpm/bzip2.ts";

const decode = (bytes: Uint8Array) => decodeBzip2(bytes, Number.POSITIVE_INFINITY);
const compress = (bytes: Uint8Array, level = 9) =>
  execFileSync("bzip2", [`-${level}`], { input: bytes, maxBuffer: 1e8 });

/** A block whose one run is written with so many digits, `0` each; the alphabet is one byte. */
function runOf(digits: number): Buffer {
  const bits = [
    0x314159265359n.toString(2).padStart(48, "0"),
    "0".repeat(32 + 1 + 24),
    `1${"0".repeat(15)}1${"0".repeat(15)}`,
    `010${"1".padStart(15, "0")}0`,
    // Lengths 1, 2, 2 for the digits 1 and 2 and the end; twice, as two tables are the fewest.
    "0000101000".repeat(2),
    `${"0".repeat(digits)}11`,
  ].join("");
  const bytes = bits.padEnd(Math.ceil(bits.length / 8) * 8, "0").match(/.{8}/g) ?? [];
  return Buffer.concat([Buffer.from("BZh1"), Buffer.from(bytes.map((it) => Number.parseInt(it, 2))), Buffer.alloc(32)]);
}

t.test("what bzip2 wrote is opened, of any size, in one stream or several", async (t) => {
  const noise = createHash("shake256", { outputLength: 300_000 }).update("seed").digest();
  for (const data of [
    Buffer.alloc(0),
    Buffer.from("a"),
    Buffer.alloc(3_000_000, "a"),
    noise,
    Buffer.concat([noise, Buffer.alloc(2_000_000, "ab"), noise]),
  ]) {
    for (const level of [1, 9])
      t.ok(decode(compress(data, level)).equals(data), `${data.length} bytes, level ${level}`);
  }
  t.equal(decode(Buffer.concat([compress(Buffer.from("one")), compress(Buffer.from("two"))])).toString(), "onetwo");
});

t.test("cut and changed files are refused", async (t) => {
  const whole = compress(Buffer.from("bounded\n".repeat(100)));
  for (let end = 0; end < whole.length; end++) t.throws(() => decode(whole.subarray(0, end)), `cut at ${end}`);
  for (let at = 0; at < whole.length; at++) {
    const changed = Buffer.from(whole);
    changed[at] = (changed[at] as number) ^ 0x10;
    let opened: Buffer | undefined;
    try {
      opened = decode(changed);
    } catch {}
    t.ok(opened === undefined || opened.toString() === "bounded\n".repeat(100), `changed at ${at}`);
  }
});

t.test("no more is opened than is asked for", async (t) => {
  const bomb = compress(Buffer.alloc(50_000_000));
  t.ok(bomb.length < 100);
  const open = decodeBzip2(bomb, 3_000_000);
  t.ok(open.length > 3_000_000 && open.length < 5_000_000, `${open.length} bytes`);
});

t.test("a run longer than a block is refused, however its length is written", async (t) => {
  for (let digits = 17; digits <= 48; digits++) t.throws(() => decode(runOf(digits)), /Data error/, `${digits} digits`);
});

t.test("a file that takes too long ends with the thread", { timeout: 60_000 }, async (t) => {
  const tooMuch = (fault: string) => new AirferryError("ERR_UPSTREAM_INVALID", fault);
  const noise = createHash("shake256", { outputLength: 4_000_000 }).update("seed").digest();
  const limits = { maxBytes: 1 << 26, tooMuch };
  const long = openBzip2(compress(noise), { ...limits, maxMs: 20 });
  await t.rejects(long, { code: "ERR_UPSTREAM_INVALID", message: /it takes more than/ });
  t.same(await openBzip2(compress(Buffer.from("whole")), limits), Buffer.from("whole"));
});
