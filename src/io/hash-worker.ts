/**
 * The code of a hash pool thread, which the main thread runs itself for few bytes. Self-contained on purpose, see
 * start-worker.ts: only type imports, no outer names.
 * While one buffer is hashed, the next is read and the last is written by the thread pool of libuv, so that even a
 * single large file keeps two cores busy. Copies bypass the page cache if the file system allows it (O_DIRECT): that
 * takes a fraction of the time, leaves nothing for the final sync, and does not evict other cached data.
 */
import type { Hash } from "node:crypto";
import type { Digest, Digests, HashAlgorithm } from "./digest.ts";

/** One range of a file to hash, and to copy to `copyTo`, if given. */
export interface RangeJob {
  file: string;
  /** Descriptor that is read instead; whoever opened it closes it. */
  fd?: number | undefined;
  offset: number;
  length: number;
  copyTo?: { file: string; offset: number } | undefined;
  /** What is read in the place of `file`, one after the other; their lengths add up to `length`, at most 64 MiB. */
  parts?: readonly RangePart[] | undefined;
}

/** A range of a file, or zeros. */
export interface RangePart {
  /** Absent: zeros. */
  file?: string | undefined;
  offset: number;
  length: number;
}

/**
 * A run: consecutive small files inside one range of bytes, each after bytes that are known beforehand (its tar header)
 * and followed by zeros up to a whole block. Read at once, a few MiB.
 */
export interface RunJob {
  pieces: { file: string; fd?: number | undefined; offset: number; length: number }[];
  /** Bytes that are in shared memory already, in place of `pieces`. */
  bytes?: Uint8Array<SharedArrayBuffer>;
  /** The expected header bytes of all frames, one after the other. */
  headers: Uint8Array;
  frames: RunFrame[];
}

interface RunFrame {
  /** Length of its header. */
  header: number;
  size: number;
  /** Bytes of content and padding. */
  padded: number;
  /** New file for the content, created exclusively; not synced. Absent: only hashed. */
  to?: string | undefined;
}

/** The result of a run for one frame. */
export interface RunResult {
  /** Digest of the content. */
  digest: Digest;
  /** Offset inside the run of the first unexpected header or padding byte. */
  stray?: number;
}

/** Shared with a thread: not 0 once the result is no longer needed. */
export type StopFlag = Int32Array<SharedArrayBuffer>;

export type WorkerRequest =
  | { id: number; type: "open"; hasher: number; algorithms: readonly HashAlgorithm[]; pieces: boolean }
  | { id: number; type: "range"; hasher: number; job: RangeJob; stop?: StopFlag | undefined }
  | { id: number; type: "whole"; job: RangeJob; head: number; stop?: StopFlag | undefined }
  | { id: number; type: "bytes"; hasher: number; bytes: Uint8Array<SharedArrayBuffer> }
  | { id: number; type: "peek"; hasher: number }
  | { id: number; type: "digests"; hasher: number }
  | { id: number; type: "pieces"; hasher: number }
  | { id: number; type: "drop"; hasher: number }
  | { id: number; type: "run"; job: RunJob };

/** The result of `whole`. */
export interface WholeResult {
  digest: Digest;
  /** The first bytes of the range, as many as were asked for (at most a chunk) or there are. */
  head: Uint8Array<ArrayBuffer>;
}

/** SHA-256 of every MiB, 32 bytes each. */
export interface PieceResult {
  pieces: Uint8Array<ArrayBuffer>;
}

export interface WorkerReply {
  id: number;
  /** `peek`, `digests`: by algorithm · `run`: one result per frame. */
  value?: Digests | WholeResult | RunResult[] | PieceResult;
  error?: { message: string; code: string | undefined; file: string | undefined; write: boolean };
}

/** Where requests come from and replies go: a thread's port, or a replacement for it. */
interface WorkerPort {
  on(event: "message", listener: (request: WorkerRequest) => void): unknown;
  postMessage(reply: WorkerReply, moved?: readonly ArrayBuffer[]): void;
}

/**
 * Body of a hash thread: takes {@link WorkerRequest}s one after the other, answers each with a {@link WorkerReply}. By
 * default it uses the port of its thread.
 */
export function hashWorkerMain(given?: WorkerPort): void {
  const fs = process.getBuiltinModule("node:fs");
  const crypto = process.getBuiltinModule("node:crypto");
  const port = given ?? process.getBuiltinModule("node:worker_threads").parentPort;
  if (port === null) return;
  const CHUNK_BYTES = 2 * 1024 * 1024;
  const SHORT_BYTES = 256 * 1024;
  /** One is read into, one is hashed; for a copy two more may be written at the same time. */
  const BUFFERS = 4;
  // Unlike O_RDONLY alone, never follows a link and never blocks on a pipe.
  const READ = fs.constants.O_RDONLY | (fs.constants.O_NOFOLLOW ?? 0) | (fs.constants.O_NONBLOCK ?? 0);
  const WRITE = fs.constants.O_WRONLY | (fs.constants.O_NOFOLLOW ?? 0);
  const DIRECT = fs.constants.O_DIRECT;
  /** Direct writes start and end at multiples of this, in the file and in memory. */
  const BLOCK_BYTES = 4096;
  const byAlgorithm = (sums: readonly { name: HashAlgorithm; hash: Hash }[], hexOf: (hash: Hash) => string) =>
    Object.fromEntries(sums.map((it) => [it.name, `${it.name}:${hexOf(it.hash)}`])) as Digests;
  /** As in io/piece-digests.ts. */
  const PIECE_BYTES = 1024 * 1024;
  const DIGEST_BYTES = 32;
  const CREATE = WRITE | fs.constants.O_CREAT | fs.constants.O_EXCL;
  const hashers = new Map<number, { name: HashAlgorithm; hash: Hash }[]>();
  const pieceHashers = new Map<number, PieceSums>();
  // Not in the library types of Node.
  const wasm = Reflect.get(globalThis, "WebAssembly") as {
    Memory: new (of: { initial: number }) => { buffer: ArrayBuffer };
  };
  const buffers: Buffer[] = [];
  const writes: Promise<void>[] = [];
  let run = Buffer.alloc(0);
  const queue: WorkerRequest[] = [];
  let busy = false;

  interface Updated {
    update(bytes: Uint8Array): unknown;
  }
  /** Hashes every MiB by itself. */
  class PieceSums {
    digests = Buffer.alloc(64 * DIGEST_BYTES);
    count = 0;
    begun = crypto.createHash("sha256");
    filled = 0;
    update(bytes: Uint8Array) {
      for (let at = 0; at < bytes.length; ) {
        const part = bytes.subarray(at, at + PIECE_BYTES - this.filled);
        at += part.length;
        if (part.length === PIECE_BYTES) this.add(crypto.hash("sha256", part, "buffer"));
        else {
          this.begun.update(part);
          this.filled += part.length;
          if (this.filled === PIECE_BYTES) this.end();
        }
      }
    }
    end() {
      if (this.filled === 0) return;
      this.add(this.begun.digest());
      this.begun = crypto.createHash("sha256");
      this.filled = 0;
    }
    add(digest: Uint8Array) {
      if ((this.count + 1) * DIGEST_BYTES > this.digests.length) {
        const larger = Buffer.alloc(2 * this.digests.length);
        larger.set(this.digests);
        this.digests = larger;
      }
      this.digests.set(digest, this.count * DIGEST_BYTES);
      this.count++;
    }
    result(): PieceResult {
      this.end();
      return { pieces: new Uint8Array(this.digests.subarray(0, this.count * DIGEST_BYTES)) };
    }
  }
  class JobError extends Error {
    file: string;
    write: boolean;
    code: string | undefined;
    constructor(message: string, code: string | undefined, file: string, write: boolean) {
      super(message);
      this.code = code;
      this.file = file;
      this.write = write;
    }
  }
  const wrap = (error: unknown, file: string, write: boolean) => {
    if (error instanceof JobError) return error;
    const it = error as NodeJS.ErrnoException;
    return new JobError(it.message, it.code, file, write);
  };
  const openRead = (file: string) => {
    let fd: number;
    try {
      fd = fs.openSync(file, READ);
    } catch (error) {
      throw wrap(error, file, false);
    }
    if (!fs.fstatSync(fd).isFile()) {
      fs.closeSync(fd);
      throw new JobError("not a regular file", "ENOTFILE", file, false);
    }
    return fd;
  };
  const short = (file: string) => new JobError("the file ends early", "ESHORT", file, false);

  const readFull = (fd: number, file: string, buffer: Buffer, length: number, position: number) =>
    new Promise<void>((resolve, reject) => {
      let done = 0;
      const next = () => {
        fs.read(fd, buffer, done, length - done, position + done, (error, count) => {
          if (error) reject(wrap(error, file, false));
          else if (count === 0) reject(short(file));
          else {
            done += count;
            if (done === length) resolve();
            else next();
          }
        });
      };
      next();
    });
  const writeFull = (fd: number, file: string, buffer: Buffer, from: number, to: number, position: number) =>
    new Promise<void>((resolve, reject) => {
      let done = from;
      const next = () => {
        if (done === to) return resolve();
        fs.write(fd, buffer, done, to - done, position + done - from, (error, count) => {
          if (error) return reject(wrap(error, file, true));
          done += count;
          next();
        });
      };
      next();
    });
  /** Memory of whole pages, which direct writes need and `Buffer` does not guarantee. */
  const pages = () => Buffer.from(new wasm.Memory({ initial: CHUNK_BYTES / 65536 }).buffer);

  const bufferOf = (slot: number) => {
    buffers[slot] ??= pages();
    return buffers[slot];
  };
  /** A failure surfaces where the promise is awaited, possibly later. */
  const quiet = (promise: Promise<void>) => {
    promise.catch(() => undefined);
    return promise;
  };

  /** The file that a range is copied to: one handle for whole blocks, one for the rest. */
  const openTarget = (file: string) => {
    let fd: number;
    try {
      fd = fs.openSync(file, WRITE);
    } catch (error) {
      throw wrap(error, file, true);
    }
    let direct: number | undefined;
    try {
      if (DIRECT) direct = fs.openSync(file, WRITE | DIRECT);
    } catch {
      // This file system has no direct writes.
    }
    return {
      write: async (buffer: Buffer, length: number, position: number) => {
        let done = 0;
        if (direct !== undefined && position % BLOCK_BYTES === 0) {
          const whole = length - (length % BLOCK_BYTES);
          try {
            await writeFull(direct, file, buffer, 0, whole, position);
            done = whole;
          } catch (error) {
            // Some file systems accept the flag and refuse the writes.
            if ((error as JobError).code !== "EINVAL") throw error;
          }
        }
        await writeFull(fd, file, buffer, done, length, position + done);
      },
      close: () => {
        fs.closeSync(fd);
        if (direct !== undefined) fs.closeSync(direct);
      },
    };
  };

  /** A range of one chunk: there is nothing to overlap, and the pool of libuv would only take time. */
  const readShort = (fd: number, job: RangeJob) => {
    const buffer = bufferOf(0);
    let done = 0;
    while (done < job.length) {
      let count: number;
      try {
        count = fs.readSync(fd, buffer, done, job.length - done, job.offset + done);
      } catch (error) {
        throw wrap(error, job.file, false);
      }
      if (count === 0) throw short(job.file);
      done += count;
    }
    return buffer.subarray(0, done);
  };

  /** For short ones the pool of libuv would only take time. */
  const readPart = async (fd: number, file: string, buffer: Buffer, position: number) => {
    if (buffer.length > SHORT_BYTES) return readFull(fd, file, buffer, buffer.length, position);
    try {
      for (let done = 0; done < buffer.length; ) {
        const count = fs.readSync(fd, buffer, done, buffer.length - done, position + done);
        if (count === 0) throw short(file);
        done += count;
      }
    } catch (error) {
      throw wrap(error, file, false);
    }
  };
  /** Reads a job's bytes where they are, at rising positions. */
  const readerOf = (job: RangeJob) => {
    const { parts, file, offset } = job;
    if (parts === undefined) {
      const fd = job.fd ?? openRead(file);
      return {
        read: (buffer: Buffer, length: number, position: number) =>
          readFull(fd, file, buffer, length, offset + position),
        sync: fd,
        close: () => {
          if (job.fd === undefined) fs.closeSync(fd);
        },
      };
    }
    let open: { file: string; fd: number } | undefined;
    let index = 0;
    let start = 0;
    const close = () => {
      if (open !== undefined) fs.closeSync(open.fd);
      open = undefined;
    };
    const read = async (buffer: Buffer, length: number, position: number) => {
      for (let done = 0; done < length; ) {
        const part = parts[index];
        if (part === undefined) throw short(file);
        const inside = position + done - start;
        if (inside === part.length) {
          index++;
          start += part.length;
          continue;
        }
        const take = Math.min(part.length - inside, length - done);
        if (part.file === undefined) buffer.fill(0, done, done + take);
        else {
          // Many of them follow each other in one file.
          if (open?.file !== part.file) {
            close();
            open = { file: part.file, fd: openRead(part.file) };
          }
          await readPart(open.fd, part.file, buffer.subarray(done, done + take), part.offset + inside);
        }
        done += take;
      }
    };
    return { read, sync: undefined, close };
  };

  const range = async (job: RangeJob, sums: { hash: Updated }[], stop: StopFlag | undefined) => {
    if (job.length === 0) return;
    const heed = () => {
      if (stop !== undefined && Atomics.load(stop, 0) !== 0) throw new JobError("stopped", "ESTOPPED", job.file, false);
    };
    heed();
    const from = readerOf(job);
    let to: ReturnType<typeof openTarget> | undefined;
    try {
      if (job.copyTo) to = openTarget(job.copyTo.file);
      else if (job.length <= CHUNK_BYTES && from.sync !== undefined) {
        const bytes = readShort(from.sync, job);
        for (const it of sums) it.hash.update(bytes);
        return;
      }
      const start = job.copyTo?.offset ?? 0;
      // The first chunk ends at a whole block of the copy, so that all others start at one.
      const sizeAt = (position: number) =>
        Math.min(CHUNK_BYTES - ((start + position) % BLOCK_BYTES), job.length - position);
      let slot = 0;
      let position = 0;
      let size = sizeAt(0);
      await from.read(bufferOf(0), size, 0);
      while (size > 0) {
        heed();
        const here = bufferOf(slot);
        const after = position + size;
        const nextSlot = (slot + 1) % (to === undefined ? 2 : BUFFERS);
        const nextSize = sizeAt(after);
        if (to !== undefined) writes[slot] = quiet(to.write(here, size, start + position));
        // The next buffer may still be being written. Reading starts before the hash occupies the thread.
        await writes[nextSlot];
        const reading = nextSize > 0 ? quiet(from.read(bufferOf(nextSlot), nextSize, after)) : undefined;
        const view = size === here.length ? here : here.subarray(0, size);
        for (const it of sums) it.hash.update(view);
        await reading;
        slot = nextSlot;
        position = after;
        size = nextSize;
      }
      await Promise.all(writes);
    } finally {
      // Everything must have ended before the buffers are reused, also after a failure.
      await Promise.allSettled(writes);
      writes.length = 0;
      from.close();
      to?.close();
    }
  };

  const readRun = (pieces: RunJob["pieces"]) => {
    let total = 0;
    for (const piece of pieces) total += piece.length;
    if (run.length < total) run = Buffer.allocUnsafeSlow(total);
    let filled = 0;
    for (const piece of pieces) {
      const fd = piece.fd ?? openRead(piece.file);
      try {
        let done = 0;
        while (done < piece.length) {
          const count = fs.readSync(fd, run, filled + done, piece.length - done, piece.offset + done);
          if (count === 0) throw short(piece.file);
          done += count;
        }
        filled += piece.length;
      } catch (error) {
        throw wrap(error, piece.file, false);
      } finally {
        if (piece.fd === undefined) fs.closeSync(fd);
      }
    }
    return run.subarray(0, total);
  };
  const writeNew = (file: string, bytes: Buffer) => {
    try {
      const fd = fs.openSync(file, CREATE, 0o444);
      try {
        let done = 0;
        while (done < bytes.length) done += fs.writeSync(fd, bytes, done, bytes.length - done, done);
      } finally {
        fs.closeSync(fd);
      }
    } catch (error) {
      throw wrap(error, file, true);
    }
  };
  const runFrames = (job: RunJob): RunResult[] => {
    const { bytes: given } = job;
    const bytes =
      given === undefined ? readRun(job.pieces) : Buffer.from(given.buffer, given.byteOffset, given.byteLength);
    const headers = Buffer.from(job.headers.buffer, job.headers.byteOffset, job.headers.byteLength);
    let position = 0;
    let header = 0;
    return job.frames.map((frame) => {
      const start = position;
      const content = start + frame.header;
      const end = content + frame.size;
      position = content + frame.padded;
      const expected = headers.subarray(header, header + frame.header);
      header += frame.header;
      const result: RunResult = { digest: `sha256:${crypto.hash("sha256", bytes.subarray(content, end), "hex")}` };
      if (bytes.compare(expected, 0, frame.header, start, content) !== 0) {
        let at = 0;
        while (at < frame.header && bytes[start + at] === expected[at]) at++;
        result.stray = start + at;
      } else {
        for (let at = end; at < position && result.stray === undefined; at++) if (bytes[at] !== 0) result.stray = at;
      }
      if (frame.to !== undefined && result.stray === undefined) writeNew(frame.to, bytes.subarray(content, end));
      return result;
    });
  };

  const handle = async (request: WorkerRequest): Promise<WorkerReply["value"]> => {
    if (request.type === "run") return runFrames(request.job);
    if (request.type === "whole") {
      const { job } = request;
      const hash = crypto.createHash("sha256");
      let head = new Uint8Array(0);
      const keepHead = (bytes: Uint8Array) => {
        // A copy: `bytes` is read over.
        if (head.length === 0) head = new Uint8Array(bytes.subarray(0, request.head));
        hash.update(bytes);
      };
      await range(job, [{ hash: { update: keepHead } }], request.stop);
      return { digest: `sha256:${hash.digest("hex")}`, head };
    }
    if (request.type === "open") {
      if (request.pieces) pieceHashers.set(request.hasher, new PieceSums());
      if (request.algorithms.length > 0)
        hashers.set(
          request.hasher,
          request.algorithms.map((name) => ({ name, hash: crypto.createHash(name) })),
        );
      return undefined;
    }
    const sums = hashers.get(request.hasher);
    const pieces = pieceHashers.get(request.hasher);
    const all = [...(sums ?? []), ...(pieces === undefined ? [] : [{ hash: pieces }])];
    if (request.type === "range") await range(request.job, all, request.stop);
    if (request.type === "bytes") for (const it of all) it.hash.update(request.bytes);
    if (request.type === "drop" || request.type === "pieces") pieceHashers.delete(request.hasher);
    if (request.type === "pieces") return pieces?.result();
    if (request.type === "drop") hashers.delete(request.hasher);
    if (sums === undefined || request.type === "range" || request.type === "bytes" || request.type === "drop")
      return undefined;
    if (request.type === "peek") return byAlgorithm(sums, (it) => it.copy().digest("hex"));
    hashers.delete(request.hasher);
    return byAlgorithm(sums, (it) => it.digest("hex"));
  };
  const pump = async () => {
    if (busy) return;
    busy = true;
    for (let request = queue.shift(); request !== undefined; request = queue.shift()) {
      const reply: WorkerReply = { id: request.id };
      try {
        const value = await handle(request);
        if (value !== undefined) reply.value = value;
      } catch (error) {
        const it = error as JobError;
        reply.error = { message: it.message, code: it.code, file: it.file, write: it.write === true };
      }
      port.postMessage(reply, reply.value !== undefined && "head" in reply.value ? [reply.value.head.buffer] : []);
    }
    busy = false;
  };
  port.on("message", (request: WorkerRequest) => {
    queue.push(request);
    void pump();
  });
}
