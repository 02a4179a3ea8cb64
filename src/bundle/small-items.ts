/**
 * Whole small items on their way to the volumes. They are kept in memory for a moment, so that those that follow each
 * other in the stream go to the disk in one write, headers and padding included, and the journal learns of them in one.
 * A kill loses that moment.
 */
import type { Digest } from "../io/digest.ts";
import { paddedSize, type TarItem, writeHeader } from "./tar-layout.ts";

/** How long items wait for others. */
const WAIT_MS = 100;
/** So many bytes are not kept waiting. */
const BATCH_BYTES = 1024 * 1024;
/** Nor so many items: what waits longer is garbage that only a collection of everything finds. */
const BATCH_ITEMS = 128;
/** While so many bytes wait for the disk, whoever brings more waits too. */
const MAX_WAITING_BYTES = 8 * BATCH_BYTES;
/** A write is at most about this long. */
const RUN_BYTES = 4 * 1024 * 1024;

/** One whole item. */
export interface SmallItem {
  index: number;
  item: TarItem & { headerOffset: number; offset: number };
  /** All its bytes; not the caller's any more. */
  bytes: Uint8Array;
  digest: Digest;
  /** Whether the journal records it: a rerun generates content again. */
  journaled: boolean;
}

export class SmallItems {
  readonly #write: (position: number, bytes: Uint8Array) => Promise<void>;
  readonly #written: (items: readonly SmallItem[]) => Promise<void>;
  #waiting: SmallItem[] = [];
  #waitingBytes = 0;
  #timer: NodeJS.Timeout | undefined;
  /** The batch under way, and all before it. */
  #writing: Promise<void> = Promise.resolve();
  #writingBytes = 0;
  /** Of the run that is written, and of all runs: a new one for each would leave holes in the process's memory. */
  #run = Buffer.alloc(0);
  #failure: { error: unknown } | undefined;

  /**
   * @param write puts bytes to their place in the stream
   * @param written called with items that are in place, before `flush` is settled
   */
  constructor(
    write: (position: number, bytes: Uint8Array) => Promise<void>,
    written: (items: readonly SmallItem[]) => Promise<void>,
  ) {
    this.#write = write;
    this.#written = written;
  }

  /** Takes an item, and waits only where the disk is behind. Failures show at a later call. */
  async add(it: SmallItem): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure.error;
    this.#waiting.push(it);
    this.#waitingBytes += headersAnd(it);
    if (this.#waitingBytes >= BATCH_BYTES || this.#waiting.length >= BATCH_ITEMS) this.#start();
    else this.#timer ??= setTimeout(() => this.#start(), WAIT_MS);
    if (this.#writingBytes >= MAX_WAITING_BYTES) await this.#writing;
  }

  /** Waits until everything is in place. @throws what `write` or `written` threw */
  async flush(): Promise<void> {
    this.#start();
    await this.#writing;
    if (this.#failure !== undefined) throw this.#failure.error;
  }

  #start(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const batch = this.#waiting;
    const bytes = this.#waitingBytes;
    this.#waiting = [];
    this.#waitingBytes = 0;
    if (batch.length === 0) return;
    this.#writingBytes += bytes;
    this.#writing = this.#writing
      .then(() => this.#writeAll(batch))
      .catch((error: unknown) => {
        this.#failure ??= { error };
      })
      .then(() => {
        this.#writingBytes -= bytes;
      });
  }

  async #writeAll(batch: SmallItem[]): Promise<void> {
    batch.sort((a, b) => a.item.headerOffset - b.item.headerOffset);
    for (let from = 0; from < batch.length; ) {
      const start = (batch[from] as SmallItem).item.headerOffset;
      let end = start;
      let to = from;
      for (let next = batch[to]; next?.item.headerOffset === end && end - start < RUN_BYTES; next = batch[++to])
        end = endOf(next.item);
      if (this.#run.length < end - start)
        this.#run = Buffer.allocUnsafeSlow(Math.max(end - start, Math.min(2 * this.#run.length, RUN_BYTES)));
      const run = this.#run.subarray(0, end - start);
      for (const it of batch.slice(from, to)) putItem(it, run, start);
      await this.#write(start, run);
      from = to;
    }
    await this.#written(batch);
  }
}

/** First byte behind an item's padding. */
function endOf({ offset, size }: SmallItem["item"]): number {
  return offset + paddedSize(size);
}

function headersAnd({ item }: SmallItem): number {
  return endOf(item) - item.headerOffset;
}

/** Puts header, content and padding of an item into the run that starts at `start`. */
function putItem({ item, bytes }: SmallItem, run: Buffer, start: number): void {
  const content = item.offset - start;
  run.fill(0, item.headerOffset - start, content);
  writeHeader(item, run.subarray(item.headerOffset - start, content));
  run.set(bytes, content);
  run.fill(0, content + item.size, endOf(item) - start);
}
