/** The kernel against a slow multiplication, written from the definition of the field. */
import t from "tap";
import { kernelBytes, type ParityKernel } from "../../src/parity/kernel.ts";
import { noise } from "../fixtures/parity.ts";

/** Carry-less multiplication, reduced by x^16 + x^12 + x^3 + x + 1. */
function times(a: number, b: number): number {
  let product = 0;
  for (let left = a, right = b; right > 0; right >>= 1) {
    if (right & 1) product ^= left;
    left <<= 1;
    if (left & 0x10000) left ^= 0x1100b;
  }
  return product;
}

// Not in the library types of Node.
const wasm = Reflect.get(globalThis, "WebAssembly");
const memory = new wasm.Memory({ initial: 4 });
const instance = new wasm.Instance(new wasm.Module(kernelBytes()), { parity: { memory } });
const kernel: ParityKernel = instance.exports;
const bytes = Buffer.from(memory.buffer);
const INPUT = 4096;
const OUTPUT = 65_536;
const LENGTH = 8192;

function writeTable(constant: number): void {
  for (let nibble = 0; nibble < 4; nibble++)
    for (let value = 0; value < 16; value++) {
      const product = times(constant, value << (4 * nibble));
      bytes[32 * nibble + value] = product & 0xff;
      bytes[32 * nibble + 16 + value] = product >> 8;
    }
}

t.test("the field is that of PAR2", async (t) => {
  t.equal(times(2, 0x8000), 0x100b, "2^16");
  let power = 1;
  for (let exponent = 1; exponent < 65_535; exponent++) {
    power = times(power, 2);
    if (power === 1) t.fail(`2 has order ${exponent}`);
  }
  t.equal(times(power, 2), 1, "2 generates it");
});

t.test("split and join are each other's inverse, and split puts low bytes first", async (t) => {
  const words = noise(LENGTH);
  words.copy(bytes, INPUT);
  kernel.split(INPUT, INPUT + LENGTH);
  t.strictSame(
    [...bytes.subarray(INPUT, INPUT + 32)],
    [
      ...Array.from({ length: 16 }, (_, it) => words[2 * it]),
      ...Array.from({ length: 16 }, (_, it) => words[2 * it + 1]),
    ],
  );
  kernel.join(INPUT, INPUT + LENGTH);
  t.ok(bytes.subarray(INPUT, INPUT + LENGTH).equals(words));
});

t.test("multiplyAdd() adds the product of every word", async (t) => {
  for (const constant of [0, 1, 2, 0x100b, 0x8000, 0x1234, 0xffff]) {
    const input = noise(LENGTH, constant + 1);
    const output = noise(LENGTH, constant + 2);
    input.copy(bytes, INPUT);
    output.copy(bytes, OUTPUT);
    writeTable(constant);
    kernel.split(INPUT, INPUT + LENGTH);
    kernel.split(OUTPUT, OUTPUT + LENGTH);
    kernel.multiplyAdd(0, INPUT, OUTPUT, INPUT + LENGTH);
    kernel.join(OUTPUT, OUTPUT + LENGTH);
    let wrong = 0;
    for (let at = 0; at < LENGTH; at += 2) {
      const expected = output.readUInt16LE(at) ^ times(constant, input.readUInt16LE(at));
      if (bytes.readUInt16LE(OUTPUT + at) !== expected) wrong++;
    }
    t.equal(wrong, 0, `constant ${constant}`);
  }
});

t.test("multiplyAdd() touches nothing beside its output, for the shortest one", async (t) => {
  bytes.fill(7, OUTPUT - 32, OUTPUT + 64);
  writeTable(3);
  kernel.multiplyAdd(0, INPUT, OUTPUT, INPUT + 32);
  t.ok(bytes.subarray(OUTPUT - 32, OUTPUT).every((it) => it === 7));
  t.ok(bytes.subarray(OUTPUT + 32, OUTPUT + 64).every((it) => it === 7));
});
