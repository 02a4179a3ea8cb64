/**
 * When a small file may be read at once, on the main thread: only while its bytes are where reading is copying, in the
 * page cache of a local file system. The way through libuv's threads costs five times the processor's time of such a
 * read.
 */
import { existsSync, readFileSync } from "node:fs";
import { statfs } from "node:fs/promises";

/**
 * File systems whose reads are bounded by this machine: ext2 to ext4, XFS, Btrfs, F2FS, tmpfs, overlayfs; see
 * statfs(2).
 */
const LOCAL = new Set([0xef53, 0x58465342, 0x9123683e, 0xf2f52010, 0x01021994, 0x794c7630]);
/** Longer than the page cache ever takes for a small file, unless the process lost the processor meanwhile. */
const SLOW_MS = 1;
/** Longer than a process waits for the processor, even a busy one. */
const VERY_SLOW_MS = 250;
/** For each millisecond that a read kept everybody, this many without another: they cost one part in a hundred. */
const PAUSE_FACTOR = 100;
const MAX_PAUSE_MS = 60_000;
/** How often it is noted what the thread has read from disks, so that a slow read is blamed for no earlier one. */
const NOTE_MS = 1000;

/** Whether a folder is where {@link ReadGuard} may allow reads on the main thread. */
export async function isLocal(dir: string): Promise<boolean> {
  // Without the kernel's count of what came from disks nobody could tell a slow disk from a busy processor.
  if (process.platform !== "linux" || !existsSync("/proc/self/io")) return false;
  try {
    return LOCAL.has((await statfs(dir)).type);
  } catch {
    return false;
  }
}

/** Measures reads on the main thread and forbids them for a while when one had to wait for a disk. */
export class ReadGuard {
  readonly #local: boolean;
  readonly #bytesFromDisks: () => number;
  #pausedUntil = 0;
  #noted: number;
  #notedMs = 0;

  /**
   * @param local what {@link isLocal} says of the files that will be read
   * @param bytesFromDisks how much this thread has read from disks so far
   */
  constructor(local: boolean, bytesFromDisks = bytesOfThisThread) {
    this.#local = local;
    this.#bytesFromDisks = bytesFromDisks;
    this.#noted = local ? bytesFromDisks() : 0;
  }

  /** `now` is performance.now(). */
  mayRead(now: number): boolean {
    if (!this.#local || now < this.#pausedUntil) return false;
    if (now - this.#notedMs > NOTE_MS) this.#note(now);
    return true;
  }

  /** Says how long one took: from `started` to `now`, both performance.now(). */
  took(started: number, now: number): void {
    const ms = now - started;
    if (ms < SLOW_MS) return;
    const before = this.#noted;
    this.#note(now);
    const fromDisk = this.#noted !== before;
    if (fromDisk || ms >= VERY_SLOW_MS) this.#pausedUntil = now + Math.min(ms * PAUSE_FACTOR, MAX_PAUSE_MS);
  }

  #note(now: number): void {
    this.#noted = this.#bytesFromDisks();
    this.#notedMs = now;
  }
}

/** Of all threads, in blocks, where the system does not let a process that has changed its user look at itself. */
function bytesOfThisThread(): number {
  try {
    return Number(/^read_bytes: (\d+)/m.exec(readFileSync("/proc/thread-self/io", "latin1"))?.[1]);
  } catch {
    return process.resourceUsage().fsRead;
  }
}
