/**
 * Opens bzip2 data, a block at a time: strict about its checksums and its end, takes files of several streams, and does as much
 * work as there is input and output, whatever the input is. (The kept library, seek-bzip, decodes a file in one go, which holds
 * up everything else for minutes, and checks no end.)
 * No specification exists; see bzip2's own decompress.c and Joe Tsai's "BZip2: Format Specification".
 */

const BLOCK_MAGIC = [0x314159, 0x265359];
const END_MAGIC = [0x177245, 0x385090];
const MAX_CODE_BITS = 20;
const GROUP_SIZE = 50;
const PIECE_BYTES = 1024 * 1024;

/** Yields the open bytes in pieces of at most 1 MiB. Throws what is wrong with damaged or cut data. */
export function* decodeBzip2(bytes: Uint8Array): Generator<Buffer> {
  const bits = new Bits(bytes);
  do {
    if (bits.read(24) !== 0x425a68) throw new Error("a stream does not begin with BZh");
    const level = bits.read(8) - 0x30;
    if (level < 1 || level > 9) throw new Error("no such block size");
    yield* readStream(bits, level * 100_000);
    bits.align();
  } while (!bits.isAtEnd);
}

function* readStream(bits: Bits, maxSymbols: number): Generator<Buffer> {
  let streamCrc = 0;
  const symbols = new Uint32Array(maxSymbols);
  for (;;) {
    const magic = [bits.read(24), bits.read(24)];
    const expected = bits.read(32);
    if (magic[0] === END_MAGIC[0] && magic[1] === END_MAGIC[1]) {
      if (streamCrc >>> 0 !== expected) throw new Error("the checksum of a stream is wrong");
      return;
    }
    if (magic[0] !== BLOCK_MAGIC[0] || magic[1] !== BLOCK_MAGIC[1]) throw new Error("no block where one should begin");
    const crc = yield* unrun(symbols, readBlock(bits, symbols));
    if (crc !== expected) throw new Error("the checksum of a block is wrong");
    streamCrc = crc ^ ((streamCrc << 1) | (streamCrc >>> 31));
  }
}

/** Reads the symbols of one block and undoes the Burrows-Wheeler transform: each then holds its byte, and above it the next index. */
function readBlock(bits: Bits, symbols: Uint32Array): { count: number; first: number } {
  if (bits.read(1) === 1) throw new Error("a randomised block, which no bzip2 since 1997 writes");
  const origin = bits.read(24);
  const bytes = readAlphabet(bits);
  const { selectors, tables } = readTables(bits, bytes.length + 2);
  const end = bytes.length + 1;
  const counts = new Uint32Array(257);
  let count = 0;
  let run = 0;
  let weight = 1;
  for (let group = 0; ; group++) {
    const table = tables[selectors[group] ?? -1];
    if (table === undefined) throw new Error("a block has more symbols than groups");
    for (let i = 0; i < GROUP_SIZE; i++) {
      const symbol = table.read(bits);
      if (symbol <= 1) {
        // Digits 1 and 2 of a number to the base 2, lowest first: how often the first byte of the list comes again.
        run += weight << symbol;
        weight <<= 1;
        if (run > symbols.length - count) throw new Error("a block is too long");
        continue;
      }
      if (run > 0) {
        const byte = bytes[0] as number;
        symbols.fill(byte, count, count + run);
        counts[byte + 1] = (counts[byte + 1] as number) + run;
        count += run;
        run = 0;
        weight = 1;
      }
      if (symbol === end) {
        if (origin >= count) throw new Error("a block begins outside of itself");
        return { count, first: linked(symbols, count, counts, origin) };
      }
      if (count >= symbols.length) throw new Error("a block is too long");
      const byte = bytes[symbol - 1] as number;
      for (let at = symbol - 1; at > 0; at--) bytes[at] = bytes[at - 1] as number;
      bytes[0] = byte;
      symbols[count++] = byte;
      counts[byte + 1] = (counts[byte + 1] as number) + 1;
    }
  }
}

function linked(symbols: Uint32Array, count: number, counts: Uint32Array, origin: number): number {
  for (let byte = 1; byte < 257; byte++) counts[byte] = (counts[byte] as number) + (counts[byte - 1] as number);
  for (let i = 0; i < count; i++) {
    const byte = (symbols[i] as number) & 0xff;
    const at = counts[byte] as number;
    counts[byte] = at + 1;
    symbols[at] = (symbols[at] as number) | (i << 8);
  }
  return (symbols[origin] as number) >>> 8;
}

/** Which bytes occur, in order. */
function readAlphabet(bits: Bits): Uint8Array {
  const found: number[] = [];
  const rows = bits.read(16);
  for (let row = 0; row < 16; row++) {
    const columns = (rows >> (15 - row)) & 1 ? bits.read(16) : 0;
    for (let column = 0; column < 16; column++) if ((columns >> (15 - column)) & 1) found.push(row * 16 + column);
  }
  if (found.length === 0) throw new Error("a block without symbols");
  return Uint8Array.from(found);
}

function readTables(bits: Bits, size: number): { selectors: Uint8Array; tables: CodeTable[] } {
  const tableCount = bits.read(3);
  if (tableCount < 2 || tableCount > 6) throw new Error("no such number of code tables");
  const order = Array.from({ length: tableCount }, (_, index) => index);
  const selectors = new Uint8Array(bits.read(15));
  for (let i = 0; i < selectors.length; i++) {
    let index = 0;
    while (bits.read(1) === 1) if (++index >= tableCount) throw new Error("no such code table");
    order.unshift(...order.splice(index, 1));
    selectors[i] = order[0] as number;
  }
  return { selectors, tables: Array.from({ length: tableCount }, () => CodeTable.read(bits, size)) };
}

/** A canonical Huffman code. */
class CodeTable {
  readonly #symbols: Uint16Array;
  /** By length: the first value that no code of that length has any more, aligned to the longest; what to add for the symbol's index. */
  readonly #ends = new Int32Array(MAX_CODE_BITS + 1);
  readonly #bases = new Int32Array(MAX_CODE_BITS + 1);
  readonly #shortest: number;

  static read(bits: Bits, size: number): CodeTable {
    const lengths = new Uint8Array(size);
    let length = bits.read(5);
    for (let i = 0; i < size; i++) {
      for (;;) {
        if (length < 1 || length > MAX_CODE_BITS) throw new Error("no such code length");
        if (bits.read(1) === 0) break;
        length += bits.read(1) === 0 ? 1 : -1;
      }
      lengths[i] = length;
    }
    return new CodeTable(lengths);
  }

  constructor(lengths: Uint8Array) {
    const order = Array.from(lengths.keys()).sort((a, b) => (lengths[a] as number) - (lengths[b] as number) || a - b);
    this.#symbols = Uint16Array.from(order);
    this.#shortest = lengths[order[0] as number] as number;
    let code = 0;
    let index = 0;
    for (let length = 1; length <= MAX_CODE_BITS; length++) {
      this.#bases[length] = index - code;
      while (index < order.length && lengths[order[index] as number] === length) {
        index++;
        code++;
      }
      this.#ends[length] = code << (MAX_CODE_BITS - length);
      code <<= 1;
    }
  }

  read(bits: Bits): number {
    const next = bits.peek20();
    for (let length = this.#shortest; length <= MAX_CODE_BITS; length++) {
      if (next >= (this.#ends[length] as number)) continue;
      bits.skip(length);
      const symbol = this.#symbols[(next >> (MAX_CODE_BITS - length)) + (this.#bases[length] as number)];
      if (symbol !== undefined) return symbol;
      break;
    }
    throw new Error("no such code");
  }
}

/** Yields the block's bytes, runs of four and more written out; returns their checksum. */
function* unrun(symbols: Uint32Array, { count, first }: { count: number; first: number }): Generator<Buffer, number> {
  let piece = Buffer.allocUnsafe(PIECE_BYTES);
  let used = 0;
  let crc = 0xffffffff;
  let next = first;
  let same = 0;
  let last = -1;
  for (let i = 0; i < count; i++) {
    const symbol = symbols[next] as number;
    next = symbol >>> 8;
    let byte = symbol & 0xff;
    let copies = 1;
    if (same === 4) {
      copies = byte;
      byte = last;
      same = 0;
      last = -1;
    } else if (byte === last) same++;
    else {
      last = byte;
      same = 1;
    }
    for (; copies > 0; copies--) {
      crc = (crc << 8) ^ (CRC_TABLE[(crc >>> 24) ^ byte] as number);
      piece[used++] = byte;
      if (used === PIECE_BYTES) {
        yield piece;
        piece = Buffer.allocUnsafe(PIECE_BYTES);
        used = 0;
      }
    }
  }
  yield piece.subarray(0, used);
  return ~crc >>> 0;
}

/** CRC-32, highest bit first. */
const CRC_TABLE = Int32Array.from({ length: 256 }, (_, index) => {
  let crc = index << 24;
  for (let bit = 0; bit < 8; bit++) crc = crc & 0x80000000 ? (crc << 1) ^ 0x04c11db7 : crc << 1;
  return crc;
});

/** Bits, highest first. */
class Bits {
  readonly #bytes: Uint8Array;
  #at = 0;
  /** The lowest `#count` bits are still to be read. */
  #held = 0;
  #count = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  /** Up to 32 bits. */
  read(count: number): number {
    if (count > 24) return ((this.read(count - 16) << 16) | this.read(16)) >>> 0;
    while (this.#count < count) {
      if (this.#at >= this.#bytes.length) throw new Error("the data ends early");
      this.#held = ((this.#held << 8) | (this.#bytes[this.#at++] as number)) & 0x7fffffff;
      this.#count += 8;
    }
    this.#count -= count;
    return (this.#held >>> this.#count) & ((1 << count) - 1);
  }

  /** The next 20 bits, zeros after the end. */
  peek20(): number {
    while (this.#count < 20) {
      this.#held = ((this.#held << 8) | (this.#bytes[this.#at] ?? 0)) & 0x7fffffff;
      this.#at++;
      this.#count += 8;
    }
    return (this.#held >>> (this.#count - 20)) & 0xfffff;
  }

  /** Bits that were peeked at. */
  skip(count: number): void {
    this.#count -= count;
    if (this.#at - (this.#count >> 3) > this.#bytes.length) throw new Error("the data ends early");
  }

  /** On to the next whole byte. */
  align(): void {
    this.#count -= this.#count % 8;
  }

  get isAtEnd(): boolean {
    return this.#at - (this.#count >> 3) >= this.#bytes.length;
  }
}
