/**
 * What a parity thread does: checksums of blocks, recovery blocks, and blocks from recovery blocks. The thread gets the
 * text of `parityWorkerMain` (start-worker.ts), so everything it uses is inside it.
 */
import type { Hash } from "node:crypto";
import type { ParityKernel } from "./kernel.ts";

/** A range of a file; what is beyond it counts as zeros. */
export interface ParityRange {
  file: string;
  offset: number;
  length: number;
  /** Where a copy of it goes; default: the same offset. */
  to?: number;
}

/** A block that is searched for. */
interface WantedBlock {
  block: number;
  /** MD5 and CRC-32. */
  sum: Uint8Array;
}

/** MD5 of a whole file and of its first 16 KiB. */
interface WholeSum {
  md5: Uint8Array;
  md5Of16k: Uint8Array;
}

/**
 * One column of all blocks: outputs are the sums of inputs times powers of their constants. With a `matrix` the outputs
 * are its product with those sums.
 */
export interface ColumnJob {
  type: "column";
  /** Bytes of each block in this column, even. */
  width: number;
  /** `log` is the logarithm of the block's constant. */
  inputs: (ParityRange & { log: number })[];
  /** One for each sum. */
  exponents: number[];
  /** Added to the sums. */
  initial: ParityRange[] | undefined;
  /** Row by row, as many rows and columns as there are sums. */
  matrix: Uint16Array | undefined;
  /** Where outputs are written, in files that exist; undefined: nowhere. */
  outputs: (ParityRange | undefined)[];
}

/** A packet found in a file whose own checksum was right. */
export interface FoundPacket {
  setId: string;
  type: string;
  /** Of a recovery packet: its first four bytes. */
  body: Uint8Array;
  /** Where the body begins, and its length. */
  offset: number;
  length: number;
}

export type ParityJob =
  | { type: "kernel"; bytes: Uint8Array<ArrayBuffer> }
  | { type: "whole"; file: string; size: number }
  | { type: "blocks"; file: string; size: number; blockSize: number; from: number; to: number }
  | ColumnJob
  | { type: "invert"; logs: number[]; exponents: number[] }
  | { type: "seal"; file: string; parts: (Uint8Array | number)[]; blockSize: number }
  | { type: "scan"; file: string; size: number }
  | { type: "search"; file: string; from: number; to: number; blockSize: number; wanted: WantedBlock[] }
  | { type: "copy"; from: ParityRange[]; to: string };

export interface ParityAnswer {
  whole?: WholeSum;
  /** `blocks`: MD5 and CRC-32 of each; zeros where the medium could not be read. */
  sums?: Uint8Array;
  /** `invert`: undefined if these exponents do not suffice. */
  matrix?: Uint16Array | undefined;
  /** `seal`: SHA-256 in hex. */
  sha256?: string;
  packets?: FoundPacket[];
  /** `search`: where blocks begin. */
  moved?: { block: number; offset: number }[];
}

export interface ParityReply {
  id: number;
  value?: ParityAnswer;
  error?: { message: string; code: string | undefined; file: string | undefined };
}

/** Body of a parity thread: takes a {@link ParityJob} with an `id` at a time, and answers a {@link ParityReply}. */
export function parityWorkerMain(): void {
  const fs = process.getBuiltinModule("node:fs");
  const crypto = process.getBuiltinModule("node:crypto");
  const zlib = process.getBuiltinModule("node:zlib");
  const { parentPort } = process.getBuiltinModule("node:worker_threads");
  if (parentPort === null) return;
  const NOFOLLOW = fs.constants.O_NOFOLLOW ?? 0;
  const READ = fs.constants.O_RDONLY | NOFOLLOW | (fs.constants.O_NONBLOCK ?? 0);
  const CHUNK_BYTES = 1024 * 1024;
  const GROUP_BYTES = 32;
  /** Of one constant: 8 × 16 bytes. */
  const TABLE_BYTES = 128;
  /** A stretch of an output stays in the nearest cache while all inputs of a batch are added to it. */
  const TILE_BYTES = 8192;
  const MAX_BATCH = 32;
  const BATCH_TABLE_BYTES = 4 * 1024 * 1024;
  const PAGE_BYTES = 65_536;
  const ORDER = 65_535;
  // Not in the library types of Node.
  const wasm = Reflect.get(globalThis, "WebAssembly") as {
    Memory: new (of: { initial: number }) => { buffer: ArrayBuffer; grow(pages: number): number };
    Module: new (bytes: Uint8Array<ArrayBuffer>) => object;
    Instance: new (module: object, imports: object) => { exports: unknown };
  };
  const memory = new wasm.Memory({ initial: 1 });
  let kernel: ParityKernel | undefined;
  const chunk = Buffer.allocUnsafeSlow(CHUNK_BYTES);
  const open = new Map<string, number>();

  class JobError extends Error {
    file: string;
    code: string | undefined;
    constructor(error: unknown, file: string) {
      super((error as Error).message);
      this.code = (error as NodeJS.ErrnoException).code;
      this.file = file;
    }
  }
  const attempt = <R>(file: string, work: () => R): R => {
    try {
      return work();
    } catch (error) {
      throw new JobError(error, file);
    }
  };
  const descriptor = (file: string, flags: number) => {
    const known = open.get(file);
    if (known !== undefined) return known;
    const fd = attempt(file, () => fs.openSync(file, flags));
    open.set(file, fd);
    if (!fs.fstatSync(fd).isFile())
      throw new JobError(Object.assign(new Error("not a regular file"), { code: "ENOTFILE" }), file);
    return fd;
  };
  /** Reads up to `length` bytes; returns how many there were before the file's end. */
  const read = (file: string, into: Uint8Array, at: number, length: number, position: number, flags = READ) => {
    const fd = descriptor(file, flags);
    let done = 0;
    while (done < length) {
      const count = attempt(file, () => fs.readSync(fd, into, at + done, length - done, position + done));
      if (count === 0) break;
      done += count;
    }
    return done;
  };
  const write = (file: string, from: Uint8Array, at: number, length: number, position: number) => {
    const fd = descriptor(file, fs.constants.O_RDWR | NOFOLLOW);
    let done = 0;
    while (done < length)
      done += attempt(file, () => fs.writeSync(fd, from, at + done, length - done, position + done));
  };
  const short = (file: string) =>
    new JobError(Object.assign(new Error("the file ends early"), { code: "ESHORT" }), file);
  /** Calls `take` with a range of a file, piece by piece. */
  const eachChunk = (file: string, from: number, length: number, take: (bytes: Buffer) => void, flags = READ) => {
    for (let done = 0; done < length; ) {
      const size = Math.min(CHUNK_BYTES, length - done);
      if (read(file, chunk, 0, size, from + done, flags) < size) throw short(file);
      take(size === CHUNK_BYTES ? chunk : chunk.subarray(0, size));
      done += size;
    }
  };

  // The field: powers of two, and their exponents.
  const power = new Uint16Array(2 * ORDER);
  const logarithm = new Uint16Array(ORDER + 1);
  for (let exponent = 0, value = 1; exponent < ORDER; exponent++) {
    power[exponent] = value;
    power[exponent + ORDER] = value;
    logarithm[value] = exponent;
    value <<= 1;
    if (value & 0x10000) value ^= 0x1100b;
  }
  const powerAt = (exponent: number) => power[exponent % ORDER] as number;

  /** Memory of at least so many bytes, and the kernel over it. */
  const withMemory = (bytes: number) => {
    const missing = Math.ceil((bytes - memory.buffer.byteLength) / PAGE_BYTES);
    if (missing > 0) memory.grow(missing);
    if (kernel === undefined) throw new Error("no kernel");
    return { bytes: Buffer.from(memory.buffer), kernel };
  };
  const basis = new Uint16Array(16);
  const products = new Uint16Array(16);
  /** Writes the tables of a constant. */
  const writeTable = (bytes: Buffer, at: number, constant: number) => {
    for (let bit = 0, value = constant; bit < 16; bit++) {
      basis[bit] = value;
      value <<= 1;
      if (value & 0x10000) value ^= 0x1100b;
    }
    for (let nibble = 0; nibble < 4; nibble++) {
      const place = at + 32 * nibble;
      bytes[place] = 0;
      bytes[place + 16] = 0;
      for (let bit = 0; bit < 4; bit++) {
        const value = basis[4 * nibble + bit] as number;
        for (let below = 0, here = 1 << bit; below < 1 << bit; below++, here++) {
          const product = value ^ (below === 0 ? 0 : (products[below] as number));
          products[here] = product;
          bytes[place + here] = product & 0xff;
          bytes[place + 16 + here] = product >> 8;
        }
      }
    }
  };
  const grouped = (length: number) => Math.ceil(length / GROUP_BYTES) * GROUP_BYTES;

  /** Reads a range into memory as groups, filled up with zeros to `stride`. */
  const load = (it: ParityRange, bytes: Buffer, at: number, stride: number) => {
    const length = read(it.file, bytes, at, it.length, it.offset);
    if (length < it.length) throw short(it.file);
    bytes.fill(0, at + length, at + stride);
    kernel?.split(at, at + stride);
  };

  const column = (job: ColumnJob) => {
    const stride = grouped(job.width);
    const sums = job.exponents.length;
    const batch = Math.max(1, Math.min(MAX_BATCH, Math.floor(BATCH_TABLE_BYTES / (sums * TABLE_BYTES))));
    const tablesAt = 0;
    const inputsAt = tablesAt + batch * sums * TABLE_BYTES;
    const sumsAt = inputsAt + batch * stride;
    const productsAt = sumsAt + sums * stride;
    const end = job.matrix === undefined ? productsAt : productsAt + sums * stride;
    const { bytes, kernel } = withMemory(end);
    bytes.fill(0, sumsAt, end);
    for (const [index, it] of (job.initial ?? []).entries()) load(it, bytes, sumsAt + index * stride, stride);
    /** Adds `count` inputs, whose tables are in place, to all outputs. */
    const addAll = (count: number, inputAt: (index: number) => number, outputsAt: number) => {
      for (let tile = 0; tile < stride; tile += TILE_BYTES) {
        const length = Math.min(TILE_BYTES, stride - tile);
        for (let output = 0; output < sums; output++) {
          const to = outputsAt + output * stride + tile;
          for (let input = 0; input < count; input++) {
            const from = inputAt(input) + tile;
            kernel.multiplyAdd(tablesAt + (output * batch + input) * TABLE_BYTES, from, to, from + length);
          }
        }
      }
    };
    for (let first = 0; first < job.inputs.length; first += batch) {
      const inputs = job.inputs.slice(first, first + batch);
      for (const [index, it] of inputs.entries()) {
        load(it, bytes, inputsAt + index * stride, stride);
        for (const [output, exponent] of job.exponents.entries())
          writeTable(bytes, tablesAt + (output * batch + index) * TABLE_BYTES, powerAt(it.log * exponent));
      }
      addAll(inputs.length, (index) => inputsAt + index * stride, sumsAt);
    }
    let resultsAt = sumsAt;
    if (job.matrix !== undefined) {
      resultsAt = productsAt;
      for (let first = 0; first < sums; first += batch) {
        const count = Math.min(batch, sums - first);
        for (let output = 0; output < sums; output++)
          for (let index = 0; index < count; index++) {
            const constant = job.matrix[output * sums + first + index] as number;
            writeTable(bytes, tablesAt + (output * batch + index) * TABLE_BYTES, constant);
          }
        addAll(count, (index) => sumsAt + (first + index) * stride, productsAt);
      }
    }
    for (const [index, it] of job.outputs.entries()) {
      if (it === undefined) continue;
      const at = resultsAt + index * stride;
      kernel.join(at, at + stride);
      write(it.file, bytes, at, it.length, it.offset);
    }
  };

  /** The inverse of the matrix of powers: rows by exponent, columns by block. Undefined if there is none. */
  const invert = (logs: readonly number[], exponents: readonly number[]): Uint16Array | undefined => {
    const size = logs.length;
    const stride = grouped(2 * size);
    const spareAt = TABLE_BYTES;
    const rowAt = (row: number) => spareAt + stride * (1 + row);
    const { bytes, kernel } = withMemory(rowAt(size));
    const placeOf = (row: number, at: number) => rowAt(row) + (at >> 4) * GROUP_BYTES + (at & 15);
    const value = (row: number, at: number) => {
      const place = placeOf(row, at);
      return (bytes[place] as number) | ((bytes[place + 16] as number) << 8);
    };
    const put = (row: number, at: number, to: number) => {
      const place = placeOf(row, at);
      bytes[place] = to & 0xff;
      bytes[place + 16] = to >> 8;
    };
    const addTimes = (constant: number, from: number, to: number) => {
      writeTable(bytes, 0, constant);
      kernel.multiplyAdd(0, from, to, from + stride);
    };
    bytes.fill(0, spareAt, rowAt(size));
    for (let row = 0; row < size; row++)
      for (let at = 0; at < size; at++) put(row, at, powerAt((logs[at] as number) * (exponents[row] as number)));
    const swapped: number[] = [];
    for (let pivot = 0; pivot < size; pivot++) {
      let row = pivot;
      while (row < size && value(row, pivot) === 0) row++;
      if (row === size) return undefined;
      swapped.push(row);
      if (row !== pivot) {
        bytes.copyWithin(spareAt, rowAt(row), rowAt(row) + stride);
        bytes.copyWithin(rowAt(row), rowAt(pivot), rowAt(pivot) + stride);
        bytes.copyWithin(rowAt(pivot), spareAt, spareAt + stride);
      }
      const scale = power[ORDER - (logarithm[value(pivot, pivot)] as number)] as number;
      put(pivot, pivot, 1);
      bytes.fill(0, spareAt, spareAt + stride);
      addTimes(scale, rowAt(pivot), spareAt);
      bytes.copyWithin(rowAt(pivot), spareAt, spareAt + stride);
      for (let other = 0; other < size; other++) {
        if (other === pivot) continue;
        const factor = value(other, pivot);
        if (factor === 0) continue;
        put(other, pivot, 0);
        addTimes(factor, rowAt(pivot), rowAt(other));
      }
    }
    // What swapped rows of the matrix swaps columns of its inverse, last one first.
    for (let pivot = size - 1; pivot >= 0; pivot--) {
      const other = swapped[pivot] as number;
      if (other === pivot) continue;
      for (let row = 0; row < size; row++) {
        const kept = value(row, pivot);
        put(row, pivot, value(row, other));
        put(row, other, kept);
      }
    }
    const inverse = new Uint16Array(size * size);
    for (let row = 0; row < size; row++) for (let at = 0; at < size; at++) inverse[row * size + at] = value(row, at);
    return inverse;
  };

  const whole = (file: string, size: number): WholeSum => {
    const all = crypto.createHash("md5");
    const head = crypto.createHash("md5");
    let left = 16_384;
    eachChunk(file, 0, size, (bytes) => {
      all.update(bytes);
      if (left > 0) head.update(bytes.subarray(0, left));
      left = Math.max(0, left - bytes.length);
    });
    return { md5: all.digest(), md5Of16k: head.digest() };
  };

  const zeros = Buffer.alloc(65_536);
  const blockSums = (job: Extract<ParityJob, { type: "blocks" }>) => {
    const sums = Buffer.alloc((job.to - job.from) * 20);
    for (let block = job.from; block < job.to; block++) {
      const start = block * job.blockSize;
      const length = Math.min(job.blockSize, job.size - start);
      const md5 = crypto.createHash("md5");
      let crc = 0;
      const take = (bytes: Buffer) => {
        md5.update(bytes);
        crc = zlib.crc32(bytes, crc);
      };
      try {
        eachChunk(job.file, start, length, take);
      } catch (error) {
        // A bad sector costs one block, a short file its end.
        if (!["EIO", "ESHORT", "ENODATA", "EILSEQ"].includes((error as JobError).code ?? "")) throw error;
        continue;
      }
      for (let left = job.blockSize - length; left > 0; left -= zeros.length)
        take(left < zeros.length ? zeros.subarray(0, left) : zeros);
      sums.set(md5.digest(), (block - job.from) * 20);
      sums.writeUInt32LE(crc, (block - job.from) * 20 + 16);
    }
    return sums;
  };

  /** Writes the parts of a recovery file in their order; of recovery packets the data is in place. */
  const seal = (file: string, parts: readonly (Uint8Array | number)[], blockSize: number) => {
    const all: Hash = crypto.createHash("sha256");
    const flags = fs.constants.O_RDWR | NOFOLLOW;
    let position = 0;
    let header: Uint8Array | undefined;
    for (const part of parts) {
      if (typeof part === "number") {
        // The header before it is this packet's.
        const start = header as Uint8Array;
        const md5 = crypto.createHash("md5").update(start.subarray(32));
        eachChunk(file, position, blockSize, (bytes) => md5.update(bytes), flags);
        start.set(md5.digest(), 16);
        write(file, start, 0, start.length, position - start.length);
        all.update(start);
        eachChunk(file, position, blockSize, (bytes) => all.update(bytes), flags);
        position += blockSize;
        header = undefined;
      } else {
        if (header !== undefined) all.update(header);
        write(file, part, 0, part.length, position);
        position += part.length;
        header = part;
      }
    }
    if (header !== undefined) all.update(header);
    return all.digest("hex");
  };

  const MAGIC = Buffer.from("PAR2\0PKT");
  const SLICE_TYPE = "PAR 2.0\0RecvSlic";
  /** The largest packet that is kept: checksums of 32,768 blocks. */
  const MAX_BODY_BYTES = 1024 * 1024;
  /** Of all packets that are kept. */
  const MAX_KEPT_BYTES = 64 * 1024 * 1024;
  const MAX_PACKETS = 200_000;
  /** Looks for packets, wherever they begin. Copies of a small packet are found once. */
  const scan = (file: string, size: number): FoundPacket[] => {
    const found: FoundPacket[] = [];
    const known = new Set<string>();
    let kept = 0;
    // Lengths are claims: what is hashed in vain is bounded, so that a file full of them costs as much as a long one.
    let budget = 2 * size + 16 * CHUNK_BYTES;
    const head = Buffer.alloc(68);
    const window = Buffer.allocUnsafe(256 * 1024);
    const packetAt = (position: number): number => {
      if (read(file, head, 0, 64, position) < 64) return 0;
      const length = Number(head.readBigUInt64LE(8));
      if (length < 64 || length % 4 !== 0 || length > size - position || length > budget) return 0;
      budget -= length;
      const md5 = crypto.createHash("md5");
      eachChunk(file, position + 32, length - 32, (bytes) => md5.update(bytes));
      const sum = md5.digest();
      if (sum.compare(head, 16, 32) !== 0) return 0;
      const type = head.toString("latin1", 48, 64);
      const isSlice = type === SLICE_TYPE;
      const wanted = isSlice ? 4 : length - 64;
      const isNew = !known.has(sum.toString("latin1"));
      if (isNew && wanted <= MAX_BODY_BYTES && length >= 64 + wanted && kept + wanted <= MAX_KEPT_BYTES) {
        const body = new Uint8Array(wanted);
        read(file, body, 0, wanted, position + 64);
        kept += wanted;
        known.add(sum.toString("latin1"));
        found.push({ setId: head.toString("hex", 32, 48), type, body, offset: position + 64, length: length - 64 });
      }
      return length;
    };
    for (let position = 0; position + 64 <= size && found.length < MAX_PACKETS; ) {
      let length: number;
      try {
        const filled = read(file, window, 0, Math.min(window.length, size - position), position);
        const at = window.subarray(0, filled).indexOf(MAGIC);
        if (at < 0) {
          if (filled < window.length) break;
          position += filled - MAGIC.length + 1;
          continue;
        }
        position += at;
        length = packetAt(position);
      } catch (error) {
        if (!["EIO", "ESHORT", "ENODATA", "EILSEQ"].includes((error as JobError).code ?? "")) throw error;
        // Beyond the bad sector.
        position = Math.floor(position / 2048 + 1) * 2048;
        continue;
      }
      position += length > 0 ? length : MAGIC.length;
    }
    return found;
  };

  /**
   * Finds whole blocks anywhere in a range of a file, by a CRC-32 that rolls over it byte by byte; MD5 decides. Behind
   * a block the next one is expected, so that only what is damaged costs more than a checksum.
   */
  const search = ({ file, from, to, blockSize, wanted }: Extract<ParityJob, { type: "search" }>) => {
    const found: { block: number; offset: number }[] = [];
    const bySum = new Map<number, WantedBlock[]>();
    const filter = new Uint8Array(65_536);
    // What a byte leaves in the register when a block has passed; what a block of zeros leaves is not of any byte.
    const nothing = Buffer.alloc(blockSize);
    const rest = zlib.crc32(nothing);
    const step = new Int32Array(256);
    const past = new Int32Array(256);
    const longer = zlib.crc32(nothing, zlib.crc32(Buffer.of(0)));
    for (let byte = 0; byte < 256; byte++) {
      let value = byte;
      for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
      step[byte] = value;
      if ((byte & (byte - 1)) === 0) past[byte] = zlib.crc32(nothing, zlib.crc32(Buffer.of(byte))) ^ longer;
      else past[byte] = (past[byte & (byte - 1)] as number) ^ (past[byte & -byte] as number);
    }
    for (const it of wanted) {
      const sum = Buffer.from(it.sum);
      const crc = (sum.readUInt32LE(16) ^ rest) >>> 0;
      bySum.set(crc, [...(bySum.get(crc) ?? []), it]);
      filter[crc & 0xffff] = 1;
    }
    const held = Buffer.allocUnsafeSlow(blockSize + Math.max(blockSize, CHUNK_BYTES));
    // Blocks that only look right cost a checksum each: a forger has no more of them than the file is long.
    let budget = 2 * (to - from) + 16 * blockSize;
    let start = from;
    let filled = 0;
    /** Has at least a block in memory from a position of it, and returns that position. */
    const slide = (at: number): number => {
      held.copyWithin(0, at, filled);
      start += at;
      filled -= at;
      try {
        filled += read(file, held, filled, Math.min(held.length - filled, to - start - filled), start + filled);
      } catch (error) {
        if (!["EIO", "ENODATA", "EILSEQ"].includes((error as JobError).code ?? "")) throw error;
        // Beyond the bad sector.
        start = Math.floor((start + filled) / 2048 + 1) * 2048;
        filled = 0;
      }
      return 0;
    };
    const isFound = (at: number, crc: number): boolean => {
      const known = bySum.get(crc >>> 0);
      if (known === undefined || budget < blockSize) return false;
      budget -= blockSize;
      const md5 = crypto
        .createHash("md5")
        .update(held.subarray(at, at + blockSize))
        .digest();
      const same = known.filter((it) => md5.compare(it.sum, 0, 16) === 0);
      for (const { block } of same) found.push({ block, offset: start + at });
      if (same.length === 0) return false;
      budget += blockSize;
      const others = known.filter((it) => !same.includes(it));
      if (others.length > 0) bySum.set(crc >>> 0, others);
      else bySum.delete(crc >>> 0);
      return true;
    };
    for (let at = slide(0); bySum.size > 0 && start + at + blockSize <= to; ) {
      if (filled - at < blockSize) {
        const before = start;
        at = slide(at);
        // Neither more bytes nor a bad sector that was passed.
        if (filled < blockSize && start === before) break;
        if (filled < blockSize) continue;
      }
      let crc = zlib.crc32(held.subarray(at, at + blockSize)) ^ rest;
      const last = filled - blockSize;
      while (filter[crc & 0xffff] === 0 || !isFound(at, crc)) {
        if (at >= last) {
          at++;
          crc = 0;
          break;
        }
        const leaving = held[at] as number;
        const coming = held[at + blockSize] as number;
        crc = (crc >>> 8) ^ (step[(crc ^ coming) & 0xff] as number) ^ (past[leaving] as number);
        at++;
      }
      if (found.at(-1)?.offset === start + at) at += blockSize;
    }
    return found;
  };

  /** Copies ranges to the places that they have in their own files, or to those that they name. */
  const copy = (ranges: readonly ParityRange[], to: string) => {
    for (const it of ranges) {
      let position = it.to ?? it.offset;
      eachChunk(it.file, it.offset, it.length, (bytes) => {
        write(to, bytes, 0, bytes.length, position);
        position += bytes.length;
      });
    }
  };

  const handle = (job: ParityJob): ParityAnswer => {
    switch (job.type) {
      case "kernel": {
        const module = new wasm.Module(job.bytes);
        kernel = new wasm.Instance(module, { parity: { memory } }).exports as ParityKernel;
        return {};
      }
      case "whole":
        return { whole: whole(job.file, job.size) };
      case "blocks":
        return { sums: blockSums(job) };
      case "column":
        column(job);
        return {};
      case "invert":
        return { matrix: invert(job.logs, job.exponents) };
      case "seal":
        return { sha256: seal(job.file, job.parts, job.blockSize) };
      case "scan":
        return { packets: scan(job.file, job.size) };
      case "search":
        return { moved: search(job) };
      case "copy":
        copy(job.from, job.to);
        return {};
    }
  };
  parentPort.on("message", ({ id, ...job }: ParityJob & { id: number }) => {
    const reply: ParityReply = { id };
    try {
      reply.value = handle(job as ParityJob);
    } catch (error) {
      const { message, code, file } = error as JobError;
      reply.error = { message, code, file };
    }
    for (const fd of open.values()) fs.closeSync(fd);
    open.clear();
    parentPort.postMessage(reply);
  });
}
