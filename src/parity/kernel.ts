/**
 * The inner loop of parity as a WebAssembly module, written here instruction by instruction: multiply-add over GF(2^16)
 * with 128-bit vectors. Bytes are kept in groups of 32: the low bytes of sixteen 16-bit words, then their high bytes.
 * A product of a word and a constant is the sum of four table look-ups, one for each of the word's four nibbles; a
 * look-up of 16 bytes is one `i8x16.swizzle`.
 */

/** What the module exports. Addresses and lengths are in bytes, multiples of 32 and above 0. */
export interface ParityKernel {
  /** `output ^= constant × input`: `table` has the constant's 8 × 16 bytes; `end` is the end of the input. */
  multiplyAdd(table: number, input: number, output: number, end: number): void;
  /** From words as they are in a file (little endian) to groups, in place. */
  split(from: number, end: number): void;
  /** Back. */
  join(from: number, end: number): void;
}

// Binary encoding of the instructions that are used: WebAssembly core specification 3.0, chapter 5.
const V128 = 0x7b;
const I32 = 0x7f;
const EMPTY = 0x40;
const loop = (...body: number[]) => [0x03, EMPTY, ...body, 0x0b];
const branchIf = (depth: number) => [0x0d, depth];
const get = (local: number) => [0x20, local];
const set = (local: number) => [0x21, local];
const add = (local: number, value: number) => [...get(local), 0x41, value, 0x6a, ...set(local)];
const isBelow = (a: number, b: number) => [...get(a), ...get(b), 0x49];
const simd = (operation: number, ...operands: number[]) => [0xfd, operation, ...operands];
const loadAt = (address: number, offset: number) => [...get(address), ...simd(0x00, 0, offset)];
const storeTop = (offset: number) => simd(0x0b, 0, offset);
const splat = (byte: number) => simd(0x0c, ...Array.from({ length: 16 }, () => byte));
const shuffle = (lanes: (index: number) => number) => simd(0x0d, ...Array.from({ length: 16 }, (_, it) => lanes(it)));
const swizzle = () => simd(0x0e);
const and = () => simd(0x4e);
const xor = () => simd(0x51);
const shiftRight = (bits: number) => [0x41, bits, ...simd(0x6d)];

/** Bytes of a group. */
const GROUP = 32;

/** Parameters: table, input, output, end of the input. */
function multiplyAdd(): number[] {
  const [table, input, output, end] = [0, 1, 2, 3];
  // Of nibble n: the low bytes of its products, and the high ones.
  const low = (nibble: number) => 4 + 2 * nibble;
  const high = (nibble: number) => 5 + 2 * nibble;
  const nibbles = [12, 13, 14, 15];
  const lookUp = (tableOf: (nibble: number) => number) =>
    nibbles.flatMap((it, nibble) => [...get(tableOf(nibble)), ...get(it), ...swizzle(), ...xor()]);
  return body(
    12,
    [0, 1, 2, 3].flatMap((nibble) => [
      ...loadAt(table, 32 * nibble),
      ...set(low(nibble)),
      ...loadAt(table, 32 * nibble + 16),
      ...set(high(nibble)),
    ]),
    loop(
      ...[0, 1].flatMap((byte) => [
        ...loadAt(input, 16 * byte),
        ...splat(0x0f),
        ...and(),
        ...set(12 + 2 * byte),
        ...loadAt(input, 16 * byte),
        ...shiftRight(4),
        ...set(13 + 2 * byte),
      ]),
      ...get(output),
      ...loadAt(output, 0),
      ...lookUp(low),
      ...storeTop(0),
      ...get(output),
      ...loadAt(output, 16),
      ...lookUp(high),
      ...storeTop(16),
      ...add(output, GROUP),
      ...add(input, GROUP),
      ...isBelow(input, end),
      ...branchIf(0),
    ),
  );
}

/** Parameters: from, end. Puts the bytes of each group where `first` and `second` say. */
function permute(first: (index: number) => number, second: (index: number) => number): number[] {
  const [from, end, a, b] = [0, 1, 2, 3];
  const half = (lanes: (index: number) => number, offset: number) => [
    ...get(from),
    ...get(a),
    ...get(b),
    ...shuffle(lanes),
    ...storeTop(offset),
  ];
  return body(
    2,
    loop(
      ...[...loadAt(from, 0), ...set(a), ...loadAt(from, 16), ...set(b)],
      ...half(first, 0),
      ...half(second, 16),
      ...add(from, GROUP),
      ...isBelow(from, end),
      ...branchIf(0),
    ),
  );
}

/** A function with so many vectors as locals. */
function body(vectors: number, ...code: number[][]): number[] {
  return sized([...counted([[vectors, V128]]), ...code.flat(), 0x0b]);
}

function unsigned(value: number): number[] {
  return value < 0x80 ? [value] : [(value & 0x7f) | 0x80, ...unsigned(value >>> 7)];
}
const sized = (bytes: number[]) => [...unsigned(bytes.length), ...bytes];
const counted = (items: number[][]) => [...unsigned(items.length), ...items.flat()];
const section = (id: number, items: number[][]) => [id, ...sized(counted(items))];
const named = (text: string) => sized([...Buffer.from(text)]);
const functionType = (parameters: number) => [
  0x60,
  ...counted(Array.from({ length: parameters }, () => [I32])),
  ...counted([]),
];

/** The bytes of the module. It imports `parity.memory`, and exports {@link ParityKernel}. */
export function kernelBytes(): Uint8Array<ArrayBuffer> {
  const exported = ["multiplyAdd", "split", "join"];
  return Uint8Array.from([
    ...[0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...section(1, [functionType(4), functionType(2)]),
    ...section(2, [[...named("parity"), ...named("memory"), 0x02, 0x00, 0x01]]),
    ...section(3, [[0], [1], [1]]),
    ...section(
      7,
      exported.map((name, index) => [...named(name), 0x00, index]),
    ),
    ...section(10, [
      multiplyAdd(),
      permute(
        (it) => 2 * it,
        (it) => 2 * it + 1,
      ),
      permute(
        (it) => (it >> 1) + 16 * (it & 1),
        (it) => 8 + (it >> 1) + 16 * (it & 1),
      ),
    ]),
  ]);
}
